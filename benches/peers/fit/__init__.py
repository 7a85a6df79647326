"""What fit_models.py is made of."""

import sys


def say(text):
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
