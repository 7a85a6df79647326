"""Work on several models, and data to try them on: as the program has it."""

import json
import re

import numpy as np
import optmsm
import pytest


def test_comparisons_are_of_the_runs_that_they_keep(config, folder, rows, tmp_path):
    tables = {"data": rows("train"), "valid": rows("valid"), "test": rows("test")}
    configs = {"mine": config, "dnn": config.set(model__kind="dnn").to_dict()}
    found = optmsm.compare(configs, seeds=2, out=tmp_path / "compare", **tables)
    assert [one["name"] for one in found["configurations"]] == ["mine", "dnn"]
    for one in found["configurations"]:
        aucs = []
        for seed in (1, 2):
            run = optmsm.Run(tmp_path / "compare" / one["name"] / f"seed-{seed}")
            assert run.config["train.seed"] == seed
            aucs.append(run.evaluate(tables["test"]).auc)
        assert one["overall"]["auc"]["mean"] == pytest.approx(np.mean(aucs))
        assert one["overall"]["auc"]["sd"] == pytest.approx(np.std(aucs, ddof=1))
        assert f"{np.mean(aucs):.4f}" in found.markdown
    assert found.markdown == found._repr_markdown_() == repr(found) == (tmp_path / "compare" / "compare.md").read_text(encoding="utf-8")
    # Again: nothing is trained anew, and more seeds are added; rows from files are the same rows.
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "compare").rglob("best.safetensors")}
    assert len(stamps) == 4
    more = optmsm.compare(configs, seeds=3, out=tmp_path / "compare", **tables)
    assert more["seeds"] == [1, 2, 3] and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert len(list((tmp_path / "compare").rglob("best.safetensors"))) == 6


def test_comparisons_take_files_and_settings(folder, config, program, tmp_path):
    files = {f"data.{part}": str(folder / f"{part}.csv") for part in ("valid", "test")}
    paths = [config.set_keys(files).save(tmp_path / "a.toml"), config.set_keys(files).set(model__kind="dnn").save(tmp_path / "b.toml")]
    found = optmsm.compare(paths, seeds=2, out=tmp_path / "python", settings={"train.epochs": 1})
    printed = program("compare", *paths, "--seeds", "2", "--out", tmp_path / "program", "--set", "train.epochs=1", "--json").stdout
    for mine, other in zip(found["configurations"], json.loads(printed)["configurations"]):
        assert mine["overall"] == other["overall"] and mine["name"] == other["name"]
    with pytest.raises(optmsm.ConfigError, match="did you mean 'epochs'"):
        optmsm.compare(paths, out=tmp_path / "wrong", settings={"train.epoch": 1})
    with pytest.raises(optmsm.ConfigError, match="data.test"):
        optmsm.compare([config], out=tmp_path / "wrong")
    with pytest.raises(optmsm.ArgumentError, match="'a/b' is no name of a folder"):
        optmsm.compare({"a/b": config}, out=tmp_path / "wrong")


def test_searches_find_the_best_of_their_trials(config, folder, rows, tmp_path):
    tables = {**config.to_dict(), "tune": {"train.optimizer.lr": {"choices": [1e-6, 0.01]}}}
    found = optmsm.tune(tables, trials=3, seed=4, out=tmp_path / "tune", data=rows("train"), valid=rows("valid"))
    assert len(found["trials"]) == 3 and found["monitor"] == "auc"
    values = [max(trial["curve"]) for trial in found["trials"]]
    assert found["trials"][0]["values"] == [] and {trial["values"][0][1] for trial in found["trials"][1:]} <= {1e-6, 0.01}
    assert found["best"]["value"] == max(values)
    assert found.markdown == (tmp_path / "tune" / "trials.md").read_text(encoding="utf-8")
    best = optmsm.Config(tmp_path / "tune" / "best.toml")
    run = optmsm.train(best, tmp_path / "run", data=rows("train"), valid=rows("valid"))
    assert max(line["overall"]["auc"] for line in run.history) == pytest.approx(max(values), abs=1e-12)


def test_benchmarks_compare_kinds(config, folder, tmp_path):
    files = {f"data.{part}": str(folder / f"{part}.csv") for part in ("valid", "test")}
    data = config.set_keys({**files, "train.epochs": 1})
    found = optmsm.bench({"clicks": data}, models=["dnn", "shared_bottom"], trials=1, seeds=2, jobs=2, out=tmp_path / "bench")
    ((name,), of) = zip(*[(path.name, path) for path in (tmp_path / "bench").iterdir() if path.is_dir()])
    assert name == "clicks"
    assert sorted(path.name for path in of[0].iterdir() if path.is_dir()) == ["dnn", "shared_bottom"]
    text = (of[0] / "bench.md").read_text(encoding="utf-8")
    for kind in ("dnn", "shared_bottom"):
        aucs = [optmsm.Run(folder).evaluate(files["data.test"]).auc for folder in sorted((of[0] / kind).glob("trial-*/seed-*"))]
        assert len(aucs) == 2 and f"{np.mean(aucs):.4f}" in text
    assert found["out"] == str(tmp_path / "bench") and len(found["benchmarks"]) == 1


def test_kinds_and_data_sets_are_listed(config, folder, program, tmp_path):
    kinds = optmsm.models()
    assert kinds == json.loads(program("models", "--json").stdout)
    names = [one["kind"] for one in kinds]
    assert {"optmsm", "dnn", "mmoe", "ple"} <= set(names) and len(names) == len(set(names))
    for kind in names:
        assert config.set(model__kind=kind).kind == kind
    assert optmsm.recipes() == json.loads(program("recipe", "--json").stdout)
    assert "ml-100k" in [one["name"] for one in optmsm.recipes()]
    with pytest.raises(optmsm.ArgumentError, match="ml-100k"):
        optmsm.recipe("ml-100", folder, tmp_path / "made")
    with pytest.raises(optmsm.DataError, match="u.data"):
        optmsm.recipe("ml-100k", tmp_path / "nothing", tmp_path / "made")


def test_synthetic_data_are_those_of_the_program(program, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    path = optmsm.synth(tmp_path / "mine.csv", rows=2000, seed=9)
    assert path == tmp_path / "mine.csv"
    program("synth", "--out", tmp_path / "program.csv", "--rows", "2000", "--seed", "9")
    assert path.read_bytes() == (tmp_path / "program.csv").read_bytes()
    assert path.read_bytes() != optmsm.synth(tmp_path / "other.csv", rows=2000, seed=10).read_bytes()
    rows = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert len(rows) == 2000 and metrics.roc_auc_score(rows["label"], rows["true_probability"]) > 0.75
    # A world is a folder with a configuration of its own.
    worlds = [name for name in _worlds(program) if name]
    folder = optmsm.synth(tmp_path / "world", world=worlds[0], rows=1000)
    assert folder == tmp_path / "world" and list(folder.glob("*.toml"))
    config = optmsm.Config(next(folder.glob("*.toml"))).set(train__epochs=1)
    run = optmsm.train(config, tmp_path / "run")
    assert run.history
    with pytest.raises(optmsm.Error, match="atlantis"):
        optmsm.synth(tmp_path / "wrong", world="atlantis")


def _worlds(program):
    """Names of worlds, by the help of the program."""
    text = program("synth", "--help").stdout
    found = re.search(r"--world <WORLD>.*?(?:possible values|Possible values):?(.*?)(?:\]|\n\n {2}-|\n\n {6}--)", text, re.S)
    assert found, text
    return re.findall(r"^\s*- ([\w-]+)", found.group(1), re.M) or [name.strip() for name in found.group(1).split(",")]
