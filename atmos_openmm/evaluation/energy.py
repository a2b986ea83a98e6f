"""Potential energies under the user's own System, and how far two distributions of them are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openmm

__all__ = ["EnergyDifference", "energy_difference", "potential_energies"]

CONSTRAINT_TOLERANCE = 1e-6


def potential_energies(
    positions_nm: NDArray[Any],
    system: openmm.System,
    platform: str = "CPU",
    constrained: bool = False,
) -> NDArray[np.float64]:
    """Energy of each frame in kJ/mol, [F] of [F, P, 3]; inf where it overflows.

    Parameters
    ----------
    positions_nm : array [F, P, 3]
        A frame that is not finite has an infinite energy.
    system : openmm.System
    platform : str
    constrained : bool
        Apply the constraints first; a frame in which they fail has an infinite energy.

    Raises
    ------
    NotApplicable
        If frames and System have different numbers of particles.
    """
    import openmm
    from openmm import unit

    from ..validation.contexts import evaluation_context, put_frame
    from .panel import NotApplicable

    if positions_nm.shape[1] != system.getNumParticles():
        raise NotApplicable(
            f"frames have {positions_nm.shape[1]} atoms and the System has "
            f"{system.getNumParticles()} particles; energies need all of them, hydrogens too"
        )
    context = evaluation_context(system, platform)
    energies = np.full(len(positions_nm), np.inf)
    for k, frame in enumerate(np.asarray(positions_nm, np.float64)):
        if not np.isfinite(frame).all():
            continue
        try:
            put_frame(context, frame)
            if constrained:
                context.applyConstraints(CONSTRAINT_TOLERANCE)
                context.computeVirtualSites()
            state = context.getState(energy=True)
            energies[k] = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        except openmm.OpenMMException:
            # Atoms on top of each other: no constraints, or an energy that is not a number.
            continue
    return np.where(np.isfinite(energies), energies, np.inf)


@dataclass(frozen=True)
class EnergyDifference:
    """How far energies are from a reference's.

    Attributes
    ----------
    wasserstein : float
        Wasserstein-1 distance, kJ/mol.
    energy_distance : float
        Szekely's energy distance of the two distributions as SciPy has it,
        sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|), (kJ/mol)^1/2. (The name has nothing to do with the
        energies that it is applied to.)
    shift : float
        Difference of the means in standard deviations of the reference.
    spread : float
        Ratio of the standard deviations.
    in_window : float
        Share of the energies at most six standard deviations above the reference's mean.
    """

    wasserstein: float
    energy_distance: float
    shift: float
    spread: float
    in_window: float


def energy_difference(
    energies: NDArray[Any], reference: NDArray[Any], window: float = 6.0
) -> EnergyDifference:
    """Compare energies [F] with a reference's [G], kJ/mol; infinite ones are infinitely far."""
    from scipy.stats import energy_distance, wasserstein_distance

    mean, sd = float(np.mean(reference)), float(np.std(reference, ddof=1))
    inside = float(np.mean(energies <= mean + window * sd))
    if not np.isfinite(energies).all():
        return EnergyDifference(np.inf, np.inf, np.inf, np.inf, inside)
    return EnergyDifference(
        float(wasserstein_distance(energies, reference)),
        float(energy_distance(energies, reference)),
        float((np.mean(energies) - mean) / sd),
        float(np.std(energies, ddof=1) / sd),
        inside,
    )
