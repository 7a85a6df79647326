"""Training by a configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import _frames, _internal
from ._progress import Progress
from .callbacks import Callback, Evaluated
from .config import Config, override
from .run import Run


def train(
    config: Config | Mapping[str, Any] | str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    valid: Any = None,
    test: Any = None,
    callbacks: Iterable[Callback] = (),
    init_model: Run | str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    max_steps: int | None = None,
) -> Run:
    """Trains a model and returns its run, which is kept in a folder of its own.

    Parameters
    ----------
    config :
        A :class:`Config`, or what makes one: a dictionary or the path of a TOML file.
    folder :
        Folder of the run, without a run in it; a new one under ``runs`` when not given.
    data, valid, test :
        Rows in place of ``data.train``, ``data.valid`` and ``data.test``: paths, or tables of any library. Tables are read where they
        are; what can be read only once, such as a ``pyarrow.RecordBatchReader``, is written to a temporary Arrow file first.
    callbacks :
        Functions that hear of every evaluation, see :mod:`optmsm.callbacks`.
    init_model :
        A run of the same model and fields: its parameters, vocabularies and statistics are begun with.
    progress :
        Whether to draw a bar; None does where somebody looks.
    max_steps :
        Steps after which to stop and save, as Ctrl-C would.

    Ctrl-C ends training after the step at hand, saves it, and raises ``KeyboardInterrupt``; :meth:`Run.resume` goes on.
    """
    config = config if isinstance(config, Config) else Config(config)
    with ExitStack() as stack:
        paths = _lent(stack, train=data, valid=valid, test=test)
        if paths:
            config = config.set_keys(paths)
        begun = Path(init_model.folder if isinstance(init_model, Run) else init_model) if init_model is not None else None
        done, ended = _train(
            Path(folder) if folder is not None else None,
            config._inner,
            name="python",
            begun=begun,
            callbacks=callbacks,
            progress=progress,
            max_steps=max_steps,
        )
        return Run(done, backend=config["train.backend"], _ended=ended)


def resume(
    run: Run | str | os.PathLike[str],
    *,
    data: Any = None,
    valid: Any = None,
    test: Any = None,
    settings: Mapping[str, Any] | None = None,
    allow_changed_data: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
    max_steps: int | None = None,
) -> Run:
    """Continues a run where it stopped, whoever began it: Python or the program.

    ``settings`` are changed values by their dotted keys, such as ``{"train.epochs": 40}``. Rows that the run was given as tables have to
    be given again; :class:`optmsm.DataError` is raised where they are others, unless ``allow_changed_data`` is set.
    """
    folder = Path(run.folder if isinstance(run, Run) else run)
    with ExitStack() as stack:
        paths = _lent(stack, train=data, valid=valid, test=test)
        overrides = [override(key, value) for key, value in {**(settings or {}), **paths}.items()]
        _, ended = _train(
            folder,
            None,
            overrides=overrides,
            allow_changed_data=allow_changed_data,
            callbacks=callbacks,
            progress=progress,
            max_steps=max_steps,
        )
    options = run._options if isinstance(run, Run) else {}
    return Run(folder, **options, _ended=ended)


def _lent(stack: ExitStack, **parts: Any) -> dict[str, Any]:
    """Paths of the parts of the data that are given, by their keys, until the stack ends."""
    given = {part: rows for part, rows in parts.items() if rows is not None}
    return {f"data.{part}": stack.enter_context(_frames.lent(part, rows)) for part, rows in given.items()}


def _train(
    folder: Path | None,
    config: _internal.Config | None,
    *,
    name: str = "",
    begun: Path | None = None,
    overrides: list[str] | None = None,
    allow_changed_data: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
    max_steps: int | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Trains; returns the folder of the run and what came of it."""
    bar = Progress(progress)
    callbacks = list(callbacks)

    def evaluated(text: str) -> bool:
        found = json.loads(text)
        known = {key: found[key] for key in ("step", "epoch", "loss", "best", "stale", "valid")}
        at = Evaluated(**known)
        # Each of them hears of it, also after one has said stop.
        return any([callback(at) is True for callback in callbacks])

    try:
        done, text = _internal.train(
            folder,
            name,
            begun,
            config,
            overrides or [],
            allow_changed_data,
            max_steps,
            bar.began,
            bar.trained,
            evaluated,
        )
    finally:
        bar.ended()
    return done, json.loads(text)
