"""Configurations, training by them, and what a run answers: as the program and as NumPy have it."""

import gzip
import json
import logging
import math
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import optmsm
import pytest

# Configurations


def test_dictionaries_files_and_texts_are_the_same(folder, config, tmp_path):
    tables = config.to_dict()
    for same in (optmsm.Config(tables), optmsm.Config(os.fspath(folder / "config.toml")), optmsm.Config.parse(config.to_toml())):
        assert same == config and same.to_dict() == tables and same.to_toml()
    assert optmsm.Config(config) == config and config.save(tmp_path / "kept.toml") == tmp_path / "kept.toml"
    assert optmsm.Config(tmp_path / "kept.toml") == config
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    assert tomllib.loads(config.to_toml()) == tables


def test_keywords_and_dotted_keys_set_values(config, folder):
    changed = config.set(train__seed=7, train__schedule__warmup=5, model__tower__hidden=[4, 2])
    assert (changed["train.seed"], changed["train.schedule.warmup"], changed["model.tower.hidden"]) == (7, 5, [4, 2])
    assert changed != config and config["train.seed"] == 1
    assert changed == optmsm.Config(folder / "config.toml", train__seed=7, train__schedule__warmup=5, model__tower__hidden=(4, 2))
    keys = {"train.seed": np.int64(7), "train.schedule.warmup": np.uint8(5), "model.tower.hidden": [np.int8(4), 2]}
    assert changed == config.set_keys(keys)
    field = config.set_keys({"data.fields.price.transform": "log1p"})
    (price,) = (field for field in field["data.fields"] if field["name"] == "price")
    assert price["transform"] == "log1p"
    assert config.set(train__optimizer={"rule": "sgd", "lr": 1e-300})["train.optimizer"]["lr"] == 1e-300
    assert config.set(train__optimizer__lr=np.float64(0.1))["train.optimizer.lr"] == 0.1
    assert config.set(data__test=Path("some") / "file.csv")["data.test"] == str(Path("some") / "file.csv")
    assert config.set(train__tensorboard=True)["train.tensorboard"] is True
    assert config.set(model__kind="mmoe").kind == "mmoe" and config.kind == "optmsm"
    assert repr(config).startswith("<optmsm.Config optmsm: scenario 'scenario', fields user_id, item_id, ")
    with pytest.raises(KeyError, match="train.sed"):
        config["train.sed"]
    with pytest.raises(TypeError):
        hash(config)
    with pytest.raises(TypeError):
        {config}
    assert config != config.to_dict()


TEXTS_OF_SETTINGS = ["plain", 'a"b', "back\\slash", "two\nlines", "tab\t", "umlaut ü 中 🎉", "\x00\x1f\x7f", "'", "#", "{x}"]


@pytest.mark.parametrize("text", TEXTS_OF_SETTINGS)
def test_texts_are_kept(text, config):
    tables = config.to_dict()
    tables["data"]["scenario"] = text
    assert optmsm.Config(tables)["data.scenario"] == text
    assert config.set(data__scenario=text)["data.scenario"] == text
    assert optmsm.Config.parse(config.set(data__scenario=text).to_toml())["data.scenario"] == text
    assert config.set(data__fields=[{"name": text, "kind": "multi", "separator": "|"}])["data.fields"][0]["name"] == text


