"""The API reference names what is there, and all of the integrator."""

import importlib
import re
from pathlib import Path

import openmm
import pytest

DOCS = Path(__file__).parents[2] / "docs"
REFERENCES = [
    name
    for page in sorted(DOCS.rglob("*.md"))
    for name in re.findall(r"^::: (atmos_openmm\S+)$", page.read_text(encoding="utf-8"), re.M)
]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_names_what_can_be_imported(name):
    module, attribute = name.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), attribute))


def test_public_names_are_in_the_reference():
    import atmos_openmm
    from atmos_openmm import sampling

    for package in (atmos_openmm, sampling):
        for name in package.__all__:
            there = {f"atmos_openmm.{name}", f"{package.__name__}.{name}"} & set(REFERENCES)
            assert there, f"{name} is not in docs/api"


def test_methods_of_the_compiled_class_are_named():
    """The reference is made from Python sources alone, so these stand in a table."""
    from atmos_openmm import AtmosIntegrator

    page = (DOCS / "api" / "propagator.md").read_text(encoding="utf-8")
    methods = set(dir(AtmosIntegrator)) - set(dir(openmm.LangevinMiddleIntegrator))
    compiled = {name for name in methods - set(vars(AtmosIntegrator)) if name[0] != "_"}
    assert compiled == set(re.findall(r"`([gs]et\w+)`", page))
