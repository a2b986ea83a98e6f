"""Memory of this process, as the benchmarks measure it (Linux)."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path


def resident_bytes(key: str = "VmRSS") -> int:
    """Resident set, bytes: VmRSS the present one, VmHWM the largest since `start_of_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}; memory is measured on Linux only.")


def start_of_peak() -> None:
    """Give memory that is free back to the system and forget how much there was."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
