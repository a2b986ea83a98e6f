"""Trajectory files: one HDF5 file a molecule, with everything needed to use or repeat it.

The layout is described in ``docs/architecture.md`` ("Files"). Files are written whole, beside
their final name, and renamed when complete: a file under its final name is never half written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.files import replacement
from ..core.read_errors import READ_ERRORS, first_line
from .topology_text import topology_from_pdb_text, topology_to_pdb_text

if TYPE_CHECKING:
    import h5py
    from openmm import System
    from openmm.app import Topology

__all__ = [
    "FORMAT",
    "KINDS",
    "VERSION",
    "Trajectory",
    "TrajectoryData",
    "TrajectoryFile",
    "TrajectoryFileError",
    "is_own_layout",
    "topology_from_pdb_text",
    "topology_to_pdb_text",
    "write_trajectory_file",
]

FORMAT = "atmos-openmm-trajectories"
VERSION = 1
#: ``dynamics``: real time between frames. ``exchange``: frames of one temperature of a replica
#: exchange, draws from that temperature's distribution without real time between them.
KINDS = ("dynamics", "exchange")


class TrajectoryFileError(ValueError):
    """A file that is not a whole trajectory file of a version this package reads."""


@dataclass(frozen=True)
class TrajectoryData:
    """One trajectory in memory, as it is handed to `write_trajectory_file`.

    Attributes
    ----------
    positions_nm : ndarray, shape (F, A, 3)
        Stored as float32, each frame's centroid moved to the origin.
    time_ps : ndarray, shape (F,)
        Strictly increasing.
    kind : str
        One of `KINDS`.
    temperature_kelvin : float
    start : str
        Where the run began: a basin's name, or a description.
    seed : int
    extra : mapping
        Further attributes of the group (numbers and strings), e.g. the ladder's number.
    """

    positions_nm: ArrayLike
    time_ps: ArrayLike
    kind: str
    temperature_kelvin: float
    start: str
    seed: int
    extra: Mapping[str, int | float | str] | None = None


class Trajectory:
    """One trajectory of an open `TrajectoryFile`; frames are read from disk when asked for."""

    def __init__(self, group: h5py.Group) -> None:
        self._dataset = group["positions"]
        self.name: str = group.name.rsplit("/", 1)[-1]
        self.kind = str(group.attrs["kind"])
        self.temperature_kelvin = float(group.attrs["temperature_K"])
        self.start = str(group.attrs["start"])
        self.seed = int(group.attrs["seed"])
        self.attributes: dict[str, Any] = {
            key: value.item() if hasattr(value, "item") else value
            for key, value in group.attrs.items()
        }
        #: ndarray, shape (F,), float64
        self.time_ps: NDArray[np.float64] = group["time_ps"][...]

    def __len__(self) -> int:
        return int(self._dataset.shape[0])

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self)

    @property
    def num_atoms(self) -> int:
        """Number of atoms in each frame."""
        return int(self._dataset.shape[1])

    def positions(self, frames: Any = slice(None)) -> NDArray[np.float32]:
        """Frames in nm.

        Parameters
        ----------
        frames : int, slice or increasing index array
            Which frames; all of them by default. Only these are read.

        Returns
        -------
        ndarray, shape (F, A, 3) or (A, 3) for an int, float32

        Raises
        ------
        TrajectoryFileError
            The frames on disk do not fit their checksums.
        """
        try:
            return self._dataset[frames]
        except OSError as error:
            raise TrajectoryFileError(
                f"{self._dataset.file.filename}: frames of trajectory {self.name} cannot be read "
                f"({first_line(error)}): the file is damaged. Make it again."
            ) from error

    def __repr__(self) -> str:
        return (
            f"<Trajectory {self.name}: {len(self)} frames of {self.num_atoms} atoms, {self.kind}, "
            f"{self.temperature_kelvin:g} K, from {self.start}>"
        )


class TrajectoryFile:
    """A trajectory file opened for reading.

    Parameters
    ----------
    path : str or Path

    Attributes
    ----------
    name : str
        The molecule.
    settings : dict
        How the file was made: force field, integrator, time step, seeds, command line, versions.
    trajectories : list of Trajectory

    Raises
    ------
    FileNotFoundError
    TrajectoryFileError
        Not HDF5, truncated, of another format or version, or with parts missing or of wrong shape.

    Examples
    --------
    >>> with TrajectoryFile("ace_ala_nme.h5") as file:           # doctest: +SKIP
    ...     x = file.trajectories[0].positions(slice(0, 100))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import h5py

        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"There is no trajectory file {self.path}.")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise TrajectoryFileError(
                f"{self.path} cannot be read as HDF5 ({first_line(error)}): it is truncated or "
                "another kind of file. Make it again with `atmos-openmm simulate`."
            ) from error
        try:
            self._read_root()
        except READ_ERRORS as error:
            self._file.close()
            if isinstance(error, TrajectoryFileError):
                raise
            raise TrajectoryFileError(
                f"{self.path} is damaged ({first_line(error)}). Make it again with "
                "`atmos-openmm simulate`."
            ) from error

    def _read_root(self) -> None:
        attributes = self._file.attrs
        found = attributes.get("format")
        if found != FORMAT:
            raise TrajectoryFileError(
                f"{self.path} is an HDF5 file of another format ({found!r}); {FORMAT!r} was "
                "expected. `atmos-openmm simulate` makes such files."
            )
        version = int(attributes["version"])
        if version != VERSION:
            raise TrajectoryFileError(
                f"{self.path} has format version {version}; this package reads version {VERSION}. "
                "Install the release of atmos-openmm that wrote it, or make the file again."
            )
        self.name = str(attributes["name"])
        self.settings: dict[str, Any] = json.loads(attributes["settings"])
        num_atoms = self.topology.getNumAtoms()
        self.trajectories: list[Trajectory] = []
        for key in sorted(self._file["trajectories"]):
            group = self._file["trajectories"][key]
            for part in ("positions", "time_ps"):
                if part not in group:
                    raise TrajectoryFileError(f"{self.path}: trajectory {key} has no {part!r}.")
            shape = group["positions"].shape
            frames = group["time_ps"].shape
            if len(shape) != 3 or shape[1:] != (num_atoms, 3) or shape[:1] != frames:
                raise TrajectoryFileError(
                    f"{self.path}: trajectory {key} has positions of shape {shape} and "
                    f"{frames[0]} time stamps; the topology has {num_atoms} atoms."
                )
            trajectory = Trajectory(group)
            if trajectory.kind not in KINDS:
                raise TrajectoryFileError(
                    f"{self.path}: trajectory {key} is of kind {trajectory.kind!r}; expected one "
                    f"of {', '.join(KINDS)}."
                )
            self.trajectories.append(trajectory)

    @cached_property
    def topology(self) -> Topology:
        """The molecule as an OpenMM Topology with all bonds; the same one at each access."""
        return topology_from_pdb_text(_text(self._file["topology_pdb"]))

    @property
    def system_xml(self) -> str:
        """The OpenMM System of one molecule, serialized."""
        return _text(self._file["system_xml"])

    @property
    def system(self) -> System:
        """The OpenMM System of one molecule (not the packed one that ran)."""
        from openmm import XmlSerializer

        if not self.system_xml:  # converted from elsewhere
            raise TrajectoryFileError(f"{self.path} holds no System: give a force field to import.")
        return XmlSerializer.deserialize(self.system_xml)

    @property
    def exchange(self) -> dict[str, NDArray[Any]]:
        """Statistics of the replica exchange by name; empty for plain dynamics.

        ``temperatures_K`` [T], ``attempted`` and ``accepted`` [T-1] of each neighbouring pair.
        """
        group = self._file.get("exchange")
        return {} if group is None else {key: group[key][...] for key in group}

    def close(self) -> None:
        """Close the file; trajectories can no longer be read."""
        self._file.close()

    def __enter__(self) -> TrajectoryFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TrajectoryFile {self.path}: {self.name}, {len(self.trajectories)} trajectories>"


