"""What the atoms of a trajectory are: where that is read, compared, and cut down to the solute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..systems.inputs import read_input
from ..systems.labels import residue_number
from ..systems.parameter_files import topology_program
from ..systems.selection import describe_left_out, select_solute
from ..systems.structure_files import CIF_SUFFIXES, PDB_SUFFIXES, StructureFile, read_structure_file
from .boxes import MoleculeTree, spanning_tree
from .errors import MissingInformationError, TrajectoryMismatchError
from .layout import TrajectoryFile, is_own_layout

__all__ = ["SoluteTopology", "check_atoms", "check_count", "read_structure", "structure_of"]


@dataclass(frozen=True, eq=False)
class SoluteTopology:
    """What of a Topology is neither water nor an ion.

    Attributes
    ----------
    topology : openmm.app.Topology
        Of A atoms, with their bonds.
    atoms : int64 array [A]
        Their numbers in the whole Topology.
    left_out : str
        What is not among them, e.g. '2 CL, 62 HOH'.
    """

    topology: Any
    atoms: NDArray[np.int64]
    left_out: str = ""

    @staticmethod
    def of(topology: Any, also: Iterable[int] = ()) -> SoluteTopology:
        """Of a whole Topology, which is taken as it is where all of it is solute.

        Atoms of water and ions that are given as `also` are kept with it.

        Raises
        ------
        FeatureError
            Nothing but water and ions.
        """
        from openmm.app import Modeller
        from openmm.unit import nanometer

        count = topology.getNumAtoms()
        atoms = np.array(sorted(select_solute(topology, None).union(also)), np.int64)
        if len(atoms) == count:
            return SoluteTopology(topology, atoms)
        gone = set(range(count)) - set(atoms.tolist())
        modeller = Modeller(topology, np.zeros((count, 3)) * nanometer)
        modeller.delete([atom for atom in topology.atoms() if atom.index in gone])
        left_out = describe_left_out(topology) or f"{len(gone)} atoms"
        return SoluteTopology(modeller.topology, atoms, left_out)

    @property
    def bonds(self) -> NDArray[np.int64]:
        """Bonds [M, 2] between its atoms."""
        pairs = [(a.index, b.index) for a, b in self.topology.bonds()]
        return np.array(pairs, np.int64).reshape(-1, 2)

    @cached_property
    def tree(self) -> MoleculeTree:
        """Its molecules, to be walked along their bonds."""
        return spanning_tree(len(self.atoms), self.bonds.tolist())

    @cached_property
    def molecules(self) -> list[NDArray[np.int64]]:
        """Atoms of each molecule, the largest molecule first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs, count = self.bonds, len(self.atoms)
        graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
        label = connected_components(graph, directed=False)[1]
        order = np.argsort(-np.bincount(label), kind="stable")
        return [np.flatnonzero(label == number) for number in order]


def read_structure(path: Path) -> StructureFile:
    """Topology and positions of a PDB or mmCIF file, a trajectory file of this package, a folder.

    The topology of AMBER or GROMACS has no positions: they are an array [0, 3].

    Raises
    ------
    FileNotFoundError
    FeatureError
        The structure cannot be read.
    TrajectoryFileError
    """
    if path.is_dir():
        path = path / "topology.pdb"
    if not path.exists():
        raise FileNotFoundError(f"There is no structure {path}.")
    return _structure(str(path), path.stat().st_mtime_ns)


def structure_of(path: Path, topology: Path | None) -> StructureFile:
    """The structure that goes with a trajectory: the one given, or its own in PDB and mmCIF files.

    Raises
    ------
    MissingInformationError
        None is given and the trajectory has none.
    """
    if topology is None and path.suffix.lower() not in (*PDB_SUFFIXES, *CIF_SUFFIXES):
        raise MissingInformationError(
            "topology",
            f"{path} does not say what its atoms are; give a PDB or mmCIF file of the same atoms "
            "in the same order.",
        )
    return read_structure(path if topology is None else topology)


@lru_cache(maxsize=4)
def _structure(path: str, changed: int) -> StructureFile:
    """Many trajectories share one topology file; `changed` tells when it is another one."""
    if topology_program(Path(path)):
        molecule = read_input(path)
        return StructureFile(molecule.topology, molecule.positions_nm, (), notes=molecule.notes)
    if not is_own_layout(path):
        return read_structure_file(path)
    with TrajectoryFile(path) as file:
        return StructureFile(
            file.topology, file.trajectories[0].positions(0).astype(np.float64), ()
        )


def check_count(found: int, topology: Any, source: str) -> None:
    """Raise `TrajectoryMismatchError` for another number of atoms than the Topology's."""
    if found != topology.getNumAtoms():
        raise TrajectoryMismatchError(_count_message(found, topology, source))


def _count_message(found: int, topology: Any, source: str) -> str:
    # mdtraj calls virtual sites VS.
    symbols = [a.element.symbol if a.element is not None else "VS" for a in topology.atoms()]
    message = f"{source} has {found} atoms, the topology {len(symbols)}"
    heavy = sum(symbol not in ("H", "D", "VS") for symbol in symbols)
    real = sum(symbol != "VS" for symbol in symbols)
    if found == heavy:
        message += (
            "; it has as many as the topology has heavy atoms. Energies need hydrogens: place "
            "them first, frame by frame (atmos_openmm.jump.place_hydrogens)"
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
    other : mdtraj.Topology
    topology : openmm.app.Topology
    source : str
        How messages call the trajectory.

    Returns
    -------
    list of str
        Remarks: differences that are not errors.

    Raises
    ------
    TrajectoryMismatchError
    """
    check_count(other.n_atoms, topology, source)
    theirs = list(other.atoms)
    renamed = 0
    for residue in topology.residues():
        ours = list(residue.atoms())
        names = [atom.name for atom in ours]
        found = [theirs[atom.index] for atom in ours]
        label = f"{residue.name}{residue_number(residue)}"
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
