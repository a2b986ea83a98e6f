"""Hydrogens by group: which atoms fix them, which kind of group they are, their ideal places."""

from __future__ import annotations

import math

import numpy as np

from .errors import FeatureError
from .features import MoleculeFeatures
from .hydrogen_geometry import (
    METHYLENE_HALF_ANGLE,
    bend_angle,
    bond_length_nm,
    contact_parameters,
    cosine_coefficients,
    lone_hydrogens,
    on_cone,
    rotor_start,
)

KINDS = ("lone", "rotor", "flat end", "linear", "methylene", "flat", "pyramid", "tertiary")
"""Kinds of groups, by what fixes them.

"lone": no heavy neighbour (water, ammonium); its orientation is free. One heavy neighbour: "rotor"
(methyl, ammonium, amine, hydroxyl, thiol: the torsion about its bond is free), "flat end" (amide
and guanidinium NH2, =CH2, imine: in the plane of its neighbour) and "linear" (alkyne). Two:
"methylene" (two hydrogens), "flat" (aromatic CH, amide NH) and "pyramid" (a secondary amine, whose
hydrogen has two sides to choose from). Three: "tertiary".
"""

FREE_KINDS = ("rotor", "pyramid", "lone")
"""Kinds that the heavy atoms do not determine: a torsion, a side, an orientation is free."""


class Chemistry:
    """A molecule as a graph, with the questions that the plan asks of it."""

    def __init__(self, features: MoleculeFeatures) -> None:
        self.features = features
        self.element = features.ref_element.tolist()
        count = features.num_atoms
        self.near: list[list[int]] = [[] for _ in range(count)]
        self.order: dict[tuple[int, int], float] = {}
        bond_orders = features.bond_order.tolist()
        for (i, j), order in zip(features.bonds.tolist(), bond_orders, strict=True):
            self.near[i].append(j)
            self.near[j].append(i)
            self.order[i, j] = self.order[j, i] = order
        self.hydrogens_of: dict[int, list[int]] = {}
        for h in range(count):
            if self.element[h] == 1:
                self.hydrogens_of.setdefault(self.near[h][0], []).append(h)
        for hydrogens in self.hydrogens_of.values():
            hydrogens.sort(key=lambda h: (features.atom_names[h], h))
        # By centre: the entry (centre and three neighbours) and its sign.
        self.labels = {
            int(entry[0]): (entry.tolist(), float(sign))
            for entry, sign in zip(features.label_centers, features.label_signs, strict=True)
        }

    def heavy_neighbours(self, atom: int) -> list[int]:
        return sorted(n for n in self.near[atom] if self.element[n] > 1)

    def orders(self, atom: int) -> list[float]:
        return [self.order[atom, n] for n in self.near[atom]]

    def has_multiple(self, atom: int) -> bool:
        return any(order > 1 for order in self.orders(atom))

    def is_linear(self, atom: int) -> bool:
        orders = self.orders(atom)
        return 3 in orders or orders.count(2) > 1 and len(orders) == 2

    def is_planar(self, atom: int) -> bool:
        """Whether an atom and its neighbours lie in a plane: a multiple bond, or beside one."""
        if self.element[atom] not in (5, 6, 7, 8):
            return False
        if self.has_multiple(atom) or self.element[atom] == 5:
            return len(self.near[atom]) < 4
        # A lone pair that goes into a neighbour's double bond: amide, guanidinium, aniline.
        return (
            self.element[atom] == 7
            and len(self.near[atom]) == 3
            and any(self.element[n] in (6, 7) and self.has_multiple(n) for n in self.near[atom])
        )

    def surroundings(self, parent: int, neighbour: int) -> tuple[str, int]:
        """Say what a rotor is bonded to, and which atom its torsion is measured from."""
        reference = self.reference_for(parent, neighbour)
        element = self.element[neighbour]
        doubles = [
            n
            for n in self.heavy_neighbours(neighbour)
            if n != parent and self.order[neighbour, n] == 2
        ]
        if element in (15, 16) and doubles:
            others = [
                n for n in self.heavy_neighbours(neighbour) if n != parent and n not in doubles
            ]
            if self.element[parent] == 7 and len(others) == 1:
                return "sulfonyl", others[0]
            return "oxide", doubles[0]
        if element == 7 and self.element[parent] == 8 and self.is_planar(neighbour):
            return "nitrogen", (doubles or [reference])[0]
        if element == 6 and len(doubles) == 1 and not self.is_linear(neighbour):
            name = "carbonyl" if self.element[doubles[0]] == 8 else "alkene"
            return name, doubles[0]
        return ("flat" if self.is_planar(neighbour) else "tetrahedral"), reference

    def reference_for(self, parent: int, neighbour: int) -> int:
        """Return the atom that torsions about neighbour-parent are measured from.

        A neighbour's neighbour, from the same residue where there is one; through linear atoms, on
        to the first bend. The neighbour itself where there is none.
        """
        before, here = parent, neighbour
        for _ in range(self.features.num_atoms):
            onward = [n for n in self.heavy_neighbours(here) if n != before]
            if not onward:
                return neighbour
            if not self.is_linear(here):
                uid = self.features.ref_space_uid
                return min(onward, key=lambda n: (uid[n] != uid[parent], n))
            before, here = here, onward[0]
        return neighbour

    def stand_ins(self, atom: int) -> list[int]:
        """Return two other heavy atoms for the frame of an atom without heavy neighbours."""
        others = [a for a in range(len(self.element)) if self.element[a] > 1 and a != atom]
        # Atoms of one molecule, for preference: they keep their distance from each other.
        for first in others:
            following = self.heavy_neighbours(first)
            if following:
                return [first, following[0]]
        return others[:2]

    def excluded(self, group: Group) -> list[int]:
        """Return the atoms whose contacts with a group's hydrogens the torsion energy stands for.

        Within three bonds of the hydrogens; within two where the torsion has no reference atom, so
        that the hydrogens at the two ends of ethane see each other.
        """
        found = {group.parent}
        bare = group.kind == "rotor" and group.reference == group.neighbours[0]
        for _ in range(1 if bare else 2):
            found |= {n for a in found for n in self.near[a]}
        return sorted(found)

    def contact(self, atom: int) -> tuple[float, float, float]:
        parent = self.element[self.near[atom][0]] if self.element[atom] == 1 else None
        return contact_parameters(self.element[atom], parent)


