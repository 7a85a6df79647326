"""Scoring as a function on batches, for engines that hand rows to workers: Spark, Ray, Dask, DuckDB, polars."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .run import Run

#: Runs that this process has opened for scorers that were sent to it, with what tells a run that was trained anew.
_OPENED: dict[Any, tuple[Any, Run]] = {}


class Scorer:
    """A run as a function: rows in, the same rows with a column ``prediction`` out. Each worker loads the run once.

    ::

        score = optmsm.Scorer("/models/home")     # a path that every worker sees
        score(frame)                              # PySpark, Dask, polars (also lazy), pandas, pyarrow
        dataset.map_batches(score, batch_format="pyarrow")                 # Ray Data
        connection.create_function("score", score.array, None, "FLOAT", type="arrow", null_handling="special")
        connection.sql("SELECT *, score(t) AS prediction FROM t")          # DuckDB

    Frames whose rows are with workers, or not read yet, stay so: of PySpark ``score(frame)`` is
    ``frame.mapInArrow(score.batches, score.schema(frame.schema))``, of Dask ``map_partitions``, of a LazyFrame ``map_batches``.

    Parameters
    ----------
    run :
        The run, or its folder.
    column :
        Name of the column that is added.
    backend, threads :
        As of :class:`optmsm.Run`, where ``run`` is a folder. Where an engine starts a worker for every core, ``threads=1`` is best.
    embed :
        Whether it is pickled with the files of the run, for workers that do not see its folder; else with the path alone.
    """

    def __init__(
        self,
        run: Run | str | os.PathLike[str],
        *,
        column: str = "prediction",
        backend: str = "cpu",
        threads: int | None = None,
        embed: bool = False,
    ):
        self._run = run if isinstance(run, Run) else Run(run, backend=backend, threads=threads)
        #: Name of the column that is added.
        self.column = column
        self._embed = embed

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def __call__(self, rows: Any) -> Any:
        """Rows with their predictions, as the same kind of table: of pyarrow, polars, pandas, PySpark or Dask, or a dictionary."""
        library, kind = type(rows).__module__.split(".")[0], type(rows).__name__
        if library == "pyspark":
            return rows.mapInArrow(self.batches, self.schema(rows.schema))
        if library == "dask":
            # Not found by trying: the values that Dask tries with are of no scenario.
            return rows.map_partitions(self, meta=self(rows._meta))
        if kind == "LazyFrame":
            import polars

            schema = {**rows.collect_schema(), self.column: polars.Float32}
            # Later steps ask for other columns and for the prediction itself; asking for fewer rows is safe.
            kept = {"predicate_pushdown": False, "projection_pushdown": False, "slice_pushdown": True}
            return rows.map_batches(self, schema=schema, streamable=True, **kept)
        if library == "pyarrow" and hasattr(rows, "append_column"):
            import pyarrow

            return rows.append_column(pyarrow.field(self.column, pyarrow.float32()), pyarrow.array(self._predict(rows, rows.schema.names)))
        if library == "pandas" and hasattr(rows, "columns"):
            return rows.assign(**{self.column: self._predict(rows, rows.columns)})
        if library == "polars" and hasattr(rows, "columns"):
            import polars

            return rows.with_columns(polars.Series(self.column, self._predict(rows, rows.columns)))
        if isinstance(rows, dict):
            return {**rows, self.column: self._predict(rows, rows)}
        raise TypeError(f"{library}.{kind} is no table that a scorer takes: give one of pyarrow, polars, pandas, PySpark or Dask")

    def _predict(self, rows: Any, names: Iterable[Any]) -> np.ndarray:
        if self.column in names:
            raise DataError(f"the rows have a column '{self.column}' already; rename it, or give another with column=")
        count = len(next(iter(rows.values()), ())) if isinstance(rows, dict) else len(rows)
        # Engines try functions on no rows, and have parts without any.
        return self._run.predict(rows) if count else np.empty(0, np.float32)

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Arrow batches with their predictions, one at a time: for ``mapInArrow`` of PySpark."""
        return self._run.predict_batches(batches, column=self.column)

    def array(self, *columns: Any) -> Any:
        """Predictions of Arrow columns as an Arrow array, for functions in SQL: of the columns that the run reads, in the order of
        :attr:`columns`, or of one column of structs, which has them by name."""
        import pyarrow

        if len(columns) == 1 and pyarrow.types.is_struct(columns[0].type):
            rows = columns[0] if isinstance(columns[0], pyarrow.ChunkedArray) else pyarrow.chunked_array(columns)
            table = pyarrow.Table.from_struct_array(rows)
        elif len(columns) == len(self.columns):
            table = pyarrow.table(dict(zip(self.columns, columns)))
        else:
            wanted = ", ".join(self.columns)
            raise DataError(f"{len(columns)} columns where {len(self.columns)} are wanted; give {wanted}, or rows as structs")
        return pyarrow.array(self._predict(table, ()), pyarrow.float32())

    @property
    def columns(self) -> list[str]:
        """Columns that the run reads: the scenario, then those of the fields."""
        return self._run._open().needed()

    def schema(self, of: Any) -> Any:
        """The schema of the answers to rows of a schema, which is one of PySpark or pyarrow."""
        if type(of).__module__.startswith("pyspark."):
            from pyspark.sql.types import FloatType, StructField, StructType

            return StructType([*of.fields, StructField(self.column, FloatType())])
        import pyarrow

        return of.append(pyarrow.field(self.column, pyarrow.float32()))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._embed:
            state = self._run.__getstate__()
            return _embedded, (_digest(state), state, self.column)
        return _opened, (str(self._run.folder.absolute()), self._run._options, self.column)


def _opened(folder: str, options: dict[str, Any], column: str) -> Scorer:
    """A scorer in a worker, which keeps its run for the next task, unless it was trained or calibrated anew."""
    stamp = [_stamp(Path(folder) / name) for name in ("checkpoints/best.safetensors", "calibration.json")]
    key = (folder, *sorted(options.items()))
    known, run = _OPENED.get(key, (None, None))
    if run is None or known != stamp:
        run = Run(folder, **options)
        _OPENED[key] = stamp, run
    return Scorer(run, column=column)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _embedded(digest: str, state: dict[str, Any], column: str) -> Scorer:
    """A scorer in a worker that was sent the files of its run; what has the same content is kept for the next task."""
    if digest not in _OPENED:
        run = Run.__new__(Run)
        run.__setstate__(state)
        # Processes of pools end without what others do at their end, but for this.
        Finalize(None, shutil.rmtree, (str(run.folder), True), exitpriority=0)
        _OPENED[digest] = None, run
    return Scorer(_OPENED[digest][1], column=column, embed=True)


def _digest(state: dict[str, Any]) -> str:
    digest = hashlib.sha256(repr(sorted(state["options"].items())).encode())
    for name, content in state["files"].items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
