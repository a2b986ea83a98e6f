"""Coordinates and boxes of AMBER, GROMACS, CHARMM, PDB and mmCIF files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.units import positions_in_nm
from .errors import FeatureError
from .structure_files import is_structure, read_structure_file

__all__ = ["COORDINATE_SUFFIXES", "Coordinates", "check_same_atoms", "read_coordinates"]

AMBER_SUFFIXES = (".inpcrd", ".rst7", ".rst", ".crd", ".restrt", ".nc", ".ncrst")
CHARMM_SUFFIXES = (".crd", ".cor")
GROMACS_SUFFIXES = (".gro", ".xtc", ".trr")
COORDINATE_SUFFIXES = tuple(dict.fromkeys((*AMBER_SUFFIXES, *CHARMM_SUFFIXES, *GROMACS_SUFFIXES)))


@dataclass(frozen=True)
class Coordinates:
    """What a coordinate file holds.

    Attributes
    ----------
    path : Path
    positions_nm : array [atoms, 3]
        Of the first frame.
    box_nm : array [3, 3] or None
        Vectors of the periodic box, in OpenMM's reduced form.
    topology : openmm.app.Topology or None
        Names, where the file has them, without bonds that could be trusted.
    notes : tuple of str
        Choices made while reading.
    """

    path: Path
    positions_nm: npt.NDArray[np.float64]
    box_nm: npt.NDArray[np.float64] | None = None
    topology: Any = None
    notes: tuple[str, ...] = ()


def read_coordinates(path: str | Path, *, charmm: bool = False) -> Coordinates:
    """Read the first frame of a coordinate file.

    Parameters
    ----------
    path : path
        AMBER inpcrd, restart or NetCDF, GROMACS gro, xtc or trr, CHARMM crd, PDB or mmCIF.
    charmm : bool
        Whether .crd is CHARMM's format rather than AMBER's.

    Raises
    ------
    FeatureError
        (a ValueError) There is no such file, it is of another kind, or holds numbers that are not
        finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FeatureError(f"There is no file {path}; check the path.")
    suffix = path.suffix.lower()
    if is_structure(path):
        return _of_structure(path)
    if suffix in GROMACS_SUFFIXES:
        reader = _of_gro if suffix == ".gro" else _of_gromacs_trajectory
    elif charmm and suffix in CHARMM_SUFFIXES:
        reader = _of_charmm
    elif suffix in AMBER_SUFFIXES:
        reader = _of_netcdf if path.read_bytes()[:3] == b"CDF" else _of_inpcrd
    else:
        raise FeatureError(
            f"{path} ends in {path.suffix or 'nothing'}; coordinates are read from "
            f"{', '.join(COORDINATE_SUFFIXES)}, PDB and mmCIF files."
        )
    try:
        found = reader(path)
    except FeatureError:
        raise
    except Exception as error:  # the readers raise errors of many kinds on bad lines
        raise FeatureError(
            f"{path} cannot be read as coordinates of the kind that its name says: {error}"
        ) from error
    bad = np.flatnonzero(~np.isfinite(found.positions_nm).all(axis=1))
    if len(bad):
        raise FeatureError(
            f"{path} has coordinates that are not finite, at atom {bad[0]} first. Take another "
            "frame."
        )
    return found


def check_same_atoms(topology: Any, coordinates: Coordinates, source: Path) -> None:
    """Refuse coordinates of other atoms than those of a topology file.

    Raises
    ------
    FeatureError
        Their number differs, or an atom has another element and another name.
    """
    count = topology.getNumAtoms()
    if len(coordinates.positions_nm) != count:
        raise FeatureError(
            f"{source} has {count} atoms, and {coordinates.path} has "
            f"{len(coordinates.positions_nm)}. Give coordinates of the same atoms in the same "
            "order."
        )
    if coordinates.topology is None:
        return
    pairs = zip(topology.atoms(), coordinates.topology.atoms(), strict=True)
    for ours, theirs in pairs:
        if None in (ours.element, theirs.element) or ours.element == theirs.element:
            continue
        if ours.name != theirs.name:  # elements of PDB files may have been guessed from names
            raise FeatureError(
                f"Atom {ours.index} is {ours.name} of {ours.residue.name} {ours.residue.id} "
                f"({ours.element.symbol}) in {source}, and {theirs.name} of {theirs.residue.name} "
                f"{theirs.residue.id} ({theirs.element.symbol}) in {coordinates.path}. Give "
                "coordinates of the same atoms in the same order."
            )


