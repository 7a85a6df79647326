"""The engine, as ``src/`` makes it. No part of the public interface: use what :mod:`optmsm` has."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["command", "program", "Config", "settings", "starter", "Frame", "spool", "Model", "train", "__version__"]

__version__: str

_Path: TypeAlias = str | os.PathLike[str]
# Values of a column: an array of numbers or booleans, a list of texts, or one text for all rows.
_Column: TypeAlias = NDArray[Any] | Sequence[str | None] | str

class _Stream(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

def command(args: Sequence[str]) -> tuple[int, bytes]:
    """Runs a command; returns its exit code and what it printed."""

def program(args: Sequence[str]) -> int:
    """Is the program: signals are its own, and lines go to standard error. Returns the exit code."""

def settings(rows: int, valid: bool, scenarios: int) -> str:
    """The tables of model and training that a starter has for so many rows and scenarios, as JSON."""

def starter(path: _Path, label: str | None, scenario: str | None, leave_out: Sequence[str]) -> str:
    """The text of a configuration for the rows at a path, as ``optmsm init`` writes it."""

def spool(object: _Stream, path: _Path) -> int:
    """Writes the batches of a stream to an Arrow file, one at a time; returns the number of rows."""

def train(
    folder: _Path | None,
    name: str,
    begun: _Path | None,
    config: Config | None,
    overrides: Sequence[str],
    allow_changed_data: bool,
    max_steps: int | None,
    began: Callable[[int], object],
    trained: Callable[[int, float | None], object],
    evaluated: Callable[[str], object],
) -> tuple[Path, str]:
    """Trains in a folder; returns it and what came of it as JSON. ``evaluated`` says whether to stop."""

@final
class Config:
    """A configuration that was checked."""

    @staticmethod
    def load(path: _Path, overrides: Sequence[str]) -> Config:
        """Reads a TOML file."""

    @staticmethod
    def parse(name: str, text: str, overrides: Sequence[str]) -> Config:
        """Reads a text; ``name`` stands for its path in messages."""

    @staticmethod
    def from_json(text: str, overrides: Sequence[str]) -> Config:
        """Reads a JSON document of the same tables."""

    def with_overrides(self, overrides: Sequence[str]) -> Config:
        """The same with ``key=value`` overrides."""

    def anchored(self) -> Config:
        """The same with paths that do not depend on the current folder."""

    def to_toml(self) -> str: ...
    def to_json(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Frame:
    """Rows in memory under a path that works wherever that of a file does, as long as this is there."""

    @staticmethod
    def from_stream(
        name: str, object: _Stream, added: Sequence[tuple[str, _Column]], leave_out: Sequence[str]
    ) -> Frame:
        """The batches of a stream, without copies, with columns added to them."""

    @staticmethod
    def from_columns(name: str, rows: int, added: Sequence[tuple[str, _Column]]) -> Frame:
        """Columns alone, of one length."""

    def renamed(self, names: Mapping[str, str]) -> Frame:
        """The same rows with other names of columns: of each new name the old one."""

    def values(self, column: str) -> Any:
        """The values of a column: a NumPy array of what is numbers without nulls, else a list with None for nulls."""

    @property
    def path(self) -> str:
        """Path for configurations and commands."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> list[str]:
        """Names of the columns."""


@final
class Model:
    """A run's best parameters."""

    def __new__(
        cls,
        folder: _Path,
        backend: str,
        threads: int | None,
        uncalibrated: bool,
        overrides: Sequence[str],
    ) -> Model: ...
    def predict(self, path: _Path) -> NDArray[np.float32]:
        """Probabilities of the rows at a path: a file, a folder, a glob or a frame."""

    def predict_here(self, path: _Path) -> NDArray[np.float32]:
        """The same of rows in a frame, on this thread: for few rows, where starting a thread would take longer."""

    def predict_stream(self, object: _Stream) -> NDArray[np.float32]:
        """The same of a stream, whose batches are read once, one at a time."""

    def tensors(self) -> list[tuple[str, list[int]]]:
        """Names and shapes of the tensors."""

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Elements of a tensor, in rows."""

    def vocabulary(self, field: str) -> tuple[str, list[str | None]]:
        """Values of a field's ids in the order of their rows, after the name of its table."""

    def config(self) -> Config:
        """What there is to know of the run, as its configuration."""

    def needed(self) -> list[str]:
        """Columns that rows must have to be scored."""
