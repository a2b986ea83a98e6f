"""Benchmarks and examples import what is there, and every benchmark is told of."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_imports_are_there(script):
    """Without running the script, which takes minutes."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atmos_openmm"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_every_benchmark_is_told_of():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    named = {script.name for script in SCRIPTS if script.name in pages}
    helpers = {"measuring.py", "network_worker.py"}
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} - helpers <= named
