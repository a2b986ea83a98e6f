"""What the package was built against, compared with what is installed.

The compiled parts fit one minor release of torch and of OpenMM: neither promises a binary interface
beyond it, and a mismatch ends in missing symbols or a crash. The comparison reads the installed
metadata, so it costs milliseconds and loads neither library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

REBUILD = "pip install --no-build-isolation ."

_PACKAGE = Path(__file__).parent

COMPILED_FILES = ("_atmos", "libatmos_torch.so", "ops/libatmos_ops.so")
"""Files of the build, relative to the package; the first ends in Python's own suffix."""


@dataclass(frozen=True)
class BuildInfo:
    """Versions that the compiled parts were built against, as their packages report them."""

    torch: str
    openmm: str
    python: str


def package_version() -> str:
    """Version of atmos-openmm, or "unknown" when it runs from a source tree."""
    try:
        return importlib.metadata.version("atmos-openmm")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def minor_release(version: str) -> str:
    """The first two numbers of a version: "2.13" of "2.13.0+cpu"."""
    return ".".join(version.split("+")[0].split(".")[:2])


def build_info() -> BuildInfo:
    """What the compiled parts were built against.

    Raises
    ------
    ImportError
        if nothing was built
    """
    try:
        # Written by setup.py, so not there for a type checker.
        found = importlib.import_module(f"{__package__}._build_info")
    except ImportError:
        raise ImportError(
            f"atmos_openmm is not built: {_PACKAGE / '_build_info.py'} is missing. In the source "
            "tree run 'pip install .', or 'python setup.py build_ext --inplace' to work in place."
        ) from None
    return BuildInfo(found.TORCH_VERSION, found.OPENMM_VERSION, found.PYTHON_VERSION)


def installed_version(package: str) -> str | None:
    """Version of an installed package from its metadata, or None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing_files() -> list[Path]:
    """Files of the build that are not there."""
    from importlib.machinery import EXTENSION_SUFFIXES

    missing = []
    extension = [_PACKAGE / f"{COMPILED_FILES[0]}{suffix}" for suffix in EXTENSION_SUFFIXES]
    if not any(path.is_file() for path in extension):
        missing.append(extension[0])
    missing += [_PACKAGE / name for name in COMPILED_FILES[1:] if not (_PACKAGE / name).is_file()]
    return missing


def check_versions() -> BuildInfo:
    """Check that the installed torch and OpenMM are those that the package was built against.

    Returns
    -------
    BuildInfo
        what it was built against

    Raises
    ------
    ImportError
        with what was found, what was built against and the command that mends it
    """
    built = build_info()
    for package, expected in (("torch", built.torch), ("openmm", built.openmm)):
        found = installed_version(package)
        plain = expected.split("+")[0]
        if found is None:
            raise ImportError(
                f"atmos_openmm needs {package} {minor_release(expected)}, which is not installed. "
                f"Install it with 'pip install {package}=={plain}'."
            )
        if minor_release(found) != minor_release(expected):
            raise ImportError(
                f"atmos_openmm was built against {package} {expected}, but {package} {found} is "
                f"installed. Install the version it was built against with 'pip install "
                f"{package}=={plain}', or rebuild it for the installed one: in the source tree, "
                f"'{REBUILD}'."
            )
    missing = missing_files()
    if missing:
        raise ImportError(
            f"A compiled part of atmos_openmm is missing: {missing[0]} (built against torch "
            f"{built.torch} and OpenMM {built.openmm} for Python {built.python}). Build it: in "
            f"the source tree, '{REBUILD}'."
        )
    return built