WRONG = {
    "a key": ({"train__epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'"),
    "a key below": ({"train__optimizer__learning": 0.1}, "train.optimizer.learning.*unknown key 'learning'; "),
    "a table": ({"trian__epochs": 3}, "unknown key 'trian'; did you mean 'train'"),
    "a type": ({"train__epochs": "many"}, 'train.epochs="many".*expected'),
    "a value": ({"train__epochs": 0}, "`train.epochs`: must be at least 1, got 0"),
    "a kind": ({"model__kind": "mmoee"}, "mmoee.*mmoe"),
    "a field": ({"data__fields__prize__transform": "log1p"}, "'prize'; did you mean 'price'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_settings_are_told(kind, config, program, folder, tmp_path):
    settings, text = WRONG[kind]
    with pytest.raises(optmsm.ConfigError, match=text) as caught:
        config.set(**settings)
    with pytest.raises(optmsm.ConfigError, match=text):
        optmsm.Config(folder / "config.toml", **settings)
    ((key, value),) = settings.items()
    change = f"{key.replace('__', '.')}={json.dumps(value)}"
    said = program("train", "--config", folder / "config.toml", "--set", change, "--run", tmp_path / "run", code=2).stderr
    assert f"error: {caught.value}\n" in said


def test_wrong_dictionaries_are_told(config):
    tables = config.to_dict()
    for wrong, text in [
        ({**tables, "trian": {}}, "unknown key 'trian'; did you mean 'train'"),
        ({**tables, "data": {**tables["data"], "fields": [{"name": "a", "kin": "multi"}]}}, "^configuration: unknown key 'kin'; did"),
        ({"data": {"train": "x"}}, "`data.fields`: is empty"),
        ({}, "`data.fields`: is empty"),
        ({**tables, "train": {"epochs": math.nan}}, "`train.epochs`: is nan; give a finite number"),
    ]:
        with pytest.raises(optmsm.ConfigError, match=text):
            optmsm.Config(wrong)
    for value in (object(), {1, 2}, 1j):
        with pytest.raises(TypeError):
            config.set(train__epochs=value)
        with pytest.raises(TypeError):
            optmsm.Config({"train": {"epochs": value}})
    assert optmsm.Config({**tables, "train": {**tables["train"], "clip_norm": None}}) == config
    with pytest.raises(optmsm.ConfigError, match="line 2"):
        optmsm.Config.parse("[data]\ntrain = \n")


# Training


def test_training_is_that_of_the_program(folder, config, run, program, parameters, tmp_path):
    change = ["--set", f'data.valid="{folder / "valid.csv"}"', "--set", f'data.test="{folder / "test.csv"}"']
    printed = program("train", "--config", folder / "config.toml", *change, "--run", tmp_path / "run", "--json").stdout
    assert parameters(tmp_path / "run") == parameters(run)
    document = json.loads(printed)
    assert document["test"]["overall"] == run.test["overall"]
    # As a dictionary, a path and a configuration with other files.
    parts = {"data": folder / "train.csv", "valid": folder / "valid.csv", "test": folder / "test.csv"}
    tables = config.set(data__train="elsewhere.csv").to_dict()
    for name, source in {"dict": tables, "path": folder / "config.toml", "config": config}.items():
        made = optmsm.train(source, tmp_path / name, **parts)
        assert parameters(made) == parameters(run), name
        assert made.folder == tmp_path / name and made.config["data.valid"] == str(folder / "valid.csv")
    lines = (folder / "train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    for part in (0, 1):
        (tmp_path / f"part-{part}.csv").write_text("".join([lines[0], *lines[1 + 1500 * part : 1501 + 1500 * part]]), encoding="utf-8")
    split = {**parts, "data": [tmp_path / "part-0.csv", tmp_path / "part-1.csv"]}
    assert parameters(optmsm.train(config, tmp_path / "split", **split)) == parameters(run)
    assert [line["split"] for line in run.history] == ["valid", "valid", "test"]
    assert run.test.auc == run.history[-1]["overall"]["auc"]
    assert all(isinstance(one, dict) and all(isinstance(text, str) for text in one.values()) for one in run.findings)
    assert f"<optmsm.Run {run.folder}: optmsm, test AUC {run.test.auc:.4f}>" == repr(run)
    assert str(run.folder) in run._repr_html_() and "<table>" in run._repr_html_()


def test_runs_have_folders_of_their_own(config, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [optmsm.train(config.set(train__epochs=1)).folder for _ in range(2)]
    assert folders == [Path("runs/python"), Path("runs/python-2")] and all(folder.exists() for folder in folders)
    with pytest.raises(optmsm.FileError, match="holds a run already"):
        optmsm.train(config, run.folder)
    with pytest.raises(optmsm.FileError, match="no.toml"):
        optmsm.train("no.toml")
    with pytest.raises(optmsm.FileError, match="nothing"):
        optmsm.Run(tmp_path / "nothing")
    with pytest.raises(optmsm.FileError, match="nothing"):
        optmsm.resume(tmp_path / "nothing")


def test_steps_are_limited(config, folder, parameters, tmp_path):
    with pytest.raises(optmsm.Stopped, match=f"stopped at step 5; the run is saved, continue it with: .* {tmp_path / 'run'}"):
        optmsm.train(config, tmp_path / "run", valid=folder / "valid.csv", max_steps=5)
    assert optmsm.Run(tmp_path / "run").history == []
    with pytest.raises(optmsm.Stopped, match="stopped at step 30"):
        optmsm.resume(tmp_path / "run", max_steps=30)
    assert [line["step"] for line in optmsm.Run(tmp_path / "run").history] == [24]
    # More than there are is all of them.
    whole = optmsm.train(config, tmp_path / "whole", valid=folder / "valid.csv", max_steps=10**6)
    assert parameters(optmsm.Run(tmp_path / "run").resume()) == parameters(whole)


def test_longer_training_is_resumed_training(config, parameters, tmp_path):
    short = optmsm.train(config.set(train__epochs=1), tmp_path / "run")
    longer = short.resume(settings={"train.epochs": 3})
    assert parameters(longer) == parameters(optmsm.train(config.set(train__epochs=3), tmp_path / "whole"))
    assert optmsm.Run(tmp_path / "run").config["train.epochs"] == 3
    with pytest.raises(optmsm.ConfigError, match="data.fields|embedding_dim"):
        longer.resume(settings={"model.embedding_dim": 3})
    with pytest.raises(optmsm.ConfigError, match="unknown key 'epoch'; did you mean 'epochs'"):
        longer.resume(settings={"train.epoch": 4})


def test_runs_of_tables_are_resumed_with_their_rows(config, rows, parameters, tmp_path):
    columns = rows("train")
    other = {**columns, "label": [1 - value for value in columns["label"]]}
    with pytest.raises(optmsm.Stopped):
        optmsm.train(config, tmp_path / "run", data=columns, max_steps=30)
    with pytest.raises(optmsm.FileError, match="in the memory of a program.*give them again"):
        optmsm.resume(tmp_path / "run")
    with pytest.raises(optmsm.DataError, match="train"):
        optmsm.resume(tmp_path / "run", data=other)
    fewer = {key: values[:-1] for key, values in columns.items()}
    with pytest.raises(optmsm.DataError, match="2999"):
        optmsm.resume(tmp_path / "run", data=fewer, allow_changed_data=True)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert parameters(optmsm.resume(tmp_path / "run", data=columns)) == parameters(optmsm.train(config, tmp_path / "whole"))
    changed = optmsm.resume(tmp_path / "copy", data=other, allow_changed_data=True)
    assert parameters(changed) != parameters(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["pandas", "polars", "polars in chunks", "pyarrow in chunks", "pyarrow of dictionaries"])
def test_equal_rows_of_another_table_continue_a_run(kind, config, rows, parameters, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(rows("train"))
    with pytest.raises(optmsm.Stopped):
        optmsm.train(config, tmp_path / "run", data=table, max_steps=30)
    if kind == "pandas":
        pytest.importorskip("pandas")
        same = table.to_pandas()
    elif kind.startswith("polars"):
        polars = pytest.importorskip("polars")
        same = polars.from_arrow(table)
        same = polars.concat([same[:7], same[7:]], rechunk=False) if kind == "polars in chunks" else same
    elif kind == "pyarrow of dictionaries":
        same = table.set_column(table.column_names.index("user_id"), "user_id", table["user_id"].dictionary_encode())
    else:
        same = pyarrow.Table.from_batches(table.to_batches(max_chunksize=999))
    other = table.set_column(0, "label", pyarrow.array([1 - value for value in table["label"].to_pylist()]))
    with pytest.raises(optmsm.DataError, match="other content"):
        optmsm.resume(tmp_path / "run", data=other)
    assert parameters(optmsm.resume(tmp_path / "run", data=same)) == parameters(optmsm.train(config, tmp_path / "whole"))


def test_training_begins_with_a_model(config, run, folder, rows, tmp_path):
    still = config.set(train__optimizer__lr=1e-30, train__embedding_optimizer__lr=1e-30, train__epochs=1)
    first = run.predict(folder / "test.csv")
    # Rows of other users are read by the vocabulary of the first.
    begun = optmsm.train(still, tmp_path / "begun", data=folder / "valid.csv", init_model=run)
    assert np.allclose(begun.predict(folder / "test.csv"), first, atol=1e-6)
    by_folder = optmsm.train(still, tmp_path / "folder", data=folder / "valid.csv", init_model=run.folder)
    assert (by_folder.predict(folder / "test.csv") == begun.predict(folder / "test.csv")).all()
    assert begun.embeddings("user_id")[0] == run.embeddings("user_id")[0]
    cold = optmsm.train(still, tmp_path / "cold", data=folder / "valid.csv")
    assert not np.allclose(cold.predict(folder / "test.csv"), first, atol=1e-3)
    with pytest.raises(optmsm.ConfigError, match="model"):
        optmsm.train(still.set(model__kind="dnn"), tmp_path / "other", init_model=run)
    with pytest.raises(optmsm.ConfigError):
        optmsm.train(still.set(data__fields=[{"name": "user_id"}]), tmp_path / "other", init_model=run)
    columns = rows("valid")
    columns["scenario"][0] = "attic"
    with pytest.raises(optmsm.DataError, match="attic"):
        optmsm.train(still, tmp_path / "other", data=columns, init_model=run)
    assert not (tmp_path / "other").exists() or not (tmp_path / "other" / "config.toml").exists()


# Answers


def test_predictions_are_those_that_the_program_writes(run, folder, rows, predicted, program, tmp_path):
    expected = predicted(run.folder, folder / "test.csv")
    found = run.predict(folder / "test.csv")
    assert found.dtype == np.float32 and (found == expected).all()
    parts = tmp_path / "parts"
    parts.mkdir()
    lines = (folder / "test.csv").read_text().splitlines(keepends=True)
    for part in range(2):
        (parts / f"part-{part}.csv").write_text("".join([lines[0], *lines[1 + 250 * part : 251 + 250 * part]]))
    for source in (parts, os.fspath(parts / "part-*.csv"), [folder / "test.csv"]):
        assert (run.predict(source) == expected).all()
    with pytest.raises(optmsm.DataError, match="several paths where one is wanted: give a folder or a glob"):
        run.predict([parts / "part-0.csv", parts / "part-1.csv"])
    unlabelled = rows("test")
    del unlabelled["label"], unlabelled["true_probability"]
    assert (run.predict(unlabelled) == expected).all()
    assert (optmsm.Run(run.folder, threads=1).predict(folder / "test.csv") == expected).all()
    with pytest.raises(optmsm.ArgumentError, match="'tpu' is neither 'cpu' nor 'cuda'"):
        optmsm.Run(run.folder, backend="tpu").predict(unlabelled)


def test_predictions_are_written_as_the_program_writes_them(run, folder, rows, program, tmp_path):
    for name in ("found.csv", "found.csv.gz", "found.csv.zst", "found.parquet"):
        (tmp_path / name).write_text("replaced")
        assert run.predict(folder / "test.csv", out=tmp_path / name) == tmp_path / name
        program("predict", run.folder, "--data", folder / "test.csv", "--out", tmp_path / f"program-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"program-{name}").read_bytes()
    assert gzip.decompress((tmp_path / "found.csv.gz").read_bytes()) == (tmp_path / "found.csv").read_bytes()
    header, *lines = (tmp_path / "found.csv").read_text().splitlines()
    assert header == (folder / "test.csv").read_text().splitlines()[0] + ",prediction"
    expected = run.predict(folder / "test.csv")
    assert [np.float32(line.rsplit(",", 1)[1]) for line in lines] == expected.tolist()
    # Of a table: as those of Arrow files.
    run.predict(rows("test"), out=os.fspath(tmp_path / "table.csv"))
    header, *lines = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "row,prediction"
    assert [np.float32(line.split(",")[1]) for line in lines] == expected.tolist()
    with pytest.raises(optmsm.ArgumentError, match=r"found.xlsx' is no name of a kind that is written; let it end in \.csv"):
        run.predict(rows("test"), out=tmp_path / "found.xlsx")
    parquet = pytest.importorskip("pyarrow.parquet")
    run.predict(rows("test"), out=tmp_path / "table.parquet")
    for path in (tmp_path / "found.parquet", tmp_path / "table.parquet"):
        table = parquet.read_table(path)
        assert table.column_names == [*rows("test"), "prediction"] and table["prediction"].to_pylist() == expected.tolist()
    kept = np.array(parquet.read_table(tmp_path / "table.parquet")["price"].to_pylist(), dtype=float)
    assert np.array_equal(kept, np.array(rows("test")["price"], dtype=float), equal_nan=True)


def test_batches_are_answered_one_at_a_time(run, folder, rows):
    pyarrow = pytest.importorskip("pyarrow")
    table, taken = pyarrow.table(rows("test")), []

    def batches():
        for batch in table.to_batches(max_chunksize=100):
            taken.append(batch.num_rows)
            yield batch

    found = run.predict_batches(batches(), column="p")
    first = next(found)
    assert len(taken) == 1 and first.schema.names == [*table.column_names, "p"]
    whole = pyarrow.Table.from_batches([first, *found])
    assert whole["p"].to_pylist() == run.predict(folder / "test.csv").tolist() and whole.drop_columns("p").equals(table)
    with pytest.raises(optmsm.DataError, match="column 'price' already; rename it, or give another with column="):
        next(run.predict_batches(batches(), column="price"))
    assert [batch.num_rows for batch in run.predict_batches([table[:0].to_batches(), []][0] or [table.to_batches()[0][:0]])] == [0]
    # A record of one name without a column is told.
    with pytest.raises(optmsm.DataError, match="no column 'price'"):
        next(run.predict_batches(table.drop_columns("price").to_batches()))


def test_evaluations_are_those_of_scikit_learn_and_the_program(run, folder, rows, program):
    metrics = pytest.importorskip("sklearn.metrics")
    columns, p = rows("test"), run.predict(folder / "test.csv").astype(float)
    label, scenario = np.array(columns["label"]), np.array(columns["scenario"])
    found = run.evaluate(folder / "test.csv")
    assert found == json.loads(program("evaluate", run.folder, "--data", folder / "test.csv", "--json").stdout)
    assert found == run.evaluate(columns)
    assert found.auc == pytest.approx(metrics.roc_auc_score(label, p), abs=1e-9)
    assert found.log_loss == pytest.approx(metrics.log_loss(label, p), abs=1e-9)
    assert set(found.by_scenario) == set(scenario)
    for name, one in found.by_scenario.items():
        part = scenario == name
        assert one["rows"] == part.sum() and one["positives"] == label[part].sum()
        assert one["auc"] == pytest.approx(metrics.roc_auc_score(label[part], p[part]), abs=1e-9)
        assert one["calibration"] == pytest.approx(p[part].sum() / label[part].sum(), rel=1e-6)
    truth = np.array(columns["true_probability"])
    assert found["ceiling"]["overall"]["auc"] == pytest.approx(metrics.roc_auc_score(label, truth), abs=1e-9)
    assert run.test["overall"] == found["overall"]
    text, page = repr(found), found._repr_html_()
    for shown in (*set(scenario), f"{found.auc:.4f}", f"{found.log_loss:.4f}", "log loss"):
        assert shown in text and shown in page
    # Of one class there is no AUC.
    ones = {key: [value for value, of in zip(values, columns["label"]) if of] for key, values in columns.items()}
    assert run.evaluate(ones).auc is None and "auc" not in repr(run.evaluate(ones))
    # Where training had all negatives, there is nothing to weigh.
    assert run.evaluate(folder / "test.csv", unsampled=True) == found


def test_rows_may_be_a_sample_of_the_negatives(config, folder, rows, program, tmp_path):
    run = optmsm.train(config.set(data__negative_rate=0.5), tmp_path / "run")
    whole, sample = run.evaluate(rows("test"), unsampled=True), run.evaluate(rows("test"))
    assert whole != sample
    printed = program("evaluate", run.folder, "--data", folder / "test.csv", "--unsampled", "--json").stdout
    assert whole == json.loads(printed)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_is_the_function_that_it_says(method, run, folder, rows, program, predicted, tmp_path):
    mine, other = run.save(tmp_path / "mine"), run.save(tmp_path / "other")
    before = mine.predict(folder / "test.csv")
    found = mine.calibrate(rows("valid"), method=method)
    printed = program("calibrate", other.folder, "--data", folder / "valid.csv", "--method", method, "--json").stdout
    said = json.loads(printed)
    assert found["all"] == said["all"] and found["after"] == said["after"] and found["method"] == said["method"] == method
    assert found["before"]["overall"] == run.evaluate(folder / "valid.csv")["overall"]
    after = mine.predict(folder / "test.csv")
    assert (after != before).any() and (after == predicted(other.folder, folder / "test.csv")).all()
    assert (optmsm.Run(mine.folder, uncalibrated=True).predict(folder / "test.csv") == before).all()
    assert (predicted(other.folder, folder / "test.csv", "--uncalibrated") == before).all()
    # By scenario: its own function, or that of all.
    own = {one["scenario"]: (one["own"] or found["all"])[method] for one in found["scenarios"]}
    logit = np.log(before.astype(float) / (1 - before.astype(float)))
    for name in set(rows("test")["scenario"]):
        part = np.array(rows("test")["scenario"]) == name
        if method == "platt":
            expected = 1 / (1 + np.exp(-(own[name]["slope"] * logit[part] + own[name]["intercept"])))
        else:
            expected = np.interp(logit[part], own[name]["logits"], own[name]["probabilities"])
        assert np.allclose(after[part], expected, atol=2e-6), name
    assert mine.inspect()["calibration"]["method"] == method
    # By the validation rows of the run, where none are given.
    again = run.save(tmp_path / "again")
    assert again.calibrate(method=method)["all"] == found["all"]
    with pytest.raises(optmsm.ArgumentError, match="plat"):
        again.calibrate(method="plat")


def test_reports_are_pages(run, config, folder, rows, program, tmp_path):
    other = optmsm.train(config.set(model__kind="dnn"), tmp_path / "another", valid=folder / "valid.csv")
    page = run.report()
    program("report", run.folder, "--out", tmp_path / "program.html")
    assert page.html == (tmp_path / "program.html").read_text(encoding="utf-8")
    assert page.html.startswith("<!DOCTYPE html>") or page.html.lstrip().lower().startswith("<!doctype html>")
    assert "<iframe" in page._repr_html_() and "characters" in repr(page)
    both = run.report(tmp_path / "both.html", others=[other, other.folder])
    assert both.html == (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "another" in both.html and "another" not in page.html
    of_test = run.report(data=rows("test"))
    program("report", run.folder, "--data", folder / "test.csv", "--out", tmp_path / "test.html")
    auc = f"{run.evaluate(rows('test')).auc:.4f}"
    assert auc in of_test.html and auc in (tmp_path / "test.html").read_text(encoding="utf-8")
    assert len(of_test.html) > 10_000


# Contents of a run


def tensors_of(run):
    """Tensors of a run's best parameters, by the format of safetensors: a length, a header of JSON, and bytes."""
    content = (Path(run.folder) / "checkpoints" / "best.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__")
    assert {of["dtype"] for of in header.values()} == {"F32"}
    bytes_of = {name: data[slice(*of["data_offsets"])] for name, of in header.items()}
    return {name: np.frombuffer(bytes_of[name], np.float32).reshape(of["shape"]) for name, of in header.items()}


def test_tensors_are_those_of_the_file(run, program):
    expected = tensors_of(run)
    assert run.tensors == {name: one.shape for name, one in expected.items()}
    for name, one in expected.items():
        assert run.tensor(name).dtype == np.float32 and (run.tensor(name) == one).all()
    with pytest.raises(optmsm.ArgumentError, match="no tensor 'tower'; the model has .*tower.0.core.weight"):
        run.tensor("tower")
    found = run.inspect()
    assert found == json.loads(program("inspect", run.folder, "--json").stdout)
    assert found["parameters"] == sum(one.size for one in expected.values())
    assert [one["name"] for one in found["scenarios"]] == ["ads", "home", "mail", "search"]


def test_embeddings_are_rows_of_the_vocabulary(run, rows):
    expected = tensors_of(run)
    schema = json.loads((run.folder / "schema.json").read_text())["schema"]
    fields = [field for field in schema["fields"] if "categorical" in field["encoding"]]
    listed = {field["name"]: field["encoding"]["categorical"]["vocabulary"] for field in fields}
    assert "device" in listed
    for field, values in listed.items():
        names, table = run.embeddings(field)
        assert names == [None, *values] and (table == expected[f"embeddings.{field}.weight"]).all()
        assert set(values) == {str(value) for value in rows("train")[field]}
    # By falling count.
    count = rows("train")["device"].count
    assert run.embeddings("device")[0][1:] == sorted({"mobile", "desktop", "tablet"}, key=count, reverse=True)
    names, table = run.embeddings("tags")
    assert {"t00", "t01"} <= set(names) and len(names) == len(table)
    with pytest.raises(optmsm.ArgumentError, match="no field 'devices'; the run has user_id, "):
        run.embeddings("devices")
    with pytest.raises(optmsm.ArgumentError, match="'price': is of numbers"):
        run.embeddings("price")


def test_a_prediction_follows_from_the_tensors(folder, rows, tmp_path):
    """Of the simplest model, by NumPy: embeddings side by side into layers with ReLU, and a sigmoid."""
    fields = [{"name": name} for name in ("user_segment", "category", "device")]
    data = {"train": str(folder / "train.csv"), "label": "label", "scenario": "scenario", "fields": fields}
    run = optmsm.train({"data": data, "model": {"kind": "dnn", "embedding_dim": 3}, "train": {"epochs": 2}}, tmp_path / "run")
    columns, parts = rows("test"), []
    for field in ("user_segment", "category", "device"):
        names, table = run.embeddings(field)
        at = {name: row for row, name in enumerate(names)}
        parts.append(table[[at.get(value, 0) for value in columns[field]]])
    scenarios = [one["name"] for one in run.inspect()["scenarios"]]
    layers = sorted({name.rsplit(".", 1)[0] for name in run.tensors if name.split(".")[-2].isdigit()})
    parts.append(run.tensor("scenario.weight")[[scenarios.index(value) for value in columns["scenario"]]])
    x = np.concatenate(parts, axis=1).astype(float)
    for at, layer in enumerate(layers):
        x = x @ run.tensor(f"{layer}.weight").T.astype(float) + run.tensor(f"{layer}.bias")
        x = np.maximum(x, 0) if at + 1 < len(layers) else x
    assert np.allclose(run.predict(folder / "test.csv"), 1 / (1 + np.exp(-x[:, 0])), atol=1e-5)


def test_saved_runs_are_whole(run, folder, parameters, tmp_path):
    saved = run.save(tmp_path / "saved")
    assert saved.folder == tmp_path / "saved" and parameters(saved) == parameters(run)
    assert (saved.predict(folder / "test.csv") == run.predict(folder / "test.csv")).all()
    assert not (saved.folder / ".lock").exists() and saved.history == run.history
    with pytest.raises(FileExistsError):
        run.save(tmp_path / "saved")
    assert saved.resume(settings={"train.epochs": 3}).history[-1]["step"] > run.history[-1]["step"]


def test_guesses_say_what_they_were_made_from(folder, rows, program, tmp_path):
    file = optmsm.Config.guess(folder / "all.csv", label="label", scenario="scenario", leave_out=["device"])
    options = ["--label", "label", "--scenario", "scenario", "--leave-out", "device"]
    program("init", folder / "all.csv", *options, "--out", tmp_path / "guess.toml")
    guess = optmsm.Config(tmp_path / "guess.toml")
    assert file["data.fields"] == guess["data.fields"] and file["model"] == guess["model"]
    assert "# " in file.to_toml() and "1547 values" not in file.to_toml().replace("device", "")
    assert "device" not in [field["name"] for field in file["data.fields"]]
    assert file.set(train__seed=2).to_toml() != file.to_toml()
    with pytest.raises(optmsm.Error, match="lable"):
        optmsm.Config.guess(rows("train"), label="lable")
    # Without names: what the columns look like.
    alone = optmsm.Config.guess(rows("train"))
    assert (alone["data.label"], alone["data.scenario"]) == ("label", "scenario")


def test_callbacks_of_the_package_hear(config, folder, caplog, tmp_path):
    record = {}
    of = optmsm.callbacks
    parts = [of.record_evaluation(record), of.log_evaluation(), of.early_stopping(1, "log_loss", min_delta=1.0)]
    with caplog.at_level(logging.INFO, logger="optmsm"):
        run = optmsm.train(config.set(train__epochs=5), tmp_path / "run", valid=folder / "valid.csv", callbacks=parts)
    lines = [line for line in run.history if line["split"] == "valid"]
    assert len(lines) == 2
    assert record["valid"]["auc"] == [line["overall"]["auc"] for line in lines]
    assert record["train"]["loss"] == [line["train_loss"] for line in lines]
    said = [entry.getMessage() for entry in caplog.records]
    for line in lines:
        start = f"epoch {line['epoch']:.0f}  step {line['step']}  loss {line['train_loss']:.4f}  auc {line['overall']['auc']:.4f}"
        assert sum(text.startswith(start) for text in said) == 1


def test_progress_is_a_bar_where_it_is_wanted(config, python, tmp_path):
    pytest.importorskip("tqdm")
    code = "import sys, logging, optmsm\nlogging.disable()\noptmsm.train(sys.argv[1], sys.argv[2], progress=sys.argv[3] == 'yes' or None)\n"
    path = config.save(tmp_path / "config.toml")
    assert "optmsm" in python(code, path, tmp_path / "bar", "yes").stderr
    assert python(code, path, tmp_path / "none", "no").stderr == ""
