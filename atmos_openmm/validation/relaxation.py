"""What constraints and a short minimisation make of a frame, and how far it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from openmm import unit

from .contexts import put_frame

__all__ = ["Relaxation", "RelaxationError", "relax_frame"]

#: Relative tolerance of the constraints (OpenMM's own default is 1e-5).
CONSTRAINT_TOLERANCE = 1e-6

#: Root-mean-square force at which the minimiser stops (kJ/mol/nm), OpenMM's default.
MINIMISER_TOLERANCE = 10.0


class RelaxationError(RuntimeError):
    """Constraints or the minimiser failed on a frame; the message is OpenMM's."""


@dataclass(frozen=True)
class Relaxation:
    """A frame after its constraints, and after the minimiser.

    Attributes
    ----------
    constrained_nm : array [P,3]
        positions with the constraints applied.
    constrained_kj_per_mol : float
        potential energy there.
    relaxed_nm : array [P,3] or None
        positions after the minimiser; None when it was not asked for.
    relaxed_kj_per_mol : float
        potential energy there; NaN when it was not asked for.
    """

    constrained_nm: np.ndarray
    constrained_kj_per_mol: float
    relaxed_nm: np.ndarray | None
    relaxed_kj_per_mol: float


def _read(context: openmm.Context) -> tuple[np.ndarray, float]:
    state = context.getState(positions=True, energy=True)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return (
        np.array(positions, dtype=np.float64),
        float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)),
    )


def relax_frame(
    context: openmm.Context,
    positions_nm: np.ndarray,
    box_nm: np.ndarray | None = None,
    iterations: int = 100,
) -> Relaxation:
    """Apply the constraints to a frame and minimise its energy for a limited number of iterations.

    Parameters
    ----------
    context : openmm.Context
        holds the System; its positions are overwritten.
    positions_nm : array [P,3]
        finite.
    box_nm : array [3,3] or None
        reduced box vectors (nm).
    iterations : int
        at most so many iterations of ``openmm.LocalEnergyMinimizer``; 0 leaves it out. Reaching
        the limit is no fault: the energies of the frame after a fixed effort are what is compared.

    Returns
    -------
    Relaxation

    Raises
    ------
    RelaxationError
        when OpenMM gives up, as it does when a position becomes NaN. The Context is
        reinitialised, so that the next frame starts clean.
    """
    try:
        put_frame(context, positions_nm, box_nm)
        context.applyConstraints(CONSTRAINT_TOLERANCE)
        constrained, energy = _read(context)
        if not iterations:
            return Relaxation(constrained, energy, None, float("nan"))
        openmm.LocalEnergyMinimizer.minimize(context, MINIMISER_TOLERANCE, iterations)
        relaxed, relaxed_energy = _read(context)
    except openmm.OpenMMException as error:
        context.reinitialize()
        raise RelaxationError(str(error)) from error
    return Relaxation(constrained, energy, relaxed, relaxed_energy)
