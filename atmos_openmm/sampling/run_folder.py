"""The folder of a run: commits that survive a kill.

A folder holds `run.json` (the settings), `topology.pdb`, files that only grow (trajectories,
tables), and `checkpoint.npz`. A commit writes what is new at the end of each growing file, flushed
to the disk; then the checkpoint beside its place, renamed into it. The rename makes the commit:
the checkpoint names the length of every file, and what is found beyond it when a run goes on was
not committed and is cut off. A checkpoint of nothing comes before the first frames and rows, so
that a folder which has some and no checkpoint has lost it. Nothing is read back or rewritten, so a
commit costs the same however long the run is.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

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
from .growing_file import EMPTY, GrowingFile, Length
from .trajectory_files import open_trajectory

if TYPE_CHECKING:
    from openmm.app import Topology

    from .trajectory_files import Frame

CHECKPOINT = "checkpoint.npz"
#: Marks the checkpoint that precedes the first commit.
_BLANK = "nothing_committed"

Meta = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
Lengths = Mapping[str, Length]


class State(Protocol):
    """Where a run is."""

    @property
    def done(self) -> int:
        """What every walker has completed: cycles, frames."""
        ...


StateT = TypeVar("StateT", bound=State)


class RunFolder(Generic[StateT]):
    """The files of one run, open for writing by one process: what all kinds of runs share.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing.
    settings : mapping
        Everything that decides what the run computes, as plain JSON values.
    notes : mapping, optional
        What is worth knowing but may change between the processes that work on a run (versions,
        command line).

    Attributes
    ----------
    path : Path
    settings : dict
        As JSON keeps them.

    Raises
    ------
    StorageError
        The folder cannot be written, is in use by another process, holds something else, or holds
        a run with other settings; the message lists the differences.
    """

    #: What the run is called, what its progress is counted in, which versions of the checkpoint
    #: are read, the files of its tables in any version, and others that only such a run makes.
    kind: ClassVar[str]
    unit: ClassVar[str]
    versions: ClassVar[tuple[int, ...]]
    tables: ClassVar[tuple[str, ...]]
    own_files: ClassVar[tuple[str, ...]] = (CHECKPOINT, "topology.pdb")

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(folder)
        self._committed: int | None = None
        self._files: dict[str, GrowingFile] = {}
        check_writable(self.path)
        self._lock = FolderLock(self.path)
        try:
            self.settings = take_settings(
                self.path, settings, notes or {}, (*self.tables, *self.own_files)
            )
            with explained(self.path, "What was committed is safe."):
                remove_leftovers(self.path, ".xtc-*")
        except BaseException:
            self._lock.release()
            raise

    def committed_text(self) -> str:
        """A sentence on what is safe on the disk."""
        if self._committed is None:
            return "Nothing was committed before."
        return f"Everything up to {self.unit} {self._committed} is safe."

    def write_topology(self, topology: Topology, positions_nm: NDArray[np.float64]) -> None:
        """Store the topology with positions [P, 3] as PDB."""
        from openmm import app, unit

        text = io.StringIO()
        app.PDBFile.writeFile(topology, positions_nm * unit.nanometer, text, keepIds=True)
        with explained(self.path, "Nothing was committed."):
            write_atomically(self.path / "topology.pdb", text.getvalue().encode())

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def trajectory_name(self, walker: int) -> str:
        """The file of a walker's frames."""
        return f"trajectory_{walker:04d}.{self.settings['format']}"

    def _open(
        self,
        walkers: int,
        topology: Topology,
        frame_interval_ps: float,
        tables: Mapping[str, Callable[..., GrowingFile]],
    ) -> StateT | None:
        """Open trajectories and tables, cut back to the last commit; the state at it, if any."""
        state: StateT | None = None
        lengths: Lengths = {}
        found = read_checkpoint(self.path, self.kind, self.versions, self.tables)
        if found is not None:
            with decoding(self.path, self.kind):
                state, lengths = self._decode(*found)
        self._committed = None if state is None else state.done
        with explained(self.path, self.committed_text()):
            self._files = {
                name: open_trajectory(
                    self.path / name, topology, frame_interval_ps, lengths.get(name, EMPTY)
                )
                for name in map(self.trajectory_name, range(walkers))
            }
            for name, table in tables.items():
                self._files[name] = table(self.path / name, length=lengths.get(name, EMPTY))
        return state

    def _commit(
        self,
        frames: Sequence[Sequence[Frame]],
        tables: Mapping[str, Any],
        state: StateT,
    ) -> None:
        """Make new frames of each walker, new rows by table, and the state after them permanent."""
        records: dict[str, Any] = {
            self.trajectory_name(walker): new for walker, new in enumerate(frames)
        }
        records.update(tables)
        checkpoint = self.path / CHECKPOINT
        with explained(self.path, self.committed_text()):
            if not checkpoint.exists():
                write_checkpoint(checkpoint, {"version": self.versions[-1], _BLANK: True}, {})
            lengths = {name: file.append(records[name]) for name, file in self._files.items()}
            write_checkpoint(checkpoint, *self._encode(state, lengths))
        self._committed = state.done
        for file in self._files.values():
            file.confirm()

    def _encode(self, state: StateT, lengths: Lengths) -> tuple[Meta, Arrays]:
        """What the checkpoint keeps: JSON values, `version` among them, and arrays."""
        raise NotImplementedError

    def _decode(self, meta: Meta, arrays: Arrays) -> tuple[StateT, Lengths]:
        """What `_encode()` was given."""
        raise NotImplementedError


