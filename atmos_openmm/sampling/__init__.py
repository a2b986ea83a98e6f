"""Sampling: learned jumps between stretches of molecular dynamics, or one after the other.

HybridSampler
    walkers in a folder, resumable
HybridDriver
    the schedule of the integrator in Python, over any OpenMM Integrator
Rollout
    frames of a propagator alone, one after the other, in a folder, resumable
Generation
    valid frames of a propagator: a rollout of which each frame is judged with its energies
read_run, read_exact_run, read_rollout, read_generation
    the tables of a run, of one with acceptance "metropolis", of a rollout and of a generation
averages_of
    populations of the exact run in a folder, with errors
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "Generation",
    "HybridDriver",
    "HybridSampler",
    "Rollout",
    "averages_of",
    "read_exact_run",
    "read_generation",
    "read_rollout",
    "read_run",
]

_HOMES = {
    "Generation": "generation",
    "HybridDriver": "driver",
    "HybridSampler": "hybrid",
    "Rollout": "rollout",
    "averages_of": "exact_averages",
    "read_exact_run": "exact_storage",
    "read_generation": "generation_folder",
    "read_rollout": "rollout_folder",
    "read_run": "storage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
