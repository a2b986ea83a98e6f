"""The folder of a run: commits that survive a kill, and reading what they hold.

A folder holds `run.json` (the settings), `topology.pdb`, `system.xml`, one trajectory a walker,
`record.h5` (the tables of docs/architecture.md), and while a run goes on `parts/` and
`checkpoint.npz`.

A commit writes, in this order: the new frames at the end of each trajectory, flushed to the disk;
the new rows of the tables as a part file that is never changed again; the checkpoint, which names
the commit and the length of each trajectory. Each file but the trajectories is written beside its
place and renamed into it. The rename of the checkpoint makes the commit: whatever is found beyond
it when a run goes on (frames at the end of a trajectory, a part with a higher number) was not
committed and is dropped, and the molecular dynamics that made it is repeated. Parts are merged
into the record when they have become as large as the record itself, and at the end; the record
names the last commit that it holds, so that a part that is still there after a merge does not
count twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.files import (
    StorageError,
    check_writable,
    explained,
    remove_leftovers,
    sync_folder,
    write_atomically,
)
from ..core.locks import FolderLock
from ..core.settings import take_settings
from .checkpoint import RunCheckpoint
from .tables import Rows, append_rows, create_record, decode, empty_rows, encode, joined

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

_MERGE_AFTER_PARTS = 32
_FILES = ("record.h5", "checkpoint.npz", "topology.pdb", "system.xml")


class RunFolder:
    """The files of one run, open for writing by one process.

    Parameters
    ----------
    folder: str or Path
        made where it is missing
    settings: mapping
        everything that decides what the run computes, as plain JSON values
    notes: mapping
        what is worth knowing but may change between the processes that work on a run (versions,
        command line)

    Raises
    ------
    StorageError
        if the folder cannot be written, is in use by another process, holds something else, or
        holds a run with other settings; the message lists the differences
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(folder)
        check_writable(self.path)
        self._lock = FolderLock(self.path)
        try:
            self.settings = take_settings(self.path, settings, notes or {}, _FILES)
            self.checkpoint = self._read_checkpoint()
            self._drop_uncommitted()
        except BaseException:
            self._lock.release()
            raise

    @property
    def commit_number(self) -> int:
        """Number of the last commit, 0 before the first."""
        return 0 if self.checkpoint is None else self.checkpoint.commit

    def write_system(self, topology: Topology, positions: Any, system: openmm.System) -> None:
        """Store the topology (PDB) and the System (XML), once."""
        import io

        import openmm
        from openmm import app

        text = io.StringIO()
        app.PDBFile.writeFile(topology, positions, text, keepIds=True)
        with explained(self.path, "Nothing was committed."):
            write_atomically(self.path / "topology.pdb", text.getvalue().encode())
            xml = openmm.XmlSerializer.serialize(system)
            write_atomically(self.path / "system.xml", xml.encode())

    def commit(self, rows: Rows, checkpoint: RunCheckpoint) -> None:
        """Make rows and checkpoint permanent. The trajectories have to be flushed before.

        Raises
        ------
        StorageError
            if the disk is full or failing; the last commit stands
        """
        parts = self.path / "parts"
        with explained(self.path, self.committed_text()):
            parts.mkdir(exist_ok=True)
            write_atomically(
                _part_path(self.path, checkpoint.commit), encode(rows, checkpoint.commit)
            )
            write_atomically(self.path / "checkpoint.npz", checkpoint.encode())
        self.checkpoint = checkpoint
        self._merge_if_due()

    def committed_text(self) -> str:
        """A sentence on what is safe on the disk."""
        if self.checkpoint is None:
            return "Nothing was committed before."
        return f"Everything up to cycle {self.checkpoint.cycle} is safe."

    def merge(self) -> None:
        """Gather all parts in `record.h5` and remove them.

        Raises
        ------
        StorageError
            if there is no room for it; the parts stay and are as good
        """
        import h5py

        record = self.path / "record.h5"
        merged = _record_commit(record)
        numbers = [n for n in _part_numbers(self.path) if merged < n <= self.commit_number]
        if not numbers:
            return
        temporary = record.with_name("record.h5.tmp")
        with explained(self.path, self.committed_text()):
            try:
                if record.exists():
                    shutil.copyfile(record, temporary)
                with h5py.File(temporary, "a" if record.exists() else "w") as file:
                    for number in numbers:
                        rows = _read_rows(_part_path(self.path, number))
                        if "format" in file.attrs:
                            append_rows(file, rows, number)
                        else:
                            create_record(file, rows, number, self.settings)
                with open(temporary, "r+b") as synced:
                    os.fsync(synced.fileno())
                os.replace(temporary, record)
                sync_folder(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        self._remove_parts(self.commit_number)

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def _merge_if_due(self) -> None:
        """Merge when the parts weigh as much as the record, which keeps the cost proportional."""
        numbers = _part_numbers(self.path)
        if len(numbers) < _MERGE_AFTER_PARTS:
            return
        record = self.path / "record.h5"
        size = record.stat().st_size if record.exists() else 0
        if sum(_part_path(self.path, n).stat().st_size for n in numbers) >= size:
            self.merge()

    def _remove_parts(self, up_to: int) -> None:
        for number in _part_numbers(self.path):
            if number <= up_to:
                _part_path(self.path, number).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.path / "parts").rmdir()

    def _read_checkpoint(self) -> RunCheckpoint | None:
        path = self.path / "checkpoint.npz"
        return RunCheckpoint.read(path) if path.exists() else None

    def _drop_uncommitted(self) -> None:
        """Remove what a killed process left behind beyond its last commit."""
        with explained(self.path, self.committed_text()):
            merged = _record_commit(self.path / "record.h5")
            if merged > self.commit_number:
                raise StorageError(
                    f"{self.path}/record.h5 holds commit {merged}, but checkpoint.npz is at "
                    f"{self.commit_number}: files of two runs were mixed. Put the right ones "
                    "back, or start again in another folder."
                )
            numbers = _part_numbers(self.path)
            for number in numbers:
                if number > self.commit_number or number <= merged:
                    _part_path(self.path, number).unlink()
            missing = set(range(merged + 1, self.commit_number + 1)) - set(numbers)
            if missing:
                raise StorageError(
                    f"{self.path}/parts lacks part {min(missing)}, which was committed. Put it "
                    "back, or start again in another folder."
                )
            remove_leftovers(self.path, "parts/*.tmp", ".xtc-*")


