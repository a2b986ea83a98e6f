"""mmCIF files, parsed once: their tables, and their first model as an OpenMM Topology.

gemmi parses. The Topology is that of OpenMM's `PDBxFile`, which parses by itself and keeps neither
the tables nor the choice of alternate locations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .openmm_names import OpenMMNames

__all__ = ["AtomSite", "Table", "read_block", "table"]

Table = list[dict[str, str]]
"""Rows of a category by item name; '' for ``.`` and ``?``."""


def read_block(text: str) -> Any:
    """The first data block of an mmCIF file, a `gemmi.cif.Block`.

    Raises
    ------
    ValueError
        No mmCIF, or nothing in it.
    """
    from gemmi import cif

    try:
        blocks = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the file cannot be parsed as mmCIF ({error})") from error
    if not len(blocks):
        raise ValueError("the file holds no data block")
    return blocks[0]


def _columns(block: Any, category: str) -> dict[str, list[str]]:
    """A category's columns by item name; gemmi has None for ``?`` and False for ``.``."""
    found = block.get_mmcif_category(f"_{category}.")
    return {name: [value or "" for value in column] for name, column in found.items()}


def table(block: Any, category: str) -> Table:
    """The rows of a category, e.g. ``pdbx_struct_oper_list``; none where the block lacks it."""
    columns = _columns(block, category)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class AtomSite:
    """The atoms of a block, row by row.

    Parameters
    ----------
    block : gemmi.cif.Block
    """

    def __init__(self, block: Any) -> None:
        self._block = block
        self._site = _columns(block, "atom_site")
        self._count = len(next(iter(self._site.values()), []))

    def __len__(self) -> int:
        return self._count

    def column(self, *names: str) -> list[str]:
        """The first of some columns that is there; '' throughout where none is."""
        found = next((self._site[name] for name in names if name in self._site), None)
        return [""] * self._count if found is None else found

    def positions_nm(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """Coordinates [rows, 3] of some atoms."""
        columns = [self.column(f"Cartn_{axis}") for axis in "xyz"]
        found = [[float(column[row]) for column in columns] for row in rows]
        return np.array(found, float).reshape(-1, 3) * 0.1

    def topology(self, rows: Sequence[int], residue_names: Sequence[str]) -> tuple[Any, list[str]]:
        """The Topology of some atoms, with the bonds that the file and residue names tell.

        Parameters
        ----------
        rows : sequence of int
            Increasing; of each atom one location.
        residue_names : sequence of str
            For each of the rows.

        Returns
        -------
        topology : openmm.app.Topology
            Chains are named as in the column that tells more of them apart, auth_asym_id's or
            label_asym_id's.
        labels : list of str
            The label_asym_id of each chain.
        """
        from openmm import app

        topology: Any = app.Topology()
        residues, names = OpenMMNames(), self.column("auth_atom_id", "label_atom_id")
        labels = self.column("label_asym_id", "auth_asym_id")
        chain_ids = self.column("auth_asym_id", "label_asym_id")
        if len({labels[r] for r in rows}) > len({chain_ids[r] for r in rows}):
            chain_ids = labels
        numbers = self.column("auth_seq_id", "label_seq_id")
        codes, serials = self.column("pdbx_PDB_ins_code"), self.column("id")
        symbols, linked = self.column("type_symbol"), self._link_keys()
        chain_labels: list[str] = []
        atoms: dict[tuple[str, ...], Any] = {}
        chain: Any = None
        residue: Any = None
        last_chain = last_residue = None
        there: set[str] = set()
        for row, residue_name in zip(rows, residue_names, strict=True):
            if last_chain != (chain_ids[row], labels[row]):
                chain, last_residue = topology.addChain(chain_ids[row]), None
                last_chain = chain_ids[row], labels[row]
                chain_labels.append(labels[row])
            key = numbers[row], codes[row]
            # Residues without numbers, as programs write them for ligands, end at a name's return.
            if last_residue != key or (not numbers[row] and names[row] in there):
                name = residues.residue(residue_name)
                residue = topology.addResidue(name, chain, *key)
                last_residue = key
                there.clear()
            there.add(names[row])
            name = residues.atom(residue.name, names[row])
            atom = topology.addAtom(name, _element(symbols[row]), residue, serials[row])
            atoms[linked[row]] = atom
        self._add_bonds(topology, atoms)
        self._set_box(topology)
        return topology, chain_labels

    def _link_keys(self) -> list[tuple[str, ...]]:
        """What struct_conn calls each atom."""
        return list(
            zip(
                self.column("label_seq_id", "auth_seq_id"),
                self.column("label_asym_id", "auth_asym_id"),
                self.column("label_atom_id", "auth_atom_id"),
                strict=True,
            )
        )

    def _add_bonds(self, topology: Any, atoms: dict[tuple[str, ...], Any]) -> None:
        """Links, bonds of described components, and bonds of standard residues."""
        from openmm.app import topology as kinds

        added: set[frozenset[int]] = set()
        for row in table(self._block, "struct_conn"):
            if row["conn_type_id"][:6] not in ("covale", "disulf", "modres"):
                continue
            keys = [
                tuple(row[f"ptnr{k}_label_{item}_id"] for item in ("seq", "asym", "atom"))
                for k in (1, 2)
            ]
            ends = [atoms[key] for key in keys if key in atoms]
            pair = frozenset(a.index for a in ends)
            if len(pair) == 2 and pair not in added:
                added.add(pair)
                topology.addBond(*ends)
        bonds: dict[str, Table] = defaultdict(list)
        for row in table(self._block, "chem_comp_bond"):
            bonds[row["comp_id"]].append(row)
        sorts = {
            "sing": (kinds.Single, 1),
            "doub": (kinds.Double, 2),
            "trip": (kinds.Triple, 3),
            "arom": (kinds.Aromatic, None),
        }
        for residue in topology.residues():
            named = {atom.name: atom for atom in residue.atoms()}
            for row in bonds.get(residue.name, []):
                one, two = named.get(row["atom_id_1"]), named.get(row["atom_id_2"])
                if one is not None and two is not None:
                    topology.addBond(one, two, *sorts.get(row.get("value_order", ""), (None, None)))
        topology.createStandardBonds()

    def _set_box(self, topology: Any) -> None:
        from openmm.app.internal.unitcell import computePeriodicBoxVectors

        for row in table(self._block, "cell")[:1]:
            lengths = [row.get(f"length_{axis}") for axis in "abc"]
            angles = [row.get(f"angle_{name}") for name in ("alpha", "beta", "gamma")]
            if all(lengths) and all(angles):
                box = computePeriodicBoxVectors(
                    *(float(x) * 0.1 for x in lengths if x),
                    *(math.radians(float(x)) for x in angles if x),
                )
                topology.setPeriodicBoxVectors(box)


def _element(symbol: str) -> Any:
    from openmm.app import Element

    try:
        return Element.getBySymbol(symbol)
    except KeyError:
        return None
