"""The estimator of scikit-learn's way: scikit-learn's own checks, and what users of it do."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

import optmsm
from optmsm import OptMsmClassifier
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

#: Checks that do not hold, and why.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 is in one batch, a row twice in two: LightGBM marks the same",
}


def test_scikit_learns_own_checks():
    results = check_estimator(OptMsmClassifier(), expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    failed = [f"{one['check_name']}: {one['exception']!r}" for one in results if one["status"] == "failed"]
    assert not failed, "\n".join(failed)
    assert sum(one["status"] == "passed" for one in results) >= 55
    assert {one["check_name"] for one in results if one["status"] == "xfail"} <= set(EXPECTED)


@pytest.fixture(scope="module")
def blobs():
    """Two classes that a line parts but for noise, as an array of numbers."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 4))
    y = (X[:, 0] - 0.5 * X[:, 1] + rng.logistic(size=3000) * 0.3 > 0).astype(int)
    return X[:2000], y[:2000], X[2000:], y[2000:]


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """Synthetic clicks as DataFrames for training and test."""
    pandas = pytest.importorskip("pandas")
    path = optmsm.synth(tmp_path_factory.mktemp("clicks") / "clicks.csv", rows=6000)
    table = pandas.read_csv(path).drop(columns="true_probability")
    return table[:5000], table[5000:]


def test_it_learns_what_a_line_does(blobs):
    X, y, test, truth = blobs
    found = roc_auc_score(truth, OptMsmClassifier().fit(X, y).predict_proba(test)[:, 1])
    line = roc_auc_score(truth, LogisticRegression().fit(X, y).predict_proba(test)[:, 1])
    assert found > line - 0.01


def test_metrics_are_those_of_scikit_learn(clicks):
    train, test = clicks
    model = OptMsmClassifier("scenario", epochs=2).fit(train, "label")
    p = model.predict_proba(test)
    assert p.shape == (1000, 2) and np.allclose(p.sum(axis=1), 1)
    found = model.evaluate(test, "label")
    assert found.auc == pytest.approx(roc_auc_score(test.label, p[:, 1]), abs=1e-6)
    assert found.log_loss == pytest.approx(log_loss(test.label, p[:, 1]), abs=1e-6)
    for scenario, one in found.by_scenario.items():
        part = (test.scenario == scenario).to_numpy()
        assert one["auc"] == pytest.approx(roc_auc_score(test.label[part], p[part, 1]), abs=1e-6)
    assert model.score(test, test.label) == pytest.approx(((p[:, 1] > 0.5) == test.label).mean())
    # Separate labels, and other words for them, are the same training.
    words = np.where(train.label == 1, "yes", "no")
    other = OptMsmClassifier("scenario", epochs=2).fit(train.drop(columns="label"), words)
    assert other.classes_.tolist() == ["no", "yes"]
    assert (other.predict_proba(test.drop(columns="label")) == p).all()
    assert set(other.predict(test.drop(columns="label"))) <= {"no", "yes"}
    assert other.evaluate(test.drop(columns="label"), np.where(test.label == 1, "yes", "no"))["overall"] == found["overall"]


def test_it_works_in_scikit_learns_tools(blobs):
    X, y, test, truth = blobs
    model = OptMsmClassifier(epochs=3, batch_size=64)
    assert cross_val_score(model, X, y, cv=3, scoring="roc_auc").min() > 0.8
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    assert pipeline.score(test, truth) > 0.75
    search = GridSearchCV(model, {"learning_rate": [1e-6, 0.01]}, cv=2, scoring="roc_auc", n_jobs=2).fit(X, y)
    assert search.best_params_ == {"learning_rate": 0.01}
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, y)
    assert log_loss(truth, calibrated.predict_proba(test)) < log_loss(truth, np.full(len(truth), y.mean()))
    assert clone(model.set_params(epochs=7)).get_params()["epochs"] == 7


def test_columns_of_texts_are_categories():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 2000)
    X = np.stack([np.array(["a", "b", "c"], dtype=object)[kind], rng.normal(size=2000).astype(str)], axis=1)
    truth = np.array([0.2, 0.8, 0.5])[kind]
    y = (rng.random(2000) < truth).astype(int)
    model = OptMsmClassifier(epochs=20).fit(X, y)
    # No form of the texts is a number, so an id each: near the rates, which stand 0.3 apart.
    assert np.abs(model.predict_proba(X)[:, 1] - truth).mean() < 0.1


