"""PDB and mmCIF entries as single structures, for the static stage of training.

Alternate locations and models are resolved by `systems.structure_files`; what an experiment did not
see is added and masked (`completion`); assemblies are built; ligands get the chemistry that mmCIF
files carry (chem_comp), or that is given. Water, ions and nucleic acids are left out.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .assemblies import Assembly, assemblies_of_cif, assemblies_of_pdb
from .cif_tables import Table, component_molecules, missing_in_cif, read_tables
from .completion import Sequence, complete_chains
from .faults import DataFileError, Fault
from .frames import FrameSource, file_stamp
from .sample import Entry, Provenance, Sample
from .structure_topology import assemble, build_topology

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = ["StructureFrames", "StructureMolecule", "inspect", "is_structure"]

PDB_SUFFIXES = (".pdb", ".ent")
CIF_SUFFIXES = (".cif", ".mmcif", ".pdbx")
CATEGORIES = (
    "atom_site",
    "chem_comp_atom",
    "chem_comp_bond",
    "pdbx_poly_seq_scheme",
    "pdbx_struct_assembly_gen",
    "pdbx_struct_oper_list",
)
MOST_ATOMS = 100_000
"""Heavy atoms of an assembly; a virus is no training sample."""


def is_structure(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of a PDB or mmCIF file, compressed or not."""
    return _suffix(Path(path)) in PDB_SUFFIXES + CIF_SUFFIXES


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


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
    path: path
        PDB or mmCIF, may be gzip-compressed.
    assembly: str, optional
        Name of a biological assembly; ``first``: the first where the file tells any; None: the
        asymmetric unit.
    hydrogens: bool
        Whether hydrogens are kept. X-ray structures have none or some; NMR structures have all.
    smiles: mapping from residue name to SMILES, optional
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
    name = Path(path).name.lower().split(".")[0]
    sample = Sample(
        name=f"{name}-{made.assembly}" if made.assembly else name,
        kind="static",
        frames=StructureFrames(source, len(made.positions_nm)),
        source=source,
        temperature_kelvin=None,
        spacing_ps=None,
        provenance=Provenance(
            "structure",
            path,
            made.assembly,
            {"notes": list(made.notes), "resolved": float(made.resolved.mean())},
        ),
    )
    faults = tuple(
        Fault(path, made.assembly, "incomplete", f"left out: {remark}.", fatal=False)
        for remark in made.remarks
    )
    return [Entry(sample, faults)]


@dataclass(frozen=True)
class Completed:
    """A structure without gaps; see `StructureMolecule`."""

    topology: Any
    positions_nm: NDArray[np.float64]
    resolved: NDArray[np.bool_]
    molecules: dict[str, Any]
    assembly: str
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class StructureMolecule:
    """A structure file and how it is read; see `inspect` for the attributes."""

    path: str
    assembly: str | None = "first"
    hydrogens: bool = False
    smiles: tuple[tuple[str, str], ...] = ()

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
        from ..systems.inputs import Molecule

        made = self.completed()
        name = Path(self.path).name.lower().split(".")[0]
        return Molecule(made.topology, made.positions_nm, made.molecules, name, made.notes)


@dataclass(frozen=True)
class StructureFrames(FrameSource):
    """The one frame of a structure.

    Attributes
    ----------
    source: StructureMolecule
    num_atoms: int
    num_frames: int
    """

    source: StructureMolecule
    num_atoms: int
    num_frames: int = 1

    def read(self, frames: Any = slice(None)) -> NDArray[np.float32]:
        numbers = self.numbers(frames)
        found = self.source.completed().positions_nm.astype(np.float32)[None][numbers]
        return found[0] if np.ndim(frames) == 0 and not isinstance(frames, slice) else found

    def resolved(self) -> NDArray[np.bool_]:
        return self.source.completed().resolved.copy()


@lru_cache(maxsize=4)
def _completed(source: StructureMolecule, stamp: tuple[int, ...]) -> Completed:
    """Kept by the file's stamp: a file that is written anew is read anew."""
    path = Path(source.path)
    try:
        return _complete(source, path)
    except DataFileError:
        raise
    except FileNotFoundError as error:
        fault = Fault(source.path, "", "unreadable", "there is no such file.")
        raise DataFileError(fault) from error
    except (OSError, ValueError, KeyError, EOFError) as error:
        message = str(error).strip().removesuffix(".")
        raise DataFileError(Fault(source.path, "", "unreadable", f"{message}.")) from error


