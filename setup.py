"""Build of the compiled parts: everything else about the package is in pyproject.toml.

`pip install .` builds with the pinned torch and OpenMM in an isolated environment;
`pip install --no-build-isolation .` builds against the torch and OpenMM that are installed; and
`python setup.py build_ext --inplace` puts the same files beside the sources for development.
Environment: ATMOS_BUILD_JOBS, how many files are compiled at once (all cores by default);
ATMOS_WERROR=1, treat compiler warnings as errors; ATMOS_OPS_CUDA, AUTO (default), ON or OFF.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()

# The versions of pyproject.toml, for metadata that is made where torch is not installed.
PINNED = {"torch": "2.13.0", "openmm": "8.6.1"}

DEPENDENCIES = [
    "click>=8",
    "deeptime>=0.4",
    "gemmi>=0.6.5",
    "h5py>=3.10",
    "lightning-fabric>=2.4",
    "matplotlib>=3.8",
    "mdtraj>=1.10",
    "numpy>=1.26",
    "parmed>=4.3",
    "rdkit>=2024.3",
    "safetensors>=0.4",
    "scipy>=1.11",
    "tensorboardX>=2.6",
    "tomli>=2; python_version < '3.11'",
]


def built_version(package: str) -> str:
    """Version of an installed package, or the pinned one where it is not installed."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return PINNED[package]


def minor_range(package: str, version: str) -> str:
    """The requirement on every patch release of a version's minor release, from it on."""
    major, minor = version.split(".")[:2]
    return f"{package}>={major}.{minor},<{major}.{int(minor) + 1}"


def requirements() -> list[str]:
    """What the package needs at run time: the minor versions that it was built against."""
    compiled = [minor_range(package, built_version(package)) for package in PINNED]
    return compiled + DEPENDENCIES


def package_folder(package: str) -> Path:
    """Folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            f"{package} is not installed for {sys.executable}, and it is built against. Install "
            f"{package}=={PINNED[package]}, or build with 'pip install .', which gets it by itself."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def find_program(name: str) -> str:
    """Path of a build tool: that of this interpreter's packages, or else one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed. Install it with 'pip install {name}'.")
    return found


def build_info() -> str:
    """Source text of the module that records what the package was built against."""
    lines = ['"""What this package was built against. Written by setup.py."""', ""]
    for package in PINNED:
        lines.append(f'{package.upper()}_VERSION = "{importlib.metadata.version(package)}"')
    lines.append(f'PYTHON_VERSION = "{sys.version_info.major}.{sys.version_info.minor}"')
    return "\n".join(lines) + "\n"


class CMakeBuild(build_ext):
    """Compiles the plugin and the operator library with CMake, SWIG and ninja."""

    def run(self) -> None:
        inplace = bool(self.inplace)
        package = (ROOT if inplace else Path(self.build_lib).resolve()) / "atmos_openmm"
        package.mkdir(parents=True, exist_ok=True)
        work = Path("build").resolve() / "cmake-inplace" if inplace else self._fresh_folder()
        openmm = package_folder("openmm").parent / "OpenMM.libs"
        cmake = find_program("cmake")
        configure = [
            cmake,
            "-S",
            str(ROOT),
            "-B",
            str(work),
            "-G",
            "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={find_program('ninja')}",
            f"-DATMOS_OPENMM_DIR={openmm}",
            f"-DATMOS_TORCH_DIR={package_folder('torch')}",
            f"-DATMOS_OUTPUT_DIR={package}",
            f"-DATMOS_EXT_SUFFIX={sysconfig.get_config_var('EXT_SUFFIX')}",
            f"-DATMOS_PYTHON_INCLUDE={sysconfig.get_path('include')}",
            f"-DATMOS_SWIG={find_program('swig')}",
            f"-DATMOS_WERROR={'ON' if os.environ.get('ATMOS_WERROR') == '1' else 'OFF'}",
            f"-DATMOS_OPS_CUDA={os.environ.get('ATMOS_OPS_CUDA', 'AUTO')}",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ]
        jobs = os.environ.get("ATMOS_BUILD_JOBS") or str(os.cpu_count() or 1)
        self._call(configure)
        self._call([cmake, "--build", str(work), "--parallel", jobs])
        self._call([cmake, "--install", str(work)])
        (package / "_build_info.py").write_text(build_info(), encoding="utf-8")

    def get_outputs(self) -> list[str]:
        package = Path(self.build_lib) / "atmos_openmm"
        names = ["atmos.py", "_build_info.py", "libatmos_torch.so", "ops/libatmos_ops.so"]
        names.append(f"_atmos{sysconfig.get_config_var('EXT_SUFFIX')}")
        return [str(package / name) for name in names]

    def _fresh_folder(self) -> Path:
        """An empty folder: a cache of an earlier isolated build names tools that are gone."""
        folder = Path(self.build_temp).resolve() / "cmake"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _call(self, command: list[str]) -> None:
        # Tools from pip's isolated environment start through Python, which must find their modules.
        result = subprocess.run(command, check=False)
        if result.returncode != 0:
            raise SystemExit(
                f"The build stopped at: {' '.join(command)}\nThe messages above tell why. Needed: "
                "a C++20 compiler (g++ 11 or newer) and Python's development headers."
            )


setup(
    install_requires=requirements(),
    # The extension stands for all that CMake builds; its name is where the wrapper library goes.
    ext_modules=[Extension("atmos_openmm._atmos", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
