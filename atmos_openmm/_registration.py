"""Makes `AtmosIntegrator` known to OpenMM's XmlSerializer whenever a process uses both packages.

OpenMM finds the reader of a class in a table that the compiled wrapper fills when it is imported.
Importing atmos_openmm must be enough to deserialize an integrator, and must not import OpenMM (the
command line's --help would pay for it). So the wrapper is imported at once where OpenMM is loaded
already, and right after OpenMM otherwise.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
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


class _LoaderWithWrapper(importlib.abc.Loader):
    """Loads OpenMM as it would be loaded anyway, then the wrapper."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _AfterOpenMM)]
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            load_wrapper()
        except ImportError:
            # Importing OpenMM must not fail because of us. Whoever uses AtmosIntegrator sees why.
            pass


class _AfterOpenMM(importlib.abc.MetaPathFinder):
    """Finds OpenMM where it is found anyway, and has the wrapper loaded after it."""

    def __init__(self) -> None:
        self._searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "openmm" or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec("openmm")
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderWithWrapper(spec.loader)
        return spec


def register() -> None:
    """Load the wrapper now if OpenMM is loaded, and otherwise as soon as it is."""
    if "openmm" in sys.modules:
        load_wrapper()
    elif not any(isinstance(finder, _AfterOpenMM) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterOpenMM())
