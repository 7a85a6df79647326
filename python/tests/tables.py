"""Tables that several tests make."""

import pytest


def arrow(columns):
    """The table with types as they are given: pyarrow's own guesses."""
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table(columns)
