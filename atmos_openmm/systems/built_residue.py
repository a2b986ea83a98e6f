"""One residue fitted and built: its atoms, chemistry and reference conformer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .chemistry import (
    ResidueChemistry,
    build_chemistry,
    cis_sign,
    triple_product_sign,
)
from .errors import FeatureError
from .like_atom_labels import labelled_order
from .matching import Fit
from .residue_graph import ResidueGraph


class BuiltResidue:
    """One residue fitted and built: local atoms as Topology indices, beside its chemistry."""

    def __init__(self, graph: ResidueGraph, fit: Fit, coordinates: Any | None) -> None:
        self.graph = graph
        self.fit = fit
        number = {a: k for k, a in enumerate(fit.atoms)}
        self.partner_atoms = [there for _, there in graph.partners]
        partners = tuple(
            (number[here], graph.partner_elements[there]) for here, there in graph.partners
        )
        self.arguments = (fit.skeleton, fit.hydrogens, fit.charges, partners, fit.outer)
        self.chemistry = self._build(frozenset())
        # -1 stands for a hydrogen that the Topology does not have.
        self.atoms: list[int] = list(fit.atoms)
        for k, atom in enumerate(fit.atoms):
            present = graph.hydrogens[atom]
            self.atoms += present + [-1] * (fit.hydrogens[k] - len(present))
        alike = planar = None
        if coordinates is not None:
            self._take_hand(coordinates)
            sides = self.chemistry.planar
            alike = tuple(self._sign(e[:4], coordinates) for e in self.chemistry.alike)
            planar = tuple(self._sign(e[:4], coordinates, cis_sign) for e in sides)
        elif self.chemistry.undefined:
            names = ", ".join(graph.names[fit.atoms[k]] for k in self.chemistry.undefined)
            raise FeatureError(
                f"{graph.label()} has stereocentres of unknown hand: {names}. Pass positions=, or "
                "in molecules= a molecule with its stereochemistry."
            )
        order = labelled_order(self.chemistry, alike, planar)
        self.conformer = self.chemistry.conformer[order]
        # Where each atom of the naming convention is found under the labels in use.
        self.conventional = np.argsort(order)[labelled_order(self.chemistry)]

    def _build(
        self, flips: frozenset[int], turns: frozenset[tuple[int, int]] = frozenset()
    ) -> ResidueChemistry:
        try:
            return build_chemistry(*self.arguments, flips, turns)
        except FeatureError as error:
            raise FeatureError(f"{self.graph.label()}: {error}") from error

    def topology_index(self, local: int) -> int:
        """Return the Topology index of a local atom, or of partner -1 - k; -1 for none."""
        return self.atoms[local] if local >= 0 else self.partner_atoms[-1 - local]

    def _sign(
        self,
        quartet: tuple[int, ...],
        coordinates: Any,
        measure: Callable[..., int] = triple_product_sign,
    ) -> int:
        """Measure a sign on coordinates; 0 where an atom of it is not in the Topology."""
        indices = [self.topology_index(k) for k in quartet]
        return 0 if min(indices) < 0 else measure(*(coordinates[i] for i in indices))

    def _take_hand(self, coordinates: Any) -> None:
        """Take the hand of each stereocentre from coordinates; D residues are reported."""
        flips = frozenset(
            entry[0]
            for entry, sign in zip(self.chemistry.chiral, self.chemistry.chiral_signs, strict=True)
            if self._sign(entry, coordinates) == -sign
        )
        open_centres = [e for e in self.chemistry.chiral if e[0] in self.chemistry.undefined]
        flat = [e[0] for e in open_centres if self._sign(e, coordinates) == 0]
        if flat:
            names = ", ".join(self.graph.names[self.fit.atoms[k]] for k in flat)
            raise FeatureError(
                f"{self.graph.label()}: the positions given are flat at {names}, so that its hand "
                "cannot be told. Minimise the structure first."
            )
        chemistry = self.chemistry
        turns = {
            (entry[1], entry[2]): entry[4]
            for entry, sign in zip(chemistry.double, chemistry.double_signs, strict=True)
            if self._sign(entry[:4], coordinates, cis_sign) == -sign
        }
        # A centre whose hand nobody gave has that of the positions, which is no news.
        told = sorted(flips.difference(chemistry.undefined))
        told += [k for bond, known in turns.items() if known for k in bond]
        if told:
            names = ", ".join(self.graph.names[self.fit.atoms[k]] for k in told)
            known = "standard residue" if self.fit.template is not None else "molecule known for it"
            warnings.warn(
                f"{self.graph.label()} has the opposite hand of the {known} at {names} in "
                "the positions given (a D residue, an epimer or another isomer); the positions' "
                "hand is used.",
                stacklevel=4,
            )
        if flips or turns:
            self.chemistry = self._build(flips, frozenset(turns))
