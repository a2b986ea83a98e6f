"""Bonds, orders and charges of a ligand that a file tells by elements and coordinates alone.

RDKit connects the atoms by their distances; `bond_orders` distributes orders and charges, which
needs every hydrogen. RDKit's own search for bond orders depends on the order of the atoms and fails
for many nitro compounds and quaternary nitrogens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .bond_orders import BondOrderError, distribute

__all__ = [
    "PerceptionError",
    "assign_orders",
    "connect",
    "molecule_from_smiles",
    "perceive",
    "with_template",
]


class PerceptionError(ValueError):
    """Elements and coordinates make no molecule."""


def molecule_from_smiles(smiles: str, name: str) -> Any:
    """The RDKit Mol that a user gives for a ligand called `name`.

    Raises
    ------
    PerceptionError
        RDKit cannot read it.
    """
    from rdkit import Chem

    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise PerceptionError(f"the SMILES {smiles!r} given for {name} cannot be read")
    return mol


def connect(numbers: ArrayLike, positions_nm: ArrayLike) -> Any:
    """Connect atoms by their distances.

    Parameters
    ----------
    numbers : array of int, shape (A,)
        Atomic numbers, hydrogens included.
    positions_nm : array, shape (A, 3)

    Returns
    -------
    RDKit Mol
        Single bonds; with the coordinates.

    Raises
    ------
    PerceptionError
        The atoms make several molecules, or a hydrogen has no or several bonds.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds
    from rdkit.Geometry import Point3D

    z = np.asarray(numbers, np.int64)
    x = np.asarray(positions_nm, np.float64) * 10.0
    if not np.isfinite(x).all():
        raise PerceptionError("its coordinates are not finite")
    mol = Chem.RWMol()
    conformer = Chem.Conformer(len(z))
    for k, number in enumerate(z.tolist()):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
        conformer.SetAtomPosition(k, Point3D(*x[k].tolist()))
    mol.AddConformer(conformer)
    if len(z) > 1:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineConnectivity(mol)
    pieces = len(Chem.GetMolFrags(mol))
    if pieces != 1:
        raise PerceptionError(f"its atoms make {pieces} separate molecules")
    if not np.any(z == 1) and len(z) > 1:
        raise PerceptionError("it has no hydrogens, without which bond orders cannot be told")
    odd = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 1 and a.GetDegree() != 1]
    if odd and len(z) > 2:
        raise PerceptionError(
            f"its hydrogen {odd[0]} has {mol.GetAtomWithIdx(odd[0]).GetDegree()} bonds"
        )
    return mol.GetMol()


def perceive(numbers: ArrayLike, positions_nm: ArrayLike, charge: int | None = None) -> Any:
    """Find the molecule that elements and coordinates show.

    Parameters
    ----------
    numbers : array of int, shape (A,)
        Atomic numbers, hydrogens included.
    positions_nm : array, shape (A, 3)
    charge : int, optional
        Total charge, where it is known; else the one that fewest formal charges make.

    Returns
    -------
    RDKit Mol
        Sanitized, atoms in the given order, coordinates and stereochemistry from the positions.

    Raises
    ------
    PerceptionError
        No bond orders fit, or none that RDKit accepts.
    """
    return assign_orders(connect(numbers, positions_nm), charge)


def assign_orders(bare: Any, charge: int | None = None) -> Any:
    """Find bond orders and formal charges of a molecule whose atoms and connections are known.

    Parameters
    ----------
    bare : RDKit Mol
        With every hydrogen, and coordinates where stereochemistry is to be told.
    charge : int, optional
        Total charge, where it is known; else the one that fewest formal charges make.

    Returns
    -------
    RDKit Mol
        Sanitized, atoms in the given order.

    Raises
    ------
    PerceptionError
        No bond orders fit, or none that RDKit accepts.
    """
    from rdkit import Chem, rdBase

    ends = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bare.GetBonds()]
    elements = [a.GetAtomicNum() for a in bare.GetAtoms()]
    try:
        orders, charges = distribute(elements, ends, charge)
    except BondOrderError as error:
        raise PerceptionError(str(error)) from error
    mol = Chem.RWMol(bare)
    for bond, order in zip(mol.GetBonds(), orders, strict=True):
        bond.SetBondType(Chem.BondType.values[order])
    for atom, value in zip(mol.GetAtoms(), charges, strict=True):
        atom.SetFormalCharge(value)
    made = mol.GetMol()
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(made)
    except Exception as error:  # RDKit raises several unrelated types here
        raise PerceptionError(f"RDKit takes its bond orders for impossible: {error}") from error
    if made.GetNumConformers():
        Chem.AssignStereochemistryFrom3D(made)
    return made


