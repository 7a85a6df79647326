"""Manners of a guest in Python: Ctrl-C, exceptions, threads, logging, memory; and one run for Python and the program."""

import json
import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optmsm
import pytest

EPOCHS = 20


@pytest.fixture(scope="module")
def longer(config, folder):
    """A configuration of some passes, with validation rows."""
    return config.set(train__epochs=EPOCHS, train__patience=EPOCHS, data__valid=folder / "valid.csv")


@pytest.fixture(scope="module")
def whole(longer, program, parameters, tmp_path_factory):
    """The best parameters that the program finds without a stop, and its lines of evaluations."""
    folder = tmp_path_factory.mktemp("whole")
    program("train", "--config", longer.save(folder / "config.toml"), "--run", folder / "run")
    return parameters(folder / "run"), evaluations(folder / "run")


def evaluations(run):
    """Evaluations of the validation rows, by ``metrics.jsonl``."""
    lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["overall"]) for line in lines if line["split"] == "valid"]


# Ctrl-C

INTERRUPTS = """
import logging
import os
import signal
import sys
import threading
import time

import optmsm

#: Seconds after which Ctrl-C counts as lost.
HANGS = 10

# As in a terminal, whoever started this.
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.getLogger("optmsm").addHandler(logging.StreamHandler(sys.stdout))
sent = []


def interrupt(after):
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(after, send).start()


def interrupted(work):
    try:
        work()
    except KeyboardInterrupt:
        lasted = time.monotonic() - sent[-1]
        print(f"interrupted after {lasted * 1000:.0f} ms", flush=True)
        assert lasted < HANGS
    else:
        raise AssertionError("it ended by itself")
"""

TRAINS = (
    INTERRUPTS
    + """
config, run, again, long, path = sys.argv[1:]


def heard(at):
    if at.epoch == 2:
        interrupt(0.02)


interrupted(lambda: optmsm.train(config, run, callbacks=[heard]))
assert 2 <= len(optmsm.Run(run).history) < 20
done = optmsm.resume(run)
assert done.history[-1]["epoch"] == 20
# In the callback itself, where Python raises it.
interrupted(lambda: optmsm.train(config, again, callbacks=[lambda at: (interrupt(0), time.sleep(HANGS)) if at.epoch == 3 else None]))
optmsm.resume(again)


def wait():
    while not os.path.exists(long + "/config.toml"):
        time.sleep(0.002)
    interrupt(0.1)


# Within a pass of half a million rows.
threading.Thread(target=wait).start()
interrupted(lambda: optmsm.train(optmsm.Config(config, train__epochs=1), long, data=[path] * 170))
"""
)


def test_ctrl_c_keeps_the_run_for_resume(longer, whole, folder, python, parameters, tmp_path):
    path = longer.save(tmp_path / "config.toml")
    done = python(TRAINS, path, tmp_path / "run", tmp_path / "again", tmp_path / "long", folder / "train.csv")
    assert done.stdout.count("interrupted after") == 3, done.stdout
    for name in ("run", "again", "long"):
        assert f"continue it with: optmsm train --resume --run {tmp_path / name}\n" in done.stdout
    for name in ("run", "again"):
        assert parameters(tmp_path / name) == whole[0]
        assert evaluations(tmp_path / name) == whole[1]


READS = (
    INTERRUPTS
    + """
import pyarrow
import pyarrow.csv

config, run, path, folder, kind = sys.argv[1:]
# A thousand times the rows, which take no memory for that.
few = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types={"position": "int64"}))
many = pyarrow.concat_tables([few] * 20000)


def endless():
    while True:
        time.sleep(0.001)  # so that a table of them stays small until Ctrl-C
        yield from few.to_batches()


def reader():
    return pyarrow.RecordBatchReader.from_batches(few.schema, endless())


class Table:
    # A table, for all that is known of it, whose batches are made by Python.
    schema = few.schema

    def __arrow_c_stream__(self, requested_schema=None):
        return reader().__arrow_c_stream__(requested_schema)


work = {
    "fit": lambda: optmsm.train(config, folder, data=many),
    "valid": lambda: optmsm.train(config, folder, valid=many),
    "spool": lambda: optmsm.train(config, folder, data=reader()),
    "predict": lambda: optmsm.Run(run).predict(many),
    "stream": lambda: optmsm.Run(run).predict(reader()),
    "collect": lambda: optmsm.Run(run).predict(Table()),
    "write": lambda: optmsm.Run(run).predict(many, out=folder + ".parquet"),
    "evaluate": lambda: optmsm.Run(run).evaluate(many),
}[kind]
interrupt(0.7)
interrupted(work)
# It works on.
assert len(optmsm.Run(run).predict(few)) == len(few)
"""
)


