"""Tables of every library: the same rows are the same training and the same answers."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import optmsm
import pytest
from tables import arrow

TEXTS = ("scenario", "user_id", "item_id", "user_segment", "category", "tags", "device")


@pytest.fixture(scope="module")
def gaps(folder, rows, tmp_path_factory):
    """Rows of training and test with missing values in every kind of column, and the folder of their CSV files."""
    folder = tmp_path_factory.mktemp("gaps")
    parts = {}
    for name in ("train", "test"):
        columns = rows(name)
        for key, every in {"user_id": 11, "device": 7, "position": 5, "category": 13}.items():
            columns[key] = [None if row % every == 3 else value for row, value in enumerate(columns[key])]
        assert None in columns["tags"] and None in columns["price"]
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(["" if value is None else value for value in values] for values in columns.values())))
        parts[name] = columns
    return folder, parts


@pytest.fixture(scope="module")
def truth(gaps, config, program, predicted, tmp_path_factory):
    """The schema that the program fits on the CSV file, its run, and its predictions."""
    folder, _ = gaps
    path = config.set(data__train=folder / "train.csv").save(folder / "config.toml")
    run = tmp_path_factory.mktemp("runs") / "program"
    program("train", "--config", path, "--run", run)
    return (run / "schema.json").read_bytes(), run, predicted(run, folder / "test.csv")


# Makers of tables: each takes columns, and the path of a CSV with the same rows.


def pandas_as(**types):
    def make(columns, _):
        pandas = pytest.importorskip("pandas")
        return pandas.DataFrame(columns).astype({key: of for key, of in types.items() if key in columns})

    return make


def pandas_shuffled(columns, _):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(columns)
    return table.set_axis(np.random.default_rng(0).permutation(len(table)), axis=0)


def pandas_read(backend):
    def make(_, path):
        pandas = pytest.importorskip("pandas")
        if backend == "pyarrow":
            pytest.importorskip("pyarrow")
        return pandas.read_csv(path, **({"dtype_backend": backend} if backend else {}))

    return make


def pandas_string_of_arrow(columns, path):
    pytest.importorskip("pyarrow")
    return pandas_as(**dict.fromkeys(TEXTS, "string[pyarrow]"))(columns, path)


def polars_as(of=None):
    def make(columns, _):
        polars = pytest.importorskip("polars")
        table = polars.DataFrame(columns)
        if of == "enum":
            kinds = {key: polars.Enum(sorted(set(columns[key]) - {None})) for key in TEXTS}
            return table.cast(kinds)
        return table.cast(dict.fromkeys(TEXTS, polars.Categorical)) if of else table

    return make


def polars_chunks(columns, _):
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(columns)
    parts = polars.concat([table[:100], table[100:101], table[101:101], table[101:]], rechunk=False)
    assert parts.n_chunks() > 1
    return parts


def polars_slice(columns, _):
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(columns)
    return polars.concat([table[-9:], table, table[:5]]).slice(9, len(table))


def arrow_texts_as(of):
    def make(columns, _):
        table = arrow(columns)
        import pyarrow

        types = {"large": pyarrow.large_string(), "view": pyarrow.string_view()}
        for at, name in enumerate(table.column_names):
            if name in TEXTS:
                texts = table[name]
                table = table.set_column(at, name, texts.dictionary_encode() if of == "dictionary" else texts.cast(types[of]))
        return table

    return make


def arrow_chunks(columns, _):
    import pyarrow

    return pyarrow.Table.from_batches(arrow(columns).to_batches(max_chunksize=77))


def arrow_slice(columns, _):
    import pyarrow

    table = arrow(columns)
    return pyarrow.concat_tables([table[-9:], table, table[:5]]).combine_chunks().slice(9, len(table))


def arrow_reader(columns, _):
    return arrow(columns).to_reader(max_chunksize=500)


def duckdb_relation(_, path):
    duckdb = pytest.importorskip("duckdb")
    return duckdb.connect().sql(f"SELECT * FROM read_csv('{path}')")


def numpy_columns(columns, _):
    # As a user of NumPy has them: NaN for missing numbers.
    return {
        key: np.array(values, dtype=object if key in TEXTS else None if None not in values else float) for key, values in columns.items()
    }


def written(suffix):
    def make(columns, path):
        table = arrow(columns)
        import pyarrow.feather
        import pyarrow.parquet

        path = Path(path).with_suffix(suffix)
        if suffix == ".parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=1000)
        else:
            pyarrow.feather.write_feather(table, path, compression="uncompressed")
        return path

    return make


MAKERS = {
    "pandas of texts as objects": pandas_as(**dict.fromkeys(TEXTS, object)),
    "pandas of str": pandas_as(),
    "pandas of string": pandas_as(**dict.fromkeys(TEXTS, "string")),
    "pandas of string[pyarrow]": pandas_string_of_arrow,
    "pandas of categories": pandas_as(**dict.fromkeys((*TEXTS, "position"), "category")),
    "pandas of Int64": pandas_as(label="Int64", position="Int64", price="Float64"),
    "pandas with a shuffled index": pandas_shuffled,
    "pandas of a CSV": pandas_read(None),
    "pandas of a CSV, nullable": pandas_read("numpy_nullable"),
    "pandas of a CSV, of Arrow": pandas_read("pyarrow"),
    "polars": polars_as(),
    "polars of Enum": polars_as("enum"),
    "polars of Categorical": polars_as("categorical"),
    "polars in chunks": polars_chunks,
    "polars, a slice": polars_slice,
    "pyarrow": lambda columns, _: arrow(columns),
    "pyarrow in chunks": arrow_chunks,
    "pyarrow, a slice": arrow_slice,
    "pyarrow of dictionaries": arrow_texts_as("dictionary"),
    "pyarrow of large_string": arrow_texts_as("large"),
    "pyarrow of string_view": arrow_texts_as("view"),
    "pyarrow, one batch": lambda columns, _: arrow(columns).to_batches()[0],
    "pyarrow, a reader": arrow_reader,
    "DuckDB": duckdb_relation,
    "NumPy columns": numpy_columns,
    "lists of values": lambda columns, _: columns,
    "a CSV file": lambda _, path: path,
    "a Parquet file": written(".parquet"),
    "an Arrow file": written(".feather"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_rows_are_the_same_training(kind, gaps, truth, config, tmp_path):
    folder, parts = gaps
    schema, of_program, expected = truth

    def made(name):
        return MAKERS[kind](parts[name], folder / f"{name}.csv")

    run = optmsm.train(config, tmp_path / "run", data=made("train"))
    assert (run.folder / "schema.json").read_bytes() == schema
    assert (run.predict(made("test")) == expected).all()
    # The run of another source answers all the same.
    assert (optmsm.Run(of_program).predict(made("test")) == expected).all()


def test_parts_of_scikit_learns_split_are_rows_alone(gaps, config, predicted, program, tmp_path):
    pandas = pytest.importorskip("pandas")
    selection = pytest.importorskip("sklearn.model_selection")
    folder, _ = gaps
    train, test = selection.train_test_split(pandas.read_csv(folder / "train.csv"), test_size=0.2, random_state=3)
    run = optmsm.train(config, tmp_path / "run", data=train, valid=test)
    train.to_csv(tmp_path / "train.csv", index=False)
    test.to_csv(tmp_path / "valid.csv", index=False)
    path = config.set(data__train=tmp_path / "train.csv", data__valid=tmp_path / "valid.csv").save(tmp_path / "config.toml")
    program("train", "--config", path, "--run", tmp_path / "other")
    assert (run.folder / "schema.json").read_bytes() == (tmp_path / "other" / "schema.json").read_bytes()
    assert (run.predict(test) == predicted(tmp_path / "other", tmp_path / "valid.csv")).all()
    guess = optmsm.Config.guess(train.set_index("user_id", append=True), label="label", scenario="scenario")
    names = [field["name"] for field in guess.to_dict()["data"]["fields"]]
    assert "user_id" not in names and not any("index" in name or "level" in name for name in names)


WITHOUT_ARROW = """
import sys

