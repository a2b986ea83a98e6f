"""Physical constants, and the conventions that the package keeps everywhere."""

from __future__ import annotations

GAS_CONSTANT_KJ_PER_MOL_K = 1.380649e-23 * 6.02214076e23 / 1000.0
"""The molar gas constant R (CODATA 2018, exact) in kJ/(mol K): kT is R T for one mole."""

HYDROGEN_MASS_DALTON = 1.5
"""Mass of a hydrogen after repartitioning, with which bonds to hydrogen bear a step of 4 fs."""

NM_PER_ANGSTROM = 0.1
"""What files in angstrom are multiplied by where they are read."""
