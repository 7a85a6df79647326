"""Runs that are copied, sent and asked in other processes."""

import copy
import os
import pickle
import sys

import numpy as np
import optmsm
import pytest


def test_runs_are_copied_and_sent(run, folder, predicted):
    expected = predicted(run.folder, folder / "test.csv")
    sent = pickle.dumps(run)
    for other in (pickle.loads(sent), copy.copy(run), copy.deepcopy(run)):
        assert (other.predict(folder / "test.csv") == expected).all()
        assert other.config == run.config and other.history == run.history
    # Without the state of the optimizer, which is twice the model.
    assert len(sent) < sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file()) / 2
    loaded = pickle.loads(sent)
    place = loaded.folder
    assert place != run.folder and place.exists()
    del loaded, other
    import gc

    gc.collect()
    assert not place.exists()
    config = pickle.loads(pickle.dumps(run.config))
    assert config == run.config == copy.deepcopy(config)
    error = pickle.loads(pickle.dumps(optmsm.DataError("row 1")))
    assert isinstance(error, optmsm.DataError) and str(error) == "row 1"
    error = pickle.loads(pickle.dumps(optmsm.FileError("x.csv: no")))
    assert isinstance(error, optmsm.FileError) and str(error) == "x.csv: no"


def test_joblib_sends_runs(run, folder, rows, predicted):
    joblib = pytest.importorskip("joblib")
    columns = rows("test")
    parts = [{key: values[first : first + 100] for key, values in columns.items()} for first in range(0, 500, 100)]
    for backend in ("loky", "threading"):
        found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(run.predict)(part) for part in parts)
        assert (np.concatenate(found) == predicted(run.folder, folder / "test.csv")).all()


PROCESSES = """
import multiprocessing
import sys

import numpy as np
import optmsm

method, kind, folder, path, out = sys.argv[1:]


def few(run):
    return run.predict(path)


def many(run):
    import csv

    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file)) * 20
    return run.predict({key: [row[key] for row in rows] for key in rows[0]})[:500]


def again(_):
    # The parent's own object, which a fork has without sending it.
    return many(run)


def trained(number):
    run = optmsm.train(optmsm.Run(folder).config, f"{out}-{method}-{number}")
    return run.predict(path)


work = {"few": few, "many": many, "again": again, "trained": trained}[kind]
if __name__ == "__main__":
    run = optmsm.Run(folder)
    few(run), many(run)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(work, range(3) if kind == "trained" else [run] * 3, chunksize=1).get(60)
    np.save(out, np.stack(found))
"""


@pytest.mark.parametrize("kind", ["few", "many", "again", "trained"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_predict(method, kind, run, folder, predicted, python, parameters, tmp_path):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not there on {sys.platform}")
    if kind == "again" and method != "fork":
        return  # which have no objects of the parent
    python(PROCESSES, method, kind, run.folder, folder / "test.csv", tmp_path / "found")
    found = np.load(tmp_path / "found.npy")
    assert found.shape == (3, 500) and (found == predicted(run.folder, folder / "test.csv")).all()


FORKS = """
import os
import sys

import numpy as np
from optmsm import OptMsmClassifier

X = np.random.default_rng(0).normal(size=(200, 2))
model = OptMsmClassifier(epochs=1).fit(X, X[:, 0] > 0)
child = os.fork()
if child == 0:
    del model
    sys.exit(0)
os.waitpid(child, 0)
print(model.run_.folder.exists(), len(model.predict(X)))
"""


def test_the_end_of_a_child_leaves_the_run_of_its_parent(python):
    pytest.importorskip("sklearn")
    if not hasattr(os, "fork"):
        pytest.skip("SKIPPED: there is no fork")
    assert python(FORKS).stdout.split() == ["True", "200"]
