"""Ideal geometry of hydrogens: lengths, angles, torsion barriers, contact parameters.

Lengths and angles are the equilibrium values of the Amber force fields from ff94 to ff19SB
(Cornell et al., J. Am. Chem. Soc. 117, 5179, 1995), Lennard-Jones parameters theirs by element
(Cornell et al.; halogens: GAFF, Wang et al., J. Comput. Chem. 25, 1157, 2004), so that what is
placed is close to a minimum of the force fields that proteins are simulated with. Barriers are
sums over the torsions of a bond in the same force fields. Elements that these do not have get the
sum of covalent radii and tetrahedral angles.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TETRAHEDRAL = math.radians(109.5)
METHYLENE_HALF_ANGLE = math.radians(54.0)
"""Half of H-C-H in a methylene: its C-C-C is wider than tetrahedral, its H-C-H 108 degrees."""

_LENGTHS_NM = {
    (6, "tetrahedral"): 0.1090,
    (6, "planar"): 0.1080,
    (6, "linear"): 0.1056,
    7: 0.1010,
    8: 0.0960,
    16: 0.1336,
    15: 0.1400,
    14: 0.1480,
    5: 0.1190,
    34: 0.1460,
}

# X-A-H of a hydrogen on an atom with one heavy neighbour, degrees: A's element and shape.
_BENDS = {
    (8, "bent"): 108.5,
    (8, "conjugated"): 113.0,
    (16, "bent"): 96.0,
    (16, "conjugated"): 96.0,
    (34, "bent"): 94.0,
    (34, "conjugated"): 94.0,
}

# Half of the smallest well distance (nm) and depth (kJ/mol).
_CONTACTS = {
    6: (0.1908, 0.360),
    7: (0.1824, 0.711),
    8: (0.1661, 0.879),
    9: (0.1750, 0.255),
    15: (0.2100, 0.837),
    16: (0.2000, 1.046),
    17: (0.1948, 1.109),
    35: (0.2220, 1.339),
    53: (0.2350, 1.674),
}
_CONTACT_HYDROGEN = (0.1450, 0.0657)
_CONTACT_POLAR_HYDROGEN = (0.0600, 0.0657)
_CONTACT_OTHER = (0.2000, 0.400)

# Charges for hydrogen bonds, in units of e: round figures of the same force fields.
_CHARGES = {7: -0.40, 8: -0.55, 9: -0.20, 16: -0.25}
_CHARGE_POLAR_HYDROGEN = {7: 0.35, 8: 0.42, 16: 0.20}


def bond_length_nm(element: int, shape: str) -> float:
    """Return the length of the bond from an atom to its hydrogen, nm.

    Parameters
    ----------
    element : int
        atomic number of the heavier atom
    shape : str
        "tetrahedral", "planar" or "linear": matters for carbon
    """
    if (element, shape) in _LENGTHS_NM:
        return _LENGTHS_NM[element, shape]  # type: ignore[index]
    if element in _LENGTHS_NM:
        return _LENGTHS_NM[element]  # type: ignore[index]
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    return 0.1 * float(table.GetRcovalent(element) + table.GetRcovalent(1))


def bend_angle(element: int, shape: str) -> float:
    """Return the angle at an atom between its heavy neighbour and its hydrogen, radians.

    Parameters
    ----------
    element : int
        atomic number of the atom that carries the hydrogen
    shape : str
        "bent", "conjugated" (bent, beside a planar atom), "planar", "linear" or "tetrahedral"
    """
    if shape == "linear":
        return math.pi
    if shape == "planar":
        return math.radians(120.0)
    return math.radians(_BENDS.get((element, shape), 109.5))


def contact_parameters(element: int, parent: int | None = None) -> tuple[float, float, float]:
    """Return an atom's Lennard-Jones half distance (nm), depth (kJ/mol) and charge (e).

    Parameters
    ----------
    element : int
        atomic number
    parent : int, optional
        for a hydrogen, the atomic number of the atom that carries it
    """
    if element != 1:
        return (*_CONTACTS.get(element, _CONTACT_OTHER), _CHARGES.get(element, 0.0))
    if parent in _CHARGE_POLAR_HYDROGEN:
        return (*_CONTACT_POLAR_HYDROGEN, _CHARGE_POLAR_HYDROGEN[parent])
    return (*_CONTACT_HYDROGEN, 0.0)


# By the surroundings of the atom that a rotor is bonded to, and the element that turns (0: any).
_COSINES = {
    "tetrahedral": {8: (0.0, 0.0, 2.1), 16: (0.0, 0.0, 3.1), 0: (0.0, 0.0, 6.0)},
    # Phenols are flat; a methyl or ammonium on an aromatic ring turns nearly freely.
    "flat": {8: (0.0, -7.5, 0.0), 16: (0.0, -2.0, 0.0), 0: (0.0, 0.0, 0.0)},
    # A methyl's hydrogen eclipses the double bond beside it.
    "alkene": {8: (0.0, -7.5, 0.0), 16: (0.0, -2.0, 0.0), 0: (0.0, 0.0, -4.0)},
    # Carboxylic acids: syn is about 20 kJ/mol below anti, with a barrier between.
    "carbonyl": {8: (-10.0, -15.0, 0.0), 16: (-5.0, -7.5, 0.0), 0: (0.0, 0.0, -1.5)},
    # Oximes and hydroxamic acids: anti.
    "nitrogen": {8: (10.0, -7.5, 0.0), 0: (0.0, 0.0, 0.0)},
    # Phosphates and sulfates: the hydroxyl turns to an oxygen.
    "oxide": {8: (-8.0, 0.0, 0.0), 0: (0.0, 0.0, 3.0)},
    # Sulfonamides: hydrogens eclipse the oxygens.
    "sulfonyl": {7: (8.0, 0.0, -4.0), 0: (0.0, 0.0, 3.0)},
}


def cosine_coefficients(element: int, surroundings: str) -> tuple[float, float, float]:
    """Return c1, c2, c3 (kJ/mol) of the energy c1 cos t + c2 cos 2t + c3 cos 3t of a rotor.

    t is the torsion of a hydrogen about the bond to the heavy neighbour, relative to the reference
    atom; the energy of a group is the mean over its hydrogens.

    Parameters
    ----------
    element : int
        atomic number of the atom that turns
    surroundings : str
        what it is bonded to: "tetrahedral", "flat" (aromatic, or flat without a double bond of its
        own), and, with the reference at the double bond, "alkene", "carbonyl", "nitrogen" (a flat
        one), "oxide" (P or S with a double bond to O); or "sulfonyl", with the reference at the
        third substituent
    """
    table = _COSINES[surroundings]
    return table.get(element, table[0])


def rotor_start(cosines: tuple[float, float, float], count: int, step: float) -> float:
    """Return the torsion of the first of `count` hydrogens, `step` apart, of lowest energy."""
    grid = [math.pi, 0.0, *(math.radians(15.0 * k) for k in range(1, 24))]

    def energy(start: float) -> float:
        torsions = [start + step * k for k in range(count)]
        total = sum(c * math.cos((n + 1) * t) for t in torsions for n, c in enumerate(cosines))
        # Rounded, so that of equal minima the first in the grid is taken everywhere.
        return round(total / count, 6)

    return min(grid, key=energy)


def on_cone(length: float, angle: float, azimuth: float) -> FloatArray:
    """Return a hydrogen's place [3] in the frame of an atom with one heavy neighbour.

    The frame's z axis points from the neighbour to the atom, its y axis to the side of the
    reference atom, so that `azimuth` is the torsion reference-neighbour-atom-hydrogen.
    """
    side = length * math.sin(angle)
    return np.array([side * math.sin(azimuth), side * math.cos(azimuth), -length * math.cos(angle)])


def lone_hydrogens(element: int, count: int, length: float) -> FloatArray:
    """Return the hydrogens [count, 3] of an atom without heavy neighbours (water, ammonium)."""
    if count == 1:
        return np.array([[0.0, 0.0, length]])
    if count == 2:
        half = math.radians({8: 104.52, 16: 92.1}.get(element, 107.0)) / 2
        sides = (math.sin(half), -math.sin(half))
        return np.array([[0.0, length * s, length * math.cos(half)] for s in sides])
    corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) / math.sqrt(3.0)
    return np.asarray(length * corners[:count])
