"""The largest force in a frame, and the atom that it acts on."""

from __future__ import annotations

import numpy as np
import openmm

from ..jump.velocities import particle_masses

__all__ = ["largest_force", "movable_particles"]


def movable_particles(system: openmm.System) -> np.ndarray:
    """Tell which particles have mass, [P] bool; virtual sites and fixed particles have none."""
    return particle_masses(system) > 0


def largest_force(forces_kj_per_mol_nm: np.ndarray, movable: np.ndarray) -> tuple[int, float]:
    """Find the largest force on a frame.

    Massless particles are passed over: a virtual site hands its force on to the particles that
    define it, and a fixed particle does not follow its force. A force that is not finite counts
    as the largest of all.

    Parameters
    ----------
    forces_kj_per_mol_nm : array [P,3]
    movable : array [P], bool
        the particles with mass (`movable_particles`).

    Returns
    -------
    int, float
        Number of the particle and the length of its force (kJ/mol/nm), infinite where a component
        is not finite.
    """
    magnitude = np.linalg.norm(forces_kj_per_mol_nm, axis=1)
    magnitude[~np.isfinite(magnitude)] = np.inf
    magnitude = np.where(movable, magnitude, -1.0)
    atom = int(np.argmax(magnitude))
    return atom, float(magnitude[atom])
