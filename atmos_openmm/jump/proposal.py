"""What is known of one proposal after its jump."""

from __future__ import annotations

from dataclasses import dataclass

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
    # A torsional move that the Metropolis test turned down. Stored codes are places in this list,
    # so what is new comes last.
    "metropolis",
)


@dataclass(frozen=True, eq=False)
class Proposal:
    """One proposed frame and the verdict on it.

    Energies are potential energies of the integration force groups; those that the proposal did
    not live to see are NaN. Positions are those of the solute (the A atoms of the model), in the
    frame of the Context; None where they are not kept.

    Attributes
    ----------
    attempt : int
        number of the proposal, from 0; it selects the noise
    step : int
        step count of the Context when the jump was tried
    reason : str
        one of `REASONS`: "accepted", or the first test that it failed
    stage : int
        relaxation stages that were applied
    log_ratio : float
        what the module reports of its proposal density, not used by `none` and `filter`
    energy_before_kj_per_mol, energy_raw_kj_per_mol, energy_after_kj_per_mol : float
        of the frame before the jump; after constraints alone; after relaxation
    energy_limit_kj_per_mol : float
        highest energy that the filter let pass; infinite with `none`
    positions_before_nm, positions_raw_nm, positions_after_nm : numpy.ndarray [A, 3] or None
        before the jump; as generated, superposed unless the reason is "nonfinite" or "displaced";
        after constraints and relaxation, None where it did not come to that
    """

    attempt: int
    step: int
    reason: str
    stage: int = 0
    log_ratio: float = 0.0
    energy_before_kj_per_mol: float = float("nan")
    energy_raw_kj_per_mol: float = float("nan")
    energy_after_kj_per_mol: float = float("nan")
    energy_limit_kj_per_mol: float = float("inf")
    positions_before_nm: NDArray[np.float64] | None = None
    positions_raw_nm: NDArray[np.float64] | None = None
    positions_after_nm: NDArray[np.float64] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the frame was taken."""
        return self.reason == "accepted"
