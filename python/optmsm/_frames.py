"""Tables of any library as rows of the engine, without copies where the library speaks Arrow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ._internal import Frame, spool
from .errors import DataError


def is_path(data: Any) -> bool:
    """Whether it names files: one, or a list of them."""
    if isinstance(data, (str, os.PathLike)):
        return True
    return isinstance(data, (list, tuple)) and bool(data) and all(isinstance(p, (str, os.PathLike)) for p in data)


def one(path: Any) -> str:
    """The path that a list of one has, or that is one."""
    if isinstance(path, (list, tuple)):
        if len(path) != 1:
            raise DataError("several paths where one is wanted: give a folder or a glob such as 'part-*.parquet'")
        path = path[0]
    found: str = os.fspath(path)
    return found


def is_stream(data: Any) -> bool:
    """Whether its batches can be read only once."""
    return hasattr(data, "__arrow_c_stream__") and (
        hasattr(data, "read_next_batch") or type(data).__name__ in ("RecordBatchReader", "ArrayStream", "ArrowArrayStream")
    )


def is_numpy(data: Any) -> bool:
    """Whether it is an array without names of columns."""
    return isinstance(data, np.ndarray)


def names_of_array(columns: int) -> list[str]:
    """Names of the columns of an array, which has none."""
    return [f"x{i}" for i in range(columns)]


def frame(name: str, data: Any, added: dict[str, Any] | None = None, leave_out: tuple[str, ...] = ()) -> Frame:
    """Rows of a table, with columns added to it; ``leave_out`` names columns that are not taken.

    ``data`` is anything with ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas, DuckDB …), an array of two
    dimensions, or a dictionary of columns.
    """
    extra = [(key, column(key, values)) for key, values in (added or {}).items()]
    kind = _kind(data)
    if kind.startswith("pandas."):
        data = _of_pandas(data)
    elif kind == "polars.DataFrame":
        data = _of_polars(data)
    elif isinstance(data, dict):
        data = _of_dictionary(data)
    if hasattr(data, "__arrow_c_stream__"):
        rows = _of_stream(name, data, extra, list(leave_out))
    elif hasattr(data, "__arrow_c_array__"):
        rows = _of_stream(name, _OneBatch(data), extra, list(leave_out))
    else:
        columns = _columns(data)
        count = len(next(iter(columns.values()))) if columns else 0
        taken = [(key, column(key, values)) for key, values in columns.items() if key not in leave_out]
        rows = Frame.from_columns(name, count, taken + extra)
    if rows.rows == 0 and rows.columns:
        raise DataError(_no_row(name))
    return rows


def _no_row(name: str) -> str:
    return f"{name}: the table has no row; give at least one"


def _of_stream(name: str, data: Any, extra: list[tuple[str, Any]], leave_out: list[str]) -> Frame:
    try:
        return Frame.from_stream(name, data, extra, leave_out)
    except DataError:
        if any(hasattr(data, of_tables) for of_tables in ("schema", "columns", "read_next_batch")):
            raise
        raise TypeError(f"{_kind(data)} is one column, or none: give a table, whose columns have names") from None


class _OneBatch:
    """One batch as a stream of it."""

    def __init__(self, batch: Any):
        self._batch = batch

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow

        try:
            batch = pyarrow.record_batch(self._batch)
        except pyarrow.ArrowInvalid:
            raise TypeError(f"{_kind(self._batch)} is one column, or none: give a table, whose columns have names") from None
        return pyarrow.Table.from_batches([batch]).__arrow_c_stream__(requested_schema)


def _kind(data: Any) -> str:
    return f"{type(data).__module__.split('.')[0]}.{type(data).__name__}".removeprefix("builtins.")


def _of_pandas(data: Any) -> Any:
    """A pandas table without its index, which is no column; as Arrow where pyarrow is there."""
    if not hasattr(data, "columns"):
        raise TypeError(f"a DataFrame is wanted, not {type(data).__name__}: write .to_frame()")
    names = [str(name) for name in data.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"column '{twice}': two columns of the DataFrame have this name; rename one")
    try:
        import pyarrow
    except ImportError:
        return {name: data.iloc[:, i] for i, name in enumerate(names)}
    if any(not isinstance(name, str) for name in data.columns):
        data = data.set_axis(names, axis=1)
    try:
        return pyarrow.Table.from_pandas(data, preserve_index=False)
    except _refused():
        return pyarrow.table({name: _arrow(name, data.iloc[:, i]) for i, name in enumerate(names)})


def _of_polars(data: Any) -> Any:
    """A polars table without columns of nothing, which it hands over in a way that the Arrow interface does not know."""
    empty = [name for name, kind in data.schema.items() if str(kind) == "Null"]
    if not empty:
        return data
    import polars

    return data.with_columns(polars.col(name).cast(polars.String) for name in empty)


def _refused() -> tuple[type[Exception], ...]:
    """Errors of pyarrow about values that it cannot take."""
    import pyarrow

    return pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError


def _of_dictionary(data: dict[Any, Any]) -> Any:
    """A dictionary of columns, as Arrow if it has columns of lists."""
    columns = {str(key): values for key, values in data.items()}
    if not any(_is_nested(values) for values in columns.values()):
        return columns
    try:
        import pyarrow
    except ImportError:
        return columns
    rows = {key: _arrow(key, values) for key, values in columns.items()}
    count = len(next(iter(rows.values())))
    for key, values in rows.items():
        if len(values) != count:
            raise DataError(f"column '{key}': has {len(values)} values for {count} rows; give one for each")
    return pyarrow.table(rows)


def _arrow(name: str, values: Any) -> Any:
    """A column as Arrow; values of several types are the texts that a CSV of them has."""
    import pyarrow

    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = list(values)
    try:
        return pyarrow.array(values, from_pandas=True)
    except _refused():
        if not _is_nested(values):
            return pyarrow.array(column(name, values))
    try:
        # An array without values has a type nevertheless, which is not that of the others.
        return pyarrow.array([value.tolist() if isinstance(value, np.ndarray) else value for value in values], from_pandas=True)
    except _refused() as problem:
        raise DataError(f"column '{name}': {problem}; give lists of one type, or texts with a separator") from None


#: Types of cells that hold several values.
_LISTS = (list, tuple, dict, set, np.ndarray)


def _is_nested(values: Any) -> bool:
    """Whether cells of a column are lists."""
    if isinstance(values, np.ndarray) and values.ndim != 1:
        return values.ndim == 2
    known = isinstance(values, (list, tuple)) or type(values).__module__.split(".")[0] in ("numpy", "pandas")
    return known and _objects(values) and any(isinstance(value, _LISTS) for value in values)


def _columns(data: Any) -> dict[str, Any]:
    """Columns of what is no Arrow table."""
    if isinstance(data, dict):
        return data
    if type(data).__name__ == "LazyFrame":
        raise TypeError("a polars LazyFrame has no rows yet: give .collect(), or write it to Parquet and give the path")
    if hasattr(data, "tocsr"):
        raise TypeError(
            "sparse matrices are not read: give .toarray(), or better a table that names each feature, with lists of ids in one column"
        )
    if isinstance(data, np.ndarray):
        if data.ndim != 2:
            raise DataError(f"an array of two dimensions is wanted, not of {data.ndim}; give one row for each, or a dictionary of columns")
        return dict(zip(names_of_array(data.shape[1]), data.T))
    if type(data).__module__.split(".")[0] in ("dask", "ray", "pyspark"):
        fix = "score it there with optmsm.Scorer, or write it to Parquet and give the path"
        raise TypeError(f"{_kind(data)} has its rows with workers: {fix}")
    raise TypeError(
        f"{_kind(data)} is no table: give a DataFrame, anything with __arrow_c_stream__, an array of two dimensions, a dictionary of "
        "columns, or a path"
    )


def column(name: str, values: Any) -> Any:
    """Values as the engine takes them: an array of numbers or booleans, a list of texts, or one text for all rows."""
    if isinstance(values, str):
        return values
    array = _array(name, values)
    if array.ndim != 1:
        raise DataError(f"column '{name}': has {array.ndim} dimensions; give one value for each row")
    if array.dtype.kind in "mM":
        # Integers of their unit, as those of a file.
        missing = np.isnat(array)
        array = array.astype(np.int64)
        if missing.any():
            array = array.astype(object)
            array[missing] = None
    if array.dtype.kind in "iub" and array.dtype.isnative:
        return np.require(array, requirements="A")
    if array.dtype.kind in "iuf":
        known = array.dtype.isnative and array.dtype.itemsize in (4, 8)
        wide = np.float64 if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
        return np.require(array if known else array.astype(wide), requirements="A")
    if array.dtype.kind in "OUST":
        texts = []
        for row, value in enumerate(array.tolist()):
            try:
                texts.append(_text(value))
            except (TypeError, ValueError) as problem:
                raise DataError(f"row {row + 1}, column '{name}': {problem}") from None
        return texts
    raise DataError(f"column '{name}': is of type {array.dtype}; give numbers, booleans or texts")


def _array(name: str, values: Any) -> Any:
    """Values as an array in which each is what it is: NumPy makes texts or floats of all where one is a text or missing."""
    if isinstance(values, np.ma.MaskedArray):
        found: Any = values.data
        if values.mask.any():
            found = found.astype(object)
            found[np.ma.getmaskarray(values)] = None
        return found
    library = type(values).__module__.split(".")[0]
    if library == "polars" and hasattr(values, "null_count") and values.null_count():
        values = values.to_list()
    elif library == "pyarrow" and getattr(values, "null_count", False):
        values = values.to_pylist()
    if isinstance(values, (list, tuple)) and _objects(values):
        kinds = {type(value) for value in values} - {type(None)}
        if kinds == {float}:
            return np.array(values, dtype=np.float64)  # None is NaN
        return np.fromiter(values, dtype=object, count=len(values))
    return np.asarray(values)


def _objects(values: Any) -> bool:
    """Whether some are no numbers."""
    dtype = getattr(values, "dtype", None)
    if dtype is not None:
        return getattr(dtype, "kind", "O") == "O"
    return not all(isinstance(value, (int, float, np.number, np.bool_)) for value in values)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, _LISTS):
        raise TypeError("is a list, which needs pyarrow, or a table of polars; or give texts with a separator")
    same = value == value
    # A missing value: None, NaN, NaT, or NA, of which nothing is known.
    if value is None or same is not True and not (isinstance(same, np.bool_) and same):
        return None
    return str(value)


@contextmanager
def lent(name: str, data: Any) -> Iterator[Any]:
    """A path for rows, as long as they are needed. What can be read once only is written to an Arrow file of its own meanwhile."""
    if is_path(data):
        yield os.fspath(data) if not isinstance(data, (list, tuple)) else [os.fspath(path) for path in data]
    elif is_stream(data):
        with tempfile.TemporaryDirectory(prefix="optmsm-") as folder:
            path = Path(folder) / f"{name}.arrow"
            if spool(data, path) == 0:
                raise DataError(_no_row(name))
            yield str(path)
    else:
        rows = frame(name, data)
        yield rows.path
        del rows
