"""The folder of a hybrid run, and reading what it holds; see `run_folder` for how it is kept.

The tables are `proposals.npy`, `segments.npy` and `frames.npy`, which `numpy.load` reads. Folders
of version 1 of the record, with tables in HDF5, are read too; a run that is taken up from one goes
on in this version.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError, explained, write_atomically
from ..core.settings import HYBRID_RUN
from ..jump.proposal import REASONS
from . import version_1
from .growing_file import Length
from .hybrid_state import HybridState, WalkerState
from .npy_table import NpyTable, read_npy_table
from .run_folder import (
    CHECKPOINT,
    Arrays,
    Lengths,
    Meta,
    RunFolder,
    check_kind,
    decoding,
    read_checkpoint,
    write_checkpoint,
)
from .tables import ORIGINS, TABLES, Rows, columns_of, packed, reasons_of, row_dtype

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from .trajectory_files import Frame

VERSION = 2
CODES = "tables.json"

_VERSIONS = (version_1.VERSION, VERSION)


def table_file(name: str) -> str:
    """The file of a table."""
    return f"{name}.npy"


class HybridFolder(RunFolder[HybridState]):
    """The files of one hybrid run, open for writing by one process; see `RunFolder`."""

    kind = HYBRID_RUN
    unit = "cycle"
    versions = (VERSION,)
    tables = (*map(table_file, TABLES), version_1.RECORD)
    own_files = (*RunFolder.own_files, "system.xml")

    def open(
        self,
        topology: Topology,
        walkers: int,
        frame_interval_ps: float,
        stored_atoms: int | None = None,
    ) -> HybridState | None:
        """Open the files, cut back to the last commit.

        Parameters
        ----------
        topology : openmm.app.Topology
            Of the frames.
        walkers : int
        frame_interval_ps : float
            For the headers of trajectories.
        stored_atoms : int, optional
            Atoms of proposals whose positions are kept.

        Returns
        -------
        HybridState or None
            The state at the last commit; None for a new run.

        Raises
        ------
        StorageError
            A file is damaged or shorter than what was committed.
        """
        self._leave_version_1(stored_atoms)
        tables = {
            table_file(name): partial(NpyTable, dtype=row_dtype(name, stored_atoms))
            for name in TABLES
        }
        state = self._open(walkers, topology, frame_interval_ps, tables)
        with explained(self.path, self.committed_text()):
            if not (self.path / CODES).exists():
                codes = {"format": version_1.FORMAT, "version": VERSION}
                text = json.dumps({**codes, "reasons": REASONS, "origins": ORIGINS}, indent=2)
                write_atomically(self.path / CODES, text.encode())
            if state is None:  # tables that anybody can read, from the beginning
                for name in TABLES:
                    self._files[table_file(name)].append(packed(name, {}, 0, stored_atoms))
        return state

    def commit(
        self,
        frames: Sequence[Sequence[Frame]],
        tables: Mapping[str, NDArray[Any]],
        state: HybridState,
    ) -> None:
        """Make new frames, rows and the state after them permanent.

        Parameters
        ----------
        frames : sequence of W sequences of (positions [P, 3], box vectors [3, 3] or None) in nm
            New frames of each walker.
        tables : mapping of str to structured array
            New rows of each table.
        state : HybridState
            After them.

        Raises
        ------
        StorageError
            The disk is full or failing; the last commit stands.
        """
        rows = {table_file(name): table for name, table in tables.items()}
        self._commit(frames, rows, state)

    def write_system(
        self, topology: Topology, positions_nm: NDArray[np.float64], system: openmm.System
    ) -> None:
        """Store the topology with positions [P, 3] (PDB) and the System (XML)."""
        import openmm

        self.write_topology(topology, positions_nm)
        with explained(self.path, "Nothing was committed."):
            xml = openmm.XmlSerializer.serialize(system)
            write_atomically(self.path / "system.xml", xml.encode())

    def _encode(self, state: HybridState, lengths: Lengths) -> tuple[Meta, Arrays]:
        walkers = [dict(vars(walker)) for walker in state.walkers]
        contexts = {
            _context(index): np.frombuffer(walker.pop("context"), dtype=np.uint8)
            for index, walker in enumerate(walkers)
        }
        for index, replica in enumerate(state.replicas):
            contexts[_replica(index)] = np.frombuffer(replica, dtype=np.uint8)
        meta = {**vars(state), "version": VERSION, "walkers": walkers, "files": dict(lengths)}
        meta["replicas"] = len(state.replicas)
        return meta, contexts

    def _decode(self, meta: Meta, arrays: Arrays) -> tuple[HybridState, Lengths]:
        walkers = tuple(
            WalkerState(context=arrays[_context(index)].tobytes(), **walker)
            for index, walker in enumerate(meta["walkers"])
        )
        numbers = {name: meta[name] for name in ("cycle", "walltime_s", "generated")}
        state = HybridState(
            **numbers,
            reasons=Counter(meta["reasons"]),
            walkers=walkers,
            replicas=tuple(
                arrays[_replica(index)].tobytes() for index in range(meta.get("replicas", 0))
            ),
            ladders=tuple(meta.get("ladders", ())),
        )
        return state, {name: Length(*length) for name, length in meta["files"].items()}

    def _leave_version_1(self, stored_atoms: int | None) -> None:
        """Bring a run of version 1 into this one.

        The rows are written to the tables, the checkpoint of this version takes the place of the
        old one, and then the old files go: killed in between, one of the two is whole.
        """
        with explained(self.path, "The run is safe as it was."):
            found = read_checkpoint(self.path, self.kind, _VERSIONS, self.tables)
            if found is not None and found[0]["version"] == version_1.VERSION:
                meta, arrays = found
                with decoding(self.path, self.kind):
                    names = [self.trajectory_name(w) for w in range(len(meta["walkers"]))]
                    new = version_1.translated(meta, names)
                reasons, lengths = self._copy_rows(meta["commit"], stored_atoms)
                new.update(version=VERSION, reasons=reasons, files={**new["files"], **lengths})
                write_checkpoint(self.path / CHECKPOINT, new, arrays)
            version_1.remove(self.path)

    def _copy_rows(
        self, commit: int, stored_atoms: int | None
    ) -> tuple[Counter[str], dict[str, Length]]:
        """Write the rows of version 1 to new tables; proposals by verdict, and the lengths."""
        reasons: Counter[str] = Counter()
        lengths: dict[str, Length] = {}
        tables = {}
        for name in TABLES:
            path = self.path / table_file(name)
            path.unlink(missing_ok=True)
            tables[name] = NpyTable(path, row_dtype(name, stored_atoms))
        for rows in version_1.blocks(self.path, commit):
            reasons += reasons_of(rows.proposals["reason"])
            for name, table in tables.items():
                columns = rows.table(name)
                new = packed(name, columns, len(columns["walker"]), stored_atoms)
                lengths[table_file(name)] = table.append(new)
                table.confirm()
        return reasons, lengths


def read_run(folder: str | Path, positions: bool = True) -> Rows:
    """The tables of a run, finished or not, as far as they are committed.

    Parameters
    ----------
    folder : str or Path
        The folder of a run.
    positions : bool
        Whether to read the positions of proposals too, which take most of the room.

    Returns
    -------
    Rows
        The columns of `proposals`, `segments` and `frames` (see docs/files.md).

    Raises
    ------
    StorageError
        The folder is not that of a run, or has lost files.
    """
    path = Path(folder)
    check_kind(path, HYBRID_RUN)
    while True:
        found = read_checkpoint(path, HYBRID_RUN, _VERSIONS, HybridFolder.tables)
        if found is None:
            return _no_rows()
        meta, _ = found
        if meta["version"] == VERSION:
            tables = {
                name: read_npy_table(path / table_file(name), meta["files"][table_file(name)][1])
                for name in TABLES
            }
            return Rows(**{name: columns_of(table, positions) for name, table in tables.items()})
        problem = None
        try:
            rows = version_1.read_rows(path, meta["commit"], positions)
        except StorageError as error:
            problem = error
        now = read_checkpoint(path, HYBRID_RUN, _VERSIONS, HybridFolder.tables)
        if now is not None and now[0]["version"] == VERSION:
            continue  # another process took the run up in this version meanwhile
        if problem is not None:
            raise problem
        return rows or _no_rows()


def _no_rows() -> Rows:
    return Rows(**{name: columns_of(packed(name, {}, 0)) for name in TABLES})


def _replica(number: int) -> str:
    """The array of a checkpoint that holds the Context of a hot replica."""
    return f"replica_{number:04d}"


def _context(walker: int) -> str:
    """The array of a checkpoint that holds the Context of a walker."""
    return f"context_{walker:04d}"
