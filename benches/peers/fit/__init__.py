"""Parts of fit_models.py and same_start.py."""

import sys


def say(text):
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
