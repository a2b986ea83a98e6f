"""What a frame of one molecule must keep, and the verdict on a frame that does not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .fragments import Fragment

if TYPE_CHECKING:
    from .molecule_features import MoleculeFeatures

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScreenSpec:
    """What a frame of one molecule must keep. A model atoms; lengths in nm.

    Attributes
    ----------
    bonds : int64 [M, 2]
        covalent bonds, i < j
    bond_lengths_nm : float64 [M]
        reference lengths
    bond_tolerance_nm : float
        largest deviation from the reference
    chiral_centers : int64 [C, 4]
        centre, then three neighbours a, b, d
    chiral_signs : float64 [C]
        sign of (a-c) . ((b-c) x (d-c)), +1 or -1
    cis_trans : int64 [T, 4]
        torsions whose class (trans where the cosine is negative) must stay as before the jump
    rings : tuple of tuples of int
        rings of at most eight atoms, in bond order
    radii_nm : float64 [A]
        Bondi radii
    clash_factor : float
        atoms more than three bonds apart clash below this share of the sum of their radii
    max_displacement_nm : float
        how far the model may move the centroid
    environment_distance_nm : float
        least distance to particles with mass outside the solute
    constraint_tolerance_nm : float
        how far a constrained distance may be off before constraints are applied
    fragments : tuple of Fragment
        what moves where that is not all of the atoms; everything else stays where it is
    """

    bonds: IntArray
    bond_lengths_nm: FloatArray
    chiral_centers: IntArray
    chiral_signs: FloatArray
    cis_trans: IntArray
    rings: tuple[tuple[int, ...], ...]
    radii_nm: FloatArray
    bond_tolerance_nm: float = 0.05
    clash_factor: float = 0.5
    max_displacement_nm: float = 1.0
    environment_distance_nm: float = 0.12
    constraint_tolerance_nm: float = 0.05
    fragments: tuple[Fragment, ...] = ()

    def __post_init__(self) -> None:
        count = self.num_atoms
        for name, array, width in (
            ("bonds", self.bonds, 2),
            ("chiral_centers", self.chiral_centers, 4),
            ("cis_trans", self.cis_trans, 4),
        ):
            if array.ndim != 2 or array.shape[1] != width:
                raise ValueError(f"{name} has the shape {array.shape}; expected [n, {width}].")
            if array.size and (array.min() < 0 or array.max() >= count):
                raise ValueError(f"{name} names an atom outside 0 to {count - 1}.")
        if len(self.bond_lengths_nm) != len(self.bonds):
            raise ValueError(
                f"There are {len(self.bond_lengths_nm)} bond lengths for {len(self.bonds)} bonds."
            )
        if len(self.chiral_signs) != len(self.chiral_centers):
            raise ValueError(
                f"There are {len(self.chiral_signs)} chiral signs for "
                f"{len(self.chiral_centers)} centres."
            )
        if not np.isin(self.chiral_signs, (-1, 1)).all():
            raise ValueError("chiral_signs must be +1 or -1.")

    @property
    def num_atoms(self) -> int:
        """Number of model atoms, A."""
        return len(self.radii_nm)

    @cached_property
    def near_pairs(self) -> IntArray:
        """Pairs [P, 2], i < j, at most three bonds apart, sorted: never a clash."""
        neighbours: list[list[int]] = [[] for _ in range(self.num_atoms)]
        for i, j in self.bonds.tolist():
            neighbours[i].append(j)
            neighbours[j].append(i)
        pairs = []
        for i in range(self.num_atoms):
            reached, shell = {i}, {i}
            for _ in range(3):
                shell = {k for j in shell for k in neighbours[j]} - reached
                reached |= shell
            pairs += [(i, j) for j in sorted(reached) if j > i]
        return np.array(pairs, np.int64).reshape(-1, 2)

    @cached_property
    def _near_codes(self) -> IntArray:
        return self.near_pairs[:, 0] * self.num_atoms + self.near_pairs[:, 1]

    @cached_property
    def _bonds_apart(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """For each ring, which bonds share no atom with it: [M] of bool."""
        return tuple(np.asarray(~np.isin(self.bonds, ring).any(axis=1)) for ring in self.rings)


@dataclass(frozen=True)
class ScreenVerdict:
    """The first test that a frame fails, and where.

    Attributes
    ----------
    reason : str
        "accepted" or one of `GEOMETRY_REASONS`, "displaced", "environment"
    atoms : tuple of int
        model atoms of the worst offence: the bond, the centre and its neighbours, the torsion, the
        ring followed by the bond through it, the pair
    value : float
        what was measured: length (nm), signed volume, torsion (radians), distance (nm)
    limit : float
        what it should have been: reference length (nm), least volume, torsion before (radians),
        least distance (nm)
    count : int
        how many offences of this kind the frame has
    """

    reason: str
    atoms: tuple[int, ...] = ()
    value: float = float("nan")
    limit: float = float("nan")
    count: int = 0

    def __bool__(self) -> bool:
        return self.reason == "accepted"

    def describe(self, features: MoleculeFeatures) -> str:
        """Return a sentence that names the atoms."""
        if self:
            return "accepted"
        labels = [features.atom_label(a) for a in self.atoms]
        more = f" (worst of {self.count})" if self.count > 1 else ""
        if self.reason == "bonds":
            return (
                f"bond {labels[0]} - {labels[1]} is {self.value:.4f} nm long, expected "
                f"{self.limit:.4f}{more}"
            )
        if self.reason == "chirality":
            return (
                f"{labels[0]} has the wrong hand: signed volume {self.value:.2f}, at least "
                f"{self.limit:.2f} expected{more}"
            )
        if self.reason == "cis_trans":
            angle, before = np.degrees((self.value, self.limit))
            return (
                f"peptide bond {labels[1]} - {labels[2]} has turned from {before:.0f} to "
                f"{angle:.0f} degrees{more}"
            )
        if self.reason == "rings":
            return f"bond {labels[-2]} - {labels[-1]} passes through the ring of {labels[0]}{more}"
        if self.reason == "clash":
            return (
                f"{labels[0]} and {labels[1]} are {self.value:.4f} nm apart, at least "
                f"{self.limit:.4f} expected{more}"
            )
        if self.reason == "displaced":
            return f"the centre moved by {self.value:.3f} nm, at most {self.limit:.3f} expected"
        if self.reason == "environment":
            return (
                f"{labels[0]} is {self.value:.4f} nm from an atom outside the solute, at least "
                f"{self.limit:.4f} expected"
            )
        return f"coordinates of {labels[0] if labels else 'the frame'} are not finite"
