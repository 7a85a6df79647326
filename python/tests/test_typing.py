"""Types: of the stub against the module, of the package, and of programs that use it."""

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import optmsm
import pytest
from optmsm import _internal

PACKAGE = Path(optmsm.__file__).parent
STUB = PACKAGE / "_internal.pyi"

RIGHT = """
from pathlib import Path

import numpy as np
import optmsm
from optmsm.callbacks import Evaluated, early_stopping, record_evaluation

config: optmsm.Config = optmsm.Config({"data": {"train": "rows.csv", "fields": [{"name": "user"}]}}, train__seed=2)
config = optmsm.Config.guess("rows.csv", label="click", scenario="tab").set(train__epochs=3)
seed: int = config["train.seed"]
path: Path = config.save("my.toml")


def hear(at: Evaluated) -> bool:
    return at.best and at.metrics["auc"] > 0.9


history: dict[str, dict[str, list[float]]] = {}
run: optmsm.Run = optmsm.train(
    config,
    Path("runs") / "one",
    data={"user": np.arange(3)},
    callbacks=[hear, record_evaluation(history), early_stopping(3)],
    max_steps=10,
)
mean: float = float(run.predict("rows.csv").mean())
written: Path = run.predict("rows.csv", out="found.parquet")
found: optmsm.Evaluation = run.evaluate("rows.csv")
auc: float | None = found.auc
values, table = run.embeddings("user")
first: str | None = values[0]
width: int = table.shape[1]
again: optmsm.Run = optmsm.resume(run, settings={"train.epochs": 4})
page: optmsm.Page = run.report(others=[again, "runs/two"])
test: optmsm.Evaluation | None = run.test
score = optmsm.Scorer(run)
report: str = optmsm.compare({"a": config, "b": config.set(model__kind="mmoe")}, seeds=2).markdown
kinds: list[str] = [one["kind"] for one in optmsm.models()]
try:
    optmsm.Run("nothing")
except optmsm.FileError as problem:
    name: str = str(problem)
"""

OF_ESTIMATOR = """
import optmsm

model = optmsm.OptMsmClassifier(scenario="tab", model="mmoe", fields={"price": "numeric"}, epochs=2)
run: optmsm.Run = model.fit({"user": [1, 2], "tab": ["a", "b"]}, [0, 1]).run_
of_second = model.predict_proba({"user": [1], "tab": ["a"]})[:, 1]
best: float = model.best_iteration_
found: optmsm.Evaluation = model.evaluate({"user": [1], "tab": ["a"]}, [1])
"""

# Lines that end in "# wrong" have to be found, and no others.
WRONG = """
import optmsm

config = optmsm.Config("my.toml")
optmsm.fit(config)  # wrong
run = optmsm.train(config)
optmsm.train(config, directory="runs/one")  # wrong
optmsm.Run(1)  # wrong
run.predict("rows.csv").exists()  # wrong
run.predict("rows.csv", out="found.csv").mean()  # wrong
run.evaluate("rows.csv").accuracy  # wrong
optmsm.resume(run, settings=["train.epochs=4"])  # wrong
number: int = config.kind  # wrong
optmsm.callbacks.early_stopping("auc")  # wrong
"""

OF_ESTIMATOR_WRONG = """
import optmsm

model = optmsm.OptMsmClassifier(domain="tab")  # wrong
model = optmsm.OptMsmClassifier(epochs="many")  # wrong
name: str = model.best_iteration_  # wrong
"""


#: The folder of the sources, which the package under test may be installed from.
SOURCES = Path(__file__).resolve().parents[1]
CHECKOUT = pytest.mark.skipif(not (SOURCES / "optmsm" / "_internal.pyi").exists(), reason="SKIPPED: no checkout")


