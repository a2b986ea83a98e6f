"""Peptides from a sequence: names, stereochemistry and a clash-free conformer.

A peptide is written as a SMILES string, one fragment a residue, so that RDKit embeds the whole
molecule with the right handedness at every centre; the atoms get their Amber (PDB version 3) names
from the order in which the fragments list them, and `naming` settles those that depend on place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .backbone import (
    BASINS,
    alpha_handedness,
    backbone_quads,
    backbone_torsions,
    set_backbone,
)
from .naming import fix_names

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = [
    "BASINS",
    "RESIDUES",
    "alpha_handedness",
    "backbone_quads",
    "backbone_torsions",
    "build_peptide",
    "canonical_order",
    "fix_names",
    "parse_sequence",
    "set_backbone",
]

MAX_RESIDUES = 40
"""Longest sequence that is built; embedding a longer chain takes minutes and folds it at random."""


@dataclass(frozen=True)
class _Residue:
    """Side chain of one residue: SMILES after CA, heavy-atom names in SMILES order."""

    side_chain: str
    atoms: tuple[str, ...]
    pdb_name: str


def _residue(pdb_name: str, side_chain: str, atoms: str) -> _Residue:
    return _Residue(side_chain, tuple(atoms.split()), pdb_name)


#: Residues that can be built, by Amber name. HIS is the neutral HIE.
RESIDUES: dict[str, _Residue] = {
    "ALA": _residue("ALA", "C", "CB"),
    "ARG": _residue("ARG", "CCCNC(N)=[NH2+]", "CB CG CD NE CZ NH1 NH2"),
    "ASN": _residue("ASN", "CC(=O)N", "CB CG OD1 ND2"),
    "ASP": _residue("ASP", "CC(=O)[O-]", "CB CG OD1 OD2"),
    "ASH": _residue("ASP", "CC(=O)O", "CB CG OD1 OD2"),
    "CYS": _residue("CYS", "CS", "CB SG"),
    "GLN": _residue("GLN", "CCC(=O)N", "CB CG CD OE1 NE2"),
    "GLU": _residue("GLU", "CCC(=O)[O-]", "CB CG CD OE1 OE2"),
    "GLH": _residue("GLU", "CCC(=O)O", "CB CG CD OE1 OE2"),
    "GLY": _residue("GLY", "", ""),
    "HID": _residue("HIS", "Cc1cnc[nH]1", "CB CG CD2 NE2 CE1 ND1"),
    "HIE": _residue("HIS", "Cc1c[nH]cn1", "CB CG CD2 NE2 CE1 ND1"),
    "HIP": _residue("HIS", "Cc1c[nH]c[nH+]1", "CB CG CD2 NE2 CE1 ND1"),
    "HIS": _residue("HIS", "Cc1c[nH]cn1", "CB CG CD2 NE2 CE1 ND1"),
    "ILE": _residue("ILE", "[C@@H](C)CC", "CB CG2 CG1 CD1"),
    "LEU": _residue("LEU", "CC(C)C", "CB CG CD1 CD2"),
    "LYN": _residue("LYS", "CCCCN", "CB CG CD CE NZ"),
    "LYS": _residue("LYS", "CCCC[NH3+]", "CB CG CD CE NZ"),
    "MET": _residue("MET", "CCSC", "CB CG SD CE"),
    "PHE": _residue("PHE", "Cc1ccccc1", "CB CG CD1 CE1 CZ CE2 CD2"),
    "PRO": _residue("PRO", "CCC1", "CB CG CD"),
    "SER": _residue("SER", "CO", "CB OG"),
    "THR": _residue("THR", "[C@H](O)C", "CB OG1 CG2"),
    "TRP": _residue("TRP", "Cc1c[nH]c2ccccc12", "CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2"),
    "TYR": _residue("TYR", "Cc1ccc(O)cc1", "CB CG CD1 CE1 CZ OH CE2 CD2"),
    "VAL": _residue("VAL", "C(C)C", "CB CG1 CG2"),
}

_ONE_LETTER = dict(
    zip(
        "ARNDCQEGHILKMFPSTWYV",
        "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split(),
        strict=True,
    )
)

# Heavy atoms in the order of Amber's residue templates; hydrogens follow the atom that carries
# them. The backbone's C and O come after CB, as tleap and PDB files of these peptides have it.
_TEMPLATE_ORDER = {
    "ARG": "CG CD NE CZ NH1 NH2",
    "HIS": "CG ND1 CE1 NE2 CD2",
    "ILE": "CG2 CG1 CD1",
    "PHE": "CG CD1 CE1 CZ CE2 CD2",
    "PRO": "CD CG",
    "THR": "CG2 OG1",
    "TRP": "CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2",
    "TYR": "CG CD1 CE1 CZ OH CE2 CD2",
}


def parse_sequence(sequence: str, caps: bool = False) -> list[str]:
    """Residue names of a sequence.

    Parameters
    ----------
    sequence : str
        Three-letter names joined by ``-`` (``ACE-ALA-NME``, ``GLY-HID-ASH``) or a string of
        one-letter codes (``GYDPETGTWG``).
    caps : bool
        Put ACE before and NME after the residues, where the sequence does not name them itself.

    Returns
    -------
    list of str
        Names, caps included.

    Raises
    ------
    ValueError
        An empty sequence, a residue that cannot be built, a cap inside the chain, too long a chain.
    """
    text = sequence.strip().upper()
    if not text:
        raise ValueError("The sequence is empty; give e.g. 'ACE-ALA-NME' or one-letter codes.")
    if "-" in text or text in RESIDUES:
        names = text.split("-")
    else:
        unknown = sorted(set(text) - set(_ONE_LETTER))
        if unknown:
            raise ValueError(
                f"Unknown one-letter residue code {', '.join(map(repr, unknown))} in {sequence!r}. "
                f"Known codes: {''.join(sorted(_ONE_LETTER))}; or join three-letter names by '-', "
                "e.g. 'ACE-ALA-NME'."
            )
        names = [_ONE_LETTER[letter] for letter in text]
    if caps:
        names = ([] if names[0] == "ACE" else ["ACE"]) + names
        names = names + ([] if names[-1] == "NME" else ["NME"])
    for position, name in enumerate(names):
        if name == "ACE" and position == 0 or name == "NME" and position == len(names) - 1:
            continue
        if name in ("ACE", "NME"):
            raise ValueError(f"{name} stands inside {sequence!r}; ACE starts a chain, NME ends it.")
        if name not in RESIDUES:
            raise ValueError(
                f"Unknown residue {name!r} in {sequence!r}. Residues that can be built: "
                f"{', '.join(sorted(RESIDUES))}, and the caps ACE and NME. Give other molecules "
                "as a PDB file with all hydrogens."
            )
    core = [name for name in names if name not in ("ACE", "NME")]
    if not core:
        raise ValueError(f"{sequence!r} has no residue between its caps.")
    if len(core) > MAX_RESIDUES:
        raise ValueError(
            f"{len(core)} residues are more than {MAX_RESIDUES}; a random conformer of so long a "
            "chain is no useful start. Give a structure as a PDB file."
        )
    return names


def _smiles(names: list[str]) -> tuple[str, list[tuple[int, str]]]:
    """SMILES of the chain and, for each heavy atom in its order, (residue number, atom name)."""
    text = ""
    atoms: list[tuple[int, str]] = []
    first, last = 0, len(names) - 1
    for number, name in enumerate(names):
        if name == "ACE":
            text += "CC(=O)"
            atoms += [(number, a) for a in ("CH3", "C", "O")]
            continue
        if name == "NME":
            text += "NC"
            atoms += [(number, a) for a in ("N", "C")]
            continue
        residue = RESIDUES[name]
        charged = number == first  # no cap before it: an ammonium terminus
        if name == "PRO":
            backbone = "[NH2+]1" if charged else "N1"
        else:
            backbone = "[NH3+]" if charged else "N"
        # N, H, side chain, C in this order makes @@ the L form; glycine has no centre.
        alpha = "C" if name == "GLY" else f"[C@@H]({residue.side_chain})"
        text += backbone + alpha + "C(=O)"
        atoms += [(number, a) for a in ("N", "CA", *residue.atoms, "C", "O")]
        if number == last:
            text += "[O-]"
            atoms.append((number, "OXT"))
    return text, atoms


def _hydrogen_names(heavy: str, count: int, mol_atom: Any, terminal: bool) -> list[str]:
    """Names of the hydrogens on a heavy atom, by the rule of the PDB's version 3 names."""
    from rdkit.Chem import HybridizationType

    if heavy == "N":
        if terminal:
            return ["H", "H2", "H3"] if count == 3 else ["H2", "H3"]  # as OpenMM names them
        return ["H"]
    stem = "H" + heavy[1:]
    if count == 1:
        return [stem]
    planar = mol_atom.GetHybridization() == HybridizationType.SP2
    start = 2 if count == 2 and not planar else 1
    return [f"{stem}{start + i}" for i in range(count)]