@pytest.mark.parametrize("kind", ["fit", "valid", "spool", "predict", "stream", "collect", "write", "evaluate"])
def test_ctrl_c_ends_reading(kind, config, run, folder, python, tmp_path):
    pytest.importorskip("pyarrow")
    path = config.save(tmp_path / "config.toml")
    done = python(READS, path, run.folder, folder / "test.csv", tmp_path / "made", kind)
    assert done.stdout.count("interrupted after") == 1
    left = [path.name for path in tmp_path.iterdir() if path.name not in ("config.toml", "made") and path.suffix != ".py"]
    assert not left


STUDIES = (
    INTERRUPTS
    + """
import glob

kind, out, *paths = sys.argv[1:]
work = {
    "compare": lambda: optmsm.compare(paths, seeds=2, out=out),
    "tune": lambda: optmsm.tune(paths[0], trials=3, out=out),
    "bench": lambda: optmsm.bench(paths[0], models=["dnn"], trials=2, seeds=2, out=out),
}[kind]


def wait():
    # Until the first run is under way.
    while not glob.glob(f"{out}/**/metrics.jsonl", recursive=True):
        time.sleep(0.002)
    interrupt(0)


threading.Thread(target=wait).start()
interrupted(work)
work()
"""
)


@pytest.mark.parametrize("kind", ["compare", "tune", "bench"])
def test_ctrl_c_keeps_what_is_done_of_several_runs(kind, longer, folder, python, program, tmp_path):
    given = longer.set(data__test=folder / "test.csv", train__epochs=6)
    paths = [given.save(tmp_path / "a.toml"), given.set(model__kind="dnn").save(tmp_path / "b.toml")]
    done = python(STUDIES, kind, tmp_path / "python", *paths)
    assert done.stdout.count("interrupted after") == 1
    options = {
        "compare": ["compare", *paths, "--seeds", "2"],
        "tune": ["tune", paths[0], "--trials", "3"],
        "bench": ["bench", paths[0], "--models", "dnn", "--trials", "2", "--seeds", "2"],
    }
    program(*options[kind], "--out", tmp_path / "program")
    runs = sorted((tmp_path / "program").rglob("metrics.jsonl"))
    assert len(runs) >= 2
    for path in runs:
        other = tmp_path / "python" / path.parent.relative_to(tmp_path / "program")
        assert evaluations(other) == evaluations(path.parent)


# Callbacks


