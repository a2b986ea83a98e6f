"""What a HybridDriver needs to go on, as bytes."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jump.acceptance import EnergyConditions, RunningStatistics
from .driver_jumps import DriverWalker


def pack_walkers(walkers: Sequence[DriverWalker], since_jump: int) -> bytes:
    """Return the walkers' Contexts, counts and hidden states, and the steps since a jump was due.

    Last proposals are left out.
    """
    meta = {
        "since_jump": since_jump,
        "walkers": [
            {
                "seed": walker.seed,
                "attempts": walker.attempts,
                "jumps": walker.jumps,
                "learned_time_ps": walker.learned_time_ps,
                "reasons": dict(walker.reasons),
                "tried": dict(walker.tried),
                "accepted": dict(walker.accepted),
                "windows": [
                    asdict(conditions) | asdict(statistics)
                    for conditions, statistics in walker.windows.known.items()
                ],
            }
            for walker in walkers
        ],
    }
    arrays: dict[str, NDArray[Any]] = {"meta": _bytes_array(json.dumps(meta).encode())}
    for index, walker in enumerate(walkers):
        arrays[f"context_{index}"] = _bytes_array(walker.context.createCheckpoint())
        arrays[f"state_{index}"] = walker.state
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_walkers(checkpoint: bytes, walkers: Sequence[DriverWalker], state_size: int) -> int:
    """Bring walkers to a checkpoint, and return the steps since a jump was due.

    Raises
    ------
    ValueError
        if it is of another number of walkers or of a module with states of another size
    """
    with np.load(io.BytesIO(checkpoint), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(arrays["meta"].tobytes().decode())
    if len(meta["walkers"]) != len(walkers):
        raise ValueError(
            f"The checkpoint holds {len(meta['walkers'])} walkers, but this driver has "
            f"{len(walkers)}."
        )
    size = len(arrays["state_0"])
    if size != state_size:
        raise ValueError(
            f"The checkpoint holds states of {size} numbers, but this driver's module has "
            f"{state_size}: it is of another module."
        )
    for index, (walker, saved) in enumerate(zip(walkers, meta["walkers"], strict=True)):
        walker.context.loadCheckpoint(arrays[f"context_{index}"].tobytes())
        walker.state = arrays[f"state_{index}"]
        walker.seed = saved["seed"]
        walker.attempts = saved["attempts"]
        walker.learned_time_ps = saved["learned_time_ps"]
        walker.reasons = Counter(saved["reasons"])
        # Checkpoints made before there were moves do not count any.
        walker.jumps = saved.get("jumps", 0)
        walker.tried = Counter(saved.get("tried", {}))
        walker.accepted = Counter(saved.get("accepted", {}))
        walker.windows.known = {}
        # Checkpoints of one window, whatever the temperature, do not tell which it was.
        if "window" in saved:
            walker.window.statistics = RunningStatistics(**saved["window"])
        for known in saved.get("windows", ()):
            parameters = tuple((name, value) for name, value in known.pop("parameters"))
            conditions = EnergyConditions(
                known.pop("temperature_k"), known.pop("force_groups"), parameters
            )
            walker.windows.known[conditions] = RunningStatistics(**known)
        walker.last = None
    return int(meta["since_jump"])


def _bytes_array(data: bytes) -> NDArray[np.uint8]:
    """Bytes as an array, for numpy's archive format."""
    return np.frombuffer(data, dtype=np.uint8)
