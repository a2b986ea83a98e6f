"""Settings and fixtures that all tests share."""

from __future__ import annotations

import os

import pytest

# Programs that tests start must import the installed package, as the tests do, and not the folder
# they happen to be started in. (Python 3.11 and newer.)
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.fixture(autouse=True)
def _same_torch_threads():
    """No test may leave torch's number of threads changed for the next."""
    import sys

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    yield
    if torch is not None:
        torch.set_num_threads(before)
