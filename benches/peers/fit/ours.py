"""Our side: the program, and whether it does what the other side does."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fit.data import columns
from fit.forms import case_of, shapes
from fit.protocol import ADAM, BATCH_SIZE, DIM, EPOCHS, FIELDS, INIT_STD, SETTINGS
from fit.results import metrics


def toml(value):
    """A value in one line of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def configuration(kind, seed, folder):
    """Text of the configuration of one run."""
    own = SETTINGS[kind]
    sections = {
        "data": {"train": "train.csv", "test": "test.csv", "fields": FIELDS},
        "model": {
            "kind": kind, "embedding_dim": DIM, "init_std": INIT_STD, **(own if kind == "optmsm" else {kind: own})
        },
        # Without validation rows nothing stops early, and the last parameters predict.
        "train": {
            "epochs": EPOCHS, "batch_size": BATCH_SIZE, "seed": seed, "threads": 1, "optimizer": {"rule": "adam", **ADAM}
        },
    }
    lines = [f"data_dir = {toml(str(folder))}"]
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{k} = {toml(v)}" for k, v in keys.items())]
    return "\n".join(lines) + "\n"


def fit_ours(kind, seed, data, folder, program):
    """Trains a kind; probabilities of the test rows. Ends where metrics, vocabularies or tensors are not as expected."""
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        config, run, out = work / "fit.toml", work / "run", work / "predictions.csv"
        config.write_text(configuration(kind, seed, folder))
        trained = json.loads(command(program, "train", "--config", config, "--run", run, "--json"))
        command(program, "predict", run, "--data", folder / "test.csv", "--out", out)
        held = json.loads(command(program, "inspect", run, "--json"))
        found = np.array(columns(out)["prediction"], dtype=np.float32)
    said, calculated = trained["test"]["overall"], metrics(data, found)
    for metric, value in calculated.items():
        if abs(said[metric] - value) > 1e-6:
            raise SystemExit(f"{kind}, seed {seed}: {metric} is {value} here, {said[metric]} by optmsm")
    sizes = {f["name"]: f["ids"] for f in held["fields"]}
    expected = {f["name"]: f["vocab"] for f in data.fields}
    if sizes != expected or said["rows"] != len(data.test["label"]):
        raise SystemExit(f"vocabularies have other sizes here, {expected}, than by optmsm, {sizes}")
    ours = {t["name"]: tuple(t["shape"]) for t in held["tensors"]}
    if ours != {name: tuple(shape) for name, shape in shapes(case_of(kind, data)).items()}:
        raise SystemExit(f"{kind}: the tensors of optmsm are not those of the transcription: {ours}")
    return found


def command(*words):
    """Standard output of a program that has to succeed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout
