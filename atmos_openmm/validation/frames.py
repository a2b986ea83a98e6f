"""Frames from files and arrays, one after the other, checked against a Topology.

Reads what mdtraj reads, the package's own trajectory files, mdtraj objects and arrays. Files are
read in chunks, so that a trajectory of any length takes the same memory.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from openmm import unit

__all__ = ["Frame", "FrameSource", "TrajectoryMismatchError", "is_own_layout", "open_frames"]

#: Frames in memory at a time.
CHUNK_FRAMES = 64

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

#: What the readers of the formats raise on files that are damaged.
_READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    IndexError,
    TypeError,
    AssertionError,
    EOFError,
)


class TrajectoryMismatchError(ValueError):
    """A trajectory whose atoms are not those of the topology."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    index: int
        its number in the trajectory, from 0, whatever the stride.
    time_ps: float
        its time stamp; NaN where the source has none.
    positions_nm: array [P,3], float64
        as stored: atoms may be NaN, and molecules may be broken across the box.
    box_nm: array [3,3] or None
        periodic box vectors as stored.
    """

    index: int
    time_ps: float
    positions_nm: np.ndarray
    box_nm: np.ndarray | None


@dataclass(frozen=True)
class _Chunk:
    positions_nm: np.ndarray
    time_ps: np.ndarray
    boxes_nm: np.ndarray | None


def _extension(path: Path) -> str:
    name = path.name.lower()
    first = Path(name).suffix
    return "".join(Path(name).suffixes[-2:]) if first == ".gz" else first


def _element_symbols(topology: Any) -> list[str]:
    """Element symbols of an OpenMM Topology, "VS" for virtual sites, as mdtraj calls them."""
    return [a.element.symbol if a.element is not None else "VS" for a in topology.atoms()]


def _count_message(found: int, topology: Any, source: str) -> str:
    symbols = _element_symbols(topology)
    message = f"{source} has {found} atoms, the topology {len(symbols)}"
    heavy = sum(symbol not in ("H", "D", "VS") for symbol in symbols)
    real = sum(symbol != "VS" for symbol in symbols)
    if found == heavy:
        message += (
            "; it has as many as the topology has heavy atoms. Energies need hydrogens: place "
            "them first, frame by frame (atmos_openmm.systems.place_hydrogens)"
        )
    elif found == real:
        message += "; it seems to lack the virtual sites of the topology"
    elif found < len(symbols):
        message += (
            "; if solvent or ions were stripped from the trajectory, strip them from the "
            "topology too and use the force field that the remaining molecules should be "
            "validated with"
        )
    else:
        message += "; give the topology of the file that the trajectory was written for"
    return message


def check_atoms(other: Any, topology: Any, source: str) -> list[str]:
    """Compare the atoms of an mdtraj Topology with those of an OpenMM Topology.

    Elements have to be equal atom by atom. Names may follow another convention, but the names
    of a residue must not be the same ones in another order.

    Parameters
    ----------
    other: mdtraj.Topology
    topology: openmm.app.Topology
    source: str
        how messages call the trajectory.

    Returns
    -------
    list of str
        remarks: differences that are not errors.

    Raises
    ------
    TrajectoryMismatchError
    """
    if other.n_atoms != topology.getNumAtoms():
        raise TrajectoryMismatchError(_count_message(other.n_atoms, topology, source))
    theirs = list(other.atoms)
    renamed = 0
    for residue in topology.residues():
        ours = list(residue.atoms())
        names = [atom.name for atom in ours]
        found = [theirs[atom.index] for atom in ours]
        label = f"{residue.name}{residue.id}"
        for atom, match in zip(ours, found, strict=True):
            expected = atom.element.symbol if atom.element is not None else "VS"
            symbol = match.element.symbol if match.element is not None else "VS"
            if symbol != expected:
                raise TrajectoryMismatchError(
                    f"atom {atom.index} is {match} ({symbol}) in {source} and "
                    f"{label}/{atom.name} ({expected}) in the topology; the atoms are in another "
                    "order, or of another molecule. Use the topology that the trajectory was "
                    "written with"
                )
        found_names = [match.name for match in found]
        if found_names == names:
            continue
        if sorted(found_names) == sorted(names):
            first = next(i for i, name in enumerate(names) if name != found_names[i])
            raise TrajectoryMismatchError(
                f"the atoms of {label} are in another order in {source}: atom {ours[first].index} "
                f"is {found_names[first]} there and {names[first]} in the topology. Use the "
                "topology that the trajectory was written with"
            )
        renamed += sum(a != b for a, b in zip(names, found_names, strict=True))
    return [f"{renamed} atoms have other names in {source} (same elements)"] if renamed else []


class FrameSource:
    """Frames of one trajectory, in order.

    Made by `open_frames`.

    Attributes
    ----------
    name: str
        what it is called in messages.
    num_frames: int or None
        how many frames it holds, where that can be told without reading them all.
    remarks: list of str
        differences from the topology that are not errors; complete after the first frame.
    """

    def __init__(self, name: str, num_frames: int | None, chunks: Iterator[_Chunk]) -> None:
        self.name = name
        self.num_frames = num_frames
        self.remarks: list[str] = []
        self._chunks = chunks

    def count(self, start: int = 0, stop: int | None = None, stride: int = 1) -> int | None:
        """How many frames `frames` with the same arguments gives, or None when not known."""
        if self.num_frames is None:
            return None
        return len(range(self.num_frames)[start:stop:stride])

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Read frames; can be used once.

        Parameters
        ----------
        start, stop: int
            the first frame, and the one to stop before (None: the last one is included).
        stride: int
            every so many frames.

        Yields
        ------
        Frame
        """
        if start < 0 or (stop is not None and stop < 0) or stride < 1:
            raise ValueError(
                f"frames {start}:{stop}:{stride} were asked for; start and stop are counted from "
                "0 and the stride is at least 1"
            )
        index = 0
        for chunk in self._chunks:
            for i in range(len(chunk.positions_nm)):
                if stop is not None and index >= stop:
                    return
                if index >= start and (index - start) % stride == 0:
                    yield Frame(
                        index,
                        float(chunk.time_ps[i]),
                        np.asarray(chunk.positions_nm[i], dtype=np.float64),
                        None if chunk.boxes_nm is None else np.asarray(chunk.boxes_nm[i], float),
                    )
                index += 1


