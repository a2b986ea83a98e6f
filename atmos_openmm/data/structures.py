"""PDB and mmCIF entries as single structures, for the static stage of training.

Alternate locations and models are resolved by `systems.structure_files`; what an experiment did not
see is added and masked (`completion`); assemblies are built; ligands get the chemistry that mmCIF
files carry (chem_comp), or that is given. Water, ions and nucleic acids are left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..systems.ligand_perception import molecule_from_smiles
from ..systems.mmcif import table
from ..systems.structure_files import read_structure, read_text
from .assemblies import Assembly, assemblies_of_cif, assemblies_of_pdb
from .completion import complete_chains
from .components import Components, component_molecules
from .entries import Entry
from .faults import DataFileError, Fault
from .frames import FrameSource, KeptArrays, file_stamp
from .sample import Provenance, Sample
from .sequences import sequences_of_cif, sequences_of_pdb
from .structure_topology import assemble, build_topology

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = ["StructureFrames", "StructureMolecule", "inspect"]

CATEGORIES = (
    "chem_comp_atom",
    "chem_comp_bond",
    "pdbx_poly_seq_scheme",
    "pdbx_struct_assembly_gen",
    "pdbx_struct_oper_list",
)
MOST_ATOMS = 100_000
"""Heavy atoms of an assembly; a virus is no training sample."""
FRAME_CACHE_BYTES = 2**27
"""Positions and masks that a process keeps; an entry of 3000 atoms has 40 kB."""


def inspect(
    path: str | os.PathLike[str],
    assembly: str | None = "first",
    *,
    hydrogens: bool = False,
    smiles: Mapping[str, str] | None = None,
) -> list[Entry]:
    """Read a structure and tell what is wrong with it.

    Parameters
    ----------
    path : path
        PDB or mmCIF, may be gzip-compressed.
    assembly : str, optional
        Name of a biological assembly; ``first``: the first where the file tells any; None: the
        asymmetric unit.
    hydrogens : bool
        Whether hydrogens are kept. X-ray structures have none or some; NMR structures have all.
    smiles : mapping from residue name to SMILES, optional
        Chemistry of ligands that the file does not tell.

    Returns
    -------
    list of Entry
        One sample of kind ``static``, named after the file and the assembly. What was left out is
        a fault that is not fatal.
    """
    path = str(Path(path))
    source = StructureMolecule(path, assembly, hydrogens, tuple(sorted((smiles or {}).items())))
    try:
        made = source.completed()
    except DataFileError as error:
        return [Entry(None, (error.fault,))]
    frames = StructureFrames(source, len(made.resolved))
    frames.resolved()  # kept from here on
    sample = Sample(
        name=f"{source.name}-{made.assembly}" if made.assembly else source.name,
        kind="static",
        frames=frames,
        source=source,
        temperature_kelvin=None,
        spacing_ps=None,
        provenance=Provenance(
            "structure",
            path,
            made.assembly,
            {"notes": list(made.molecule.notes), "resolved": float(made.resolved.mean())},
        ),
    )
    faults = tuple(
        Fault(path, made.assembly, "incomplete", f"left out: {remark}.", fatal=False)
        for remark in made.remarks
    )
    return [Entry(sample, faults)]


@dataclass(frozen=True)
class Completed:
    """A structure without gaps, its atoms that were seen, its assembly, and what was left out."""

    molecule: Molecule
    resolved: NDArray[np.bool_]
    assembly: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class StructureMolecule:
    """A structure file and how it is read; see `inspect` for the attributes."""

    path: str
    assembly: str | None = "first"
    hydrogens: bool = False
    smiles: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The entry's name: the file's, without what follows the first dot."""
        return Path(self.path).name.lower().split(".")[0]

    def completed(self) -> Completed:
        """Read, complete and assemble the structure; the last few stay in memory.

        Raises
        ------
        DataFileError
            A file that cannot be read, or in which nothing is left to model.
        """
        return _completed(self, file_stamp(self.path))

    def load(self) -> Molecule:
        """Topology, chemistry and positions, see `sample.MoleculeSource`."""
        return self.completed().molecule