def canonical_order(residue_name: str, heavy: list[str]) -> list[str]:
    """Heavy-atom names of a residue in the order in which its atoms are listed.

    N, CA, CB, C, O, then the side chain in the order of Amber's templates, OXT last.

    Parameters
    ----------
    residue_name : str
        PDB name of the residue, or ACE, NME.
    heavy : list of str
        Names of its heavy atoms.

    Returns
    -------
    list of str
    """
    if residue_name == "ACE":
        wanted = ["CH3", "C", "O"]
    elif residue_name == "NME":
        wanted = ["N", "C"]
    else:
        rest = _TEMPLATE_ORDER.get(residue_name)
        side = rest.split() if rest else [n for n in heavy if n not in _BACKBONE]
        wanted = ["N", "CA", "CB", "C", "O", *side, "OXT"]
    return [name for name in wanted if name in heavy]


_BACKBONE = ("N", "CA", "CB", "C", "O", "OXT")


def build_peptide(
    sequence: str, caps: bool = False, seed: int = 1
) -> tuple[Topology, NDArray[np.float64]]:
    """A peptide with all hydrogens: L alpha carbons, extended backbone, trans peptide bonds.

    Parameters
    ----------
    sequence : str
        See `parse_sequence`.
    caps : bool
        Add ACE and NME. Without them the ends are charged (NH3+ and COO-).
    seed : int
        Seed of the embedding; the same seed gives the same side-chain conformer.

    Returns
    -------
    topology : openmm.app.Topology
        Amber atom names (PDB version 3), bonds with their orders, one chain ``A``.
    positions_nm : ndarray, shape (A, 3)
        Centred, minimised lightly with the MMFF94 force field, backbone at the beta basin.

    Raises
    ------
    ValueError
        See `parse_sequence`.
    RuntimeError
        RDKit found no conformer (another seed may).
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    names = parse_sequence(sequence, caps)
    smiles, labels = _smiles(names)
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if rdDistGeom.EmbedMolecule(mol, randomSeed=seed) != 0:
        if rdDistGeom.EmbedMolecule(mol, randomSeed=seed, useRandomCoords=True) != 0:
            raise RuntimeError(f"No conformer of {sequence!r} was found with seed {seed}.")
    topology, order = _topology(mol, names, labels)
    if len(order) != mol.GetNumAtoms():
        raise RuntimeError(f"{sequence!r}: {mol.GetNumAtoms()} atoms built, {len(order)} named.")
    coordinates = fix_names(topology, _extended(mol, topology, order))
    return topology, coordinates - coordinates.mean(axis=0)


def _topology(
    mol: Any, names: list[str], labels: list[tuple[int, str]]
) -> tuple[Topology, list[int]]:
    """The Topology of an RDKit peptide, and RDKit's number of each of its atoms."""
    from openmm import app

    # Of each heavy atom, the hydrogens that it carries: name and RDKit's number.
    carried: dict[tuple[int, str], list[tuple[str, int]]] = {}
    numbers: dict[tuple[int, str], int] = {}
    for index, (number, label) in enumerate(labels):
        atom = mol.GetAtomWithIdx(index)
        numbers[number, label] = index
        hydrogens = [n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1]
        if hydrogens and (names[number], label) in (("ACE", "CH3"), ("NME", "C")):
            h_names = ["H1", "H2", "H3"]
        else:
            terminal = number == 0 and names[0] != "ACE"
            h_names = _hydrogen_names(label, len(hydrogens), atom, terminal)
        carried[number, label] = list(zip(h_names, hydrogens, strict=False))
    topology = app.Topology()
    chain = topology.addChain("A")
    order: list[int] = []
    for number, name in enumerate(names):
        pdb_name = name if name in ("ACE", "NME") else RESIDUES[name].pdb_name
        residue = topology.addResidue(pdb_name, chain, str(number + 1))
        heavy = [label for where, label in labels if where == number]
        for label in canonical_order(pdb_name, heavy):
            for atom_name, index in ((label, numbers[number, label]), *carried[number, label]):
                element = app.Element.getByAtomicNumber(mol.GetAtomWithIdx(index).GetAtomicNum())
                topology.addAtom(atom_name, element, residue)
                order.append(index)
    _add_bonds(mol, topology, order)
    return topology, order


