"""Potential energies under the user's own System, and how far two distributions of them are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openmm

__all__ = ["energy_difference", "potential_energies"]

CONSTRAINT_TOLERANCE = 1e-6
WINDOW_SDS = 6.0


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


def energy_difference(energies: NDArray[Any], reference: NDArray[Any]) -> dict[str, float]:
    """How far energies [F] are from a reference's [G], kJ/mol; infinite ones are infinitely far.

    Returns
    -------
    dict of str to float
        ``energy_w1``, the Wasserstein-1 distance (kJ/mol); ``energy_distance``, Szekely's of the
        two distributions as SciPy has it, sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|), (kJ/mol)^1/2
        (the name has nothing to do with the energies that it is applied to); ``energy_shift``, the
        difference of the means in standard deviations of the reference; ``energy_spread``, the
        ratio of the standard deviations; ``energy_in_window``, the percentage of energies at most
        six standard deviations above the reference's mean.
    """
    from scipy.stats import energy_distance, wasserstein_distance

    mean, sd = float(np.mean(reference)), float(np.std(reference, ddof=1))
    found = dict.fromkeys(
        ("energy_w1", "energy_distance", "energy_shift", "energy_spread"), float("inf")
    )
    if np.isfinite(energies).all():
        found = {
            "energy_w1": float(wasserstein_distance(energies, reference)),
            "energy_distance": float(energy_distance(energies, reference)),
            "energy_shift": float((np.mean(energies) - mean) / sd),
            "energy_spread": float(np.std(energies, ddof=1) / sd),
        }
    return found | {"energy_in_window": 100 * float(np.mean(energies <= mean + WINDOW_SDS * sd))}
