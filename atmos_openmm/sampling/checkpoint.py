"""The checkpoint file of a run: what is committed, and how to go on bit for bit."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..core.files import StorageError

VERSION = 1


@dataclass(frozen=True)
class WalkerCheckpoint:
    """One walker at a commit.

    Attributes
    ----------
    context: bytes
        OpenMM's checkpoint of its Context (and of the integrator with its counters)
    frames, trajectory_bytes: int
        committed frames and size of its trajectory file
    segment: int
        number of its next MD segment
    step: int
        MD steps made
    energy_limit_kj_per_mol: float
        last known limit of its energy window; infinite before there was one
    """

    context: bytes
    frames: int
    trajectory_bytes: int
    segment: int
    step: int
    energy_limit_kj_per_mol: float


@dataclass(frozen=True)
class RunCheckpoint:
    """A run at a commit.

    Attributes
    ----------
    commit: int
        number of the commit, from 1; part files with a higher number do not count
    cycle: int
        cycles completed by every walker
    walltime_s: float
        time spent so far in all the processes that worked on the run
    generated: int
        valid generated frames so far
    walkers: tuple of WalkerCheckpoint
    """

    commit: int
    cycle: int
    walltime_s: float
    generated: int
    walkers: tuple[WalkerCheckpoint, ...]

    def encode(self) -> bytes:
        """As bytes: a numpy archive of JSON and the Contexts' checkpoints, without pickles."""
        meta = asdict(self)
        for walker in meta["walkers"]:
            del walker["context"]
        meta["version"] = VERSION
        arrays = {
            f"context_{index:04d}": np.frombuffer(walker.context, dtype=np.uint8)
            for index, walker in enumerate(self.walkers)
        }
        buffer = io.BytesIO()
        text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        np.savez(buffer, meta=text, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @staticmethod
    def read(path: Path) -> RunCheckpoint:
        """Read a checkpoint file.

        Raises
        ------
        StorageError
            if it is damaged or of another version
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                meta = json.loads(archive["meta"].tobytes().decode())
                contexts = [
                    archive[f"context_{index:04d}"].tobytes()
                    for index in range(len(meta["walkers"]))
                ]
        except Exception as error:
            raise StorageError(
                f"{path} is damaged ({error}). The frames and tables of the run are still "
                "readable, but it cannot go on: start a new run in another folder."
            ) from error
        if meta.pop("version") != VERSION:
            raise StorageError(
                f"{path} was written by another version of this program; go on with that one, or "
                "start a new run in another folder."
            )
        walkers = tuple(
            WalkerCheckpoint(context=context, **walker)
            for context, walker in zip(contexts, meta.pop("walkers"), strict=True)
        )
        return RunCheckpoint(walkers=walkers, **meta)
