"""A Topology's residues with their bonds, as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import FeatureError, MissingBondsError
from .labels import atom_label, residue_label
from .residues import METALS


@dataclass
class ResidueGraph:
    """A residue's atoms and bonds as the Topology has them, atoms by Topology index.

    Attributes
    ----------
    residue : openmm.app.Residue
        the residue
    heavy : list of int
        heavy atoms, sorted by name, then by index: results must not depend on atom order
    names, elements : dict
        name and atomic number of each atom
    hydrogens : dict of int to list of int
        hydrogens of each heavy atom, sorted by name, then by index
    bonds : dict of (int, int) to bond order or None
        bonds between heavy atoms of the residue; the Topology's order where it has one
    partners : list of (int, int)
        bonds to other residues: heavy atom here, atom there
    partner_elements : dict of int to int
        atomic number of each partner
    """

    residue: Any
    heavy: list[int]
    names: dict[int, str]
    elements: dict[int, int]
    hydrogens: dict[int, list[int]]
    bonds: dict[tuple[int, int], float | None]
    partners: list[tuple[int, int]]
    partner_elements: dict[int, int]

    def num_partners(self, atom: int) -> int:
        """How many atoms of other residues an atom is bonded to."""
        return sum(here == atom for here, _ in self.partners)

    def label(self) -> str:
        """Return the residue as messages name it."""
        return f"residue {residue_label(self.residue, chain=True)} (index {self.residue.index})"

    def edges(self) -> set[frozenset[int]]:
        """Return the heavy-atom bonds without direction."""
        return {frozenset(pair) for pair in self.bonds}

    def atom_list(self) -> str:
        """Return the names of the heavy atoms in the Topology's order, as messages list them."""
        names = [self.names[i] for i in sorted(self.heavy)]
        shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
        return f"{len(names)} heavy atoms: {shown}"

    @property
    def has_hydrogens(self) -> bool:
        """Whether the Topology has any hydrogen in this residue."""
        return any(self.hydrogens.values())


def _bond_order(bond: Any) -> float | None:
    """Return the order that the Topology gives a bond: 1, 2, 3, 1.5 for aromatic, or None."""
    kind = str(bond.type) if bond.type is not None else ""
    named = {"Single": 1.0, "Double": 2.0, "Triple": 3.0, "Aromatic": 1.5, "Amide": 1.0}
    if kind in named:
        return named[kind]
    return None if bond.order is None else float(bond.order)


def residue_graphs(topology: Any, chosen: set[int]) -> list[ResidueGraph]:
    """Collect the solute's residues with their bonds, checked.

    Parameters
    ----------
    topology : openmm.app.Topology
        with bonds
    chosen : set of int
        Topology indices of the solute's atoms

    Raises
    ------
    MissingBondsError
        no bonds, duplicate bonds, hydrogens with none or several
    FeatureError
        bonds that leave the solute, residues of hydrogens only
    """
    graphs = _graphs_without_bonds(topology, chosen)
    owners: dict[int, int] = {}
    for bond in _checked_bonds(topology, chosen):
        _add_bond(graphs, owners, bond)
    _refuse_free_hydrogens(graphs.values(), owners)
    for graph in graphs.values():
        for hydrogens in graph.hydrogens.values():
            hydrogens.sort(key=lambda i: (graph.names[i], i))
        graph.partners.sort(key=lambda p: (graph.names[p[0]], p))
    return list(graphs.values())


def _graphs_without_bonds(topology: Any, chosen: set[int]) -> dict[int, ResidueGraph]:
    """Return the solute's residues by index, with their atoms."""
    graphs = {}
    for residue in topology.residues():
        inside = [a for a in residue.atoms() if a.index in chosen]
        if not inside:
            continue
        names = {a.index: a.name for a in inside}
        heavy = [a.index for a in inside if a.element.atomic_number > 1]
        heavy.sort(key=lambda i: (names[i], i))
        if not heavy:
            raise FeatureError(
                f"residue {residue_label(residue)} has hydrogens only; it cannot be modelled."
            )
        graphs[residue.index] = ResidueGraph(
            residue,
            heavy,
            names,
            {a.index: a.element.atomic_number for a in inside},
            {i: [] for i in heavy},
            {},
            [],
            {},
        )
    return graphs


def _checked_bonds(topology: Any, chosen: set[int]) -> Iterator[Any]:
    """Yield the bonds inside the solute; copies, bonds that leave it and no bonds are refused."""
    seen: set[tuple[int, int]] = set()
    for bond in topology.bonds():
        one, two = sorted(bond, key=lambda atom: atom.index)
        if one.index not in chosen and two.index not in chosen:
            continue
        if one.element is None or two.element is None:
            continue
        if (one.index, two.index) in seen:
            raise MissingBondsError(
                f"The Topology holds the bond {one} - {two} twice. Remove the copy."
            )
        seen.add((one.index, two.index))
        if one.index in chosen and two.index in chosen:
            yield bond
            continue
        inner, other = (one, two) if one.index in chosen else (two, one)
        if other.element.atomic_number == 1 and other.residue.index == inner.residue.index:
            continue
        if other.element.symbol in METALS:
            continue  # coordination, which holds no two molecules together
        raise FeatureError(
            f"The solute's atom {inner.index} ({atom_label(inner)}) is bonded to "
            f"atom {other.index} ({atom_label(other)}), which is not in the solute. Take whole "
            "molecules."
        )
    if not seen and len(chosen) > 1:
        raise MissingBondsError(
            "The Topology has no bonds. Call topology.createStandardBonds() (and "
            "createDisulfideBonds(positions)), or load the structure with a reader that makes "
            "bonds."
        )


def _add_bond(graphs: dict[int, ResidueGraph], owners: dict[int, int], bond: Any) -> None:
    """Enter a bond in the graphs of its atoms, and a hydrogen's atom in `owners`."""
    one, two = sorted(bond, key=lambda atom: atom.index)
    i, j = one.index, two.index
    first, second = graphs[one.residue.index], graphs[two.residue.index]
    light = [atom for atom in (one, two) if atom.element.atomic_number == 1]
    if light:
        h = light[0].index
        parent = j if h == i else i
        if len(light) == 2 or first is not second or h in owners:
            raise MissingBondsError(
                f"The hydrogen {light[0]} has more than one bond, or a bond to another "
                "residue's atom or to a hydrogen. Mend the Topology's bonds."
            )
        owners[h] = parent
        first.hydrogens[parent].append(h)
    elif first is second:
        first.bonds[(i, j)] = _bond_order(bond)
    else:
        first.partners.append((i, j))
        second.partners.append((j, i))
        first.partner_elements[j] = two.element.atomic_number
        second.partner_elements[i] = one.element.atomic_number


def _refuse_free_hydrogens(graphs: Iterable[ResidueGraph], owners: dict[int, int]) -> None:
    # Where a residue has no bonds at all, its fit says so.
    free = {
        g.label(): [g.names[i] for i in g.names if g.elements[i] == 1 and i not in owners]
        for g in graphs
        if g.bonds or g.partners or len(g.heavy) == 1
    }
    if any(free.values()):
        listed = "; ".join(f"{label}: {', '.join(names)}" for label, names in free.items() if names)
        raise MissingBondsError(
            f"Hydrogens without a bond: {listed}. Standard residues with standard atom names get "
            "bonds from topology.createStandardBonds(); others from CONECT records of a PDB file "
            "or from an SDF file, see systems.inputs.read_molecule."
        )
