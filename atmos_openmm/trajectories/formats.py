"""What the formats of trajectories hold, and their frames in chunks, by way of mdtraj.

mdtraj numbers frames 0, 1, 2, ... where a format has no times, and calls that their time. Which
times are the simulation's is told here by the format. DCD has a step in its header, which programs
fill as they like.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.read_errors import READ_ERRORS, first_line
from .ends import find_end
from .errors import TrajectoryMismatchError
from .frames import FrameChunk, FrameReader
from .layout import TrajectoryFile, is_own_layout
from .readable_names import readable_name
from .topology import check_atoms, check_count

__all__ = ["CHUNK_FRAMES", "open_file", "quiet_stdout"]

#: Frames in memory at a time.
CHUNK_FRAMES = 60

#: Formats whose time stamps are those of the simulation.
_TIMED = frozenset(
    ".xtc .trr .nc .ncdf .netcdf .h5 .hdf5 .dtr .stk .rst7 .ncrst .inpcrd .restrt".split()
)

#: Of these, formats in which times may be missing.
_PERHAPS_TIMED = frozenset(".nc .ncdf .netcdf .h5 .hdf5".split())

#: Formats that hold their own topology, which can be compared.
_WITH_TOPOLOGY = frozenset(
    ".pdb .pdb.gz .h5 .hdf5 .lh5 .gro .arc .mol2 .gsd .pdbx .pdbx.gz .cif .cif.gz .mmcif "
    ".mmcif.gz .hoomdxml".split()
)

#: Formats of one frame or of a few, which mdtraj can only load whole.
_LOADED_WHOLE = frozenset(
    ".pdb .pdb.gz .gro .arc .mol2 .gsd .pdbx .pdbx.gz .cif .cif.gz .mmcif .mmcif.gz .hoomdxml "
    ".xml .stk .inpcrd .restrt .rst7 .ncrst".split()
)

#: AMBER's text trajectory is a row of numbers; nothing in it tells how many atoms a frame has.
_WITHOUT_ATOM_COUNT = frozenset({".crd", ".mdcrd"})

_NEED_PYTABLES = frozenset({".h5", ".hdf5", ".lh5"})


def open_file(path: Path, topology: Any) -> FrameReader:
    """Open a trajectory file of any format; see `reader.open_frames`."""
    if not path.exists():
        raise FileNotFoundError(f"there is no trajectory {path}")
    if is_own_layout(path):
        return _open_own(path, topology)
    from mdtraj.formats.registry import FormatRegistry

    extension = _extension(path)
    if extension not in FormatRegistry.loaders:
        raise ValueError(
            f"{path}: no reader for files that end in {extension!r}; known are "
            f"{', '.join(sorted(FormatRegistry.loaders))}"
        )
    if path.is_dir() and extension != ".dtr":
        raise ValueError(f"{path} is a folder; a trajectory file was expected")
    if extension in _NEED_PYTABLES:
        _check_hdf5(path)
    if extension in _NEED_PYTABLES and find_spec("tables") is None:
        raise ImportError(
            f"{path}: mdtraj reads {extension} files with PyTables, which is not installed; "
            "install it with 'pip install tables', or convert the trajectory to XTC or DCD"
        )
    timed = extension in _TIMED
    if extension not in (_WITH_TOPOLOGY - _PERHAPS_TIMED) | _LOADED_WHOLE | _WITHOUT_ATOM_COUNT:
        atoms, time = _first_frame(path)
        timed = timed and (time or extension not in _PERHAPS_TIMED)
        if extension not in _WITH_TOPOLOGY:
            check_count(atoms, topology, str(path))
    end = find_end(path, extension, topology.getNumAtoms())
    count = _num_frames(path, extension) if end is None else end.whole
    if end is not None and end.whole == 0:
        raise ValueError(f"{path} ends within its first frame: it is cut short, or damaged")
    remarks = [end.remark(path)] if end is not None and end.remark(path) else []
    limit = end.whole if end is not None and remarks else None
    chunks = _read_file(path, extension, topology, timed, remarks, limit)
    return FrameReader(str(path), count, timed, remarks, chunks, bool(remarks))


def _check_hdf5(path: Path) -> None:
    """A damaged file must not be taken for one that only another library reads."""
    import h5py

    try:
        h5py.File(path, "r").close()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({first_line(error)}): it is truncated, damaged or no HDF5 file"
        ) from error


def _extension(path: Path) -> str:
    name = path.name.lower()
    first = Path(name).suffix
    return "".join(Path(name).suffixes[-2:]) if first == ".gz" else first


def _read_file(
    path: Path,
    extension: str,
    topology: Any,
    timed: bool,
    remarks: list[str],
    limit: int | None,
) -> Iterator[FrameChunk]:
    """Frames of a file, only the first ones where there is a limit: what follows is not whole."""
    import mdtraj

    own = extension in _WITH_TOPOLOGY
    arguments = {} if own else {"top": mdtraj.Topology.from_openmm(topology)}
    read = 0
    try:
        if extension in _LOADED_WHOLE:
            pieces = iter([mdtraj.load(readable_name(path), **arguments)[:limit]])
        elif limit is not None:
            pieces = _first_frames(path, extension, arguments["top"], limit)
        else:
            pieces = mdtraj.iterload(readable_name(path), chunk=CHUNK_FRAMES, **arguments)
        while (piece := _next(pieces)) is not None:
            if read == 0 and own:
                remarks += check_atoms(piece.topology, topology, str(path))
            check_count(piece.n_atoms, topology, str(path))
            read += len(piece)
            chunk = FrameChunk.of(piece, timed)
            del piece  # its frames are not kept while the next ones are read
            yield chunk
            del chunk
    except TrajectoryMismatchError:
        raise
    except READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read beyond frame {read} ({first_line(error)}): it is truncated, "
            "damaged or not of the kind that its name says"
        ) from error
    if read == 0:
        raise ValueError(f"{path} holds no frames")


def _first_frames(path: Path, extension: str, topology: Any, limit: int) -> Iterator[Any]:
    import mdtraj

    needed = {"n_atoms": topology.n_atoms} if extension in _WITHOUT_ATOM_COUNT else {}
    with mdtraj.open(readable_name(path), **needed) as file:
        for first in range(0, limit, CHUNK_FRAMES):
            yield file.read_as_traj(topology, n_frames=min(CHUNK_FRAMES, limit - first))


def _next(pieces: Iterator[Any]) -> Any:
    with quiet_stdout():
        return next(pieces, None)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Keep remarks of mdtraj and of its DCD reader's C code from the user's output."""
    sys.stdout.flush()
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        with warnings.catch_warnings():
            # NetCDF files are read by scipy as well, only slower.
            warnings.filterwarnings("ignore", message=".*'netCDF4' Python package")
            # Boxes of zeros are none here, and told.
            warnings.filterwarnings("ignore", module=r"mdtraj\.utils\.unitcell")
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def _first_frame(path: Path) -> tuple[int, bool]:
    """Number of atoms of the first frame, and whether something that may be a time is with it."""
    import mdtraj

    try:
        with quiet_stdout(), mdtraj.open(readable_name(path)) as file:
            first = file.read(n_frames=1)
    except READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read ({first_line(error)}): it is empty, damaged or not of the "
            "kind that its name says"
        ) from error
    positions = first[0] if isinstance(first, tuple) else first
    if len(positions) == 0:
        raise ValueError(f"{path} holds no frames")
    return int(positions.shape[1]), isinstance(first, tuple) and first[1] is not None


def _num_frames(path: Path, extension: str) -> int | None:
    import mdtraj

    if extension in _LOADED_WHOLE | _WITHOUT_ATOM_COUNT:
        return None
    try:
        with warnings.catch_warnings(), quiet_stdout(), mdtraj.open(readable_name(path)) as file:
            warnings.simplefilter("ignore")
            return len(file)
    # Only the estimate of the time left depends on it.
    except (*READ_ERRORS, NotImplementedError):
        return None


def _open_own(path: Path, topology: Any) -> FrameReader:
    with TrajectoryFile(path) as file:
        import mdtraj

        remarks = check_atoms(mdtraj.Topology.from_openmm(file.topology), topology, str(path))
        count = sum(len(trajectory) for trajectory in file.trajectories)
    return FrameReader(str(path), count, True, remarks, _read_own(path))


def _read_own(path: Path) -> Iterator[FrameChunk]:
    with TrajectoryFile(path) as file:
        for trajectory in file.trajectories:
            for first in range(0, len(trajectory), CHUNK_FRAMES):
                piece = slice(first, first + CHUNK_FRAMES)
                yield FrameChunk(trajectory.positions(piece), trajectory.time_ps[piece], None)
