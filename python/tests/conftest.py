"""Data, a run and the program, for all tests."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optmsm
import pytest

#: Seconds after which a process hangs.
HANGS = 120


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with the files ``train.csv``, ``valid.csv`` and ``test.csv`` of synthetic clicks, and ``config.toml``."""
    folder = tmp_path_factory.mktemp("clicks")
    # Of a file alone: of one with others beside it, they are taken for validation and test.
    config = optmsm.Config.guess(optmsm.synth(folder / "all.csv", rows=4000, seed=5), label="label", scenario="scenario")
    made = (folder / "all.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    parts = {"train": (0, 3000), "valid": (3000, 3500), "test": (3500, 4000)}
    for name, (first, end) in parts.items():
        (folder / f"{name}.csv").write_text("".join([made[0], *made[1 + first : 1 + end]]), encoding="utf-8")
    config = config.set(data__train=folder / "train.csv", train__epochs=2, train__batch_size=128, model__experts__hidden=[16])
    config.save(folder / "config.toml")
    return folder


@pytest.fixture(scope="session")
def config(folder):
    """The configuration of the training file."""
    return optmsm.Config(folder / "config.toml")


@pytest.fixture(scope="session")
def run(folder, config):
    """A run of the files, made in Python."""
    return optmsm.train(config, folder / "run", valid=folder / "valid.csv", test=folder / "test.csv")


@pytest.fixture(scope="session")
def rows(folder):
    """The columns of a file: texts, with numbers and None where a pandas user has them."""

    def rows(name):
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        columns = {key: list(values) for key, values in zip(lines[0], zip(*lines[1:]))}
        for key, values in columns.items():
            of = {"label": int, "position": int, "price": float, "true_probability": float}.get(key, str)
            columns[key] = [of(value) if value else None for value in values]
        return columns

    return rows


@pytest.fixture(scope="session")
def program():
    """The program, which must end with an exit code; returns the process that was."""

    def program(*args, code=0, **options):
        command = [sys.executable, "-m", "optmsm", *map(os.fspath, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, **options)
        assert done.returncode == code, done.stderr
        return done

    return program


@pytest.fixture(scope="session")
def predicted(program):
    """Predictions that the program writes for a file, as numbers of 32 bits."""

    def predicted(run, data, *more):
        text = program("predict", run, "--data", data, "--out", "-", *more).stdout
        values = [line["prediction"] for line in csv.DictReader(text.splitlines())]
        return np.array(values, dtype=np.float64).astype(np.float32)

    return predicted


@pytest.fixture
def python(tmp_path):
    """Python in a process of its own, which must end by itself; returns its lines on standard output."""

    def python(code, *args, expected=0, **options):
        path = tmp_path / f"script{len(list(tmp_path.glob('script*.py')))}.py"
        path.write_text(code, encoding="utf-8")
        command = [sys.executable, str(path), *map(os.fspath, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, **options)
        assert done.returncode == expected, done.stderr
        return done

    return python


def best(run) -> bytes:
    """The bytes of a run's best parameters."""
    return (Path(getattr(run, "folder", run)) / "checkpoints" / "best.safetensors").read_bytes()


@pytest.fixture(scope="session")
def parameters():
    """The bytes of a run's best parameters."""
    return best
