"""The folder of a rollout: commits that survive a kill, and reading what they hold.

A commit writes, in this order: the new frames at the end of each trajectory and the new rows at
the end of `frames.csv`, flushed to the disk; then `checkpoint.npz` beside its place, renamed into
it. The rename makes the commit: the checkpoint names the length of every file, and what is found
beyond it was not committed and is cut off. Nothing is read back or rewritten, so a commit costs the
same after any number of frames.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import (
    StorageError,
    check_writable,
    explained,
    remove_leftovers,
    replaced_atomically,
    write_atomically,
)
from ..core.locks import FolderLock
from ..core.settings import HYBRID_RUN, read_settings, take_settings
from .growing_table import GrowingTable, read_table
from .rollout_state import RolloutState
from .trajectory_files import GrowingTrajectory, open_trajectory

if TYPE_CHECKING:
    from openmm.app import Topology

    from .rollout_attempt import Attempt

VERSION = 1
KIND = "rollout"

#: Columns of frames.csv. A row is an attempt at a frame of a walker.
COLUMNS = {
    "frame": "int",
    "walker": "int",
    "attempt": "int",
    "learned_time_ps": "float",
    "reason": "str",
    "written": "bool",
    "rmsd_nm": "float",
    "largest_h": "float",
    "detail": "str",
}

_FILES = ("frames.csv", "checkpoint.npz", "topology.pdb")
_ARRAYS = ("frames", "attempts", "failures", "positions_nm", "latents")
_NUMBERS = ("largest_h", "rmsd_sum_nm", "walltime_s")


@dataclass(frozen=True)
class FileLengths:
    """What is committed: bytes of the table; frames and bytes of each trajectory."""

    table: int
    trajectories: tuple[tuple[int, int], ...]


def table_row(
    attempt: Attempt, frame: int, walker: int, number: int, learned_time_ps: float, written: bool
) -> dict[str, Any]:
    """The row of an attempt; parameters are named as `COLUMNS` are, `number` is `attempt` there."""
    return {
        "frame": frame,
        "walker": walker,
        "attempt": number,
        "learned_time_ps": learned_time_ps,
        "reason": attempt.reason,
        "written": written,
        "rmsd_nm": attempt.rmsd_nm,
        "largest_h": attempt.largest_h,
        "detail": attempt.detail,
    }


class RolloutFolder:
    """The files of one rollout, open for writing by one process.

    Parameters
    ----------
    folder: str or Path
        made where it is missing
    settings, notes: mapping
        for run.json, see `settings.take_settings`

    Raises
    ------
    StorageError
        if the folder cannot be written, is in use by another process, holds something else, or
        holds a rollout with other settings; the message lists the differences
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> None:
        self.path = Path(folder)
        check_writable(self.path)
        self._lock = FolderLock(self.path)
        self._table: GrowingTable
        self._trajectories: list[GrowingTrajectory] = []
        try:
            self.settings = take_settings(self.path, {"kind": KIND, **settings}, notes, _FILES)
            self._committed: int | None = None
            with explained(self.path, "What was committed is safe."):
                remove_leftovers(self.path, "parts/*.tmp", ".xtc-*")
        except BaseException:
            self._lock.release()
            raise

    def open(
        self, topology: Topology, start_nm: NDArray[np.float64], frame_interval_ps: float
    ) -> RolloutState | None:
        """Open the files, cut back to the last commit.

        Parameters
        ----------
        topology: openmm.app.Topology
            of the frames
        start_nm: float64 [W, A, 3]
            start of each walker
        frame_interval_ps: float
            for the headers of trajectories

        Returns
        -------
        RolloutState or None
            the state at the last commit; None for a new rollout

        Raises
        ------
        StorageError
            if a file is damaged or shorter than what was committed
        """
        path = self.path / "checkpoint.npz"
        state, lengths = (None, None) if not path.exists() else _read_checkpoint(path)
        if state is None:
            self._write_topology(topology, start_nm[0])
        else:
            self._committed = int(state.frames.min())
        with explained(self.path, self.committed_text()):
            self._table = GrowingTable(
                self.path / "frames.csv", COLUMNS, 0 if lengths is None else lengths.table
            )
            self._trajectories = [
                open_trajectory(
                    self.path / f"trajectory_{walker:04d}.{self.settings['format']}",
                    topology,
                    frame_interval_ps,
                    *((0, 0) if lengths is None else lengths.trajectories[walker]),
                )
                for walker in range(len(start_nm))
            ]
        return state

    def commit(
        self,
        frames: Sequence[Sequence[NDArray[np.float64]]],
        rows: Sequence[Mapping[str, Any]],
        state: RolloutState,
    ) -> None:
        """Make new frames, rows and the state after them permanent.

        Parameters
        ----------
        frames: sequence of W sequences of float64 [A, 3]
            new frames of each walker, nm
        rows: sequence of mappings
            new rows of the table
        state: RolloutState
            after them

        Raises
        ------
        StorageError
            if the disk is full or failing; the last commit stands
        """
        with explained(self.path, self.committed_text()):
            lengths = FileLengths(
                trajectories=tuple(
                    trajectory.append([(positions, None) for positions in new])
                    for trajectory, new in zip(self._trajectories, frames, strict=True)
                ),
                table=self._table.append(rows),
            )
            _write_checkpoint(self.path / "checkpoint.npz", state, lengths)
        self._committed = int(state.frames.min())
        self._table.confirm()
        for trajectory in self._trajectories:
            trajectory.confirm()

    def committed_text(self) -> str:
        """A sentence on what is safe on the disk."""
        if self._committed is None:
            return "Nothing was committed before."
        return f"Everything up to frame {self._committed} is safe."

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def _write_topology(self, topology: Topology, positions_nm: NDArray[np.float64]) -> None:
        import io

        from openmm import app, unit

        text = io.StringIO()
        app.PDBFile.writeFile(topology, positions_nm * unit.nanometer, text, keepIds=True)
        with explained(self.path, "Nothing was committed."):
            write_atomically(self.path / "topology.pdb", text.getvalue().encode())