class Group:
    """The hydrogens of one heavy atom: kind, frame, ideal places."""

    def __init__(
        self, chemistry: Chemistry, parent: int, lengths: dict[tuple[int, int], float]
    ) -> None:
        self.parent = parent
        self.hydrogens = list(chemistry.hydrogens_of[parent])
        self.neighbours = chemistry.heavy_neighbours(parent)
        self.cosines = (0.0, 0.0, 0.0)
        self.reference = parent
        self._chemistry = chemistry
        element = chemistry.element[parent]
        entry, sign = chemistry.labels.get(parent, ([], -1.0))
        named = [a for a in entry[1:] if a in self.hydrogens]
        if named:
            self.hydrogens = named + [h for h in self.hydrogens if h not in named]
            first = [a for a in entry[1:] if a in self.neighbours]
            self.neighbours = first + [n for n in self.neighbours if n not in first]
        planar, linear = chemistry.is_planar(parent), chemistry.is_linear(parent)
        shape = "linear" if linear else "planar" if planar else "tetrahedral"
        typical = bond_length_nm(element, shape)
        self._lengths = [lengths.get((parent, h), typical) for h in self.hydrogens]
        count = len(self.neighbours)
        if len(self.hydrogens) > max(1, 4 - count):
            raise FeatureError(
                f"{chemistry.features.atom_label(parent)} has {len(self.hydrogens)} hydrogens and "
                f"{count} heavy neighbours: a geometry that hydrogens cannot be placed in. Check "
                "the bonds of the Topology, or take a model of all atoms."
            )
        if count == 0:
            self.kind = "lone"
            self.local_nm = lone_hydrogens(element, len(self.hydrogens), 1.0)
            self.local_nm *= np.array(self._lengths)[:, None]
            others = chemistry.stand_ins(parent)
            self.neighbours, self.reference = others[:1], (others or [parent])[-1]
        elif count == 1:
            self._place_at_end(element, planar, linear, sign)
        elif count == 2:
            self._place_between(planar, sign)
        else:
            self.kind = "tertiary"
            self.local_nm = np.array([[0.0, 0.0, length] for length in self._lengths])

    def _place_at_end(self, element: int, planar: bool, linear: bool, sign: float) -> None:
        """One heavy neighbour."""
        chemistry, (neighbour,) = self._chemistry, self.neighbours
        self.reference = chemistry.reference_for(self.parent, neighbour)
        if linear:
            self.kind = "linear"
            self.local_nm = np.array([[0.0, 0.0, length] for length in self._lengths])
            return
        if planar:
            self.kind = "flat end"
            angle = bend_angle(element, "planar")
            azimuths = self._flat_azimuths()
        else:
            self.kind = "rotor"
            surroundings, self.reference = chemistry.surroundings(self.parent, neighbour)
            has_reference = self.reference != neighbour
            if has_reference:
                self.cosines = cosine_coefficients(element, surroundings)
            bent = len(self.hydrogens) == 1
            flat = chemistry.is_planar(neighbour)
            angle = bend_angle(element, ("conjugated" if flat else "bent") if bent else "")
            # The hand of the labels: sign of neighbour . (first x second) about the parent.
            step = sign * math.radians(120.0)
            start = rotor_start(self.cosines, len(self.hydrogens), step)
            if not has_reference and self.parent > neighbour:
                # Two heavy atoms alone share their frames' y axis: this staggers the two ends.
                start = 0.0
            azimuths = [start + step * k for k in range(len(self.hydrogens))]
        self.local_nm = np.array(
            [on_cone(length, angle, t) for length, t in zip(self._lengths, azimuths, strict=True)]
        )

    def _flat_azimuths(self) -> list[float]:
        """Cis (0) or trans (pi) of each hydrogen to the reference atom, as in the conformer."""
        features = self._chemistry.features
        atoms = (self.reference, self.neighbours[0], self.parent)
        default = [0.0, math.pi][: len(self.hydrogens)]
        if len({int(features.ref_space_uid[a]) for a in (*atoms, *self.hydrogens)}) > 1:
            return default
        a, b, c = (features.ref_pos[k].astype(np.float64) for k in atoms)
        axis = np.cross(b - a, c - b)
        azimuths = []
        for h in self.hydrogens:
            other = np.cross(c - b, features.ref_pos[h].astype(np.float64) - c)
            azimuths.append(0.0 if float(axis @ other) >= 0 else math.pi)
        return azimuths if len(set(azimuths)) == len(azimuths) else default

    def _place_between(self, planar: bool, sign: float) -> None:
        """Two heavy neighbours."""
        sine, cosine = math.sin(METHYLENE_HALF_ANGLE), math.cos(METHYLENE_HALF_ANGLE)
        if len(self.hydrogens) == 1 and (planar or self._chemistry.element[self.parent] == 6):
            self.kind = "flat"
            sides = [0.0]
            cosine = 1.0
        elif len(self.hydrogens) == 1:
            self.kind = "pyramid"
            sides = [sine]
        else:
            self.kind = "methylene"
            # The label's sign is that of first x second . hydrogen, and y is first x second.
            sides = [sign * sine, -sign * sine]
        self.local_nm = np.array(
            [[0.0, d * s, d * cosine] for d, s in zip(self._lengths, sides, strict=True)]
        )
