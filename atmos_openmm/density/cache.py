"""The user's cache: densities that took a model's frames to make."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import cache_folder
from .model_frames import MeasuredTorsions, Propagator

__all__ = ["cache_folder", "model_key"]

_FIT_VERSION = 1
"""To be raised when the same frames give another density."""


def model_key(
    propagator: Propagator,
    torsions: MeasuredTorsions,
    positions_nm: NDArray[np.float64],
    lag_ps: float,
    temperature_k: float,
    frames: int,
    options: dict[str, Any],
) -> str:
    """SHA-256, in hexadecimal, of all that a density of a model depends on.

    Positions count to 1e-4 nm, so that those of a file and of a Context are alike.
    """
    # Adding 0 makes one zero of two.
    start = np.round(positions_nm, 4) + 0.0
    molecule = [
        start.shape,
        hashlib.sha256(start.tobytes()).hexdigest(),
        torsions.names,
        torsions.block_sizes,
        torsions.previous,
        np.asarray(torsions.backbone).tolist(),
        np.asarray(getattr(torsions, "atoms", [])).tolist(),
    ]
    made = [lag_ps, temperature_k, frames, sorted(options.items())]
    text = json.dumps([_FIT_VERSION, propagator.fingerprint(), molecule, made])
    return hashlib.sha256(text.encode()).hexdigest()
