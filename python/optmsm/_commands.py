"""Commands of the program within this process."""

from __future__ import annotations

import json
from typing import Any

from . import _internal
from .errors import Error


def call(args: list[str]) -> str:
    """Runs a command; returns what it prints."""
    code, printed = _internal.command(args)
    text = printed.decode()
    if code:
        raise Error(text.strip() or f"optmsm {' '.join(args)}: ended with exit code {code}")
    return text


def document(args: list[str]) -> Any:
    """Runs a command that prints a JSON document."""
    return json.loads(call(args))
