"""mmCIF files, parsed once: their tables, and the first model's atoms and bonds.

gemmi parses. What is made of an AtomSite is what OpenMM's `PDBxFile` makes, which parses by itself
and keeps neither the tables nor the choice of alternate locations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .atom_rows import AtomRow, is_element

__all__ = ["AtomSite", "Bond", "Table", "read_block", "table"]

Table = list[dict[str, str]]
"""Rows of a category by item name; '' for ``.`` and ``?``."""

Bond = tuple[Any, Any, Any, int | None]
"""Two atoms, and OpenMM's type and order of their bond, None where they are not known."""


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
    """The atoms of a block.

    Parameters
    ----------
    block : gemmi.cif.Block

    Attributes
    ----------
    rows : list of AtomRow
        Atoms of the first model, alternate locations included. Chains are named as in the column
        that tells more of them apart, auth_asym_id's or label_asym_id's.
    num_models : int

    Raises
    ------
    ValueError
        A coordinate or occupancy that is no number.
    """

    def __init__(self, block: Any) -> None:
        self._block = block
        self._site = _columns(block, "atom_site")
        self._count = len(next(iter(self._site.values()), []))
        models = self._column("pdbx_PDB_model_num")
        self.num_models = len(set(models))
        # Of label_ items, all may be blank: then nothing in the file goes by them.
        self._prefix = {
            item: "label" if any(self._site.get(f"label_{item}_id", [])) else "auth"
            for item in ("seq", "asym", "atom")
        }
        self._chosen = [k for k in range(self._count) if models[k] == models[0]]
        self.rows = self._rows()
        self._keys = self._link_keys()

    def _column(self, *names: str) -> list[str]:
        """The first of some columns that says anything; '' throughout where none does."""
        there = [self._site[name] for name in names if name in self._site]
        return next((found for found in there if any(found)), [""] * self._count)

    def _rows(self) -> list[AtomRow]:
        labels = self._column("label_asym_id", "auth_asym_id")
        chains = self._column("auth_asym_id", "label_asym_id")
        if len({labels[k] for k in self._chosen}) > len({chains[k] for k in self._chosen}):
            chains = labels
        columns = (
            self._column("auth_seq_id", "label_seq_id"),
            self._column("pdbx_PDB_ins_code"),
            self._column("auth_comp_id", "label_comp_id"),
            self._column("auth_atom_id", "label_atom_id"),
            self._column("label_alt_id"),
        )
        places = [self._column(f"Cartn_{axis}") for axis in "xyz"]
        weights, symbols = self._column("occupancy"), self._column("type_symbol")
        serials = self._column("id")
        rows = []
        for k in self._chosen:
            try:
                x, y, z = (0.1 * float(place[k]) for place in places)
                occupancy = float(weights[k] or 1.0)
            except ValueError as error:
                raise ValueError(f"row {k + 1} of atom_site: {error}") from None
            number, code, resname, name, altloc = (column[k] for column in columns)
            rows.append(
                AtomRow(
                    f"row {k + 1} of atom_site",
                    (chains[k], labels[k]),
                    chains[k],
                    labels[k],
                    number,
                    code,
                    resname,
                    name,
                    altloc,
                    occupancy,
                    symbols[k] if is_element(symbols[k]) else "EP",
                    (x, y, z),
                    serials[k],
                )
            )
        return rows

    def _link_keys(self) -> list[tuple[str, ...]]:
        """What struct_conn calls each atom."""
        names = [
            self._column(f"{self._prefix[item]}_{item}_id") for item in ("seq", "asym", "atom")
        ]
        return [tuple(column[k] for column in names) for k in self._chosen]

    def bonds(self, topology: Any, kept: Sequence[AtomRow]) -> list[Bond]:
        """Links, and bonds of described components.

        Parameters
        ----------
        topology : openmm.app.Topology
        kept : sequence of AtomRow
            The rows of the Topology's atoms.
        """
        from openmm.app import topology as kinds

        keys_of = {row.where: key for row, key in zip(self.rows, self._keys, strict=True)}
        atoms = {keys_of[row.where]: atom for row, atom in zip(kept, topology.atoms(), strict=True)}
        found: list[Bond] = []
        for row in table(self._block, "struct_conn"):
            if row["conn_type_id"][:6] not in ("covale", "disulf", "modres"):
                continue
            keys = [
                tuple(
                    row.get(f"ptnr{k}_{self._prefix[item]}_{item}_id")
                    or row.get(f"ptnr{k}_label_{item}_id", "")
                    for item in ("seq", "asym", "atom")
                )
                for k in (1, 2)
            ]
            ends = [atoms[key] for key in keys if key in atoms]
            if len(ends) == 2:
                found.append((*ends, None, None))  # type: ignore[arg-type]
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
                    found.append((one, two, *sorts.get(row.get("value_order", ""), (None, None))))
        return found

    def box(self) -> Any | None:
        """Box vectors of the cell; None where there is none."""
        from openmm.app.internal.unitcell import computePeriodicBoxVectors

        for row in table(self._block, "cell")[:1]:
            lengths = [row.get(f"length_{axis}") for axis in "abc"]
            angles = [row.get(f"angle_{name}") for name in ("alpha", "beta", "gamma")]
            if all(lengths) and all(angles):
                edges = [float(x) for x in lengths if x]
                # NMR entries have a cell of 1 angstrom, which stands for none.
                if 0.0 not in edges and max(edges) > 1.0:
                    return computePeriodicBoxVectors(
                        *(0.1 * x for x in edges), *(math.radians(float(x)) for x in angles if x)
                    )
        return None
