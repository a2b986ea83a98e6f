"""Ligands from SDF files: read, matched to residues of a structure, or added to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .comparison import unmatched_atoms
from .errors import FeatureError
from .labels import atom_label
from .residue_graph import ResidueGraph

FloatArray = npt.NDArray[np.float64]
SDF_SUFFIXES = (".sdf", ".sd", ".mol")

BOND_SLACK_NM = 0.045
"""Atoms are taken for bonded up to this much beyond the sum of their covalent radii."""


def read_ligands(path: str | Path) -> list[Any]:
    """Read all molecules of an SDF or MOL file as RDKit Mols, hydrogens and coordinates kept.

    Stereochemistry comes from the coordinates where they are three-dimensional. A title is kept as
    the property `_Name`.

    Raises
    ------
    FeatureError
        for a file that does not exist or holds no molecules, and for molecules that RDKit cannot
        read or finds impossible; all of these are named
    """
    from rdkit import Chem, rdBase

    path = Path(path)
    if not path.exists():
        raise FeatureError(f"There is no file {path}; check the path.")
    mols: list[Any] = []
    wrong: list[str] = []
    # What RDKit has to say goes into the error.
    with (
        rdBase.BlockLogs(),
        Chem.SDMolSupplier(str(path), sanitize=False, removeHs=False) as supplier,
    ):
        for number, mol in enumerate(supplier):
            if mol is None or not mol.GetNumAtoms():
                wrong.append(f"molecule {number} cannot be parsed")
                continue
            try:
                Chem.SanitizeMol(mol)
            except Exception as error:  # RDKit raises several unrelated types here
                wrong.append(f"molecule {number} ({title(mol) or 'no title'}): {error}")
                continue
            if mol.GetConformer().Is3D():
                Chem.AssignStereochemistryFrom3D(mol)
            mols.append(mol)
    if wrong:
        raise FeatureError(
            f"{path} holds molecules that make no sense: {'; '.join(wrong[:10])}. Mend their "
            "bonds and charges in the program that wrote them."
        )
    if not mols:
        raise FeatureError(f"{path} holds no molecules; expected an SDF or MOL file.")
    return mols


def title(mol: Any) -> str:
    """Return a molecule's title, '' for none."""
    return mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""


_RECORD = re.compile(r"(.*?\.(?:sdf|sd|mol)):(.+)", re.IGNORECASE | re.DOTALL)


def split_record(path: str | Path) -> tuple[Path, str | None]:
    """The file of ``FILE:TITLE``, and the title or number of a record; None where none is named."""
    found = None if Path(path).exists() else _RECORD.fullmatch(str(path))
    return (Path(path), None) if found is None else (Path(found[1]), found[2].strip())


def choose_ligands(
    files: Sequence[tuple[Path, str | None]], records: Sequence[str | int] | None = None
) -> list[tuple[Path, Any]]:
    """Read SDF files and take the records that are named; the only one of a file by default.

    Parameters
    ----------
    files : sequence of (path, record)
        See `split_record`.
    records : sequence of str or int, optional
        Records of those files that name none, by title or number from 0. Where some of these
        hold several molecules and others one, the choice is among the former.

    Returns
    -------
    list of (path, RDKit Mol)

    Raises
    ------
    FeatureError
        For several molecules and no choice, and for a choice that is not there or not one; and
        as `read_ligands`.
    """
    named = []
    rest = []
    for path, record in files:
        mols = read_ligands(path)
        if record is None:
            rest.append((path, mols))
        else:
            named.append((path, _one_record([(path, mols)], record)[1]))
    several = [file for file in rest if len(file[1]) > 1]
    if records and not rest:
        raise FeatureError(f"records names {list(records)}, but no SDF file is given.")
    if records is None:
        if several:
            path, mols = several[0]
            raise FeatureError(
                f"{path} holds {len(mols)} molecules ({_titles(mols)}). Say which one is meant "
                f"after a colon, {path.name}:{title(mols[0]) or 0}, once for each."
            )
        return [*named, *((path, mols[0]) for path, mols in rest)]
    chosen = [(path, mols[0]) for path, mols in rest if several and len(mols) == 1]
    return [*named, *chosen, *(_one_record(several or rest, record) for record in records)]


