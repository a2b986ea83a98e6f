"""Systems of two molecules, and a ligand with stereochemistry; loaded by path."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm.systems.peptides import build_peptide

VACUUM = ("amber14-all.xml",)


@lru_cache
def two_peptides() -> tuple[Any, np.ndarray]:
    """Two capped peptides side by side, with charges, aromatic rings and proline."""
    first, x = build_peptide("ACE-LYS-PRO-PHE-NME", seed=1)
    second, y = build_peptide("ACE-GLU-TRP-NME", seed=2)
    y = y - y.mean(axis=0) + x.mean(axis=0)
    # Moved apart until the nearest atoms are 0.3 nm from each other.
    while np.linalg.norm(y[:, None] - x[None], axis=-1).min() < 0.3:
        y = y + np.array([0.0, 0.02, 0.01])
    modeller = app.Modeller(first, x * unit.nanometer)
    modeller.add(second, y * unit.nanometer)
    return modeller.topology, np.concatenate([x, y])


@lru_cache
def peptide_in_water() -> tuple[Any, np.ndarray, np.ndarray]:
    """A capped alanine in TIP3P with salt; positions and box vectors in nm."""
    topology, x = build_peptide("ACE-ALA-NME", seed=1)
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.addSolvent(
        field,
        boxSize=openmm.Vec3(2.1, 2.1, 2.1) * unit.nanometer,
        ionicStrength=0.4 * unit.molar,
    )
    vectors = modeller.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return modeller.topology, positions, np.array([list(row) for row in vectors])


def springs(topology: Any, positions_nm: np.ndarray) -> openmm.System:
    """Bonds and angles held as they are in some positions, and nothing else."""
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    neighbours: dict[int, list[int]] = {}
    for atom in topology.atoms():
        system.addParticle(max(atom.element.mass._value, 1.0))
    for a, b in topology.bonds():
        length = float(np.linalg.norm(positions_nm[a.index] - positions_nm[b.index]))
        bonds.addBond(a.index, b.index, length, 3e5)
        neighbours.setdefault(a.index, []).append(b.index)
        neighbours.setdefault(b.index, []).append(a.index)
    for middle, ends in neighbours.items():
        for k, first in enumerate(ends):
            for second in ends[:k]:
                u, v = (positions_nm[n] - positions_nm[middle] for n in (first, second))
                cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
                angles.addAngle(first, middle, second, float(np.arccos(cosine)), 400.0)
    system.addForce(bonds)
    system.addForce(angles)
    return system
