"""Scoring in engines that hand rows to workers: each by one line, with the answers of the program."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import optmsm
import pytest

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def table(folder):
    """Test rows twenty times, with their numbers."""
    from pyarrow import csv

    # As in every other reader, what is empty is missing.
    options = csv.ConvertOptions(strings_can_be_null=True)
    rows = pyarrow.concat_tables([csv.read_csv(folder / "test.csv", convert_options=options)] * 20)
    return rows.append_column("row", pyarrow.array(np.arange(len(rows)))).combine_chunks()


@pytest.fixture(scope="module")
def parquet(table, tmp_path_factory):
    """The same in several files of a folder."""
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("parquet")
    for part in range(6):
        of = len(table) // 6 + 1
        parquet.write_table(table.slice(part * of, of), folder / f"part-{part}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(run, parquet, program, tmp_path_factory):
    """Predictions that the program writes, in the order of rows."""
    from pyarrow import parquet as files

    path = tmp_path_factory.mktemp("written") / "found.parquet"
    program("predict", run.folder, "--data", parquet, "--out", path)
    return by_row(files.read_table(path))


def by_row(found):
    """Predictions in the order of rows, which must be all of them."""
    rows, predictions = np.asarray(found["row"]), np.asarray(found["prediction"])
    assert predictions.dtype == np.float32
    order = np.argsort(rows)
    assert (rows[order] == np.arange(len(rows))).all()
    return predictions[order]


def note(score, folder):
    """Adds the process and its model to a file."""
    with open(Path(folder) / f"{os.getpid()}", "a", encoding="utf-8") as file:
        file.write(f"{id(score.run._open())}\n")


def models(folder):
    """Models by process, as they were noted; each process has had as many tasks."""
    found = defaultdict(list)
    for path in Path(folder).iterdir():
        found[path.name] = path.read_text().splitlines()
    return found


# Tables


def test_tables_stay_what_they_are(run, table, expected):
    score = optmsm.Scorer(run)
    found = score(table)
    assert isinstance(found, pyarrow.Table) and found.schema == score.schema(table.schema)
    assert (by_row(found) == expected).all() and found.drop_columns("prediction").equals(table)
    batch = table.to_batches(max_chunksize=1000)[0]
    answered = score(batch)
    assert isinstance(answered, pyarrow.RecordBatch) and answered.schema == found.schema
    assert answered["prediction"].to_pylist() == expected[:1000].tolist()
    named = optmsm.Scorer(run, column="p")({key: table[key].to_numpy(zero_copy_only=False) for key in table.column_names})
    assert list(named) == [*table.column_names, "p"] and (named["p"] == expected).all()
    for rows in (table[:0], batch[:0], {key: [] for key in table.column_names}):
        assert len(score(rows)["prediction"]) == 0
    assert score(table[:0]).schema == found.schema
    with pytest.raises(optmsm.DataError, match="a column 'prediction' already; rename it, or give another with column="):
        score(found)
    with pytest.raises(optmsm.DataError, match="a column 'prediction' already"):
        score(found.to_batches()[0])
    for no_table in (table["price"], [1], None):
        with pytest.raises(TypeError, match="is no table that a scorer takes: give one of pyarrow"):
            score(no_table)


def test_pandas_tables_keep_their_index(run, table, expected):
    pytest.importorskip("pandas")
    rows = table.to_pandas().sample(frac=1.0, random_state=0)
    found = optmsm.Scorer(run)(rows)
    assert (found.index == rows.index).all() and (found.drop(columns="prediction").columns == rows.columns).all()
    assert (by_row(found) == expected).all()
    assert optmsm.Scorer(run)(rows[:0]).dtypes["prediction"] == np.float32


def test_scorers_are_sent_as_a_path_or_whole(run, table, expected, tmp_path):
    score = optmsm.Scorer(run.save(tmp_path / "run"), column="p")
    sent = pickle.dumps(score)
    assert len(sent) < 1000
    whole = pickle.dumps(optmsm.Scorer(score.run, column="p", embed=True))
    one, two = pickle.loads(sent), pickle.loads(sent)
    assert one.run is two.run is not run
    assert pickle.loads(pickle.dumps(one)).run is one.run is copy.deepcopy(one).run
    both = [pickle.loads(whole), pickle.loads(whole), pickle.loads(pickle.dumps(pickle.loads(whole)))]
    assert both[0].run is both[1].run is both[2].run and both[0].run.folder != score.run.folder
    for other in (one, *both):
        assert (np.asarray(other(table)["p"]) == expected).all()
    # Options of the run are kept.
    options = optmsm.Run(tmp_path / "run", threads=1, uncalibrated=True)
    assert pickle.loads(pickle.dumps(optmsm.Scorer(options))).run._options == options._options
    # A run that was calibrated or trained anew is opened anew.
    score.run.calibrate(table)
    calibrated = np.asarray(score(table)["p"])
    assert (calibrated != expected).any()
    again = pickle.loads(sent)
    assert again.run is not one.run and (np.asarray(again(table)["p"]) == calibrated).all()
    plain = pickle.loads(pickle.dumps(optmsm.Scorer(options)))
    assert (np.asarray(plain(table)["prediction"]) == expected).all()
    shutil.rmtree(tmp_path / "run")
    assert (np.asarray(both[0](table)["p"]) == expected).all()
    with pytest.raises(optmsm.FileError, match="run"):
        pickle.loads(sent)


POOL = """
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optmsm