def _of_structure(path: Path) -> Coordinates:
    file = read_structure_file(path)
    box = _box(file.topology.getPeriodicBoxVectors())
    return Coordinates(path, file.positions_nm, box, file.topology, file.notes)


def _of_gro(path: Path) -> Coordinates:
    from openmm import app

    file = app.GromacsGroFile(str(path))
    topology: Any = app.Topology()
    chain, last = topology.addChain(), None
    # OpenMM's list of elements lacks atoms whose names are one letter.
    for name, *key in zip(file.atomNames, file.residueIds, file.residueNames, strict=True):
        if key != last:
            residue, last = topology.addResidue(key[1], chain, str(key[0])), key
        symbol = name.lstrip("0123456789")[:1]
        element = app.Element.getBySymbol(symbol) if symbol in ("H", "C", "N", "O", "S") else None
        topology.addAtom(name, element, residue)
    notes = _first_of(file.getNumFrames(), path)
    box = _box(file.getPeriodicBoxVectors())
    if box is not None and not box.any():
        box = None  # three zeros are how GROMACS writes that there is none
    return Coordinates(path, positions_in_nm(file.getPositions(True)), box, topology, notes)


def _of_gromacs_trajectory(path: Path) -> Coordinates:
    from mdtraj import formats

    kind = formats.XTCTrajectoryFile if path.suffix.lower() == ".xtc" else formats.TRRTrajectoryFile
    with kind(str(path)) as file:
        positions, _, _, box, *_ = file.read(n_frames=1)
        frames = len(file)
    given = np.array(box[0], np.float64)
    notes = _first_of(frames, path)
    return Coordinates(
        path, positions[0].astype(float), given if given.any() else None, None, notes
    )


def _of_charmm(path: Path) -> Coordinates:
    from openmm import app

    file = app.CharmmCrdFile(str(path))
    return Coordinates(path, positions_in_nm(file.positions))


def _of_inpcrd(path: Path) -> Coordinates:
    from openmm import app

    file = app.AmberInpcrdFile(str(path))
    return Coordinates(path, positions_in_nm(file.getPositions(True)), _box(file.boxVectors))


def _of_netcdf(path: Path) -> Coordinates:
    """A NetCDF restart, or the first frame of a trajectory, whose others are not read."""
    from openmm import unit
    from openmm.app.internal.unitcell import computePeriodicBoxVectors
    from scipy.io import netcdf_file

    def first(variables: Any, name: str, dimensions: int) -> npt.NDArray[np.float64] | None:
        """A copy of a variable, or of its first frame, so that the file can be closed."""
        if name not in variables:
            return None
        data = variables[name].data
        return np.array(data if data.ndim == dimensions else data[0], np.float64)

    with netcdf_file(str(path), mmap=True) as file:
        shape = file.variables["coordinates"].shape
        frames = shape[0] if len(shape) == 3 else 1
        positions = first(file.variables, "coordinates", 2)
        lengths = first(file.variables, "cell_lengths", 1)
        angles = first(file.variables, "cell_angles", 1)
    assert positions is not None
    box = None
    if lengths is not None and angles is not None and lengths.all():
        sizes = [value * 0.1 for value in lengths] * unit.nanometer
        box = _box(computePeriodicBoxVectors(*sizes, *np.radians(angles)))
    return Coordinates(path, positions * 0.1, box, None, _first_of(frames, path))


def _first_of(frames: int, path: Path) -> tuple[str, ...]:
    return (f"{path.name} holds {frames} frames; the first is taken.",) if frames > 1 else ()


def _box(vectors: Any) -> npt.NDArray[np.float64] | None:
    return None if vectors is None else positions_in_nm(vectors)