def open_frames(trajectory: Any, topology: Any) -> FrameSource:
    """Open a trajectory for reading.

    Parameters
    ----------
    trajectory: str, path, mdtraj.Trajectory, array [F,P,3] or Quantity
        a file in any format that mdtraj reads or the package's own layout (HDF5), or frames in
        memory (nm). Where the format carries a topology, its atoms are compared.
    topology: openmm.app.Topology

    Returns
    -------
    FrameSource

    Raises
    ------
    FileNotFoundError
    TrajectoryMismatchError
        when the number, elements or order of the atoms differ. For files, that may be when the
        first frame is read.
    ValueError
        when the format is not known or the file is damaged.
    """
    if isinstance(trajectory, (str, os.PathLike)):
        return _open_file(Path(trajectory), topology)
    mdtraj = sys.modules.get("mdtraj")
    if mdtraj is not None and isinstance(trajectory, mdtraj.Trajectory):
        source = FrameSource("the trajectory", len(trajectory), iter([_chunk(trajectory)]))
        source.remarks += check_atoms(trajectory.topology, topology, source.name)
        return source
    quantity = unit.is_quantity(trajectory)
    values = np.asarray(trajectory.value_in_unit(unit.nanometer) if quantity else trajectory)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(
            f"an array of frames should have the shape (frames, atoms, 3); found {values.shape}"
        )
    _check_count(values.shape[1], topology, "the array")
    chunk = _Chunk(values, np.full(len(values), np.nan), None)
    return FrameSource("the array", len(values), iter([chunk]))


def _check_count(found: int, topology: Any, source: str) -> None:
    if found != topology.getNumAtoms():
        raise TrajectoryMismatchError(_count_message(found, topology, source))


def _chunk(trajectory: Any) -> _Chunk:
    return _Chunk(trajectory.xyz, trajectory.time, trajectory.unitcell_vectors)


