"""What is known of one proposal after its jump."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

REASONS = (
    "accepted",
    "nonfinite",
    "displaced",
    "bonds",
    "chirality",
    "cis_trans",
    "rings",
    "clash",
    "environment",
    "constraints",
    "energy",
    # Given by a run's record, not by the integrator: accepted, but the MD after it broke down.
    "unstable",
)


@dataclass(frozen=True)
class Proposal:
    """One proposed frame and the verdict on it.

    Energies are potential energies of the integration force groups in kJ/mol; those that the
    proposal did not live to see are NaN. Positions are those of the solute in nm, in the frame of
    the Context (superposed on the frame before); arrays that were not reached hold NaN.

    Attributes
    ----------
    attempt: int
        number of the proposal, from 0
    reason: str
        one of `REASONS`: "accepted", or the first test that it failed
    stage: int
        relaxation stages applied: 0 none, k the first k
    energy_before, energy_raw, energy_after: float
        of the frame before the jump; after constraints alone; after relaxation
    log_ratio: float
        what the module reports of its proposal density, not used by `none` and `filter`
    positions_before, positions_raw, positions_after: numpy.ndarray, shape [A, 3]
        before the jump; superposed, before constraints; after constraints and relaxation
    """

    attempt: int
    reason: str
    stage: int = 0
    energy_before: float = float("nan")
    energy_raw: float = float("nan")
    energy_after: float = float("nan")
    log_ratio: float = 0.0
    positions_before: NDArray[np.float64] = field(default_factory=lambda: np.full((0, 3), np.nan))
    positions_raw: NDArray[np.float64] = field(default_factory=lambda: np.full((0, 3), np.nan))
    positions_after: NDArray[np.float64] = field(default_factory=lambda: np.full((0, 3), np.nan))

    @property
    def accepted(self) -> bool:
        """Whether the frame was taken."""
        return self.reason == "accepted"