def _one_record(files: Sequence[tuple[Path, list[Any]]], record: str | int) -> tuple[Path, Any]:
    """The molecule of a title, or of a number where no title is so."""
    everything = [(path, k, mol) for path, mols in files for k, mol in enumerate(mols)]
    hits = [(path, mol) for path, _, mol in everything if title(mol) == record]
    if not hits and (isinstance(record, int) or record.isdigit()):
        hits = [(path, mol) for path, k, mol in everything if k == int(record)]
    if len(hits) != 1:
        there = "; ".join(
            f"{path.name}: {_titles(mols)}, or numbers 0 to {len(mols) - 1}" for path, mols in files
        )
        raise FeatureError(
            f"{'Several molecules are' if hits else 'No molecule is'} {record!r}; there are "
            f"{there}."
        )
    return hits[0]


def _titles(mols: list[Any]) -> str:
    titles = [title(m) or str(k) for k, m in enumerate(mols)]
    return ", ".join(titles[:30]) + (", ..." if len(titles) > 30 else "")


def perceived_graph(
    residue: Any, topology_bonds: Sequence[Any], positions: FloatArray
) -> ResidueGraph:
    """Return a residue's graph; where it has no bonds between heavy atoms, by distances.

    Parameters
    ----------
    residue : openmm.app.Residue
    topology_bonds : sequence of openmm.app.topology.Bond
        bonds with at least one atom in the residue
    positions : array [all atoms, 3], nm
    """
    atoms = [a for a in residue.atoms() if a.element is not None]
    names = {a.index: a.name for a in atoms}
    elements = {a.index: a.element.atomic_number for a in atoms}
    heavy = sorted((i for i in names if elements[i] > 1), key=lambda i: (names[i], i))
    graph = ResidueGraph(residue, heavy, names, elements, {i: [] for i in heavy}, {}, [], {})
    for bond in topology_bonds:
        i, j = sorted((bond[0].index, bond[1].index))
        if i not in names or j not in names:
            here, there = (i, j) if i in names else (j, i)
            if here in graph.hydrogens and bond[0].element and bond[1].element:
                graph.partners.append((here, there))
        elif elements[i] > 1 and elements[j] > 1:
            graph.bonds[i, j] = None
        elif elements[i] > 1 or elements[j] > 1:
            parent, light = (i, j) if elements[i] > 1 else (j, i)
            graph.hydrogens[parent].append(light)
    if not heavy:
        return graph
    if not graph.bonds and len(heavy) > 1:
        reach = [_covalent_radius_nm(elements[i]) for i in heavy]
        for k, i in enumerate(heavy):
            for m in range(k):
                j = heavy[m]
                if (
                    np.linalg.norm(positions[i] - positions[j])
                    < reach[k] + reach[m] + BOND_SLACK_NM
                ):
                    graph.bonds[min(i, j), max(i, j)] = None
    owned = {h for group in graph.hydrogens.values() for h in group}
    for i in names:
        if elements[i] == 1 and i not in owned:
            nearest = min(heavy, key=lambda k: float(np.linalg.norm(positions[k] - positions[i])))
            graph.hydrogens[nearest].append(i)
    return graph


def _covalent_radius_nm(atomic_number: int) -> float:
    from rdkit import Chem

    return float(Chem.GetPeriodicTable().GetRcovalent(atomic_number)) * 0.1


def add_bonds(topology: Any, graph: ResidueGraph, molecule: Any, match: Sequence[int]) -> None:
    """Give a residue the bonds of a molecule, with orders.

    Bonds that the Topology has are left as they are.

    Parameters
    ----------
    topology : openmm.app.Topology
    graph : ResidueGraph
    molecule : RDKit Mol
    match : sequence of int
        Topology index of each heavy atom of the molecule, see `ligand_fit.best_fit`.
    """
    from rdkit import Chem

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    atoms = {a.index: a for a in graph.residue.atoms()}
    there = {
        frozenset((b[0].index, b[1].index))
        for b in topology.bonds()
        if b[0].index in atoms or b[1].index in atoms
    }
    wanted = [
        (match[b.GetBeginAtomIdx()], match[b.GetEndAtomIdx()], int(b.GetBondTypeAsDouble()))
        for b in mol.GetBonds()
    ]
    wanted += [(parent, h, 1) for parent, group in graph.hydrogens.items() for h in group]
    for i, j, order in wanted:
        if frozenset((i, j)) not in there:
            add_bond(topology, atoms[i], atoms[j], order)


