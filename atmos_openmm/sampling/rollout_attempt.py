"""What is known of one attempt at a frame of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Attempt:
    """A proposed frame of one walker and the verdict on it.

    Attributes
    ----------
    reason : str
        "accepted", or the first test that it failed
    detail : str
        the reason with numbers and names; empty for accepted ones
    latent : float32 [S]
        the latent state after it
    positions_nm : float64 [A, 3] or None
        superposed on the frame before; None where they are not finite
    rmsd_nm : float
        distance from the frame before, root mean square over atoms; NaN where it is not finite
    """

    reason: str
    detail: str
    latent: NDArray[np.float32]
    positions_nm: NDArray[np.float64] | None = None
    rmsd_nm: float = float("nan")

    @property
    def largest_h(self) -> float:
        """Largest component of the latent in absolute value."""
        return float(np.abs(self.latent).max(initial=0.0))
