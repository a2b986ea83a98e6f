"""What the operator library says of itself, and importing it where it cannot be used."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

import atmos_openmm.ops


def import_from(path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ops_under_test", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.fixture
def copied_module(tmp_path):
    return Path(shutil.copy(atmos_openmm.ops.__file__, tmp_path))


def test_a_missing_library_names_the_remedy(copied_module):
    with pytest.raises(ImportError, match=r"library is missing: .*Build it with 'pip install \.'"):
        import_from(copied_module)


def test_a_library_that_does_not_load_names_the_remedy(copied_module):
    copied_module.with_name("libatmos_ops.so").write_bytes(b"not a library")
    with pytest.raises(
        ImportError, match="does not load with torch .*rebuild it with 'pip install"
    ):
        import_from(copied_module)


def test_another_minor_version_of_torch_is_refused(monkeypatch):
    path = Path(atmos_openmm.ops.__file__)
    import_from(path)  # a second import of the same library is harmless
    built = torch.__version__
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    with pytest.raises(
        ImportError, match=f"built against torch {built.split('+')[0]} and torch is"
    ):
        import_from(path)


def test_library_info_states_the_build():
    info = atmos_openmm.ops.library_info()
    assert info["torch"].split(".")[:2] == torch.__version__.split(".")[:2]
    assert info["cpu_instruction_set"] in ("avx512", "avx2", "generic")
    if info["cuda_built"]:
        # The CUDA half opens without a GPU or a driver.
        assert info["cuda_loaded"], info["cuda_error"]
        assert info["cuda_architectures"] == ["sm_80", "sm_90a"]
    else:
        assert not info["cuda_loaded"] and info["cuda_architectures"] == []