def _open_file(path: Path, topology: Any) -> FrameSource:
    if not path.exists():
        raise FileNotFoundError(f"there is no trajectory {path}")
    if is_own_layout(path):
        return _open_own(path, topology)
    import mdtraj
    from mdtraj.formats.registry import FormatRegistry

    extension = _extension(path)
    if extension not in FormatRegistry.loaders:
        raise ValueError(
            f"{path}: no reader for files that end in {extension!r}; known are "
            f"{', '.join(sorted(FormatRegistry.loaders))}"
        )
    if extension in _NEED_PYTABLES and find_spec("tables") is None:
        raise ImportError(
            f"{path}: mdtraj reads {extension} files with PyTables, which is not installed; "
            "install it with 'pip install tables', or convert the trajectory to XTC or DCD"
        )
    if extension not in _WITH_TOPOLOGY | _LOADED_WHOLE | _WITHOUT_ATOM_COUNT:
        _check_count(_first_frame_atoms(path), topology, str(path))
    source = FrameSource(str(path), _num_frames(path, extension), iter(()))
    source._chunks = _read_file(path, extension, topology, mdtraj, source.remarks)
    if extension == ".dcd":
        source.remarks += _dcd_remarks(path, source.num_frames)
    return source


def _read_file(
    path: Path, extension: str, topology: Any, mdtraj: Any, remarks: list[str]
) -> Iterator[_Chunk]:
    own = extension in _WITH_TOPOLOGY
    arguments = {} if own else {"top": mdtraj.Topology.from_openmm(topology)}
    read = 0
    try:
        if extension in _LOADED_WHOLE:
            pieces = iter([mdtraj.load(str(path), **arguments)])
        else:
            pieces = mdtraj.iterload(str(path), chunk=CHUNK_FRAMES, **arguments)
        for piece in pieces:
            if read == 0 and own:
                remarks += check_atoms(piece.topology, topology, str(path))
            _check_count(piece.n_atoms, topology, str(path))
            yield _chunk(piece)
            read += len(piece)
    except TrajectoryMismatchError:
        raise
    except _READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read beyond frame {read} ({_first_line(error)}): it is truncated, "
            "damaged or not of the kind that its name says"
        ) from error
    if read == 0:
        raise ValueError(f"{path} holds no frames")


def _first_frame_atoms(path: Path) -> int:
    """Number of atoms of the first frame of a file in a format without a topology."""
    import mdtraj

    try:
        with mdtraj.open(str(path)) as file:
            first = file.read(n_frames=1)
    except _READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read ({_first_line(error)}): it is empty, damaged or not of the "
            "kind that its name says"
        ) from error
    positions = first[0] if isinstance(first, tuple) else first
    if len(positions) == 0:
        raise ValueError(f"{path} holds no frames")
    return int(positions.shape[1])


def _num_frames(path: Path, extension: str) -> int | None:
    import mdtraj

    if extension in _LOADED_WHOLE | _WITHOUT_ATOM_COUNT:
        return None
    try:
        with warnings.catch_warnings(), mdtraj.open(str(path)) as file:
            warnings.simplefilter("ignore")
            return len(file)
    # Only the estimate of the time left depends on it.
    except (*_READ_ERRORS, NotImplementedError, AttributeError):
        return None


def _dcd_remarks(path: Path, found: int | None) -> list[str]:
    """Compare the frames of a DCD file with its header, since a cut file is read without a word."""
    with path.open("rb") as file:
        header = file.read(12)
    order = "little" if header[:4] == (84).to_bytes(4, "little") else "big"
    announced = int.from_bytes(header[8:12], order)  # type: ignore[arg-type]
    # Some programs write no number, and write over 0 at the end of a run.
    if announced == 0 or found is None or announced <= found:
        return []
    return [f"{path} announces {announced} frames and holds {found}; it seems to be cut short"]


def is_own_layout(path: Path) -> bool:
    """Tell whether a file is a trajectory file of this package (`atmos_openmm.data.layout`)."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return False
    import h5py

    from ..data.layout import FORMAT

    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        return False


def _open_own(path: Path, topology: Any) -> FrameSource:
    from ..data.layout import TrajectoryFile

    with TrajectoryFile(path) as file:
        import mdtraj

        remarks = check_atoms(mdtraj.Topology.from_openmm(file.topology), topology, str(path))
        count = sum(len(trajectory) for trajectory in file.trajectories)
    source = FrameSource(str(path), count, _read_own(path))
    source.remarks += remarks
    return source


def _read_own(path: Path) -> Iterator[_Chunk]:
    from ..data.layout import TrajectoryFile

    with TrajectoryFile(path) as file:
        for trajectory in file.trajectories:
            for first in range(0, len(trajectory), CHUNK_FRAMES):
                piece = slice(first, first + CHUNK_FRAMES)
                yield _Chunk(trajectory.positions(piece), trajectory.time_ps[piece], None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