def check_kind(folder: Path, kind: str) -> None:
    """Refuse a folder that is not that of a run of this kind.

    Raises
    ------
    StorageError
    """
    found = read_settings(folder).get("kind", HYBRID_RUN)
    if found != kind:
        raise StorageError(f"{folder} holds a {found}, not a {kind}.")


def write_checkpoint(path: Path, meta: Meta, arrays: Arrays) -> None:
    """Write a numpy archive of JSON and arrays, without pickles."""
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with replaced_atomically(path) as file:
        np.savez(file, meta=text, **arrays)  # type: ignore[arg-type]


def read_checkpoint(
    folder: Path, kind: str, versions: tuple[int, ...], tables: Sequence[str]
) -> tuple[Meta, Arrays] | None:
    """JSON values and arrays of the last commit of a run of this kind; None before the first.

    Raises
    ------
    StorageError
        The checkpoint is damaged, of a version that is not among these, or missing although there
        are frames, or rows in the files of the tables.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        paths = [*folder.glob("trajectory_*"), *(folder / name for name in tables)]
        orphans = sorted(path.name for path in paths if _holds_records(path))
        if orphans:
            raise StorageError(
                f"{folder} holds {', '.join(orphans)} but no {CHECKPOINT}, which says how much of "
                f"the {kind} is committed: somebody removed it. Put it back from a copy, or start "
                "again in another folder."
            )
        return None
    with decoding(folder, kind), open(path, "rb") as file:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop("meta").tobytes().decode())
        version = meta["version"]
    if version not in versions:
        raise StorageError(
            f"{path} was written by another version of this program; go on with that one, or "
            f"start a new {kind} in another folder."
        )
    return None if _BLANK in meta else (meta, arrays)


def _holds_records(path: Path) -> bool:
    """Whether a trajectory or table has more than the header that some are made with."""
    if not path.exists():
        return False
    with open(path, "rb") as file:
        start = file.read(10)
    header = 10 + int.from_bytes(start[8:], "little") if path.suffix == ".npy" else 0
    return path.stat().st_size > header


@contextlib.contextmanager
def decoding(folder: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged checkpoint makes the block raise into a StorageError."""
    try:
        yield
    except Exception as error:
        raise StorageError(
            f"{folder / CHECKPOINT} is damaged ({error}). Frames and tables of the {kind} are "
            "still readable, but it cannot go on: start a new one in another folder."
        ) from error
