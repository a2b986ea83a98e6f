"""The engine that makes the benchmark's references, against OpenMM and the canonical ensemble."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from boltzmann.batched_md import LANES, BatchedMD  # noqa: E402
from boltzmann.molecules import molecule  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")


def begin(name):
    which = molecule(name)
    _, start, system = which.build()
    random = np.random.default_rng(1)
    x = start[..., None] + random.normal(0, 0.002, (*start.shape, LANES))
    return which, BatchedMD(system), np.ascontiguousarray(x, np.float32)


@pytest.mark.parametrize("name", ["TYR", "PQIF", "HEAV"])
def test_energies_and_forces_are_those_of_openmm(name):
    """Both force fields, charged ends, a proline at the start, rings."""
    _, engine, x = begin(name)
    energy, force = engine.compare(x)
    # Single precision: sums of about 10,000 terms, of up to some thousand kJ/mol.
    assert energy < 0.05
    assert force < 1e-3


@pytest.mark.parametrize("name", ["ALA", "GCDE"])
def test_velocities_and_constraints(name):
    """Kinetic energy is kT/2 for each degree of freedom, and constraints hold."""
    which, engine, x = begin(name)
    random = np.random.default_rng(2)
    state = {
        "positions": x,
        "velocities": np.zeros_like(x),
        "random": random.integers(1, 2**32, (4, LANES), dtype=np.uint32),
    }
    kT = np.full(LANES, which.kT)
    engine.advance(state, kT, 0.0005, 20.0, 2000)
    masses = np.array([engine.system.getParticleMass(i)._value for i in range(len(x))])
    free = 3 * len(x) - engine.system.getNumConstraints()
    kinetic = []
    for _ in range(100):
        engine.advance(state, kT, 0.001, 5.0, 100)
        kinetic.append(0.5 * (masses[:, None, None] * state["velocities"] ** 2).sum(axis=(0, 1)))
    expected = 0.5 * free * which.kT
    # 1,600 values of relative spread sqrt(2/free), nearly independent; the leapfrog's half step
    # adds a few thousandths. Five standard errors.
    error = 5 * np.sqrt(2 / free / 1600) + 0.005
    assert np.mean(kinetic) == pytest.approx(expected, rel=error)
    for k in range(engine.system.getNumConstraints()):
        i, j, length = engine.system.getConstraintParameters(k)
        gap = np.linalg.norm(state["positions"][i] - state["positions"][j], axis=0)
        assert np.abs(gap - length._value).max() < 1e-5