class Odd(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize("of", [KeyError, Odd, SystemExit])
def test_exceptions_of_callbacks_reach_the_caller(of, longer, whole, folder, parameters, tmp_path):
    problem = of("mine")

    def fails(at):
        if at.epoch == 2:
            raise problem

    with pytest.raises(of) as caught:
        optmsm.train(longer, tmp_path / "run", test=folder / "test.csv", callbacks=[fails])
    assert caught.value is problem
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    # Test rows are scored once, at the end.
    assert [line["split"] for line in optmsm.Run(tmp_path / "run").history] == ["valid", "valid"]
    run = optmsm.resume(tmp_path / "run")
    assert parameters(run) == whole[0] and [line["split"] for line in run.history].count("test") == 1


def test_callbacks_end_training_with_true_alone(longer, whole, tmp_path):
    heard = []

    def callback(at):
        heard.append(at)
        return at.epoch == 3

    run = optmsm.train(longer, tmp_path / "run", callbacks=[lambda at: 1, callback, lambda at: "no"])
    assert [at.epoch for at in heard] == [1, 2, 3]
    assert [(at.step, at.valid["overall"]) for at in heard] == whole[1][:3] == evaluations(run.folder)
    assert [at.metrics["auc"] for at in heard] == [overall["auc"] for _, overall in whole[1][:3]]


# Threads


def test_other_threads_run_meanwhile(config, run, folder, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv

    table = pyarrow.concat_tables([csv.read_csv(folder / "test.csv")] * 200)
    ticks, ended = 0, threading.Event()

    def count():
        nonlocal ticks
        while not ended.wait(0.001):
            ticks += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        # Each of these is one call of the engine, without callbacks.
        train = lambda: optmsm.train(config, tmp_path / "run", data=table[:20000])  # noqa: E731
        for work in (lambda: run.predict(table), lambda: run.evaluate(table), train):
            before = ticks
            work()
            assert ticks >= before + 5
    finally:
        ended.set()
        counter.join()


def test_threads_predict_at_once(run, folder, rows, predicted):
    expected = predicted(run.folder, folder / "test.csv")
    columns = rows("test")
    many = {key: values * 20 for key, values in columns.items()}
    fresh = optmsm.Run(run.folder)

    def work(number):
        return fresh.predict(many if number % 4 == 0 else columns if number % 2 else folder / "test.csv")

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(32)):
            assert (found.reshape(-1, 500) == expected).all()


def test_threads_train_at_once(config, parameters, run, tmp_path):
    """Two trainings, whose callbacks take turns."""
    with ThreadPoolExecutor(2) as pool:
        heard = [[], []]
        runs = list(pool.map(lambda at: optmsm.train(config, tmp_path / f"{at}", callbacks=[heard[at].append]), range(2)))
    assert parameters(runs[0]) == parameters(runs[1]) == parameters(optmsm.train(config, tmp_path / "alone"))
    assert [len(one) for one in heard] == [2, 2]


# Logging


def test_lines_are_records_of_the_logger(config, run, folder, caplog, tmp_path):
    with caplog.at_level(logging.DEBUG, logger="optmsm"):
        optmsm.train(config, tmp_path / "run", valid=folder / "train.csv")
    records = [record for record in caplog.records if record.name == "optmsm"]
    assert {record.levelno for record in records} == {logging.INFO, logging.WARNING}
    warned = [record.getMessage() for record in records if record.levelno == logging.WARNING]
    assert any("data.valid scores rows that were trained on" in text for text in warned)
    said = [record.getMessage() for record in records if record.levelno == logging.INFO]
    assert any("epoch" in text or "step" in text for text in said)
    assert not any(text.startswith("warning: ") for text in warned + said)


QUIET = """
import logging
import sys

config, run, rows, folder, kind = sys.argv[1:]
import optmsm

if kind == "heard":
    logging.getLogger("optmsm").addHandler(logging.FileHandler(folder + "/lines.txt"))
    logging.getLogger("optmsm").setLevel(logging.DEBUG)
made = optmsm.train(config, folder + "/made", valid=rows)
made.predict(rows), made.evaluate(rows), made.calibrate(), made.report(), made.inspect(), made.predict(rows, out=folder + "/p.csv")
optmsm.resume(made, settings={"train.epochs": 3})
optmsm.compare([config], seeds=2, out=folder + "/compare", valid=rows, test=rows)
optmsm.models()
try:
    optmsm.Run(folder + "/nothing")
except optmsm.FileError:
    pass
"""


def test_nothing_is_printed(config, run, folder, python, tmp_path):
    path = config.save(tmp_path / "config.toml")
    done = python(QUIET, path, run.folder, folder / "valid.csv", tmp_path, "heard")
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "lines.txt").read_text()
    # Without a handler, logging itself writes warnings, and these alone, to standard error.
    (tmp_path / "other").mkdir()
    done = python(QUIET, path, run.folder, folder / "valid.csv", tmp_path / "other", "unheard")
    assert done.stdout == "" and "step" not in done.stderr.replace("time step", "")


# Errors


def test_errors_are_those_of_the_program(run, config, folder, program, tmp_path):
    typo = tmp_path / "typo.toml"
    typo.write_text((folder / "config.toml").read_text().replace("epochs", "epoch"))
    bad = tmp_path / "bad.csv"
    bad.write_text((folder / "test.csv").read_text().replace("mobile", "mobile", 1).replace("home", "attic", 1))
    label = tmp_path / "label.csv"
    label.write_text((folder / "test.csv").read_text().replace("\n0,", "\n7,", 1))
    good = folder / "config.toml"
    test = folder / "test.csv"
    none = tmp_path / "no.csv"
    cases = [
        (optmsm.ConfigError, ValueError, lambda: optmsm.Config(typo), ["train", "--config", typo]),
        (optmsm.FileError, OSError, lambda: optmsm.Config(tmp_path / "no.toml"), ["train", "--config", tmp_path / "no.toml"]),
        (optmsm.FileError, OSError, lambda: optmsm.Run(tmp_path / "no"), ["predict", tmp_path / "no", "--data", test, "--out", "-"]),
        (optmsm.FileError, OSError, lambda: optmsm.train(good, run.folder), ["train", "--config", good, "--run", run.folder]),
        (optmsm.FileError, OSError, lambda: run.predict(none), ["predict", run.folder, "--data", none, "--out", "-"]),
        (optmsm.DataError, ValueError, lambda: run.predict(bad), ["predict", run.folder, "--data", bad, "--out", "-"]),
        (optmsm.DataError, ValueError, lambda: run.evaluate(label), ["evaluate", run.folder, "--data", label]),
        (optmsm.ArgumentError, ValueError, lambda: optmsm.recipe("x", folder, none), ["recipe", "x", "--raw", folder, "--out", none]),
        (
            optmsm.DeviceError,
            RuntimeError,
            lambda: optmsm.train(optmsm.Config(good, train__backend="cuda", train__device=99), tmp_path / "gpu"),
            ["train", "--config", good, "--set", 'train.backend="cuda"', "--set", "train.device=99", "--run", tmp_path / "gpu"],
        ),
    ]
    for of, base, work, args in cases:
        with pytest.raises(of) as caught:
            work()
        assert isinstance(caught.value, (optmsm.Error,)) and isinstance(caught.value, base)
        said = program(*args, code=2).stderr
        assert f"error: {caught.value}\n" in said, (said, str(caught.value))
    # Diverged training has an exit code of its own.
    wild = {"train.optimizer.lr": 1e30, "train.optimizer.rule": "sgd", "train.epochs": 3}
    with pytest.raises(optmsm.DivergedError) as caught:
        optmsm.train(config.set_keys(wild), tmp_path / "wild")
    path = config.set_keys(wild).save(tmp_path / "wild.toml")
    assert f"error: {caught.value}\n" in program("train", "--config", path, "--run", tmp_path / "wild2", code=1).stderr
    with pytest.raises(optmsm.Stopped) as caught:
        optmsm.train(config, tmp_path / "stopped", max_steps=3)
    said = program("train", "--config", good, "--run", tmp_path / "stopped2", "--max-steps", "3", code=130).stderr
    assert str(caught.value) in said.replace("stopped2", "stopped")