def environment() -> dict[str, str]:
    """Where checkers find the package: an installed one by themselves."""
    found = dict(os.environ)
    if "site-packages" not in PACKAGE.parts:
        found["MYPYPATH"] = str(PACKAGE.parent)
        found["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    return found


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of mypy for all tests: what it knows of NumPy takes longest."""
    return tmp_path_factory.mktemp("mypy")


def mypy(folder: Path, text: str, cache: Path) -> tuple[set[int], str]:
    """Lines with errors, and the whole answer."""
    pytest.importorskip("mypy", reason="SKIPPED: mypy is not installed")
    (folder / "program.py").write_text(text)
    done = python(
        "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={cache}", "--config-file=", "program.py", cwd=folder
    )
    answer = done.stdout + done.stderr
    assert done.returncode in (0, 1), answer
    return {int(line) for line in re.findall(r"^program\.py:(\d+): error", answer, re.M)}, answer


def pyright_or_skip(folder: Path) -> None:
    begins = importlib.util.find_spec("pyright") and python("-m", "pyright", "--version", cwd=folder)
    if not begins or begins.returncode:
        pytest.skip("SKIPPED: pyright is not installed, or has no node")


def pyright(folder: Path, text: str) -> tuple[set[int], str]:
    """The same of pyright."""
    pyright_or_skip(folder)
    (folder / "program.py").write_text(text)
    (folder / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{PACKAGE.parent.as_posix()}"], "reportMissingModuleSource": false}}')
    done = python("-m", "pyright", "--pythonpath", sys.executable, cwd=folder)
    answer = done.stdout + done.stderr
    assert done.returncode in (0, 1), answer
    return {int(line) for line in re.findall(r"program\.py:(\d+):\d+ - error", answer)}, answer


def wrong(text: str) -> set[int]:
    return {at for at, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("of_estimator", [False, True], ids=["engine", "estimator"])
def test_mypy_on_programs(of_estimator, tmp_path, cache):
    if of_estimator:
        pytest.importorskip("sklearn", reason="SKIPPED: scikit-learn is not installed")
    good, bad = (OF_ESTIMATOR, OF_ESTIMATOR_WRONG) if of_estimator else (RIGHT, WRONG)
    lines, answer = mypy(tmp_path, good, cache)
    assert not lines, answer
    lines, answer = mypy(tmp_path, bad, cache)
    assert lines == wrong(bad), answer


@pytest.mark.parametrize("of_estimator", [False, True], ids=["engine", "estimator"])
def test_pyright_on_programs(of_estimator, tmp_path):
    if of_estimator:
        pytest.importorskip("sklearn", reason="SKIPPED: scikit-learn is not installed")
    good, bad = (OF_ESTIMATOR, OF_ESTIMATOR_WRONG) if of_estimator else (RIGHT, WRONG)
    lines, answer = pyright(tmp_path, good)
    assert not lines, answer
    lines, answer = pyright(tmp_path, bad)
    assert lines == wrong(bad), answer


@CHECKOUT
def test_mypy_on_the_package(cache):
    pytest.importorskip("mypy", reason="SKIPPED: mypy is not installed")
    done = python("-m", "mypy", f"--cache-dir={cache}", cwd=SOURCES)
    assert done.returncode == 0, done.stdout + done.stderr


@CHECKOUT
def test_pyright_on_the_package():
    pyright_or_skip(SOURCES)
    done = python("-m", "pyright", "--pythonpath", sys.executable, cwd=SOURCES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubtest(tmp_path):
    pytest.importorskip("mypy", reason="SKIPPED: mypy is not installed")
    done = python("-m", "mypy.stubtest", "optmsm._internal", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def parameters(of: ast.FunctionDef) -> list[str]:
    args = of.args
    assert not (args.vararg or args.kwarg or args.kwonlyargs), of.name
    return [arg.arg for arg in args.posonlyargs + args.args]


def own_parameters(of: object) -> list[str]:
    """Names in the text signature of a function or class."""
    return list(inspect.signature(of).parameters)


def test_stub_has_the_names_of_the_module():
    """Needs no mypy: every name is in both, with the same names of parameters."""
    public = {name for name in vars(_internal) if not name.startswith("_")} | {"__version__"}
    stub = ast.parse(STUB.read_text(encoding="utf-8"))
    in_stub = {}
    for node in stub.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            in_stub[node.name] = node
        elif isinstance(node, ast.AnnAssign) and node.target.id == "__version__":
            in_stub["__version__"] = node
    assert set(in_stub) == public
    assert set(_internal.__all__) == public
    for name, node in in_stub.items():
        own = getattr(_internal, name)
        if isinstance(node, ast.FunctionDef):
            assert parameters(node) == own_parameters(own), name
        if not isinstance(node, ast.ClassDef):
            continue
        members = {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}
        of_own = {member for member in vars(own) if not member.startswith("_")}
        assert {member for member in members if not member.startswith("_")} == of_own, name
        for member, definition in members.items():
            is_property = any(isinstance(mark, ast.Name) and mark.id == "property" for mark in definition.decorator_list)
            if member == "__new__":
                assert parameters(definition)[1:] == own_parameters(own), name
            elif member in of_own and not is_property:
                assert parameters(definition) == own_parameters(getattr(own, member)), f"{name}.{member}"
