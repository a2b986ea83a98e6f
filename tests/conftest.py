"""Settings and fixtures that all tests share."""

from __future__ import annotations

import importlib.util
import os
import site
from pathlib import Path

import pytest

# The molecules are small: one thread is fastest, and does not suffer from whatever else the machine
# does. Set before torch and OpenMM are loaded, and for programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENMM_CPU_THREADS", "1")

# Programs that tests start must import the package that the tests import, and not whatever lies in
# the folder they are started in. (The first is heeded by Python 3.11 and newer.)
os.environ["PYTHONSAFEPATH"] = "1"
_spec = importlib.util.find_spec("atmos_openmm")
if _spec is not None and _spec.origin is not None:
    _parent = str(Path(_spec.origin).parents[1])
    if _parent not in site.getsitepackages():
        _rest = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_parent, _rest]))


@pytest.fixture(autouse=True)
def _same_torch_threads():
    """No test may leave torch's number of threads changed for the next."""
    import sys

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    yield
    if torch is not None:
        torch.set_num_threads(before)
