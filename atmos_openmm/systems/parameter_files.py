"""Which files make a molecule together: a topology with its parameters, and coordinates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .coordinate_files import COORDINATE_SUFFIXES, Coordinates, check_same_atoms, read_coordinates
from .errors import FeatureError
from .file_topology import make_whole, tidy_topology
from .openmm_bridge import box_vectors_in_nm
from .parameter_readers import FileParameters, read_amber, read_charmm, read_gromacs
from .perceived_residues import partial_charges, perceive_residues, unknown_residues
from .structure_files import CIF_SUFFIXES, PDB_SUFFIXES, is_structure

__all__ = ["ParametrisedMolecule", "read_parameter_files", "topology_program"]

CHARMM_PARAMETERS = (".prm", ".par", ".rtf", ".str", ".inp")


@dataclass(frozen=True)
class ParametrisedMolecule:
    """What a program's topology and coordinate files hold.

    Attributes
    ----------
    topology : openmm.app.Topology
        By this package's names, with bonds.
    positions_nm : array [atoms, 3]
        Whole molecules; [0, 3] where no coordinates were given.
    parameters : FileParameters
        What makes the System.
    name : str
        The stem of the topology file.
    notes : tuple of str
    """

    topology: Any
    positions_nm: npt.NDArray[np.float64]
    parameters: FileParameters
    name: str
    notes: tuple[str, ...]

    def chemistry(self, known: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Tell the molecules that have no template, see `perceive_residues`."""
        if not unknown_residues(self.topology, known):
            return {}, []
        charges = partial_charges(self.parameters.plain_system())
        assert charges is not None
        positions = self.positions_nm if len(self.positions_nm) else None
        return perceive_residues(self.topology, positions, charges, known)


def topology_program(path: Path) -> str | None:
    """The program whose topology a file is: "AMBER", "GROMACS", "CHARMM"; None for another."""
    suffix = path.suffix.lower()
    if suffix in (".prmtop", ".parm7"):
        return "AMBER"
    if suffix == ".psf":
        return "CHARMM"
    if suffix != ".top" or not path.is_file():
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(20_000)
    if head.lstrip().startswith("%VERSION") or "%FLAG" in head:
        return "AMBER"
    if re.search(r"^\s*(\[\s*\w+\s*\]|#include)", head, re.MULTILINE):
        return "GROMACS"
    # CHARMM's residue topologies have the suffix too.
    return None if re.search(r"^\s*(MASS|RESI)\s", head, re.MULTILINE) else "AMBER"


def read_parameter_files(paths: Sequence[Path]) -> ParametrisedMolecule | None:
    """Read a topology file of AMBER, GROMACS or CHARMM and what belongs to it.

    Parameters
    ----------
    paths : sequence of Path
        Of AMBER prmtop, parm7 or top; GROMACS top; or CHARMM psf with parameter files (prm, par,
        rtf, str): one; and one file with coordinates of the same atoms (inpcrd, rst7, crd, nc, gro,
        xtc, cor, PDB, mmCIF).

    Returns
    -------
    ParametrisedMolecule or None
        None where there is no such topology among the files.

    Raises
    ------
    FeatureError
        (a ValueError) A file is missing or cannot be read, files contradict each other, or one is
        of no use beside the others.
    """
    programs = {path: program for path in paths if (program := topology_program(path))}
    if not programs:
        return None
    if len(programs) > 1:
        first, second = list(programs)[:2]
        raise FeatureError(
            f"{first} and {second} are both topologies with parameters; give one, with all "
            "molecules."
        )
    (path, program), *_ = programs.items()
    if not path.is_file():
        raise FeatureError(f"There is no file {path}; check the path.")
    rest = [p for p in paths if p != path]
    extra = [p for p in rest if program == "CHARMM" and _is_charmm_parameters(p)]
    coordinates = _coordinates([p for p in rest if p not in extra], path, program == "CHARMM")
    box = None if coordinates is None else coordinates.box_nm
    if program == "CHARMM":
        parameters = read_charmm(path, extra, box)
    else:
        parameters = (read_amber if program == "AMBER" else read_gromacs)(path, box)
    return _together(path, parameters, coordinates)


def _is_charmm_parameters(path: Path) -> bool:
    return path.suffix.lower() in (*CHARMM_PARAMETERS, ".top")


def _coordinates(paths: Sequence[Path], topology: Path, charmm: bool) -> Coordinates | None:
    """The coordinates among the files that are left, of which there is one at most."""
    for path in paths:
        if not is_structure(path) and path.suffix.lower() not in COORDINATE_SUFFIXES:
            raise FeatureError(
                f"{path} is of no use beside {topology.name}. Coordinates are read from "
                f"{', '.join((*COORDINATE_SUFFIXES, *PDB_SUFFIXES, *CIF_SUFFIXES))} files."
            )
    if len(paths) > 1:
        raise FeatureError(
            f"{paths[0]} and {paths[1]} both hold coordinates for {topology.name}; give one."
        )
    return read_coordinates(paths[0], charmm=charmm) if paths else None


def _together(
    path: Path, parameters: FileParameters, coordinates: Coordinates | None
) -> ParametrisedMolecule:
    """Topology and coordinates as one molecule, whole and by this package's names."""
    notes = list(parameters.notes)
    positions = np.zeros((0, 3))
    labels = None
    if coordinates is not None:
        check_same_atoms(parameters.topology, coordinates, path)
        positions, labels = coordinates.positions_nm, coordinates.topology
        notes += coordinates.notes
    topology = tidy_topology(parameters.topology, labels=labels)
    box = topology.getPeriodicBoxVectors()
    if coordinates is not None and box is not None:
        bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
        vectors = box_vectors_in_nm(box)
        assert vectors is not None
        positions, moved = make_whole(positions, bonds, vectors)
        if moved:
            notes.append(f"Molecules that the periodic box splits are made whole: {moved} atoms.")
    # The reader's own Topology has the names that its createSystem goes by; only the box is asked.
    return ParametrisedMolecule(
        topology, positions, replace(parameters, topology=topology), path.stem, tuple(notes)
    )