def test_the_program_is_there(program):
    assert program("--version").stdout.strip() == f"optmsm {optmsm.__version__}"
    assert "Usage" in program("--help").stdout
    assert "unrecognized subcommand 'learn'" in program("learn", code=2).stderr
    assert program("learn", code=2).stdout == ""


# Memory

HIGHEST = """
import sys

import numpy as np
import optmsm
import pyarrow

library, folder = sys.argv[1:]
ROWS, COLUMNS = 500_000, 50


def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


names = [f"x{i}" for i in range(COLUMNS)]
columns = {name: np.random.default_rng(i).normal(size=ROWS) for i, name in enumerate(names)}
columns["label"] = (columns["x0"] > 0).astype(np.int8)
columns["scenario"] = np.zeros(ROWS, np.int8)
data = {"train": "", "label": "label", "scenario": "scenario", "fields": [{"name": name, "kind": "numeric"} for name in names]}
model = {"kind": "dnn", "embedding_dim": 1, "dnn": {"hidden": [4]}}
config = optmsm.Config({"data": data, "model": model, "train": {"epochs": 1}})
run = optmsm.train(config, folder, data={name: values[:20000] for name, values in columns.items()})
if library == "pandas":
    import pandas

    table = pandas.DataFrame(columns)
elif library == "polars":
    import polars

    table = polars.DataFrame(columns)
elif library == "NumPy":
    table = columns
else:
    table = pyarrow.table(columns)
del columns
whole = sum(column.nbytes for column in table.itercolumns()) if library == "pyarrow" else ROWS * COLUMNS * 8
assert whole > 190_000_000
run.predict({name: values[:20000] for name, values in table.items()} if library == "NumPy" else table[:20000])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the highest is from now on
before = status("VmRSS")
found = run.predict(table)
grown = status("VmHWM") - before
assert found.nbytes == ROWS * 4
print(f"{grown / 1e6:.0f} MB more for {whole / 1e6:.0f} MB")
assert grown < whole / 2
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("library", ["pyarrow", "polars", "pandas", "NumPy"])
def test_predicting_a_table_adds_no_copy_of_it(library, python, tmp_path):
    for needed in {library, "pyarrow"} - {"NumPy"}:
        pytest.importorskip(needed)
    python(HIGHEST, library, tmp_path / "run")


# Python and the program


def test_a_run_of_python_is_continued_by_the_program(longer, whole, program, parameters, tmp_path):
    with pytest.raises(optmsm.Stopped, match="--resume"):
        optmsm.train(longer, tmp_path / "run", max_steps=70)
    program("train", "--resume", "--run", tmp_path / "run", "--max-steps", "100", code=130)
    program("train", "--resume", "--run", tmp_path / "run")
    assert parameters(tmp_path / "run") == whole[0]
    assert evaluations(tmp_path / "run") == whole[1]


def test_a_run_of_the_program_is_continued_by_python(longer, whole, program, parameters, folder, predicted, tmp_path):
    path = longer.save(tmp_path / "config.toml")
    program("train", "--config", path, "--run", tmp_path / "run", "--max-steps", "70", code=130)
    with pytest.raises(optmsm.Stopped):
        optmsm.resume(tmp_path / "run", max_steps=100)
    run = optmsm.Run(tmp_path / "run").resume()
    assert parameters(run) == whole[0] and evaluations(run.folder) == whole[1]
    assert (run.predict(folder / "test.csv") == predicted(tmp_path / "run", folder / "test.csv")).all()
