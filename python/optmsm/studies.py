"""Work on several models: comparisons, searches, benchmarks; and data to try them on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ._commands import call, document
from ._results import Comparison
from .config import Config, override
from .errors import ArgumentError
from .training import _lent

Source = Any  # Config, dictionary, or path of a TOML file


@contextmanager
def _files(configs: Mapping[str, Source] | Sequence[Source], tables: Mapping[str, Any]) -> Iterator[tuple[list[str], list[str]]]:
    """Paths of configurations as the program takes them, with tables in place of files where given."""
    named = dict(configs) if isinstance(configs, Mapping) and not _is_one(configs) else None
    sources: list[tuple[Any, Source]] = list(named.items()) if named is not None else list(enumerate(_list(configs)))
    for key in named or ():
        if key in ("", ".", "..") or Path(key).name != key:
            raise ArgumentError(f"configs: {key!r} is no name of a folder, which its runs have; leave slashes out")
    with tempfile.TemporaryDirectory(prefix="optmsm-") as folder:
        paths = []
        for name, source in sources:
            if isinstance(source, (str, os.PathLike)) and named is None:
                paths.append(os.fspath(source))
                continue
            config = source if isinstance(source, Config) else Config(source)
            # Relative paths start from here, not from the temporary folder.
            path = Path(folder) / f"{name if named is not None else f'config-{name}'}.toml"
            path.write_text(config._inner.anchored().to_toml(), encoding="utf-8")
            paths.append(str(path))
        with ExitStack() as stack:
            lent = _lent(stack, **tables)
            yield paths, [part for key, rows in lent.items() for part in ("--set", override(key, rows))]


def _is_one(configs: Mapping[str, Any]) -> bool:
    """Whether a dictionary is a configuration itself, not several by name."""
    return bool(set(configs) & {"data", "model", "train", "data_dir", "tune"})


def _list(configs: Any) -> list[Any]:
    return list(configs) if isinstance(configs, (list, tuple)) else [configs]


def _study(args: list[str], settings: Mapping[str, Any] | None, more: list[str], report: str) -> Comparison:
    sets = [part for key, value in (settings or {}).items() for part in ("--set", override(key, value))]
    found = document([*args, *sets, *more, "--json"])
    path = Path(found["out"]) / report
    return Comparison(found, path.read_text(encoding="utf-8") if path.exists() else "")


def compare(
    configs: Mapping[str, Source] | Sequence[Source],
    *,
    seeds: int = 5,
    out: str | os.PathLike[str] | None = None,
    data: Any = None,
    valid: Any = None,
    test: Any = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Trains configurations with the same seeds, and tests how they differ: who is better, and is it luck?

    ``configs`` are a list, or a dictionary by name; differences are from the first. ``data``, ``valid`` and ``test`` are rows for all of
    them. The runs are kept in ``out``; called again, it continues there.
    """
    with _files(configs, {"train": data, "valid": valid, "test": test}) as (paths, sets):
        args = ["compare", *paths, "--seeds", str(seeds), *_out(out)]
        return _study(args, settings, sets, "compare.md")


def tune(
    config: Source,
    *,
    trials: int | None = None,
    seed: int | None = None,
    out: str | os.PathLike[str] | None = None,
    data: Any = None,
    valid: Any = None,
    test: Any = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Searches the settings that the configuration's ``[tune]`` table names; the best is ``best.toml`` in ``out``."""
    with _files([config], {"train": data, "valid": valid, "test": test}) as (paths, sets):
        args = ["tune", *paths, *_out(out)]
        args += ["--trials", str(trials)] if trials is not None else []
        args += ["--seed", str(seed)] if seed is not None else []
        return _study(args, settings, sets, "trials.md")


def bench(
    configs: Mapping[str, Source] | Sequence[Source],
    *,
    models: Iterable[str] = (),
    ablations: bool = False,
    trials: int = 10,
    seeds: int = 5,
    jobs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compares kinds of models at equal budgets on the test rows of one or more data sets."""
    with _files(configs, {}) as (paths, sets):
        args = ["bench", *paths, "--trials", str(trials), "--seeds", str(seeds), *_out(out)]
        args += ["--models", ",".join(models)] if models else []
        args += ["--ablations"] if ablations else []
        args += ["--jobs", str(jobs)] if jobs is not None else []
        return _study(args, settings, sets, "summary.md")


def _out(out: str | os.PathLike[str] | None) -> list[str]:
    return ["--out", os.fspath(out)] if out is not None else []


def models() -> list[dict[str, Any]]:
    """The kinds of models that there are, with their sizes."""
    kinds: list[dict[str, Any]] = document(["models", "--json"])
    return kinds


def recipes() -> Any:
    """Public data sets that :func:`recipe` knows."""
    return document(["recipe", "--json"])


def recipe(name: str, raw: str | os.PathLike[str], out: str | os.PathLike[str]) -> Any:
    """Makes Parquet and a configuration from the raw files of a public data set."""
    return document(["recipe", name, "--raw", os.fspath(raw), "--out", os.fspath(out), "--json"])


def synth(out: str | os.PathLike[str], *, rows: int | None = None, world: str | None = None, seed: int | None = None) -> Path:
    """Writes synthetic data whose true probabilities are known: a file, or with ``world`` a folder with a configuration."""
    args = ["synth", *(["--world", world, "--dir"] if world else ["--out"]), os.fspath(out)]
    args += ["--rows", str(rows)] if rows is not None else []
    args += ["--seed", str(seed)] if seed is not None else []
    call(args)
    return Path(out)
