"""Data that cannot be read: refused with the place and a way out."""

import numpy as np
import optmsm
import pytest
from tables import arrow


def refused(kind, run, columns):
    """Data that cannot be read."""
    if kind.startswith("polars"):
        polars = pytest.importorskip("polars")
        table = polars.DataFrame(columns)
        return table.lazy() if kind == "polars, lazy" else table["price"]
    if kind.startswith("pyarrow"):
        table = arrow(columns)
        parts = {
            "pyarrow, a column": table["price"],
            "pyarrow, an array": table["price"].chunk(0),
            "pyarrow, twice": table.append_column("price", table["price"]),
            "pyarrow, lists in lists": arrow({**columns, "tags": [[["t00"]]] * len(table)}),
            "pyarrow, structs": arrow({**columns, "tags": [{"a": 1}] * len(table)}),
        }
        return parts[kind]
    if kind.startswith("pandas"):
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame(columns)
        return table["price"] if kind == "pandas, a column" else table.rename(columns={"true_probability": "price"})
    if kind == "sparse":
        return pytest.importorskip("scipy.sparse").csr_array(np.eye(3))
    if kind == "Dask":
        pytest.importorskip("pandas")
        return pytest.importorskip("dask.dataframe").from_dict(columns, npartitions=2)
    return {
        "a vector": np.zeros(5),
        "a cube": np.zeros((2, 2, 2)),
        "a number": 5,
        "nothing": None,
        "a list": [{"price": 1.0}],
        "a generator": (row for row in []),
        "complex": {**columns, "price": np.zeros(len(columns["price"]), complex)},
        "columns of columns": {**columns, "price": np.zeros((len(columns["price"]), 2, 2))},
        "one value for many rows": {**columns, "price": [1.0]},
        "lists of several types": {**columns, "tags": [["t00"], [1]] * (len(columns["price"]) // 2)},
        "lists and texts": {**columns, "tags": [["t00"], "t00"] * (len(columns["price"]) // 2)},
    }[kind]


REFUSED = {
    "polars, lazy": (TypeError, r"LazyFrame.*\.collect\(\)"),
    "polars, a column": (TypeError, "polars.Series is one column.*give a table"),
    "pyarrow, a column": (TypeError, "ChunkedArray is one column.*give a table"),
    "pyarrow, an array": (TypeError, "DoubleArray is one column.*give a table"),
    "pyarrow, twice": (optmsm.DataError, "column 'price' appears twice.*rename or drop one"),
    "pyarrow, lists in lists": (optmsm.DataError, r"column 'tags': is of type List\(List.*which cannot be read; name a column of"),
    "pyarrow, structs": (optmsm.DataError, r"column 'tags': is of type Struct.*which cannot be read; name a column of"),
    "pandas, a column": (TypeError, r"Series: write \.to_frame\(\)"),
    "pandas, twice": (optmsm.DataError, "column 'price'.*rename one"),
    "sparse": (TypeError, r"sparse.*\.toarray\(\)"),
    "Dask": (TypeError, "dask.DataFrame has its rows with workers.*Scorer.*Parquet"),
    "a vector": (optmsm.DataError, "two dimensions is wanted, not of 1; give"),
    "a cube": (optmsm.DataError, "two dimensions is wanted, not of 3; give"),
    "a number": (TypeError, "int is no table: give"),
    "nothing": (TypeError, "NoneType is no table: give"),
    "a list": (TypeError, "list is no table: give"),
    "a generator": (TypeError, "generator is no table: give"),
    "complex": (optmsm.DataError, "column 'price': is of type complex128; give"),
    "columns of columns": (optmsm.DataError, "column 'price': has 3 dimensions; give"),
    "one value for many rows": (optmsm.DataError, "column 'price': has 1 values for 500 rows; give"),
    "lists of several types": (optmsm.DataError, "column 'tags': .*; give lists of one type, or texts"),
    "lists and texts": (optmsm.DataError, "column 'tags': .*; give lists of one type, or texts"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_no_tables_are_refused_with_a_way_out(kind, run, rows):
    of, text = REFUSED[kind]
    data = refused(kind, run, rows("test"))
    with pytest.raises(of, match=text):
        run.predict(data)
    with pytest.raises(of, match=text):
        run.evaluate(data)


EMPTY = ["pandas", "polars", "pyarrow", "pyarrow, no batch", "DuckDB", "NumPy columns"]


@pytest.mark.parametrize("kind", EMPTY)
def test_tables_without_rows_say_so(kind, run, rows, config, folder, tmp_path):
    columns = rows("test")
    if kind == "DuckDB":
        table = pytest.importorskip("duckdb").connect().sql(f"SELECT * FROM read_csv('{folder / 'test.csv'}') LIMIT 0")
    elif kind == "NumPy columns":
        table = {key: np.array(values)[:0] for key, values in columns.items()}
    elif kind == "pyarrow, no batch":
        table = arrow(columns).schema.empty_table()
    else:
        module = pytest.importorskip(kind)
        table = (module.table if kind == "pyarrow" else module.DataFrame)(columns)[:0]
    for work in (run.predict, run.evaluate, lambda data: optmsm.train(config, tmp_path / "run", data=data)):
        with pytest.raises(optmsm.DataError, match="has no row; give at least one"):
            work(table)
    with pytest.raises(optmsm.DataError, match="valid: the table has no row"):
        optmsm.train(config, tmp_path / "run", valid=table)
    assert not (tmp_path / "run").exists()


def test_streams_without_rows_say_so(run, rows, config, tmp_path):
    schema = arrow(rows("test")).schema
    import pyarrow

    def reader():
        return pyarrow.RecordBatchReader.from_batches(schema, [])

    with pytest.raises(optmsm.DataError, match="train: the table has no row; give at least one"):
        optmsm.train(config, tmp_path / "run", data=reader())
    with pytest.raises(optmsm.DataError, match="the stream: has no row; give at least one"):
        run.predict(reader())


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "NumPy", "reader"])
def test_errors_name_row_and_column(library, run, rows, config, tmp_path):
    def table(**changed):
        columns = rows("train")
        for key, (row, value) in changed.items():
            columns[key] = [value if at == row else other for at, other in enumerate(columns[key])]
            if library != "pandas" and isinstance(value, str) and key in ("price", "label"):
                columns[key] = [None if other is None else str(other) for other in columns[key]]
        if library == "NumPy":
            return columns
        module = pytest.importorskip("pyarrow" if library == "reader" else library)
        made = module.table(columns) if module.__name__ == "pyarrow" else module.DataFrame(columns)
        return made.to_reader(max_chunksize=200) if library == "reader" else made

    with pytest.raises(optmsm.DataError, match=r"row 1001, column 'price': \"cheap\" is not a number; "):
        run.predict(table(price=(1000, "cheap")))
    with pytest.raises(optmsm.DataError, match=r"row 2, column 'scenario': scenario \"attic\" is not one that training saw"):
        run.predict(table(scenario=(1, "attic")))
    with pytest.raises(optmsm.DataError, match=r"row 301, column 'label': .*2"):
        optmsm.train(config, tmp_path / "run", data=table(label=(300, 2)))
    with pytest.raises(optmsm.DataError, match=r"row 2001, column 'label': .*yes"):
        run.evaluate(table(label=(2000, "yes")))
    with pytest.raises(optmsm.DataError, match=r"row 4, column 'label'"):
        optmsm.train(config, tmp_path / "run", data=table(label=(3, None)))
    short = rows("train")
    del short["price"]
    with pytest.raises(optmsm.DataError, match=r"no column 'price', which data.fields.price names; name one of the columns: label, "):
        run.predict(short)
