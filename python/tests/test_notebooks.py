"""Notebooks run from their first cell to the last, and are kept without outputs."""

import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NEEDS = {
    "first_model": ["pandas", "sklearn", "matplotlib"],
    "multi_scenario": ["pandas"],
    "engines": ["pandas", "polars", "pyarrow", "duckdb", "dask"],
}
#: Seconds after which a cell hangs.
HANGS = 300


def read(name):
    nbformat = pytest.importorskip("nbformat", reason="SKIPPED: nbformat is not installed")
    path = FOLDER / f"{name}.ipynb"
    if not path.exists():
        pytest.skip("SKIPPED: no checkout")
    return nbformat.read(path, as_version=4)


def execute(name, folder):
    """Runs a notebook in a folder; returns it with its outputs."""
    book = read(name)
    nbclient = pytest.importorskip("nbclient", reason="SKIPPED: nbclient is not installed")
    for needed in ["ipykernel", *NEEDS[name]]:
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"SKIPPED: {needed} is not installed")
    return nbclient.NotebookClient(book, timeout=HANGS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()


def shown(book):
    """All that the cells show as text."""
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)


@pytest.mark.parametrize("name", NEEDS)
def test_outputs_are_cleared(name):
    for cell in read(name).cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


def test_every_notebook_is_known():
    if not FOLDER.exists():
        pytest.skip("SKIPPED: no checkout")
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NEEDS)


@pytest.mark.parametrize("name", ["first_model", "engines"])
def test_notebook_runs(name, tmp_path):
    assert shown(execute(name, tmp_path))


def test_multi_scenario_runs(tmp_path, monkeypatch):
    data = os.environ.get("OPTMSM_ML_100K")
    if not data or not Path(data).is_dir():
        pytest.skip("SKIPPED: OPTMSM_ML_100K names no folder with MovieLens-100K")
    monkeypatch.setenv("OPTMSM_ML_100K", str(Path(data).absolute()))
    # Of two seeds nothing is concluded, as its text says.
    assert "no conclusion" in shown(execute("multi_scenario", tmp_path))


def test_multi_scenario_says_where_the_data_are(tmp_path, monkeypatch):
    monkeypatch.delenv("OPTMSM_ML_100K", raising=False)
    exceptions = pytest.importorskip("nbclient.exceptions", reason="SKIPPED: nbclient is not installed")
    with pytest.raises(exceptions.CellExecutionError) as caught:
        execute("multi_scenario", tmp_path)
    assert caught.value.ename == "FileNotFoundError"
    assert "Get ml-100k.zip from https://grouplens.org/" in caught.value.evalue
