"""Exact runs of a small molecule: its rotatable bonds, against quadrature."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from systems_support import embedded, write_sdf
from torsion_cases import assert_agrees, quadrature

from atmos_openmm.sampling import read_exact_run
from atmos_openmm.sampling.hybrid import HybridSampler
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.torsions import find_torsions

HEIGHT, SHIFT = 5.0, 0.8


def energy(t):
    return HEIGHT * (1 - np.cos(t + SHIFT))


def springs(molecule):
    """Bonds and angles of a molecule held as they are, and a potential of its first torsion."""
    topology, x = molecule.topology, molecule.positions_nm
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    pairs = [(a.index, b.index) for a, b in topology.bonds()]
    for atom in topology.atoms():
        system.addParticle(max(atom.element.mass._value, 3.0))
    for a, b in pairs:
        bonds.addBond(a, b, float(np.linalg.norm(x[a] - x[b])), 1e5)
    for k, first in enumerate(pairs):
        for second in pairs[:k]:
            shared = set(first) & set(second)
            if shared:
                (b,) = shared
                (a,), (c,) = set(first) - shared, set(second) - shared
                u, v = x[a] - x[b], x[c] - x[b]
                cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
                angles.addAngle(a, b, c, float(np.arccos(cosine)), 400.0)
    options = {"positions": x, "molecules": molecule.molecules}
    torsions = find_torsions(topology, **options)
    potential = openmm.CustomTorsionForce(f"{HEIGHT}*(1-cos(theta+{SHIFT}))")
    potential.addTorsion(*map(int, torsions.atoms[0]), [])
    for force in (bonds, angles, potential):
        system.addForce(force)
    return system, torsions


@pytest.mark.parametrize("trials", [1, 4])
def test_rotatable_bonds_of_a_ligand_reach_their_distribution(tmp_path, trials):
    molecule = read_molecule(write_sdf(tmp_path / "glycerol.sdf", embedded("OCC(O)CO", "glycerol")))
    system, torsions = springs(molecule)
    assert len(torsions) == 5  # two between carbons, three hydroxyls
    arguments = {
        "acceptance": "metropolis", "molecules": molecule.molecules, "temperature": 300.0,
        "stepSize": 0.001, "walkers": 2, "jumpInterval": 2, "moves": 4, "trials": trials,
        "seed": 3, "platform": "Reference", "equilibrationSteps": 20, "commitSeconds": 1e9,
    }  # fmt: skip
    with HybridSampler(
        molecule.topology, system, molecule.positions_nm, None, tmp_path / "run", **arguments
    ) as sampler:
        sampler.run(cycles=600)
    frames = read_exact_run(tmp_path / "run").frames
    t = frames["torsions"][np.lexsort((frames["frame"], frames["walker"]))]
    functions = [lambda t: t > 0, np.cos, np.sin, lambda t: np.cos(2 * t)]
    for f, expected in zip(functions, quadrature(energy, functions), strict=True):
        assert_agrees(f(t[:, 0]), expected)
    # The other bonds turn freely.
    for k in range(1, 5):
        assert_agrees(np.cos(t[:, k]), 0.0)
        assert_agrees(np.sin(t[:, k]), 0.0)