def read_rollout(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The table of a rollout, finished or going on, as far as it is committed.

    Parameters
    ----------
    folder: str or Path
        the folder of a rollout

    Returns
    -------
    dict of str to numpy.ndarray
        column by column, a row for every attempt at a frame: `frame` (its number in the trajectory
        of its walker, from 0), `walker`, `attempt` (which selects the noise), `learned_time_ps`
        (since the start), `reason` ("accepted", or the first test that it failed), `written`
        (whether it is in the trajectory), `rmsd_nm` (from the frame before), `largest_h` (of the
        latent after it, in absolute value) and `detail` (the reason with names and numbers)

    Raises
    ------
    StorageError
        if the folder is not that of a rollout, or lost files
    """
    path = Path(folder)
    kind = read_settings(path).get("kind", HYBRID_RUN)
    if kind != KIND:
        raise StorageError(f"{path} holds a {kind}, not a {KIND}.")
    checkpoint = path / "checkpoint.npz"
    size = _read_checkpoint(checkpoint)[1].table if checkpoint.exists() else 0
    return read_table(path / "frames.csv", COLUMNS, size)


def _write_checkpoint(path: Path, state: RolloutState, lengths: FileLengths) -> None:
    """Write a numpy archive of arrays and JSON, without pickles."""
    meta = {
        "version": VERSION,
        "table_bytes": lengths.table,
        "trajectories": lengths.trajectories,
        "reasons": dict(state.reasons),
        **{name: getattr(state, name) for name in _NUMBERS},
    }
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    arrays = {name: getattr(state, name) for name in _ARRAYS}
    with replaced_atomically(path) as file:
        np.savez(file, meta=text, **arrays)  # type: ignore[arg-type]


def _read_checkpoint(path: Path) -> tuple[RolloutState, FileLengths]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes().decode())
            if meta["version"] != VERSION:
                raise StorageError(
                    f"{path} was written by another version of this program; go on with that one, "
                    "or start a new rollout in another folder."
                )
            state = RolloutState(
                **{name: archive[name] for name in _ARRAYS},
                reasons=Counter(meta["reasons"]),
                **{name: meta[name] for name in _NUMBERS},
            )
            lengths = FileLengths(
                meta["table_bytes"], tuple((int(f), int(b)) for f, b in meta["trajectories"])
            )
            return state, lengths
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(
            f"{path} is damaged ({error}). The frames and the table of the rollout are still "
            "readable, but it cannot go on: start a new one in another folder."
        ) from error