def with_template(numbers: ArrayLike, positions_nm: ArrayLike, template: Any) -> Any:
    """Take bond orders and charges from a molecule that is known.

    Parameters
    ----------
    numbers, positions_nm : see `perceive`
    template : RDKit Mol
        With or without hydrogens, in any order; its stereochemistry is not used, that of the
        coordinates is.

    Raises
    ------
    PerceptionError
        The template has other atoms, bonds or hydrogens.
    """
    from rdkit import Chem

    bare = connect(numbers, positions_nm)
    want = Chem.RemoveAllHs(Chem.Mol(template))
    Chem.Kekulize(want, clearAromaticFlags=True)
    heavy = [a.GetIdx() for a in bare.GetAtoms() if a.GetAtomicNum() > 1]
    match = _heavy_match(bare, heavy, want)
    if match is None:
        raise PerceptionError(
            f"its heavy atoms and bonds are not those of {Chem.MolToSmiles(want)}"
        )
    mol = Chem.RWMol(bare)
    for atom in want.GetAtoms():
        own = mol.GetAtomWithIdx(match[atom.GetIdx()])
        own.SetFormalCharge(atom.GetFormalCharge())
        hydrogens = sum(n.GetAtomicNum() == 1 for n in own.GetNeighbors())
        if hydrogens != atom.GetTotalNumHs():
            raise PerceptionError(
                f"its atom {own.GetIdx()} ({own.GetSymbol()}) has {hydrogens} hydrogens, in "
                f"{Chem.MolToSmiles(want)} it has {atom.GetTotalNumHs()}"
            )
    for bond in want.GetBonds():
        ends = match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]
        mol.GetBondBetweenAtoms(*ends).SetBondType(bond.GetBondType())
    made = mol.GetMol()
    Chem.SanitizeMol(made)
    Chem.AssignStereochemistryFrom3D(made)
    return made


def _heavy_match(bare: Any, heavy: list[int], want: Any) -> list[int] | None:
    """Atoms of `bare` for each of the template's, by elements and connections."""
    from .comparison import plain_molecule

    number = {i: k for k, i in enumerate(heavy)}
    ours = [
        (number[b.GetBeginAtomIdx()], number[b.GetEndAtomIdx()])
        for b in bare.GetBonds()
        if b.GetBeginAtomIdx() in number and b.GetEndAtomIdx() in number
    ]
    theirs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in want.GetBonds()]
    if len(heavy) != want.GetNumAtoms() or len(ours) != len(theirs):
        return None
    target = plain_molecule([bare.GetAtomWithIdx(i).GetAtomicNum() for i in heavy], ours)
    query = plain_molecule([a.GetAtomicNum() for a in want.GetAtoms()], theirs)
    # Of several fits (a carboxylate's oxygens), one whose hydrogens agree.
    hydrogens = [
        sum(n.GetAtomicNum() == 1 for n in bare.GetAtomWithIdx(i).GetNeighbors()) for i in heavy
    ]
    wanted = [a.GetTotalNumHs() for a in want.GetAtoms()]
    matches = target.GetSubstructMatches(query, uniquify=False, maxMatches=2000)
    if not matches:
        return None
    best = min(
        matches, key=lambda m: sum(hydrogens[k] != w for k, w in zip(m, wanted, strict=True))
    )
    return [heavy[k] for k in best]
