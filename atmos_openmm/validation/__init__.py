"""Validation: energies by force, geometry, and the verdict on a frame.

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "EnergyComparison": "reference",
    "EnergyDecomposer": "energies",
    "EnergyDecomposition": "energies",
    "EnergyReference": "reference",
    "EnergySumError": "energies",
    "EnergyValidator": "validator",
    "FrameVerdict": "verdict",
    "SecondPotential": "second_potential",
    "TrajectoryMismatchError": ".trajectories.errors",
    "ValidationReport": "summary",
    "WorkerError": "frame_pool",
    "decomposeEnergy": "energies",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
