"""The package's source, and made-up ones on which the rules are tried."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from source_tree import Package


@pytest.fixture(scope="session")
def package() -> Package:
    return Package(Path(__file__).parents[2] / "atmos_openmm")


@pytest.fixture
def write_package(tmp_path):
    """A function that writes files, path to text, as a package and reads it."""
    numbers = count()

    def write(files: dict[str, str]) -> Package:
        folder = tmp_path / str(next(numbers)) / "atmos_openmm"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Package(folder)

    return write
