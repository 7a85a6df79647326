"""Progress of training, as a person sees it: a bar of tqdm in a terminal or notebook, if it is installed."""

from __future__ import annotations

import logging
import sys
from typing import Any


class Progress:
    """A bar over rows; nothing where it is not wanted or cannot be drawn."""

    def __init__(self, wanted: bool | None):
        """``wanted``: None draws it where somebody looks, in a terminal or notebook."""
        self._wanted = wanted
        self._bar: Any = None

    def began(self, rows: int) -> None:
        """Training of at most so many rows begins."""
        if self._wanted is False or (self._wanted is None and not _watched()):
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            if self._wanted:
                logging.getLogger("optmsm").warning("a bar needs tqdm: pip install tqdm")
            return
        self._bar = tqdm(total=rows, unit=" rows", unit_scale=True, desc="optmsm", leave=False)

    def trained(self, rows: int, loss: float | None) -> None:
        """So many rows more are done."""
        if self._bar is not None:
            self._bar.update(rows)
            if loss is not None:
                self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)

    def ended(self) -> None:
        """Training is over."""
        if self._bar is not None:
            self._bar.close()


def _watched() -> bool:
    return sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
