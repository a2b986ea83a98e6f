"""A small molecule with rotatable bonds, one of which has a potential of its own."""

from __future__ import annotations

import numpy as np
import openmm
from systems_support import embedded, write_sdf

from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.torsions import find_torsions

HEIGHT, SHIFT = 5.0, 0.8


def energy(t):
    return HEIGHT * (1 - np.cos(t + SHIFT))


def glycerol(folder):
    """Two bonds between carbons and three hydroxyls; its SDF file is in the folder."""
    return read_molecule(write_sdf(folder / "glycerol.sdf", embedded("OCC(O)CO", "glycerol")))


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
