"""Hybrid sampling: learned jumps between stretches of molecular dynamics.

HybridSampler
    walkers in a folder, resumable
HybridDriver
    the schedule of the integrator in Python, over any OpenMM Integrator
read_run
    the tables of a run
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["HybridDriver", "HybridSampler", "read_run"]

_HOMES = {"HybridDriver": "driver", "HybridSampler": "hybrid", "read_run": "storage"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
