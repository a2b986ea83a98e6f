"""Makes `AtmosIntegrator` known to OpenMM's XmlSerializer.

OpenMM finds the reader of a class in a table that the compiled wrapper fills when it is imported,
so importing atmos_openmm imports OpenMM and the wrapper. Torch is not loaded by it. It costs 0.1 s
of processor time; the command line's help takes 0.16 s in all.
"""

from __future__ import annotations

import importlib
from types import ModuleType


def load_wrapper() -> ModuleType:
    """Import the compiled wrapper, which registers the integrator.

    Raises
    ------
    ImportError
        if it does not load, with what it was built against
    """
    # First, so that its library is loaded when the wrapper looks for it.
    import openmm

    from ._versions import REBUILD, build_info

    try:
        return importlib.import_module("atmos_openmm.atmos")
    except ImportError as error:
        built = build_info()
        raise ImportError(
            f"The compiled plugin of atmos_openmm does not load: {error}. It was built against "
            f"OpenMM {built.openmm} for Python {built.python}; OpenMM {openmm.__version__} is "
            f"installed. Rebuild it: in the source tree, '{REBUILD}'."
        ) from error