@dataclass(frozen=True)
class StructureFrames(FrameSource):
    """The one frame of a structure.

    Attributes
    ----------
    source : StructureMolecule
    num_atoms : int
    num_frames : int
    """

    source: StructureMolecule
    num_atoms: int
    num_frames: int = 1

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._kept()[0][None][numbers]

    def resolved(self) -> NDArray[np.bool_]:
        return self._kept()[1].copy()

    def _kept(self) -> tuple[NDArray[Any], ...]:
        """Positions [A, 3] and mask [A], which are asked for far more often than the rest."""

        def make() -> tuple[NDArray[Any], ...]:
            made = self.source.completed()
            return made.molecule.positions_nm.astype(np.float32), made.resolved

        return _FRAMES.get((self.source, *file_stamp(self.source.path)), make)


_FRAMES = KeptArrays(FRAME_CACHE_BYTES)


@lru_cache(maxsize=4)
def _completed(source: StructureMolecule, stamp: tuple[int, ...]) -> Completed:
    """Kept by the file's stamp: a file that is written anew is read anew."""
    try:
        return _complete(source)
    except DataFileError:
        raise
    except FileNotFoundError as error:
        fault = Fault(source.path, "", "unreadable", "there is no such file.")
        raise DataFileError(fault) from error
    except (OSError, ValueError, KeyError, EOFError) as error:
        message = str(error).strip().removesuffix(".").removeprefix(f"{source.path}: ")
        raise DataFileError(Fault(source.path, "", "unreadable", f"{message}.")) from error


def _complete(source: StructureMolecule) -> Completed:
    from ..systems.inputs import Molecule

    text = read_text(source.path)
    file = read_structure(text, source.path)
    if file.block is None:
        components, sequences = {}, sequences_of_pdb(file.topology, text)
        assemblies = assemblies_of_pdb(text)
    else:
        tables = {name: table(file.block, name) for name in CATEGORIES}
        components = component_molecules(tables)
        sequences = sequences_of_cif(tables["pdbx_poly_seq_scheme"])
        assemblies = assemblies_of_cif(tables)
    given = {name: molecule_from_smiles(smiles, name) for name, smiles in source.smiles}
    known = _known_residues(file.topology, components, given)
    chains, remarks = complete_chains(
        file.topology, file.positions_nm, file.chain_names, sequences, known, source.hydrogens
    )
    assembly = _choose(source, assemblies)
    if assembly is not None:
        named = frozenset().union(*(part[0] for part in assembly.parts))
        chains = [c for c in chains if c.name in named]
    if not chains:
        what = f" ({'; '.join(remarks)} were left out)" if remarks else ""
        raise ValueError(f"nothing is left to model{what}")
    base = build_topology(file, chains, components, given)
    if assembly is not None and not assembly.identity:
        base = assemble(base, [c.name for c in chains], assembly, MOST_ATOMS)
    molecules = {name: mol for name, (mol, _) in components.items()} | given
    added = int(np.count_nonzero(~base.resolved))
    notes = list(file.notes)
    if added:
        notes.append(f"{added} of {len(base.resolved)} atoms were not seen and are placed by rule.")
    molecule = Molecule(
        base.topology,
        base.positions_nm,
        {n: m for n, m in molecules.items() if n in base.ligands},
        source.name,
        tuple(notes),
    )
    name = assembly.name if assembly is not None else ""
    return Completed(molecule, base.resolved, name, tuple(remarks))


def _known_residues(
    topology: Any, components: Components, given: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Residues that are not standard and have chemistry, with heavy atoms' names where known."""
    from ..systems.modified import modified_molecule

    known: dict[str, tuple[str, ...]] = {}
    for name in {r.name.strip() for r in topology.residues()}:
        if name in components:
            mol, atoms = components[name]
            heavy = [a.GetAtomicNum() > 1 for a in mol.GetAtoms()]
            known[name] = tuple(n for n, h in zip(atoms, heavy, strict=True) if h and n != "OXT")
        elif name in given or modified_molecule(name) is not None:
            known[name] = ()
    return known


def _choose(source: StructureMolecule, there: list[Assembly]) -> Assembly | None:
    if source.assembly is None or (source.assembly == "first" and not there):
        return None
    if source.assembly == "first":
        return there[0]
    found = next((a for a in there if a.name == source.assembly), None)
    if found is None:
        listed = ", ".join(a.name for a in there) or "none"
        raise ValueError(f"it has no assembly {source.assembly!r}; there are {listed}")
    return found