def is_own_layout(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a trajectory file of this layout."""
    if Path(path).suffix.lower() not in (".h5", ".hdf5"):
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        return False


def write_trajectory_file(
    path: str | os.PathLike[str],
    name: str,
    topology: Topology,
    system_xml: str,
    settings: Mapping[str, Any],
    trajectories: Iterable[TrajectoryData],
    exchange: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Write a trajectory file: whole or not at all.

    Parameters
    ----------
    path : str or Path
        Replaced where it exists, in one step, when the new file is complete.
    name : str
        The molecule.
    topology : openmm.app.Topology
        One molecule, A atoms.
    system_xml : str
        The serialized System of one molecule.
    settings : mapping
        Anything JSON holds; see the module's layout for what belongs in it.
    trajectories : iterable of TrajectoryData
    exchange : mapping of arrays, optional
        Statistics of a replica exchange.

    Raises
    ------
    ValueError
        A trajectory of wrong shape or kind, with times that do not increase, or not finite; a
        Topology that cannot be written (`topology_to_pdb_text`).
    OSError
        The folder cannot be written or the disk is full; the file that was there stays.
    """
    import h5py

    path = Path(path)
    num_atoms = topology.getNumAtoms()
    with replacement(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["name"] = name
        file.attrs["settings"] = json.dumps(dict(settings), indent=1, sort_keys=True)
        file["topology_pdb"] = topology_to_pdb_text(topology)
        file["system_xml"] = system_xml
        root = file.create_group("trajectories")
        for number, data in enumerate(trajectories):
            positions, time = _checked(data, number, num_atoms)
            group = root.create_group(f"{number:04d}")
            chunk = (min(len(positions), max(1, 2**16 // (12 * num_atoms))), num_atoms, 3)
            group.create_dataset("positions", data=positions, chunks=chunk, fletcher32=True)
            group.create_dataset("time_ps", data=time)
            group.attrs["kind"] = data.kind
            group.attrs["temperature_K"] = float(data.temperature_kelvin)
            group.attrs["start"] = data.start
            group.attrs["seed"] = int(data.seed)
            for key, value in (data.extra or {}).items():
                group.attrs[key] = value
        if exchange:
            statistics = file.create_group("exchange")
            for key, array in exchange.items():
                statistics[key] = np.asarray(array)


def _checked(
    data: TrajectoryData, number: int, num_atoms: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Centred float32 positions and times of a trajectory that is fit to be written."""
    positions = np.asarray(data.positions_nm)
    time = np.asarray(data.time_ps, dtype=np.float64)
    if data.kind not in KINDS:
        raise ValueError(
            f"Trajectory {number} is of kind {data.kind!r}; use one of {', '.join(KINDS)}."
        )
    if positions.ndim != 3 or positions.shape[1:] != (num_atoms, 3) or len(positions) == 0:
        raise ValueError(
            f"Trajectory {number} has positions of shape {positions.shape}; expected (frames, "
            f"{num_atoms}, 3) with at least one frame."
        )
    if time.shape != (len(positions),) or np.any(np.diff(time) <= 0.0):
        raise ValueError(f"Trajectory {number} needs one increasing time stamp a frame.")
    if not np.all(np.isfinite(positions)):
        raise ValueError(f"Trajectory {number} holds positions that are not finite.")
    # In double before the cut to float32, so that the cut is relative to the molecule's size.
    centred = positions - positions.mean(axis=1, keepdims=True, dtype=np.float64)
    return centred.astype(np.float32), time


def _text(dataset: Any) -> str:
    value = dataset[()]
    return value.decode() if isinstance(value, bytes) else str(value)
