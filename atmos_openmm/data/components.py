"""The chemistry of the components that mmCIF files describe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..systems.bond_orders import usual_valences
from ..systems.mmcif import Table

__all__ = ["Components", "component_molecules"]

Components = Mapping[str, tuple[Any, tuple[str, ...]]]
"""RDKit Mol, sanitized, and the names of its atoms, by residue name."""

_ORDERS = {"SING": 1, "DOUB": 2, "TRIP": 3}


def component_molecules(tables: Mapping[str, Table]) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Chemistry of the components that a file describes (chem_comp_atom, chem_comp_bond).

    Formal charges follow from the bonds, since all hydrogens are listed.

    Parameters
    ----------
    tables : mapping
        With ``chem_comp_atom`` and ``chem_comp_bond``.

    Returns
    -------
    dict of str to (RDKit Mol, tuple of str)
        By residue name: the molecule, sanitized, and its atoms' names. Components that make no
        molecule (metals, bonds that are missing) are left out.
    """
    from rdkit import rdBase

    atoms: dict[str, list[dict[str, str]]] = defaultdict(list)
    bonds: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in tables.get("chem_comp_atom", []):
        atoms[row["comp_id"]].append(row)
    for row in tables.get("chem_comp_bond", []):
        bonds[row["comp_id"]].append(row)
    found: dict[str, tuple[Any, tuple[str, ...]]] = {}
    with rdBase.BlockLogs():
        for name, rows in atoms.items():
            try:
                found[name] = _component(rows, bonds[name])
            except (KeyError, ValueError, RuntimeError):
                continue  # RDKit's faults are ValueErrors; what is lacking is told where it is used
    return found


def _component(
    atoms: list[dict[str, str]], bonds: list[dict[str, str]]
) -> tuple[Any, tuple[str, ...]]:
    from rdkit import Chem

    if not bonds and len(atoms) > 1:
        raise ValueError("no bonds")
    mol = Chem.RWMol()
    number: dict[str, int] = {}
    table = Chem.GetPeriodicTable()
    for row in atoms:
        atom = Chem.Atom(table.GetAtomicNumber(row["type_symbol"].capitalize()))
        atom.SetNoImplicit(True)
        number[row["atom_id"]] = mol.AddAtom(atom)
    sums = [0] * len(atoms)
    for row in bonds:
        i, j = number[row["atom_id_1"]], number[row["atom_id_2"]]
        order = _ORDERS[row["value_order"].upper()]
        mol.AddBond(i, j, Chem.BondType.values[order])
        sums[i] += order
        sums[j] += order
    for atom, total in zip(mol.GetAtoms(), sums, strict=True):
        usual = usual_valences(atom.GetAtomicNum())
        nearest = min(usual, key=lambda v: (abs(total - v), v))
        # A fourth bond makes N+ and B-, a missing one O-.
        charge = total - nearest
        atom.SetFormalCharge(-charge if atom.GetAtomicNum() == 5 else charge)
    made = mol.GetMol()
    Chem.SanitizeMol(made)
    return made, tuple(number)