def read_run(folder: str | Path, positions: bool = True) -> Rows:
    """The tables of a run, finished or not, as far as they are committed.

    Parameters
    ----------
    folder: str or Path
        the folder of a run
    positions: bool
        whether to read the positions of proposals too, which take most of the room

    Returns
    -------
    Rows
        the columns of `proposals`, `segments` and `frames` (see docs/architecture.md)

    Raises
    ------
    StorageError
        if the folder is not a run or has lost files
    """
    path = Path(folder)
    if not (path / "run.json").exists():
        raise StorageError(f"{path} is not the folder of a run: it has no run.json.")
    while True:
        pieces, merged = _committed_rows(path, positions)
        # A merge by a running process may have moved parts into the record meanwhile.
        if _record_commit(path / "record.h5") == merged:
            return joined(pieces) if pieces else empty_rows(None)


def _committed_rows(path: Path, positions: bool) -> tuple[list[Rows], int]:
    """The rows of the record and of the parts after it, and the last commit of the record."""
    checkpoint_path = path / "checkpoint.npz"
    commit = RunCheckpoint.read(checkpoint_path).commit if checkpoint_path.exists() else 0
    pieces: list[Rows] = []
    merged = _record_commit(path / "record.h5")
    if merged:
        pieces.append(_read_rows(path / "record.h5", positions))
    for number in _part_numbers(path):
        if merged < number <= commit:
            with contextlib.suppress(FileNotFoundError):
                pieces.append(_read_rows(_part_path(path, number), positions))
    return pieces, merged


def _part_path(folder: Path, number: int) -> Path:
    return folder / "parts" / f"part_{number:09d}.h5"


def _part_numbers(folder: Path) -> Sequence[int]:
    return sorted(int(path.stem[5:]) for path in (folder / "parts").glob("part_*.h5"))


def _record_commit(record: Path) -> int:
    """The last commit that a record holds; 0 where there is no record."""
    if not record.exists():
        return 0
    import h5py

    try:
        with h5py.File(record, "r") as file:
            return int(file.attrs["commit"])
    except (OSError, KeyError) as error:
        raise StorageError(f"{record} is damaged ({error}). Put it back from a copy.") from error


def _read_rows(path: Path, positions: bool = True) -> Rows:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return decode(file, positions)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path} is damaged ({error}). Put it back from a copy.") from error
