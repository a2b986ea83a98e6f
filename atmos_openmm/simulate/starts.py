"""Where the copies of a run begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .replicas import Replicas, ReplicaState

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = ["start"]


def start(
    replicas: Replicas,
    topology: Topology,
    positions_nm: NDArray[np.float64],
    mode: str,
    rng: np.random.Generator,
) -> ReplicaState:
    """Relaxed copies in their start basins with Maxwell-Boltzmann velocities.

    Raises
    ------
    ValueError
        Minimising a start inverts an alpha carbon.
    """
    settings = replicas.settings
    relaxed = _relaxed_starts(replicas, topology, positions_nm)
    positions = np.stack(
        [
            np.stack([relaxed[s] for s in settings.starts_of(mode, t)])
            for t in range(len(settings.temperatures))
        ]
    )
    velocities = np.empty_like(positions)
    for t in range(len(settings.temperatures)):
        replicas.load(t, positions[t], np.zeros_like(positions[t]))
        replicas.draw_velocities(t, int(rng.integers(1, 2**31 - 1)))
        positions[t], velocities[t] = replicas.read(t)
    return ReplicaState.fresh(positions, velocities)


def _relaxed_starts(
    replicas: Replicas, topology: Topology, positions_nm: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Each start by name, minimised."""
    from ..systems.peptides import BASINS, alpha_handedness, set_backbone

    given = np.array(positions_nm)
    distinct = list(dict.fromkeys(replicas.settings.starts))
    raw = [
        given if name == "as-given" else set_backbone(topology, given, *BASINS[name])
        for name in distinct
    ]
    relaxed = dict(zip(distinct, replicas.minimise(np.stack(raw)), strict=True))
    hands = alpha_handedness(topology, given)
    turned = [
        name
        for name, x in relaxed.items()
        if not np.array_equal(alpha_handedness(topology, x), hands)
    ]
    if turned:
        raise ValueError(
            f"Minimising the start {', '.join(turned)} inverted an alpha carbon: the structure "
            "clashes there. Leave that start out."
        )
    return relaxed
