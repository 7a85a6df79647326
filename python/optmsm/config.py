"""Configurations: the tables ``[data]``, ``[model]`` and ``[train]`` of a TOML file, checked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _frames, _internal
from .errors import ConfigError


class Config:
    """A configuration that was checked; it never changes.

    ``source`` is a dictionary of the tables of the TOML file, or the path of such a file; ``docs/config.md`` of the project lists every
    key. Keyword arguments set dotted keys, with two underscores for each dot::

        Config("my.toml", train__seed=2)
        Config({"data": {"train": "train.parquet", "fields": [{"name": "user_id"}]}})
        Config.guess(frame, label="click", scenario="tab")

    Raises :class:`optmsm.ConfigError` for an unknown key, with the nearest known one, or a value that cannot be.
    """

    __slots__ = ("_inner", "_text")

    _inner: _internal.Config
    _text: str | None

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any] | Config | None = None, /, **settings: Any):
        overrides = [override(key.replace("__", "."), value) for key, value in settings.items()]
        self._text = None
        if isinstance(source, Config):
            self._inner = source._inner.with_overrides(overrides)
        elif source is None or isinstance(source, Mapping):
            self._inner = _internal.Config.from_json(json.dumps(_plain(source or {})), overrides)
        else:
            self._inner = _internal.Config.load(Path(source), overrides)

    @classmethod
    def _of(cls, inner: _internal.Config, text: str | None = None) -> Config:
        made = cls.__new__(cls)
        made._inner, made._text = inner, text
        return made

    @classmethod
    def parse(cls, text: str, /, **settings: Any) -> Config:
        """A configuration of the text of a TOML file."""
        overrides = [override(key.replace("__", "."), value) for key, value in settings.items()]
        return cls._of(_internal.Config.parse("configuration", text, overrides), None if overrides else text)

    @classmethod
    def guess(
        cls,
        data: Any,
        *,
        label: str | None = None,
        scenario: str | None = None,
        leave_out: tuple[str, ...] | list[str] = (),
    ) -> Config:
        """A configuration to start from, guessed from rows as ``optmsm init`` does it: ``data`` is a path or a table.

        Its text, :meth:`to_toml`, says what each guess was made from.
        """
        with _frames.lent("train", data) as path:
            text = _internal.starter(_frames.one(path), label, scenario, list(leave_out))
            return cls._of(_internal.Config.parse("the guess", text, []), text)

    def set(self, **settings: Any) -> Config:
        """The same with other values: ``config.set(train__seed=2, model__kind="mmoe")``."""
        return Config(self, **settings)

    def set_keys(self, settings: Mapping[str, Any]) -> Config:
        """The same with other values by their dotted keys: ``config.set_keys({"data.fields.price.transform": "log1p"})``."""
        return Config._of(self._inner.with_overrides([override(key, value) for key, value in settings.items()]))

    def to_toml(self) -> str:
        """The text of a TOML file; that of a guess has its comments."""
        return self._text if self._text is not None else self._inner.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """The tables, with defaults; options that are not given have no key."""
        tables: dict[str, Any] = _plain(json.loads(self._inner.to_json()))
        return tables

    @property
    def kind(self) -> str:
        """Kind of the model, such as ``"optmsm"``."""
        kind: str = self.to_dict()["model"].get("kind", "optmsm")
        return kind

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the TOML file for the program ``optmsm``; one that is there is replaced."""
        path = Path(path)
        path.write_text(self.to_toml(), encoding="utf-8")
        return path

    def __getitem__(self, key: str) -> Any:
        """A value by its dotted key: ``config["train.seed"]``."""
        value: Any = self.to_dict()
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise KeyError(key)
            value = value[part]
        return value

    def __eq__(self, other: object) -> bool:
        return self._inner == other._inner if isinstance(other, Config) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._inner.to_toml(), self._text)

    def __repr__(self) -> str:
        data = self.to_dict()
        fields = ", ".join(field["name"] for field in data["data"]["fields"])
        return f"<optmsm.Config {self.kind}: scenario {data['data']['scenario']!r}, fields {fields}>"


def _restored(inner: str, text: str | None) -> Config:
    return Config._of(_internal.Config.parse("configuration", inner, []), text)


def override(key: str, value: Any) -> str:
    """A ``key=value`` as the program takes it."""
    return f"{key}={toml(value)}"


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        # JSON escapes what TOML escapes, in the same way, but for one control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if hasattr(value, "item"):
        value = value.item()  # a NumPy scalar
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"{type(value).__name__} is no value of a configuration: give a number, a text, a boolean, a list or a dictionary")


def _plain(value: Any, key: str = "") -> Any:
    """Values as JSON can hold them, without those that are not given; ``key`` is the dotted key that they are of."""
    if isinstance(value, Mapping):
        inside = f"{key}." if key else ""
        return {str(name): _plain(inner, f"{inside}{name}") for name, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, f"{key}[{at}]") for at, inner in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"configuration, `{key}`: is {value}; give a finite number")
    return value
