"""A Context before its jump, and at the point where the jump is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .context_state import potential_energy, state_box, state_positions, state_velocities
from .velocities import move_to_middle

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A Context before its jump.

    Attributes
    ----------
    step : int
        Its step count.
    positions_nm : float64 [P, 3]
        In the middle of the last step, where the jump is made.
    box_nm : float64 [3, 3]
    energy_kj_per_mol : float
        Of these positions and the integration force groups; NaN where OpenMM refuses them.
    kept_nm, velocities : float64 [P, 3]
        Positions and velocities (nm/ps) that the Context held, at the end of the step.
    """

    step: int
    positions_nm: NDArray[np.float64]
    box_nm: NDArray[np.float64]
    energy_kj_per_mol: float
    kept_nm: NDArray[np.float64]
    velocities: NDArray[np.float64]

    @classmethod
    def of(cls, context: openmm.Context) -> Snapshot:
        """Read a Context and move it to the middle of its last step; `restore` takes it back."""
        kept = context.getState(positions=True, velocities=True)
        move_to_middle(context)
        middle = context.getState(positions=True)
        groups = context.getIntegrator().getIntegrationForceGroups()
        return cls(
            context.getStepCount(),
            state_positions(middle),
            state_box(middle),
            potential_energy(context, groups),
            state_positions(kept),
            state_velocities(kept),
        )

    def restore(self, context: openmm.Context) -> None:
        """Put positions and velocities back as they were."""
        context.setPositions(self.kept_nm)
        context.setVelocities(self.velocities)