sys.modules["pyarrow"] = None
import logging

import numpy as np
import optmsm

logging.getLogger("optmsm").addHandler(logging.NullHandler())
library, run, path, out = sys.argv[1:]
if library == "pandas":
    import pandas

    table = pandas.read_csv(path)
    types = {"position": "Int64", "device": "category", "label": "boolean"}
    table = table.astype(types).set_axis(np.arange(len(table))[::-1], axis=0)
else:
    import polars

    table = polars.read_csv(path)
np.save(out, optmsm.Run(run).predict(table))
"""


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_are_read_without_pyarrow(library, gaps, truth, python, tmp_path):
    pytest.importorskip(library)
    folder, _ = gaps
    python(WITHOUT_ARROW, library, truth[1], folder / "test.csv", tmp_path / "found.npy")
    assert (np.load(tmp_path / "found.npy") == truth[2]).all()


def texts_of(values, weights=None):
    """Lists as the texts of a CSV."""
    if values is None:
        return None
    return "|".join(values if weights is None else [f"{value}:{weight}" for value, weight in zip(values, weights)])


@pytest.fixture(scope="module")
def lists(rows):
    """Columns whose tags are lists, each with weights beside it; missing and empty ones are among them."""
    columns = rows("train")
    tags = [value.split("|") if value else None for value in columns.pop("tags")]
    weights = [None if values is None else [0.5 * (1 + (row + at) % 4) for at in range(len(values))] for row, values in enumerate(tags)]
    return columns, tags, weights


def nested(kind, columns, tags, weights):
    """The table with the tags as lists of a library."""
    pairs = [None if values is None else list(zip(values, weights[row] or ())) for row, values in enumerate(tags)]
    if kind.startswith("polars"):
        polars = pytest.importorskip("polars")
        if kind == "polars, weights":
            pairs = [None if row is None else [{"value": value, "weight": weight} for value, weight in row] for row in pairs]
            return polars.DataFrame({**columns, "tags": pairs})
        known = sorted({tag for row in tags if row for tag in row})
        of = {"polars": polars.String, "polars of Enum": polars.Enum(known), "polars of Categorical": polars.Categorical}[kind]
        return polars.DataFrame({**columns, "tags": tags}, schema_overrides={"tags": polars.List(of)})
    pyarrow = pytest.importorskip("pyarrow")
    if kind == "lists of lists":
        return {**columns, "tags": tags}
    if kind == "NumPy objects":
        return {**columns, "tags": np.array([None if row is None else np.array(row) for row in tags], dtype=object)}
    if kind == "pandas":
        return pytest.importorskip("pandas").DataFrame({**columns, "tags": tags})
    if kind == "pyarrow of maps":
        return pyarrow.table({**columns, "tags": pyarrow.array(pairs, pyarrow.map_(pyarrow.string(), pyarrow.float64()))})
    of = {
        "pyarrow": pyarrow.list_(pyarrow.string()),
        "pyarrow of large_list": pyarrow.large_list(pyarrow.string_view()),
        "pyarrow of dictionaries": pyarrow.list_(pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
    }[kind]
    table = pyarrow.table({**columns, "tags": pyarrow.array(tags, of)})
    return pyarrow.Table.from_batches(table.slice(0, 1000).to_batches() + table.slice(1000).to_batches(max_chunksize=300))


PLAIN = [
    "polars",
    "polars of Enum",
    "polars of Categorical",
    "pyarrow",
    "pyarrow of large_list",
    "pyarrow of dictionaries",
    "pandas",
    "lists of lists",
    "NumPy objects",
]


@pytest.mark.parametrize("kind", [*PLAIN, "polars, weights", "pyarrow of maps"])
def test_lists_are_the_texts_of_a_file(kind, lists, config, program, predicted, tmp_path):
    columns, tags, weights = lists
    weighted = kind not in PLAIN
    # A missing text is the empty text, a missing list has no value: compared is what has one.
    tags = [values or ["none"] for values in tags]
    weights = [values or [1.0] for values in weights]
    settings = {"data.fields.tags.weight_separator": ":"} if weighted else {}
    config = config.set_keys(settings)
    texts = [texts_of(values, weights[row] if weighted else None) for row, values in enumerate(tags)]
    with open(tmp_path / "rows.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "tags"])
        writer.writerows(zip(*(["" if value is None else value for value in values] for values in [*columns.values(), texts])))
    path = config.set(data__train=tmp_path / "rows.csv").save(tmp_path / "config.toml")
    program("train", "--config", path, "--run", tmp_path / "program")
    table = nested(kind, columns, tags, weights)
    run = optmsm.train(config, tmp_path / "run", data=table)
    assert (run.folder / "schema.json").read_bytes() == (tmp_path / "program" / "schema.json").read_bytes()
    assert (run.predict(table) == predicted(tmp_path / "program", tmp_path / "rows.csv")).all()


@pytest.mark.parametrize("kind", PLAIN)
def test_missing_lists_are_empty_ones(kind, lists, config, tmp_path):
    columns, tags, weights = lists
    assert None in tags
    run = optmsm.train(config, tmp_path / "run", data=nested(kind, columns, tags, weights))
    found = run.predict(nested(kind, columns, tags, weights))
    assert (found == run.predict(nested(kind, columns, [values or [] for values in tags], weights))).all()


LABELS = {
    "int": lambda label: label,
    "bool": lambda label: label.astype(bool),
    "float": lambda label: label.astype(float),
    "float32": lambda label: label.astype(np.float32),
    "uint8": lambda label: label.astype(np.uint8),
    "text": lambda label: label.astype(str),
    "float as text": lambda label: label.astype(float).astype(str),
    "object": lambda label: label.astype(object),
}


@pytest.mark.parametrize("library", ["NumPy", "pandas", "polars", "pyarrow"])
def test_labels_are_what_a_file_has(library, rows, config, parameters, tmp_path):
    columns, config = rows("train"), config.set(train__epochs=1)
    label = np.array(columns.pop("label"))
    expected = parameters(optmsm.train(config, tmp_path / "file"))
    for kind, of in LABELS.items():
        table = {"label": of(label), **columns}
        if library != "NumPy":
            module = pytest.importorskip(library)
            if library == "polars" and kind == "object":
                continue  # of which polars knows nothing
            table = module.table(table) if library == "pyarrow" else module.DataFrame(table)
        run = optmsm.train(config, tmp_path / kind, data=table)
        assert parameters(run) == expected, kind
    if library == "pandas":
        for kind in ("boolean", "Int64", "Float32", "category"):
            import pandas

            table = pandas.DataFrame({"label": label, **columns}).astype({"label": kind})
            assert parameters(optmsm.train(config, tmp_path / kind, data=table)) == expected, kind


def test_values_of_lists_keep_what_they_are(run, rows):
    columns = rows("test")
    expected = run.predict(columns)
    # NaN among texts is missing, and no text; numbers among texts, and what NumPy has no type for, are their texts.
    nan = {key: [float("nan") if value is None else value for value in values] for key, values in columns.items()}
    assert (run.predict(nan) == expected).all()
    mixed = {**columns, "position": [str(value) if row % 2 else value for row, value in enumerate(columns["position"])]}
    assert (run.predict(mixed) == expected).all()
    price = columns["price"]
    if importlib.util.find_spec("pandas"):
        import pandas

        assert (run.predict(pandas.DataFrame(mixed)) == expected).all()
    masked = np.ma.masked_array([value or 0.0 for value in price], mask=[value is None for value in price])
    assert (run.predict({**columns, "price": masked}) == expected).all()
    assert (run.predict({**columns, "position": np.array(columns["position"], dtype=">i2")}) == expected).all()
    assert (run.predict({**columns, "user_id": np.array(columns["user_id"]).astype("S")}) == expected).all()
    # One row, as a service has it.
    one = {key: [value for value in values[7:8]] for key, values in columns.items()}
    assert run.predict(one).tolist() == expected[7:8].tolist()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "NumPy", "lists"])
def test_large_ids_beside_missing_ones_keep_their_digits(library, tmp_path):
    # As floats, two of them would be one.
    first = 2**60 + 1
    ids = [None, first, first + 1, None] * 50
    label = [0, 1, 0, 1] * 50
    table = {"label": label, "scenario": ["a"] * 200, "user_id": ids}
    if library == "pandas":
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame({**table, "user_id": pandas.array(ids, dtype="Int64")})
    elif library in ("polars", "pyarrow"):
        module = pytest.importorskip(library)
        table["user_id"] = module.Series(ids) if library == "polars" else module.array(ids)
    elif library == "NumPy":
        table["user_id"] = np.array(ids, dtype=object)
    data = {"train": "", "label": "label", "scenario": "scenario", "fields": [{"name": "user_id"}]}
    config = optmsm.Config({"data": data}, train__epochs=1)
    run = optmsm.train(config, tmp_path / "run", data=table)
    assert set(run.embeddings("user_id")[0]) == {None, "", str(first), str(first + 1)}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "NumPy", "lists"])
def test_columns_without_any_value_are_missing_ones(library, run, rows, predicted, tmp_path):
    columns = rows("test")
    empty = {key: [None] * len(columns[key]) for key in ("tags", "price", "device")}
    with open(tmp_path / "rows.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(["" if value is None else value for value in {**columns, **empty}[key]] for key in columns)))
    table = {**columns, **empty}
    if library == "NumPy":
        table = {**columns, **{key: np.full(len(values), np.nan) for key, values in empty.items()}}
    elif library != "lists":
        module = pytest.importorskip(library)
        table = (module.table if library == "pyarrow" else module.DataFrame)(table)
    assert (run.predict(table) == predicted(run.folder, tmp_path / "rows.csv")).all()
    assert run.evaluate(table) == run.evaluate(tmp_path / "rows.csv")


def test_times_are_integers_of_their_unit(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    when = np.array(["2024-01-01", "2024-01-02", "NaT", "2024-01-01"] * 20, dtype="datetime64[s]")
    table = {"label": np.array([0, 1] * 40), "scenario": ["a"] * 80, "when": when}
    data = {"train": "", "label": "label", "scenario": "scenario", "fields": [{"name": "when"}]}
    seconds = [str(int(at.astype(np.int64))) for at in when[:2]]
    for name, rows in {"dict": table, "pandas": pandas.DataFrame(table).astype({"when": "datetime64[s]"})}.items():
        run = optmsm.train({"data": data, "train": {"epochs": 1}}, tmp_path / name, data=rows)
        assert set(run.embeddings("when")[0]) == {None, "", *seconds}, name


def test_names_that_are_no_texts_are_their_texts(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(500, 3))
    label = (numbers[:, 0] > 0).astype(int)
    data = {"train": "", "label": "3", "scenario": "4", "fields": [{"name": str(i), "kind": "numeric"} for i in range(3)]}
    table = pandas.DataFrame({**{i: numbers[:, i] for i in range(3)}, 3: label, 4: "all"})
    run = optmsm.train({"data": data, "train": {"epochs": 1}}, tmp_path / "run", data=table)
    texts = run.predict(table.rename(columns=str))
    assert (run.predict(table) == texts).all()
    assert (run.predict({key: table[key].to_numpy() for key in table}) == texts).all()
    levels = table.set_axis(pandas.MultiIndex.from_tuples([("x", i) for i in range(5)]), axis=1)
    assert (run.predict(levels.droplevel(0, axis=1)) == texts).all()


def test_arrays_are_columns_of_numbers(tmp_path):
    rng = np.random.default_rng(0)
    # Such as are the same at either width: as text, others are not.
    numbers = rng.integers(-500, 500, size=(500, 4)).astype(np.float32) / 64
    numbers[:, 3] = numbers[:, 0] > 0
    fields = [{"name": f"x{i}", "kind": "numeric"} for i in range(3)]
    data = {"train": "", "label": "x3", "scenario": "x4", "fields": fields}
    array = np.concatenate([numbers, np.ones((500, 1), np.float32)], axis=1)
    run = optmsm.train({"data": data, "train": {"epochs": 1}}, tmp_path / "run", data=array)
    expected = run.predict({f"x{i}": array[:, i] for i in range(5)})
    for same in (array, np.asfortranarray(array), array.astype(np.float64), array[::-1][::-1], np.repeat(array, 2, axis=1)[:, ::2]):
        assert (run.predict(same) == expected).all()
    shut = array.copy()
    shut.setflags(write=False)
    assert (run.predict(shut) == expected).all()


def test_streams_are_read_once(run, rows, folder, predicted):
    table = arrow(rows("test"))
    import pyarrow

    reads = []

    def batches():
        for batch in table.to_batches(max_chunksize=60):
            reads.append(batch.num_rows)
            yield batch

    def reader():
        reads.clear()
        return pyarrow.RecordBatchReader.from_batches(table.schema, batches())

    expected = predicted(run.folder, folder / "test.csv")
    assert (run.predict(reader()) == expected).all() and sum(reads) == 500
    found = run.evaluate(reader())
    assert sum(reads) == 500 and found["overall"]["rows"] == 500
    parts = list(run.predict_batches(reader()))
    assert [part.num_rows for part in parts] == reads
    assert (np.concatenate([part["prediction"].to_numpy() for part in parts]) == expected).all()
    # A maker of batches that fails on its way.
    failing = pyarrow.RecordBatchReader.from_batches(table.schema, (1 / (batch.num_rows - 20) and batch for batch in batches()))
    with pytest.raises((optmsm.Error, ZeroDivisionError), match="division"):
        run.predict(failing)


def test_guesses_from_tables_are_those_from_files(gaps):
    polars = pytest.importorskip("polars")
    folder, parts = gaps
    file = optmsm.Config.guess(folder / "train.csv", label="label", scenario="scenario").to_dict()
    table = optmsm.Config.guess(polars.DataFrame(parts["train"]), label="label", scenario="scenario").to_dict()
    assert file["data"]["fields"] == table["data"]["fields"]
    assert file["data"].get("group") == table["data"].get("group") == "user_id"


def test_streams_may_change_their_dictionaries(config, folder, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    csv = pytest.importorskip("pyarrow.csv")
    plain = csv.read_csv(folder / "train.csv")
    at = plain.schema.get_field_index("item_id")
    batches = []
    for batch in plain.to_batches(max_chunksize=500):
        # Each batch has a dictionary of its own.
        batches.append(batch.set_column(at, "item_id", batch.column(at).dictionary_encode()))
    reader = pyarrow.RecordBatchReader.from_batches(batches[0].schema, batches)
    streamed = optmsm.train(config, tmp_path / "streamed", data=reader)
    whole = optmsm.train(config, tmp_path / "whole", data=plain)
    best = [(run.folder / "checkpoints" / "best.safetensors").read_bytes() for run in (streamed, whole)]
    assert best[0] == best[1]