def test_early_stopping_watches_what_it_is_given(clicks):
    train, test = clicks
    model = OptMsmClassifier("scenario", epochs=30, patience=2, monitor="log_loss", learning_rate=0.01)
    model.fit(train, "label", eval_X=test, eval_y="label")
    losses = model.evals_result_["valid"]["log_loss"]
    assert len(losses) == model.n_iter_ < 30
    assert model.best_iteration_ == int(np.argmin(losses)) + 1 == len(losses) - 2
    assert model.evaluate(test, "label").log_loss == pytest.approx(min(losses), abs=1e-9)
    # Held out by itself: a tenth, which is not trained on.
    split = OptMsmClassifier("scenario", epochs=2, early_stopping=True).fit(train, "label")
    rows = split.run_.history[-1]["overall"]["rows"]
    assert 400 < rows < 600
    assert sum(one["rows"] for one in split.run_.inspect()["scenarios"]) == len(train) - rows
    alone = OptMsmClassifier("scenario", epochs=2).fit(train, "label")
    assert "valid" not in alone.evals_result_ and len(alone.evals_result_["train"]["loss"]) == 2


def test_callbacks_hear_and_end(clicks):
    train, test = clicks
    heard = []

    def callback(at):
        heard.append((at.epoch, at.metrics["auc"]))
        return at.epoch == 2

    record = {}
    model = OptMsmClassifier("scenario", epochs=9).fit(
        train, "label", eval_X=test, eval_y="label", callbacks=[callback, optmsm.callbacks.record_evaluation(record)]
    )
    assert [epoch for epoch, _ in heard] == [1, 2]
    assert [auc for _, auc in heard] == model.evals_result_["valid"]["auc"] == record["valid"]["auc"]
    stopping = optmsm.callbacks.early_stopping(1, "log_loss", min_delta=10.0)
    model = OptMsmClassifier("scenario", epochs=9).fit(train, "label", eval_X=test, eval_y="label", callbacks=[stopping])
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match="no metric 'acu'; known: .*auc"):
        stopping = optmsm.callbacks.early_stopping(1, "acu")
        OptMsmClassifier("scenario", epochs=9).fit(train, "label", eval_X=test, eval_y="label", callbacks=[stopping])


def test_weights_count(clicks):
    train, test = clicks
    weights = np.where(train.scenario == "home", 0.0, 1.0)
    model = OptMsmClassifier("scenario", epochs=2).fit(train, "label", sample_weight=weights)
    named = OptMsmClassifier("scenario", epochs=2).fit(train.assign(w=weights), "label", sample_weight="w")
    assert (model.predict_proba(test) == named.predict_proba(test)).all()
    assert "w" not in named.feature_names_in_ or named.n_features_in_ == len(named.feature_names_in_)
    even = OptMsmClassifier("scenario", epochs=2).fit(train, "label")
    assert (model.predict_proba(test) != even.predict_proba(test)).any()
    found = model.evaluate(test, "label", sample_weight=np.arange(len(test), dtype=float))
    expected = roc_auc_score(test.label, model.predict_proba(test)[:, 1], sample_weight=np.arange(len(test)))
    assert found.auc == pytest.approx(expected, abs=1e-6)


def test_fields_are_guessed_or_given(clicks):
    train, test = clicks
    model = OptMsmClassifier("scenario", epochs=1).fit(train, "label")
    kinds = {field["name"]: field["kind"] for field in model.run_.inspect()["fields"]}
    assert kinds["price"] == "numeric" and kinds["tags"] == "multi" and kinds["user_id"] == "categorical"
    given = OptMsmClassifier(
        "scenario",
        "dnn",
        epochs=1,
        fields={"position": "numeric", "price": {"kind": "numeric", "transform": "log1p"}, "user_id": None},
        specific=["position"],
    ).fit(train, "label")
    found = {field["name"]: field for field in given.run_.inspect()["fields"]}
    assert found["position"]["kind"] == "numeric" and found["position"]["role"] == "specific"
    assert "user_id" not in found and given.run_.config.kind == "dnn"
    for wrong, text in [({"fields": {"prize": "numeric"}}, "no column 'prize'"), ({"specific": ["x"]}, "no field 'x'")]:
        with pytest.raises(optmsm.ArgumentError, match=text):
            OptMsmClassifier("scenario", **wrong).fit(train, "label")
    with pytest.raises(optmsm.DataError, match="no column 'slot'"):
        OptMsmClassifier("slot").fit(train, "label")
    with pytest.raises(optmsm.ConfigError, match="mmoee"):
        OptMsmClassifier("scenario", "mmoee").fit(train, "label")


def test_a_configuration_is_a_base(clicks):
    train, _ = clicks
    base = {"model": {"embedding_dim": 5}, "train": {"batch_size": 100, "epochs": 1, "optimizer": {"rule": "adagrad", "lr": 0.02}}}
    model = OptMsmClassifier("scenario", config=base).fit(train, "label")
    config = model.run_.config
    assert (config["model.embedding_dim"], config["train.batch_size"], config["train.optimizer.rule"]) == (5, 100, "adagrad")
    # That of a run that was tuned, for example.
    again = OptMsmClassifier("scenario", config=config).fit(train, "label")
    assert (again.predict_proba(train) == model.predict_proba(train)).all()