def _complete(source: StructureMolecule, path: Path) -> Completed:
    text, tables = _text_and_tables(path)
    file = _read_structure(path, text)
    chain_names = _chain_names(file.topology, tables)
    sequences = missing_in_cif(tables) if tables else _missing_in_pdb(file.topology, text)
    components = component_molecules(tables)
    given = _given_molecules(source.smiles)
    known = _known_residues(file.topology, components, given)
    chains, remarks = complete_chains(
        file.topology, file.positions_nm, chain_names, sequences, known, source.hydrogens
    )
    assembly = _choose(source, _file_assemblies(text, tables))
    if assembly is not None:
        named = frozenset().union(*(part[0] for part in assembly.parts))
        chains = [c for c in chains if c.name in named]
    if not chains:
        what = f" ({'; '.join(remarks)} were left out)" if remarks else ""
        raise ValueError(f"nothing is left to model{what}")
    base = build_topology(file, chains, components, given)
    if assembly is not None and not assembly.identity:
        base = assemble(base, [c.name for c in chains], assembly, MOST_ATOMS)
    molecules = {**{n: components[n][0] for n in base.ligands if n in components}, **given}
    added = int(np.count_nonzero(~base.resolved))
    notes = list(file.notes)
    if added:
        notes.append(f"{added} of {len(base.resolved)} atoms were not seen and are placed by rule.")
    return Completed(
        base.topology,
        base.positions_nm,
        base.resolved,
        {n: m for n, m in molecules.items() if n in base.ligands},
        assembly.name if assembly is not None else "",
        tuple(notes),
        tuple(remarks),
    )


def _text_and_tables(path: Path) -> tuple[str, dict[str, Table]]:
    """A file's text, and its tables where it is mmCIF."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        text = file.read()
    tables = read_tables(text, CATEGORIES) if _suffix(path) in CIF_SUFFIXES else {}
    return text, tables


def _read_structure(path: Path, text: str) -> Any:
    from ..systems.structure_files import read_structure_file

    if not any(line.startswith(("ATOM", "HETATM")) for line in text.splitlines()):
        raise ValueError("it holds no atoms")
    if not path.name.lower().endswith(".gz"):
        return read_structure_file(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name[: -len(".gz")]
        plain.write_text(text, encoding="utf-8")
        return read_structure_file(plain)


def _chain_names(topology: Any, tables: dict[str, Table]) -> dict[int, str]:
    """The file's name of each chain: label_asym_id in mmCIF files, whichever OpenMM took."""
    labels: dict[tuple[str, str, str], str] = {}
    for row in tables.get("atom_site", []):
        rest = (row.get("auth_seq_id", ""), row.get("pdbx_PDB_ins_code", ""))
        labels[(row["label_asym_id"], *rest)] = row["label_asym_id"]
        labels.setdefault((row.get("auth_asym_id", ""), *rest), row["label_asym_id"])
    names: dict[int, str] = {}
    for chain in topology.chains():
        first = next(chain.residues(), None)
        key = (chain.id, first.id.strip(), first.insertionCode.strip()) if first else None
        names[chain.index] = labels.get(key, chain.id) if key else chain.id
    return names


_UNSEEN = re.compile(r"REMARK 465 +(?:1 +)?([A-Z0-9]{2,3}) +(\S) +(-?\d+)([A-Z]?) *$")


def _missing_in_pdb(topology: Any, text: str) -> dict[str, Sequence]:
    """Sequences from the residues that are there and those of REMARK 465, by their numbers."""
    unseen: dict[str, list[tuple[str, str, str]]] = {}
    for line in text.splitlines():
        found = _UNSEEN.match(line.rstrip()) if line.startswith("REMARK 465") else None
        if found:
            unseen.setdefault(found[2], []).append((found[1], found[3], found[4]))
    sequences: dict[str, Sequence] = {}
    for chain in topology.chains():
        missing = unseen.get(chain.id, [])
        there = [(r.name, r.id.strip(), r.insertionCode.strip()) for r in chain.residues()]
        try:
            order = [(int(n), c) for _, n, c in there]
        except ValueError:
            continue
        # Numbers that go back and forth tell no place; the chain is cut there instead.
        if not missing or chain.id in sequences or order != sorted(set(order)):
            continue
        rows = [(int(n), c, name, True) for name, n, c in there]
        rows += [(int(n), c, name, False) for name, n, c in missing]
        rows.sort(key=lambda r: r[:2])
        sequences[chain.id] = [(name, str(n), c, seen) for n, c, name, seen in rows]
    return sequences


def _given_molecules(smiles: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    from rdkit import Chem

    given = {}
    for name, text in smiles:
        mol = Chem.MolFromSmiles(text)
        if mol is None:
            raise ValueError(f"the SMILES {text!r} given for {name} cannot be read")
        given[name] = mol
    return given


def _known_residues(
    topology: Any, components: Mapping[str, Any], given: Mapping[str, Any]
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


def _file_assemblies(text: str, tables: dict[str, Table]) -> list[Assembly]:
    return assemblies_of_cif(tables) if tables else assemblies_of_pdb(text)


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
