"""From OpenMM objects to arrays: features, screens, peptides.

This is the only place that turns Topologies, Systems and Quantities into arrays for the model.
Names are imported when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "MoleculeFeatures": "features",
    "features_from_topology": "features",
    "Molecule": "inputs",
    "read_molecule": "inputs",
    "HydrogenPlan": "hydrogen_plan",
    "plan_hydrogens": "hydrogen_plan",
    "ScreenSpec": "screening",
    "ScreenVerdict": "screening",
    "build_screen": "screening",
    "screen": "screening",
    "FeatureError": "errors",
    "MissingAtomsError": "errors",
    "MissingBondsError": "errors",
    "UnknownResidueError": "errors",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