def add_bond(topology: Any, first: Any, second: Any, order: int) -> None:
    """Add a bond of order 1, 2 or 3."""
    from openmm.app import topology as kinds

    kind = {1: kinds.Single, 2: kinds.Double, 3: kinds.Triple}[order]
    topology.addBond(first, second, kind, order)


def mismatch(graph: ResidueGraph, molecule: Any) -> str:
    """Say which atoms of a residue and a molecule find no counterpart in the other."""
    from rdkit import Chem

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    ours, theirs = unmatched_atoms(graph, mol)
    what = f"{title(molecule) or 'the molecule'} ({Chem.MolToSmiles(mol)})"
    if not ours and not theirs:
        return f"{what} has the same atoms, but other bonds"
    return (
        f"{what}: atoms of the residue without counterpart {ours or 'none'}, of the molecule "
        f"{theirs or 'none'}"
    )


def add_molecule(topology: Any, molecule: Any, residue_name: str) -> None:
    """Add an RDKit molecule as a chain of one residue, with bond orders and formal charges.

    Atoms get their element and a count as names (C1, C2, N1), as Protenix names those of SDF
    files.
    """
    from openmm import app
    from rdkit import Chem

    residue = topology.addResidue(residue_name, topology.addChain())
    kekule = Chem.Mol(molecule)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    counts: dict[str, int] = {}
    atoms = []
    for a in kekule.GetAtoms():
        symbol = a.GetSymbol().upper()
        counts[symbol] = counts.get(symbol, 0) + 1
        element = app.Element.getByAtomicNumber(a.GetAtomicNum())
        atoms.append(
            topology.addAtom(
                f"{symbol}{counts[symbol]}", element, residue, formalCharge=a.GetFormalCharge()
            )
        )
    for b in kekule.GetBonds():
        order = int(b.GetBondTypeAsDouble())
        add_bond(topology, atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()], order)


def append_ligand(
    topology: Any, positions_nm: FloatArray, molecule: Any, residue_name: str
) -> FloatArray:
    """Add a molecule to a Topology as a chain of its own; return all positions in nm.

    Raises
    ------
    FeatureError
        where the molecule has no three-dimensional coordinates, or lies on atoms that are there
    """
    from rdkit import Chem

    label = f"The ligand {title(molecule) or Chem.MolToSmiles(Chem.RemoveHs(molecule))}"
    conformer = molecule.GetConformer() if molecule.GetNumConformers() else None
    added = np.zeros((0, 3)) if conformer is None else np.array(conformer.GetPositions()) * 0.1
    flat = conformer is None or (len(added) > 2 and not conformer.Is3D())
    if flat or not np.isfinite(added).all():
        raise FeatureError(
            f"{label} matches no residue of the structure, and its own coordinates are not "
            "three-dimensional. Give coordinates of it in the place where it belongs."
        )
    for j, point in enumerate(added if len(positions_nm) else ()):
        gaps = np.linalg.norm(positions_nm - point, axis=1)
        if gaps.min() < CLASH_NM:
            atom = list(topology.atoms())[int(np.argmin(gaps))]
            raise FeatureError(
                f"{label} lies on atoms of the structure: its atom {j} is {gaps.min():.3f} nm from "
                f"{atom_label(atom)}. If it is that residue, "
                "their atoms or bonds differ; otherwise move it, or take the residue out."
            )
    add_molecule(topology, molecule, residue_name)
    return np.concatenate([positions_nm.reshape(-1, 3), added])


CLASH_NM = 0.1
"""No two atoms of different molecules are nearer than this, hydrogens included."""