def _add_bonds(mol: Any, topology: Topology, order: list[int]) -> None:
    """Give the Topology the molecule's bonds, sorted."""
    from openmm import app
    from rdkit import Chem

    new = {old: i for i, old in enumerate(order)}
    atoms = list(topology.atoms())
    kinds: dict[Any, tuple[Any, int | None]] = {
        Chem.BondType.SINGLE: (app.Single, 1),
        Chem.BondType.DOUBLE: (app.Double, 2),
        Chem.BondType.AROMATIC: (app.Aromatic, None),
    }
    pairs = [
        (*sorted((new[b.GetBeginAtomIdx()], new[b.GetEndAtomIdx()])), *kinds[b.GetBondType()])
        for b in mol.GetBonds()
    ]
    for i, j, kind, bond_order in sorted(pairs, key=lambda p: (p[0], p[1])):
        topology.addBond(atoms[i], atoms[j], kind, bond_order)


def _extended(mol: Any, topology: Topology, order: list[int]) -> NDArray[np.float64]:
    """Coordinates in nm with the backbone at the beta basin, lightly minimised there."""
    from rdkit.Chem import rdForceFieldHelpers

    coordinates = mol.GetConformer().GetPositions()[order] * 0.1
    coordinates = fix_names(topology, coordinates)
    coordinates = set_backbone(topology, coordinates, *BASINS["beta"], omega=np.pi)
    # The minimisation may not turn the backbone: it takes out what the turn brought close.
    conformer = mol.GetConformer()
    for i, old in enumerate(order):
        conformer.SetAtomPosition(old, (coordinates[i] * 10.0).tolist())
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    for quad in backbone_quads(topology):
        for indices in quad.values():
            if indices is not None:
                a, b, c, d = (order[i] for i in indices)
                field.MMFFAddTorsionConstraint(a, b, c, d, True, -5.0, 5.0, 100.0)
    field.Minimize(maxIts=500)
    return np.asarray(conformer.GetPositions()[order] * 0.1)
