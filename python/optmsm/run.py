"""Runs: what training leaves in a folder, and what can be asked of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _frames, _internal
from ._commands import call, document
from ._results import Evaluation, Page
from .config import Config
from .errors import ArgumentError, DataError

#: Held while a run is opened, so that threads that ask at once do not load it twice; a child of a fork gets another one.
_OPENING = [threading.Lock()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _OPENING.__setitem__(0, threading.Lock()))

#: Files of a run that answer does not need: the state of the optimizer is as large as the model.
_OF_TRAINING = ("checkpoints/last.safetensors",)


class Run:
    """A run that was trained: by :func:`optmsm.train` or by the program, whose files are the same.

    Parameters
    ----------
    folder :
        Its folder.
    backend :
        ``"cpu"`` or ``"cuda"``, whatever trained it.
    threads :
        Threads of the CPU; all cores when not given.
    uncalibrated :
        Take the model at its word, though the run was calibrated.

    It is opened when it is first asked, once in every process: it may be pickled (with the files that answering needs), copied, and
    used by several threads at once and after a fork.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        backend: str = "cpu",
        threads: int | None = None,
        uncalibrated: bool = False,
        _ended: dict[str, Any] | None = None,
    ):
        #: Folder of the run.
        self.folder = Path(folder)
        self._options: dict[str, Any] = {"backend": backend, "threads": threads, "uncalibrated": uncalibrated}
        self._ended = _ended or {}
        self._model: _internal.Model | None = None
        self._owned: Any = None
        if not (self.folder / "config.toml").exists():
            self._open()  # for its error

    def _open(self) -> _internal.Model:
        if self._model is not None:
            return self._model
        with _OPENING[0]:
            if self._model is not None:
                return self._model
            options = self._options
            self._model = _internal.Model(
                self.folder, options["backend"], options["threads"], options["uncalibrated"], []
            )
        return self._model

    def _owns(self) -> Run:
        """The same, which deletes its folder when nobody needs it any more."""
        self._owned = weakref.finalize(self, _remove, str(self.folder), os.getpid())
        return self

    # Answers

    @overload
    def predict(self, data: Any, *, out: None = None) -> NDArray[np.float32]: ...

    @overload
    def predict(self, data: Any, *, out: str | os.PathLike[str]) -> Path: ...

    def predict(self, data: Any, *, out: str | os.PathLike[str] | None = None) -> NDArray[np.float32] | Path:
        """Probabilities of rows, one ``float32`` for each; or writes them, with ``out``.

        ``data`` is a table of any library, a path, a glob or a folder of CSV, Parquet or Arrow files, or an Arrow stream larger than
        memory, of which one batch is held at a time. Labels are not needed.

        With ``out`` (``.csv``, ``.csv.gz``, ``.csv.zst`` or ``.parquet``) the rows are written with a column ``prediction``, in constant
        memory, and the path is returned.
        """
        if out is not None:
            if not os.fspath(out).lower().endswith(_WRITTEN):
                raise ArgumentError(f"out: '{out}' is no name of a kind that is written; let it end in {', '.join(_WRITTEN)}")
            with _frames.lent("rows", data) as path:
                call(["predict", str(self.folder), "--data", _frames.one(path), "--out", os.fspath(out), *self._flags()])
            return Path(out)
        if _frames.is_path(data):
            return self._open().predict(_frames.one(data))
        if _frames.is_stream(data):
            return self._open().predict_stream(data)
        return self._predict(_frames.frame("rows", data))

    def _predict(self, rows: _internal.Frame) -> NDArray[np.float32]:
        few = rows.rows <= _FEW
        return (self._open().predict_here if few else self._open().predict)(rows.path)

    def predict_batches(self, batches: Any, *, column: str = "prediction") -> Iterator[Any]:
        """Arrow batches with their predictions as one more column, one at a time; ``batches`` are ``pyarrow.RecordBatch`` or a reader."""
        import pyarrow

        for batch in batches:
            if column in batch.schema.names:
                raise DataError(f"the batch has a column '{column}' already; rename it, or give another with column=")
            found = self._predict(_frames.frame("batch", batch)) if batch.num_rows else np.empty(0, np.float32)
            yield batch.append_column(column, pyarrow.array(found))

    def evaluate(self, data: Any, *, unsampled: bool = False) -> Evaluation:
        """Metrics of labelled rows, over all and by scenario."""
        with _frames.lent("rows", data) as path:
            args = ["evaluate", str(self.folder), "--data", _frames.one(path), "--json", *self._flags()]
            return Evaluation(document(args + (["--unsampled"] if unsampled else [])))

    def _evaluate(self, rows: _internal.Frame, label: str, weight: str | None) -> Evaluation:
        """:meth:`evaluate` of a frame whose label or weight may have another name than in training."""
        config = self.config
        wanted = {config["data.label"]: label}
        if weight is not None and config.to_dict()["data"].get("weight"):
            wanted[config["data.weight"]] = weight
        renamed = rows.renamed(wanted)  # whose path is there as long as this is
        return Evaluation(document(["evaluate", str(self.folder), "--data", renamed.path, "--json", *self._flags()]))

    def calibrate(self, data: Any = None, *, method: str = "platt") -> dict[str, Any]:
        """Corrects the probabilities by labelled rows, by default the validation rows; :meth:`predict` then answers with the corrected ones.

        ``method`` is ``"platt"`` or ``"isotonic"``.
        """
        args = ["calibrate", str(self.folder), "--method", method, "--json", "--backend", self._options["backend"]]
        done: dict[str, Any]
        if data is None:
            done = document(args)
        else:
            with _frames.lent("rows", data) as path:
                done = document([*args, "--data", _frames.one(path)])
        self._model = None
        return {key: Evaluation(value) if key in ("before", "after") else value for key, value in done.items()}

    def _flags(self) -> list[str]:
        return ["--backend", self._options["backend"], *(["--uncalibrated"] if self._options["uncalibrated"] else [])]

    # Contents

    @property
    def config(self) -> Config:
        """Its configuration."""
        return Config._of(self._open().config())

    @property
    def test(self) -> Evaluation | None:
        """Evaluation of the test rows at the end of training; None without such rows."""
        lines = [line for line in self.history if line["split"] == "test"]
        return Evaluation(lines[-1]) if lines else None

    @property
    def findings(self) -> list[dict[str, str]]:
        """Warnings about the model at the end of this training; empty of a run that was opened."""
        findings: list[dict[str, str]] = self._ended.get("findings", [])
        return findings

    @property
    def history(self) -> list[dict[str, Any]]:
        """Evaluations in their order, as ``metrics.jsonl`` has them."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def inspect(self) -> dict[str, Any]:
        """Scenarios, fields, tensors and where the best parameters come from."""
        found: dict[str, Any] = document(["inspect", str(self.folder), "--json"])
        return found

    def report(
        self, out: str | os.PathLike[str] | None = None, *, others: Sequence[Run | str | os.PathLike[str]] = (), data: Any = None
    ) -> Page:
        """Curves, calibration and the inside of the model, beside those of other runs, as a page that notebooks show.

        With ``out`` it is written there, too. ``data`` are labelled rows in place of the run's validation rows.
        """
        folders = [str(self.folder), *(str(run.folder if isinstance(run, Run) else run) for run in others)]
        with tempfile.TemporaryDirectory(prefix="optmsm-") as folder:
            path = Path(out) if out is not None else Path(folder) / "report.html"
            args = ["report", *folders, "--out", str(path), "--backend", self._options["backend"]]
            if data is None:
                call(args)
            else:
                with _frames.lent("rows", data) as rows:
                    call([*args, "--data", _frames.one(rows)])
            return Page(path.read_text(encoding="utf-8"))

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors of the best parameters, by name."""
        return {name: tuple(shape) for name, shape in self._open().tensors()}

    def tensor(self, name: str) -> NDArray[np.float32]:
        """A tensor of the best parameters."""
        return self._open().tensor(name)

    def embeddings(self, field: str) -> tuple[list[str | None], NDArray[np.float32]]:
        """Values of a field and their embeddings, in the same order.

        The first row is that of unknown values; it and others that stand for no listed value, such as the missing one, have None.
        """
        table, values = self._open().vocabulary(field)
        return values, self._open().tensor(table)

    # Going on, keeping, sending

    def resume(self, **options: Any) -> Run:
        """Continues training, see :func:`optmsm.resume`."""
        from .training import resume

        return resume(self, **options)

    def save(self, folder: str | os.PathLike[str]) -> Run:
        """Copies the run to another folder, which must not be there, and returns the copy."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(".lock"))
        return Run(folder, **self._options)

    def __getstate__(self) -> dict[str, Any]:
        files = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and _answers(name):
                files[name] = path.read_bytes()
        return {"options": self._options, "ended": self._ended, "files": files}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="optmsm-"))
        for name, content in state["files"].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.__init__(folder, **state["options"], _ended=state["ended"])  # type: ignore[misc]
        self._owns()

    def __repr__(self) -> str:
        kind = self.config.kind
        best = [line for line in self.history if line["split"] != "train"]
        auc = best[-1].get("overall", {}).get("auc") if best else None
        shown = f", {best[-1]['split']} AUC {auc:.4f}" if auc is not None else ""
        return f"<optmsm.Run {self.folder}: {kind}{shown}>"

    def _repr_html_(self) -> str:
        found = self.test or next((Evaluation(line) for line in reversed(self.history)), None)
        inner = found._repr_html_() if found is not None else ""
        return f"<p><b>{self.config.kind}</b> in <code>{self.folder}</code></p>{inner}"


#: Endings of files that predictions are written to.
_WRITTEN = (".csv", ".csv.gz", ".csv.zst", ".parquet")
#: Rows up to which a thread of its own costs more than it brings.
_FEW = 8192


def _remove(folder: str, process: int) -> None:
    """Deletes a folder in the process that made it: a child of a fork has it, too, and ends sooner."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(name: str) -> bool:
    """Whether answering needs a file of a run."""
    top = name.split("/")[0]
    kept = ("config.toml", "config.json", "schema.json", "data.json", "metrics.jsonl", "calibration.json")
    return name in kept or (top == "checkpoints" and name.endswith(".safetensors") and name not in _OF_TRAINING)
