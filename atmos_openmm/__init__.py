"""Learned long jumps that alternate with short molecular dynamics on one OpenMM System.

Importing the package checks the versions of torch and OpenMM, and imports OpenMM, so that its
XmlSerializer knows `AtmosIntegrator`. The public names below are imported when they are used; torch
is loaded by the first that needs it.

AtmosPropagator
    a model bound to a Topology; makes integrators
AtmosIntegrator
    a LangevinMiddleIntegrator that jumps
EnergyValidator
    energies, geometry and the verdict on a frame
HybridDriver
    the schedule of `AtmosIntegrator` in Python, over any Integrator
OutOfDomainWarning
    a molecule, lag or temperature that a model was not trained on
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from ._registration import load_wrapper
from ._versions import check_versions, package_version

if TYPE_CHECKING:
    from .integrator import AtmosIntegrator as AtmosIntegrator
    from .jump.domain import OutOfDomainWarning as OutOfDomainWarning
    from .propagator import AtmosPropagator as AtmosPropagator
    from .sampling.driver import HybridDriver as HybridDriver
    from .validation import EnergyValidator as EnergyValidator

__version__ = package_version()

__all__ = [
    "AtmosIntegrator",
    "AtmosPropagator",
    "EnergyValidator",
    "HybridDriver",
    "OutOfDomainWarning",
]

_HOMES = {
    "AtmosIntegrator": "integrator",
    "AtmosPropagator": "propagator",
    "EnergyValidator": "validation",
    "HybridDriver": "sampling.driver",
    "OutOfDomainWarning": "jump.domain",
}

check_versions()
# A plugin that does not load is explained to whoever uses AtmosIntegrator; the rest works.
with contextlib.suppress(ImportError):
    load_wrapper()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