def work(score, path):
    from pyarrow import parquet

    found = score(parquet.read_table(path))
    return os.getpid(), id(score.run), len(list(Path(os.environ["TMPDIR"]).glob("optmsm-*"))), found["prediction"].to_numpy()


if __name__ == "__main__":
    folder, parts, method, out = sys.argv[1:]
    score = optmsm.Scorer(folder, embed=True)
    paths = sorted(Path(parts).glob("*.parquet"))
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        found = list(pool.map(work, [score] * len(paths), paths))
    # One folder for each process meanwhile, and none at the end.
    workers = {(process, run) for process, run, _, _ in found}
    assert len(workers) == len({process for process, _ in workers}) <= 2, workers
    assert max(folders for _, _, folders, _ in found) <= 2
    left = list(Path(os.environ["TMPDIR"]).glob("optmsm-*"))
    assert not left, left
    np.save(out, np.concatenate([part for _, _, _, part in found]))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_leave_no_files(method, run, parquet, expected, python, tmp_path):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"SKIPPED: {method} is not there on {sys.platform}")
    (tmp_path / "tmp").mkdir()
    python(POOL, run.folder, parquet, method, tmp_path / "found.npy", env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    assert (np.load(tmp_path / "found.npy") == expected).all()


# Engines


@pytest.fixture(scope="module")
def spark():
    """A session on workers in processes of their own, or in one where Spark may not write beside itself."""
    pyspark = pytest.importorskip("pyspark")
    java = shutil.which("java") or (Path(os.environ["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in os.environ else None)
    if java is None or subprocess.run([java, "-version"], capture_output=True).returncode:
        pytest.skip("SKIPPED: Java is not installed")
    from pyspark.sql import SparkSession

    home = Path(os.environ.get("SPARK_HOME", pyspark.__path__[0]))
    master = "local-cluster[2,1,1024]" if os.access(home, os.W_OK) else "local[2]"
    kept = {key: os.environ.get(key) for key in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")}
    os.environ.update(dict.fromkeys(kept, sys.executable))
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "700m",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.files.maxPartitionBytes": "200k",
    }
    builder = SparkSession.builder.master(master).appName("optmsm")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    application = session.sparkContext.applicationId
    yield session
    session.stop()
    if (home / "work" / application).exists():
        shutil.rmtree(home / "work" / application)
        if not any((home / "work").iterdir()):
            (home / "work").rmdir()
    for key, value in kept.items():
        os.environ.pop(key)
        if value is not None:
            os.environ[key] = value


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_spark(spark, run, parquet, expected, tmp_path):
    rows = spark.read.parquet(str(parquet)).repartition(6)
    # The frame itself has rows for who asks for them here.
    if hasattr(rows, "__arrow_c_stream__"):
        assert sorted(run.predict(rows).tolist()) == sorted(expected.tolist())
    for embed in (False, True):
        score = optmsm.Scorer(run, embed=embed)
        found = score(rows)
        assert found.columns == [*rows.columns, "prediction"] and dict(found.dtypes)["prediction"] == "float"
        assert (by_row(found.toPandas()) == expected).all()
        notes = tmp_path / f"notes{embed}"
        notes.mkdir()
        # The function itself, as the engine has it.
        assert rows.mapInArrow(noting(score, notes), score.schema(rows.schema)).count() == len(expected)
        by_process = models(notes)
        assert sum(map(len, by_process.values())) == 6
        # Fewer processes than tasks, and one model in each.
        assert len(by_process) < 6 and all(len(set(known)) == 1 for known in by_process.values())


def noting(score, folder):
    """A function of Arrow batches that notes in a folder which model answered; it knows nothing of this file, which workers do not have."""

    def noted(batches):
        import os

        yield from score.batches(batches)
        with open(f"{folder}/{os.getpid()}", "a") as file:
            file.write(f"{id(score.run._open())}\n")

    return noted


@pytest.mark.filterwarnings("ignore")
def test_ray(run, parquet, expected, tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        rows = ray.data.read_parquet(str(parquet))
        score = optmsm.Scorer(run)
        for form in ("pyarrow", "pandas", "numpy"):
            found = rows.map_batches(score, batch_format=form)
            assert found.schema().names == [*rows.schema().names, "prediction"]
            assert (by_row(found.to_pandas()) == expected).all()
        whole = optmsm.Scorer(run, embed=True)
        assert (by_row(rows.map_batches(whole, batch_format="pyarrow").to_pandas()) == expected).all()

        def noted(batch, score=score, folder=str(tmp_path)):
            import os

            with open(f"{folder}/{os.getpid()}", "a") as file:
                file.write(f"{id(score.run._open())}\n")
            return score(batch)

        assert rows.map_batches(noted, batch_format="pyarrow", batch_size=500).count() == len(expected)
        by_process = models(tmp_path)
        tasks = sum(map(len, by_process.values()))
        assert len(by_process) < tasks and all(len(set(known)) == 1 for known in by_process.values())
    finally:
        ray.shutdown()


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_dask(scheduler, run, parquet, expected, tmp_path):
    frames = pytest.importorskip("dask.dataframe")
    import dask

    rows = frames.read_parquet(parquet)
    assert rows.npartitions > 1
    with dask.config.set(scheduler=scheduler, num_workers=2):
        for embed in (False, True):
            score = optmsm.Scorer(run, embed=embed)
            found = score(rows)
            assert found.dtypes["prediction"] == np.float32
            assert (by_row(found.compute()) == expected).all()
            # A part without rows, and what comes later.
            assert found[found.row < 0].prediction.compute().tolist() == []
            assert score(rows[rows.row < 900]).prediction.sum().compute() == pytest.approx(expected[:900].sum(), rel=1e-5)
        notes = [rows.map_partitions(noted, optmsm.Scorer(run), str(tmp_path), meta=("row", int)).compute()]
    assert sum(map(len, notes)) == 6
    by_process = models(tmp_path)
    assert sum(map(len, by_process.values())) == 6 and len(by_process) <= 2
    assert all(len(set(known)) == 1 for known in by_process.values())


def noted(part, score, folder):
    """Scores a part, and notes by which model."""
    import pandas

    assert len(score(part)) == len(part)
    note(score, folder)
    return pandas.Series([len(part)])


def test_polars(run, table, expected, parquet):
    polars = pytest.importorskip("polars")
    score = optmsm.Scorer(run)
    rows = polars.from_arrow(table)
    found = score(rows)
    assert found.columns == [*rows.columns, "prediction"] and (by_row(found) == expected).all()
    assert rows.pipe(score).equals(found) and score(rows[:0]).schema == found.schema
    for lazy in (rows.lazy(), polars.scan_parquet(parquet / "*.parquet")):
        later = score(lazy)
        assert isinstance(later, polars.LazyFrame) and later.collect_schema() == found.schema
        for engine in ("in-memory", "streaming"):
            assert (by_row(later.collect(engine=engine)) == expected).all()
        # Later steps ask for some columns and rows only; the model needs all of them.
        high = later.filter(polars.col("prediction") > 0.4).select("row", "prediction").sort("row").collect()
        assert high["row"].to_list() == np.flatnonzero(expected > np.float32(0.4)).tolist()
        assert later.select(polars.col("prediction").max()).collect().item() == expected.max()
        assert later.filter(polars.col("row") < 10).sort("row").collect()["prediction"].to_list() == expected[:10].tolist()
        assert later.head(7).collect()["prediction"].to_list() == expected[:7].tolist()
    assert (by_row(rows.lazy().map_batches(score, schema={**rows.schema, "prediction": polars.Float32}).collect()) == expected).all()


def test_duckdb(run, table, expected, parquet):
    duckdb = pytest.importorskip("duckdb")
    score = optmsm.Scorer(run)
    with duckdb.connect() as connection:
        connection.sql(f"CREATE TABLE t AS SELECT * FROM read_parquet('{parquet}/*.parquet')")
        connection.create_function("score", score.array, None, "FLOAT", type="arrow", null_handling="special")

        def fetch(query):
            return connection.sql(query).fetchnumpy()

        # Of whole rows, whatever their columns; of the columns that are read, in their order.
        assert (by_row(fetch("SELECT row, score(t) AS prediction FROM t")) == expected).all()
        columns = ", ".join(score.columns)
        assert (by_row(fetch(f"SELECT row, score({columns}) AS prediction FROM t")) == expected).all()
        high = fetch("SELECT row FROM t WHERE score(t) > 0.4 ORDER BY row")["row"]
        assert high.tolist() == np.flatnonzero(expected > np.float32(0.4)).tolist()
        ((mean,),) = connection.sql("SELECT avg(score(t)) FROM t").fetchall()
        assert mean == pytest.approx(expected.astype(float).mean(), abs=1e-9)
        assert connection.sql("SELECT score(t) FROM t WHERE row < 0").fetchall() == []
        with pytest.raises(duckdb.Error, match=f"2 columns where {len(score.columns)} are wanted; give scenario, user_id"):
            connection.sql("SELECT score(scenario, user_id) FROM t").fetchall()
        with pytest.raises(duckdb.Error, match="no column 'price'"):
            connection.sql("SELECT score(u) FROM (SELECT * EXCLUDE (price) FROM t) u").fetchall()
        with pytest.raises(duckdb.Error, match="row 1, column 'scenario': scenario \"attic\""):
            connection.sql("SELECT score(u) FROM (SELECT * REPLACE ('attic' AS scenario) FROM t) u").fetchall()
