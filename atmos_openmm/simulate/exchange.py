"""Temperature replica exchange.

The copies are as many independent ladders: copy m of every temperature belongs to ladder m, and
neighbouring temperatures of a ladder change places with the Metropolis probability
min(1, exp[(b_i - b_j)(U_i - U_j)]), b = 1/kT (Sugita and Okamoto, Chem. Phys. Lett. 314, 141,
1999), velocities scaled by sqrt(T_new/T_old).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .replicas import Replicas, ReplicaState

__all__ = ["exchange", "swap_probability"]


def swap_probability(
    beta_i: float, beta_j: float, energy_i: NDArray[np.float64], energy_j: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability that configurations at two temperatures change places.

    Parameters
    ----------
    beta_i, beta_j : float
        1/kT in mol/kJ.
    energy_i, energy_j : ndarray
        Potential energies in kJ/mol.

    Returns
    -------
    ndarray
        min(1, exp[(beta_i - beta_j) (U_i - U_j)]).
    """
    return np.exp(np.minimum(0.0, (beta_i - beta_j) * (energy_i - energy_j)))


def exchange(
    replicas: Replicas, state: ReplicaState, parity: int, rng: np.random.Generator
) -> None:
    """Try to swap neighbouring temperatures of every ladder, in place.

    Parameters
    ----------
    replicas : Replicas
    state : ReplicaState
        Changed.
    parity : int
        0: the pairs that begin at an even temperature, 1: the others.
    rng : numpy Generator
    """
    temperatures = replicas.settings.temperatures
    energies = replicas.potential_energies(state.positions_nm)  # [T, M]
    for low in range(parity, len(temperatures) - 1, 2):
        high = low + 1
        chance = swap_probability(
            replicas.beta[low], replicas.beta[high], energies[low], energies[high]
        )
        swapped = rng.random(len(chance)) < chance
        state.attempted[low] += len(chance)
        state.accepted[low] += int(swapped.sum())
        scale = np.sqrt(temperatures[high] / temperatures[low])
        x, v, w = state.positions_nm, state.velocities, state.walkers
        for a in (x, w):
            a[low, swapped], a[high, swapped] = a[high, swapped], a[low, swapped].copy()
        v[low, swapped], v[high, swapped] = v[high, swapped] / scale, v[low, swapped] * scale
    _count_round_trips(state)


def _count_round_trips(state: ReplicaState) -> None:
    """A round trip: from the lowest temperature to the highest and back."""
    for m in range(state.walkers.shape[1]):
        top, bottom = state.walkers[-1, m], state.walkers[0, m]
        if state.direction[bottom, m] == 1:
            state.round_trips[m] += 1
        state.direction[bottom, m] = -1
        if state.direction[top, m] == -1:
            state.direction[top, m] = 1