def test_fits_go_on_from_parameters(clicks):
    train, test = clicks
    first = OptMsmClassifier("scenario", epochs=3, learning_rate=0.01).fit(train[:3000], "label")
    still = OptMsmClassifier("scenario", epochs=1, learning_rate=1e-30)
    # Other rows with the vocabulary of the first ones, and parameters that do not move.
    still.fit(train[3000:], "label", init_model=first)
    assert np.allclose(still.predict_proba(test), first.predict_proba(test), atol=1e-6)
    warm = OptMsmClassifier("scenario", epochs=1, learning_rate=1e-30, warm_start=True).fit(train, "label")
    before = warm.predict_proba(test)
    assert np.allclose(warm.fit(train[:2000], "label").predict_proba(test), before, atol=1e-6)
    cold = OptMsmClassifier("scenario", epochs=1, learning_rate=1e-30, random_state=2).fit(train, "label")
    assert not np.allclose(cold.predict_proba(test), before, atol=1e-4)


def test_a_fit_is_kept_sent_and_loaded(clicks, tmp_path):
    train, test = clicks
    model = OptMsmClassifier("scenario", epochs=1).fit(train, train.label.map({0: "no", 1: "yes"}))
    p = model.predict_proba(test)
    for copied in [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]:
        assert (copied.predict_proba(test) == p).all() and copied.classes_.tolist() == ["no", "yes"]
    folder = model.save(tmp_path / "kept")
    loaded = OptMsmClassifier.load(folder)
    assert (loaded.predict_proba(test) == p).all() and (loaded.predict(test) == model.predict(test)).all()
    assert loaded.get_params()["scenario"] == "scenario"
    # The program answers from the same folder.
    test.to_csv(tmp_path / "test.csv", index=False)
    out = tmp_path / "p.csv"
    command = [sys.executable, "-m", "optmsm", "predict", str(folder), "--data", str(tmp_path / "test.csv"), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    written = np.genfromtxt(out, delimiter=",", names=True, dtype=None, encoding="utf-8")["prediction"]
    assert (written.astype(np.float32) == p[:, 1].astype(np.float32)).all()
    kept = OptMsmClassifier("scenario", epochs=1, run=tmp_path / "run").fit(train, "label")
    assert optmsm.Run(tmp_path / "run").predict(test).tolist() == kept.predict_proba(test)[:, 1].astype(np.float32).tolist()
    with pytest.raises(optmsm.FileError, match="holds a run already"):
        OptMsmClassifier("scenario", epochs=1, run=tmp_path / "run").fit(train, "label")


def test_temporary_runs_go_with_their_estimator(blobs):
    X, y, _, _ = blobs
    model = OptMsmClassifier(epochs=1).fit(X, y)
    folder = model.run_.folder
    assert folder.exists()
    del model
    import gc

    gc.collect()
    assert not folder.exists()


def test_a_fit_that_fails_leaves_nothing(blobs, tmp_path, monkeypatch):
    X, y, _, _ = blobs

    def fails(at):
        raise KeyError("mine")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyError):
        OptMsmClassifier(epochs=3).fit(X, y, callbacks=[fails])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_said(clicks, blobs):
    X, y, test, truth = blobs
    train, _ = clicks
    with pytest.raises(NotFittedError):
        OptMsmClassifier().predict_proba(X)
    with pytest.raises(ValueError, match="3 classes"):
        OptMsmClassifier().fit(X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match="eval_y has labels that y has not"):
        OptMsmClassifier().fit(X, y, eval_X=test, eval_y=truth + 5)
    with pytest.raises(optmsm.ArgumentError, match="early_stopping"):
        OptMsmClassifier(early_stopping="yes").fit(X, y)
    with pytest.raises(TypeError, match="toarray"):
        from scipy.sparse import csr_matrix

        OptMsmClassifier().fit(csr_matrix(X), y)
    model = OptMsmClassifier("scenario", epochs=1).fit(train, "label")
    with pytest.raises(optmsm.DataError, match="user_id"):
        model.predict_proba(train.drop(columns=["user_id", "label"]))
    with pytest.raises(optmsm.DataError, match="row 1, column 'scenario': scenario \"new\""):
        model.predict_proba(train[:3].assign(scenario="new"))
    fallback = OptMsmClassifier("scenario", epochs=1, unseen_scenario="oov").fit(train, "label")
    assert np.isfinite(fallback.predict_proba(train[:3].assign(scenario="new"))).all()
