"""Bonds, angles and constraints of a System, and how far a frame is from their equilibrium.

A harmonic term with the energy k (x - x0)^2 / 2 has, on its own, a Gaussian distribution with the
standard deviation sqrt(kT / k). Deviations are given in that unit, "thermal sigmas", so that one
threshold serves stiff and soft terms alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openmm

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..core.geometry import bond_angles, bond_lengths
from ..systems.openmm_bridge import constraint_arrays

__all__ = [
    "CONSTRAINT_SIGMA_NM",
    "HarmonicTerms",
    "angle_deviations",
    "angle_terms",
    "bond_deviations",
    "bond_terms",
    "constraint_terms",
    "thermal_energy",
]

#: The thermal width at 300 K that a flexible bond to hydrogen has (k = 2.8e5 kJ/mol/nm^2, the
#: C-H bond of the AMBER force fields). A constraint has no force constant; this stands in for it.
CONSTRAINT_SIGMA_NM = 0.003


def thermal_energy(temperature_K: float) -> float:
    """The thermal energy kT (kJ/mol)."""
    return GAS_CONSTANT_KJ_PER_MOL_K * temperature_K


@dataclass(frozen=True)
class HarmonicTerms:
    """Terms of one kind.

    Attributes
    ----------
    atoms : array [M,2] or [M,3], int64
        particle numbers.
    equilibrium : array [M]
        lengths (nm) or angles (radians).
    sigma : array [M]
        thermal width of each (nm or radians).
    """

    atoms: np.ndarray
    equilibrium: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.atoms)

    def some(self, chosen: np.ndarray) -> HarmonicTerms:
        """Those that a mask [M] chooses."""
        return HarmonicTerms(self.atoms[chosen], self.equilibrium[chosen], self.sigma[chosen])


def _terms(
    rows: Sequence[tuple[tuple[int, ...], float, float]], width: int, temperature_K: float
) -> HarmonicTerms:
    # A term without a force constant says nothing about the geometry.
    rows = [row for row in rows if row[2] > 0]
    constants = np.array([row[2] for row in rows], dtype=np.float64)
    return HarmonicTerms(
        np.array([row[0] for row in rows], dtype=np.int64).reshape(-1, width),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.sqrt(thermal_energy(temperature_K) / constants),
    )


def bond_terms(system: openmm.System, temperature_K: float) -> HarmonicTerms:
    """Collect the bonds of all HarmonicBondForces of a System.

    Parameters
    ----------
    system : openmm.System
    temperature_K : float
        temperature of the thermal widths.

    Returns
    -------
    HarmonicTerms
        lengths in nm. Bonds of zero force constant are left out.
    """
    rows = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for i in range(force.getNumBonds()):
                a, b, length, constant = force.getBondParameters(i)
                rows.append(((a, b), length._value, constant._value))
    return _terms(rows, 2, temperature_K)


def angle_terms(system: openmm.System, temperature_K: float) -> HarmonicTerms:
    """Collect the angles of all HarmonicAngleForces of a System (radians), as `bond_terms` does."""
    rows = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicAngleForce):
            for i in range(force.getNumAngles()):
                a, b, c, angle, constant = force.getAngleParameters(i)
                rows.append(((a, b, c), angle._value, constant._value))
    return _terms(rows, 3, temperature_K)


def constraint_terms(system: openmm.System, temperature_K: float) -> HarmonicTerms:
    """Collect the constraints of a System as bonds with the width `CONSTRAINT_SIGMA_NM`.

    The width is scaled to the temperature by the square root, as a thermal width is.
    """
    pairs, lengths = constraint_arrays(system)
    sigma = CONSTRAINT_SIGMA_NM * np.sqrt(temperature_K / 300.0)
    return HarmonicTerms(pairs, lengths, np.full(len(pairs), sigma))


def bond_deviations(terms: HarmonicTerms, positions_nm: np.ndarray) -> np.ndarray:
    """Length minus equilibrium length of each bond (nm), [M]; molecules have to be whole."""
    return bond_lengths(positions_nm[None], terms.atoms)[0] - terms.equilibrium


def angle_deviations(terms: HarmonicTerms, positions_nm: np.ndarray) -> np.ndarray:
    """Angle minus equilibrium angle of each term (radians), [M]; molecules have to be whole.

    An angle with a vertex on top of one of its ends is not defined; its deviation is given as pi.
    """
    deviation = bond_angles(positions_nm[None], terms.atoms)[0] - terms.equilibrium
    sides = [bond_lengths(positions_nm[None], terms.atoms[:, ends])[0] for ends in ([0, 1], [1, 2])]
    return np.where((sides[0] > 0) & (sides[1] > 0), deviation, np.pi)
