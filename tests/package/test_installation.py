"""Import errors that tell what to do, the table of testInstallation, and the package's metadata."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import atmos_openmm
from atmos_openmm import _versions

PACKAGE = Path(atmos_openmm.__file__).parent
REBUILD = "pip install --no-build-isolation ."


def _run(folder, code):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def copied(tmp_path):
    """A copy of the package that a test can damage, in a folder to import it from."""
    target = tmp_path / "atmos_openmm"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("models", "__pycache__"))
    return tmp_path


def _import_error(folder, code="import atmos_openmm"):
    done = _run(folder, code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), done.stderr
    return last


def _replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_copy_works(copied):
    done = _run(copied, "import atmos_openmm; print(atmos_openmm.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(copied / "atmos_openmm" / "__init__.py")


@pytest.mark.parametrize("package, other", [("torch", "2.12.1+cu126"), ("openmm", "8.5.0")])
def test_built_against_another_version(copied, package, other):
    built = getattr(_versions.build_info(), package)
    _replace(copied / "atmos_openmm" / "_build_info.py", f'"{built}"', f'"{other}"')
    message = _import_error(copied)
    found = importlib.metadata.version(package)
    assert f"built against {package} {other}" in message
    assert f"{package} {found} is installed" in message
    assert f"pip install {package}=={other.split('+')[0]}" in message
    assert REBUILD in message


def test_another_patch_release_is_fine(copied):
    built = _versions.build_info().torch
    _replace(copied / "atmos_openmm" / "_build_info.py", f'"{built}"', '"2.13.9"')
    assert _run(copied, "import atmos_openmm").returncode == 0


def test_torch_is_not_installed(copied):
    code = """
import importlib.metadata as metadata
version = metadata.version
def without_torch(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without_torch
import atmos_openmm
"""
    message = _import_error(copied, code)
    assert "needs torch 2.13, which is not installed" in message
    assert "pip install torch==2.13.0" in message


def test_nothing_was_built(copied):
    (copied / "atmos_openmm" / "_build_info.py").unlink()
    message = _import_error(copied)
    assert "is not built" in message and "pip install ." in message


@pytest.mark.parametrize("pattern", ["_atmos*.so", "libatmos_torch.so", "ops/libatmos_ops.so"])
def test_a_compiled_part_is_missing(copied, pattern):
    (path,) = (copied / "atmos_openmm").glob(pattern)
    path.unlink()
    message = _import_error(copied)
    assert str(path.parent) in message and "is missing" in message
    assert f"built against torch {_versions.build_info().torch}" in message
    assert REBUILD in message


def test_a_compiled_part_does_not_load(copied):
    (path,) = (copied / "atmos_openmm").glob("_atmos*.so")
    path.write_bytes(b"no library")
    message = _import_error(copied, "from atmos_openmm import AtmosIntegrator")
    assert "does not load" in message and REBUILD in message
    # OpenMM itself can still be imported beside the broken package.
    assert _run(copied, "import atmos_openmm, openmm").returncode == 0


def test_importing_the_package_is_light():
    heavy = "{'torch', 'rdkit', 'scipy', 'h5py', 'matplotlib', 'mdtraj', 'openmm.app'}"
    code = f"import sys, atmos_openmm; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_exist():
    for name in atmos_openmm.__all__:
        assert getattr(atmos_openmm, name).__name__ == name
    assert set(atmos_openmm.__all__) <= set(dir(atmos_openmm))
    with pytest.raises(AttributeError, match="has no attribute 'Propagator'"):
        atmos_openmm.Propagator  # noqa: B018


def test_the_table_ends_with_a_verdict(tmp_path):
    from atmos_openmm.propagator import bundled_models

    done = subprocess.run(
        [sys.executable, "-m", "atmos_openmm.testInstallation"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    for part in ("Python", "torch", "OpenMM", "platform Reference", "integrator", "GPU"):
        assert re.search(rf"^{part} +\S", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert re.search(r"^integrator +jumps$", done.stdout, re.MULTILINE)
    assert re.search(r"^operator library +works, ", done.stdout, re.MULTILINE)
    for name in bundled_models():
        assert re.search(rf"^model {name} +loads; ", done.stdout, re.MULTILINE)
    assert bundled_models(), "the package has no bundled model"
    assert lines[-1] == "Verdict: everything works."
    assert done.returncode == 0


def test_a_fault_is_named_and_counted(copied):
    # The operator library of the copy is damaged after its presence was checked.
    library = copied / "atmos_openmm" / "ops" / "libatmos_ops.so"
    library.write_bytes(b"")
    code = "import sys; from atmos_openmm.testInstallation import main; sys.exit(main())"
    done = _run(copied, code)
    assert done.returncode == 1
    assert re.search(r"^operator library: ImportError: The operator library ", done.stdout, re.M)
    assert re.search(r"^Verdict: \d of \d+ parts have a fault\.$", done.stdout.splitlines()[-1])


def test_requirements_follow_the_build():
    try:
        requires = importlib.metadata.requires("atmos-openmm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("runs in place: there is no metadata")
    built = _versions.build_info()
    for package, version in (("torch", built.torch), ("openmm", built.openmm)):
        major, minor = version.split(".")[:2]
        (line,) = [line for line in requires if re.match(rf"{package}\b", line)]
        specifiers = set(re.sub(rf"^{package}\s*", "", line).split(","))
        assert specifiers == {f">={major}.{minor}", f"<{major}.{int(minor) + 1}"}
