"""The folder of a rollout, and reading what it holds; see `run_folder` for how it is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .csv_table import CsvTable, read_csv_table
from .growing_file import Length
from .rollout_state import RolloutState
from .run_folder import Arrays, Lengths, Meta, RunFolder, check_kind, read_checkpoint

if TYPE_CHECKING:
    from openmm.app import Topology

    from .rollout_attempt import Attempt

VERSION = 1
KIND = "rollout"
TABLE = "frames.csv"

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

_ARRAYS = ("frames", "attempts", "failures", "positions_nm", "latents")
_NUMBERS = ("largest_h", "rmsd_sum_nm", "walltime_s")


class RolloutFolder(RunFolder[RolloutState]):
    """The files of one rollout, open for writing by one process; see `RunFolder`."""

    kind = KIND
    unit = "frame"
    versions = (VERSION,)
    tables = (TABLE,)
    #: Of the table.
    columns: ClassVar[Mapping[str, str]] = COLUMNS

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> None:
        super().__init__(folder, {"kind": self.kind, **settings}, notes)

    def row(
        self,
        attempt: Attempt,
        frame: int,
        walker: int,
        number: int,
        learned_time_ps: float,
        written: bool,
    ) -> dict[str, Any]:
        """The row of an attempt; parameters are named as `columns` are, `number` is `attempt`."""
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

    def open(
        self, topology: Topology, start_nm: NDArray[np.float64], frame_interval_ps: float
    ) -> RolloutState | None:
        """Open the files, cut back to the last commit.

        Parameters
        ----------
        topology : openmm.app.Topology
            Of the frames.
        start_nm : float64 [W, A, 3]
            Start of each walker.
        frame_interval_ps : float
            For the headers of trajectories.

        Returns
        -------
        RolloutState or None
            The state at the last commit; None for a new rollout.

        Raises
        ------
        StorageError
            A file is damaged or shorter than what was committed.
        """
        tables = {TABLE: partial(CsvTable, columns=self.columns)}
        state = self._open(len(start_nm), topology, frame_interval_ps, tables)
        if state is None:
            self.write_topology(topology, start_nm[0])
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
        frames : sequence of W sequences of float64 [A, 3]
            New frames of each walker, nm.
        rows : sequence of mappings
            New rows of the table.
        state : RolloutState
            After them.

        Raises
        ------
        StorageError
            The disk is full or failing; the last commit stands.
        """
        self._commit([[(x, None) for x in new] for new in frames], {TABLE: rows}, state)

    def _encode(self, state: RolloutState, lengths: Lengths) -> tuple[Meta, Arrays]:
        meta = {
            "version": VERSION,
            "table_bytes": lengths[TABLE].size,
            "trajectories": [lengths[self.trajectory_name(w)] for w in range(len(state.frames))],
            "reasons": dict(state.reasons),
            "restarts": state.restarts,
            **{name: getattr(state, name) for name in _NUMBERS},
        }
        return meta, {name: getattr(state, name) for name in _ARRAYS}

    def _decode(self, meta: Meta, arrays: Arrays) -> tuple[RolloutState, Lengths]:
        state = RolloutState(
            reasons=Counter(meta["reasons"]),
            restarts=int(meta.get("restarts", 0)),
            **{name: arrays[name] for name in _ARRAYS},  # type: ignore[arg-type]
            **{name: meta[name] for name in _NUMBERS},
        )
        lengths = {
            self.trajectory_name(walker): Length(*map(int, length))
            for walker, length in enumerate(meta["trajectories"])
        }
        lengths[TABLE] = Length(int(state.attempts.sum()), int(meta["table_bytes"]))
        return state, lengths


def read_rollout(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The table of a rollout, finished or going on, as far as it is committed.

    Parameters
    ----------
    folder : str or Path
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
    return read_table(Path(folder), RolloutFolder)


def read_table(path: Path, folder: type[RolloutFolder]) -> dict[str, NDArray[Any]]:
    """The committed rows of frames.csv in a folder of some kind, column by column."""
    check_kind(path, folder.kind)
    found = read_checkpoint(path, folder.kind, folder.versions, folder.tables)
    return read_csv_table(
        path / TABLE, folder.columns, 0 if found is None else found[0]["table_bytes"]
    )
