"""Tables of mmCIF files beside the atoms: assemblies, sequences, chemistry of components."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

__all__ = ["Table", "component_molecules", "missing_in_cif", "read_tables"]

Table = list[dict[str, str]]

_VALENCES = {1: (1,), 5: (3,), 6: (4,), 7: (3,), 8: (2,), 9: (1,), 14: (4,), 15: (3, 5),
             16: (2, 4, 6), 17: (1,), 34: (2, 4, 6), 35: (1,), 53: (1,)}  # fmt: skip
_ORDERS = {"SING": 1, "DOUB": 2, "TRIP": 3}


def read_tables(text: str, names: Iterable[str]) -> dict[str, Table]:
    """Read categories of the first data block.

    Parameters
    ----------
    text: str
        An mmCIF file.
    names: iterable of str
        Categories, e.g. ``pdbx_struct_oper_list``.

    Returns
    -------
    dict of str to list of dict
        Rows by item name; '' for ``.`` and ``?``. Categories that the file lacks are empty.

    Raises
    ------
    ValueError
        No mmCIF.
    """
    from openmm.app.internal.pdbx.reader.PdbxReader import PdbxReader

    blocks: list[Any] = []
    try:
        PdbxReader(io.StringIO(text)).read(blocks)
    except Exception as error:  # the reader raises its own bare types
        raise ValueError(f"the file cannot be parsed as mmCIF ({error})") from error
    if not blocks:
        raise ValueError("the file holds no data block")
    found: dict[str, Table] = {}
    for name in names:
        category = blocks[0].getObj(name)
        if category is None:
            found[name] = []
            continue
        columns = category.getAttributeList()
        found[name] = [
            {c: "" if v in (".", "?") else v for c, v in zip(columns, row, strict=False)}
            for row in category.getRowList()
        ]
    return found


def component_molecules(tables: dict[str, Table]) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Chemistry of the components that a file describes (chem_comp_atom, chem_comp_bond).

    Formal charges follow from the bonds, since all hydrogens are listed.

    Parameters
    ----------
    tables: dict
        With ``chem_comp_atom`` and ``chem_comp_bond``.

    Returns
    -------
    dict of str to (RDKit Mol, tuple of str)
        By residue name: the molecule, sanitized, and its atoms' names. Components that make no
        molecule (metals, bonds that are missing) are left out.
    """
    from rdkit import RDLogger

    atoms: dict[str, list[dict[str, str]]] = defaultdict(list)
    bonds: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in tables.get("chem_comp_atom", []):
        atoms[row["comp_id"]].append(row)
    for row in tables.get("chem_comp_bond", []):
        bonds[row["comp_id"]].append(row)
    found: dict[str, tuple[Any, tuple[str, ...]]] = {}
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    try:
        for name, rows in atoms.items():
            try:
                found[name] = _component(rows, bonds[name])
            except (KeyError, ValueError, RuntimeError):
                continue  # RDKit's faults are ValueErrors; what is lacking is told where it is used
    finally:
        RDLogger.EnableLog("rdApp.*")  # type: ignore[attr-defined]
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
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    sums = [0] * len(atoms)
    for row in bonds:
        i, j = number[row["atom_id_1"]], number[row["atom_id_2"]]
        order = _ORDERS[row["value_order"].upper()]
        mol.AddBond(i, j, kinds[order])
        sums[i] += order
        sums[j] += order
    for atom, total in zip(mol.GetAtoms(), sums, strict=True):
        usual = _VALENCES[atom.GetAtomicNum()]
        nearest = min(usual, key=lambda v: (abs(total - v), v))
        # A fourth bond makes N+ and B-, a missing one O-.
        charge = total - nearest
        atom.SetFormalCharge(-charge if atom.GetAtomicNum() == 5 else charge)
    made = mol.GetMol()
    Chem.SanitizeMol(made)
    return made, tuple(number)


def missing_in_cif(tables: dict[str, Table]) -> dict[str, list[tuple[str, str, str, bool]]]:
    """Full sequences of the polymers of a file.

    Parameters
    ----------
    tables: dict
        With ``pdbx_poly_seq_scheme``.

    Returns
    -------
    dict of str to list of (name, number, insertion code, seen)
        By label_asym_id; `seen` is False for residues without coordinates.
    """
    chains: dict[str, list[tuple[str, str, str, bool]]] = defaultdict(list)
    for row in tables.get("pdbx_poly_seq_scheme", []):
        chains[row["asym_id"]].append(
            (
                row["mon_id"],
                row.get("pdb_seq_num", ""),
                row.get("pdb_ins_code", ""),
                bool(row.get("auth_mon_id", "")),
            )
        )
    return dict(chains)
