"""Code of the pages runs as it stands: all blocks of a page in one namespace, in a folder of their own."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/python.md", "python/README.md", "README.md"]


def blocks(text: str) -> list[tuple[int, str]]:
    """Lines on which blocks of Python begin, and what they hold; not those that say ``no-run``."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    return [(text.count("\n", 0, block.start(1)) + 1, block.group(1)) for block in found]


def missing(block: str) -> list[str]:
    """Modules that it imports and that are not here."""
    names = set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


def test_blocks_are_found():
    text = "a\n```python\nx = 1\n```\n```python no-run\ny\n```\n```toml\nz = 1\n```\n```python\nimport nothing_here\n```\n"
    assert blocks(text) == [(3, "x = 1\n"), (12, "import nothing_here\n")]
    assert missing(blocks(text)[1][1]) == ["nothing_here"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    path = ROOT / page
    if not (ROOT / PAGES[0]).exists() or not path.exists():
        pytest.skip("SKIPPED: no checkout")
    for needed in ("pandas", "sklearn"):  # the first block's, on which the others build
        pytest.importorskip(needed, reason=f"SKIPPED: {needed} is not installed")
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert blocks(text)
    space: dict[str, object] = {"__name__": "page"}
    left_out = []
    for line, block in blocks(text):
        lacks = missing(block)
        if lacks:
            left_out.append(f"line {line}: needs {', '.join(lacks)}")
            continue
        # With the page's own lines in a traceback.
        exec(compile("\n" * (line - 1) + block, str(path), "exec"), space)
    if left_out:
        pytest.skip("SKIPPED: " + "; ".join(left_out))
