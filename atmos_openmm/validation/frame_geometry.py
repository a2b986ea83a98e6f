"""The geometry of a frame against its chemistry and its force field, with names for all defects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openmm

from ..core import geometry as measure
from ..systems import build_screen
from ..systems.broken_bonds import check_native
from .clashes import Clashes, ClashFinder
from .defects import HARD_REASONS, Defect
from .findings import GeometryFindings
from .flatness import FlatGroups, Misshapen, RingPucker
from .forces import movable_particles
from .ligand_stereo import double_bonds, features_of
from .names import atom_labels, join_atoms
from .peptide_bonds import omega_torsions
from .rounding import angle_errors, bond_errors, expected_rise
from .terms import (
    HarmonicTerms,
    angle_deviations,
    angle_terms,
    bond_deviations,
    bond_terms,
    constraint_terms,
    thermal_energy,
)

__all__ = ["FrameGeometry"]


def _also(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


class FrameGeometry:
    """Measures frames of one molecular system.

    Bonds, handedness, cis and trans, rings and overlaps of the solute are screened as jumps are
    (`atmos_openmm.systems.screening`), with all defects named; bonds, angles and constraints of the
    whole System, solvent included, are measured against its equilibrium values.

    Parameters
    ----------
    topology : openmm.app.Topology
    system : openmm.System
    temperature_K : float
        of the thermal widths.
    outlier_sigmas : float
        bonds and angles beyond so many thermal widths are counted.
    native_nm : array [P,3] or None
        a structure with the right handedness and the right class of each peptide bond.
    features : MoleculeFeatures or None
        of all atoms of the solute; made from the Topology when None.
    molecules : mapping from residue name to RDKit Mol, optional
        the chemistry of ligands, which says the hand of their centres and the configuration of
        their double bonds.

    Attributes
    ----------
    solute, solute_heavy : array, int64
        particle numbers of the solute, and of its heavy atoms.
    bond_pairs : list of (int, int)
        what holds molecules together: bonds of Topology and System, and constraints.
    omegas : OmegaTorsions

    Raises
    ------
    ValueError
        when the chemistry cannot be told from the Topology, or the native structure is broken.
    """

    def __init__(
        self,
        topology: Any,
        system: openmm.System,
        *,
        temperature_K: float = 300.0,
        outlier_sigmas: float = 6.0,
        native_nm: np.ndarray | None = None,
        features: Any = None,
        molecules: Mapping[str, Any] | None = None,
    ) -> None:
        if native_nm is not None:
            check_native(topology, native_nm)
        if features is None:
            features = features_of(topology, native_nm, molecules)
        spec = build_screen(features, topology, system)
        self._labels = atom_labels(topology)
        self._outlier_sigmas = outlier_sigmas
        self.solute: np.ndarray = features.atom_indices
        self.solute_heavy: np.ndarray = self.solute[features.ref_element > 1]
        self._screen = HarmonicTerms(
            self.solute[spec.bonds], spec.bond_lengths_nm, np.ones(len(spec.bonds))
        )
        self._bond_tolerance_nm = spec.bond_tolerance_nm
        self._constraint_tolerance_nm = spec.constraint_tolerance_nm
        self._centers = self.solute[spec.chiral_centers]
        self._signs = spec.chiral_signs
        self._fixed_torsions = self.solute[spec.cis_trans]
        self._is_trans = np.ones(len(self._fixed_torsions), dtype=bool)
        if native_nm is not None:
            cosines = measure.torsion_cosines(native_nm[None], self._fixed_torsions)[0]
            self._is_trans = cosines < 0
        if molecules:
            torsions, is_trans = double_bonds(topology, molecules)
            self._fixed_torsions = np.concatenate([self._fixed_torsions, torsions])
            self._is_trans = np.concatenate([self._is_trans, is_trans])
        bonds = self.solute[spec.bonds]
        self._rings = [tuple(self.solute[list(ring)].tolist()) for ring in spec.rings]
        self._bonds_apart = [~np.isin(bonds, ring).any(axis=1) for ring in self._rings]
        self.omegas = omega_torsions(topology)
        self._flat = FlatGroups(features, spec)
        self._pucker = RingPucker(features, spec, native_nm)
        self._kt = thermal_energy(temperature_K)
        self._bonds = bond_terms(system, temperature_K)
        self._angles = angle_terms(system, temperature_K)
        self._constraints = constraint_terms(system, temperature_K)
        held_fast = {tuple(sorted(pair)) for pair in self._constraints.atoms.tolist()}
        free = [tuple(sorted(pair)) not in held_fast for pair in self._bonds.atoms.tolist()]
        self._free_bonds = self._bonds.some(np.array(free, dtype=bool))
        #: Atoms of the bonds, constraints and angles that widths are counted of, in that order.
        self.bond_atoms: np.ndarray = np.concatenate([self._bonds.atoms, self._constraints.atoms])
        self.angle_atoms: np.ndarray = self._angles.atoms
        topology_bonds = np.array(
            [(a.index, b.index) for a, b in topology.bonds()], dtype=np.int64
        ).reshape(-1, 2)
        held = np.concatenate([topology_bonds, self._constraints.atoms, self._bonds.atoms])
        # Some readers give water no bonds; what the System holds together there does not clash.
        # In the solute the System's terms stay out: they may span angles (Urey and Bradley's).
        in_solvent = ~np.isin(held, self.solute).any(axis=1)
        in_topology = np.arange(len(held)) < len(topology_bonds)
        self._finder = ClashFinder(
            held[in_topology | in_solvent],
            movable_particles(system),
            self.solute,
            spec.radii_nm,
            spec.clash_factor,
            spec.environment_distance_nm,
        )
        self.bond_pairs: list[tuple[int, int]] = [(int(a), int(b)) for a, b in held]
        if native_nm is not None:
            self._refuse_torn(native_nm)

    def _refuse_torn(self, native_nm: np.ndarray) -> None:
        """Refuse a native structure that would be no valid frame whatever its energy is."""
        torn = [d for d in self.measure(native_nm).defects if d.reason in HARD_REASONS]
        torn = [d for d in torn if d.reason != "constraints"]  # those are made to hold
        if torn:
            raise ValueError(
                f"the native structure is broken itself, and good frames would be called invalid "
                f"by it: {'; '.join(d.detail for d in torn)}. Give a native structure that is "
                "whole, such as a frame of molecular dynamics"
            )

    def expected_rise(self, positions_nm: np.ndarray, half_nm: float) -> float:
        """By how much rounding to +-`half_nm` raises the energy on average (kJ/mol)."""
        return expected_rise(self._free_bonds, self._angles, positions_nm, half_nm, self._kt)

    def widths(
        self, positions_nm: np.ndarray, half_nm: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many thermal widths bonds and angles are from equilibrium.

        Parameters
        ----------
        positions_nm : array [P,3]
        half_nm : float
            by how much coordinates may be off; what that explains is taken off.

        Returns
        -------
        array [M], array [K]
            signed; of `bond_atoms` and `angle_atoms`.
        """
        sigmas = []
        for terms, deviations, errors in (
            (self._bonds, bond_deviations, bond_errors),
            (self._constraints, bond_deviations, bond_errors),
            (self._angles, angle_deviations, angle_errors),
        ):
            values = deviations(terms, positions_nm)
            if half_nm:
                left = np.abs(values) - errors(terms, positions_nm, half_nm)
                values = np.sign(values) * np.maximum(left, 0)
            sigmas.append(values / terms.sigma)
        return np.concatenate(sigmas[:2]), sigmas[2]

    def measure(
        self,
        positions_nm: np.ndarray,
        box_nm: np.ndarray | None = None,
        widths: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> GeometryFindings:
        """Measure one frame.

        Parameters
        ----------
        positions_nm : array [P,3]
            finite; molecules whole.
        box_nm : array [3,3] or None
            reduced periodic box vectors, for overlaps between images.
        widths : arrays or None
            of `widths`, where they are known.

        Returns
        -------
        GeometryFindings
        """
        frame = positions_nm[None]
        defects: list[Defect] = []
        broken = self._broken_bonds(positions_nm, defects)
        chirality = self._chirality(frame, defects)
        flipped = self._flipped(frame, defects)
        rings = self._threaded(frame, defects)
        clashes = self._finder.find(positions_nm, box_nm)
        worst_clash = self._clash_defects(clashes, defects)
        # Constraints count as bonds, except that their own defect is a distance, not a width.
        constraint = bond_deviations(self._constraints, positions_nm)
        error, constraint_name = self._constraint_defect(constraint, defects)
        bond_sigma, angle_sigma = self.widths(positions_nm) if widths is None else widths
        num_bonds, worst_bond, bond_value = self._outliers(bond_sigma, self.bond_atoms)
        num_angles, worst_angle, angle_value = self._outliers(angle_sigma, self.angle_atoms)
        bent_groups = self._misshapen("planarity", self._flat.find(positions_nm), defects)
        puckered = self._misshapen("pucker", self._pucker.find(positions_nm), defects)
        omega = np.degrees(measure.torsion_angles(frame, self.omegas.atoms)[0])
        return GeometryFindings(
            clashes=len(clashes),
            worst_clash=worst_clash,
            worst_clash_nm=float(clashes.distances_nm[0]) if len(clashes) else float("nan"),
            bond_outliers=num_bonds,
            worst_bond=worst_bond,
            worst_bond_sigma=bond_value,
            angle_outliers=num_angles,
            worst_angle=worst_angle,
            worst_angle_sigma=angle_value,
            constraint_error_nm=error,
            worst_constraint=constraint_name,
            broken_bonds=broken,
            wrong_chirality=chirality,
            flipped_torsions=flipped,
            threaded_rings=rings,
            omega_deg=tuple(omega.tolist()),
            cis_peptide_bonds=tuple(
                label
                for label, angle in zip(self.omegas.labels, omega, strict=True)
                if abs(angle) <= 90
            ),
            bent_groups=bent_groups,
            puckered_rings=puckered,
            defects=tuple(defects),
        )

    def name(self, atoms: Any) -> str:
        """Name a bond, an angle, a ring by its atoms."""
        return join_atoms(self._labels, atoms)

    def _broken_bonds(self, positions_nm: np.ndarray, defects: list[Defect]) -> tuple[str, ...]:
        deviation = bond_deviations(self._screen, positions_nm)
        bad = np.flatnonzero(np.abs(deviation) > self._bond_tolerance_nm)
        if not len(bad):
            return ()
        k = bad[np.argmax(np.abs(deviation[bad]))]
        expected = self._screen.equilibrium[k]
        defects.append(
            Defect(
                "bonds",
                f"bond {self.name(self._screen.atoms[k])} is {expected + deviation[k]:.4f} nm "
                f"long, expected {expected:.4f}{_also(len(bad))}",
            )
        )
        return tuple(self.name(self._screen.atoms[i]) for i in bad)

    def _chirality(self, frame: np.ndarray, defects: list[Defect]) -> tuple[str, ...]:
        volumes = measure.chiral_volumes(frame, self._centers)[0] * self._signs
        # Coincident atoms give NaN, which counts as flat.
        volumes = np.nan_to_num(volumes, nan=0.0)
        bad = np.flatnonzero(volumes < measure.MIN_CHIRAL_VOLUME)
        if not len(bad):
            return ()
        names = tuple(self._labels[self._centers[i, 0]] for i in bad)
        k = bad[np.argmin(volumes[bad])]
        defects.append(
            Defect(
                "chirality",
                f"{self._labels[self._centers[k, 0]]} has the wrong hand: signed volume "
                f"{volumes[k]:.2f}, at least {measure.MIN_CHIRAL_VOLUME:.2f} expected"
                f"{_also(len(bad))}",
            )
        )
        return names

    def _flipped(self, frame: np.ndarray, defects: list[Defect]) -> tuple[str, ...]:
        trans = measure.torsion_cosines(frame, self._fixed_torsions)[0] < 0
        bad = np.flatnonzero(trans != self._is_trans)
        if not len(bad):
            return ()
        k = bad[0]
        angle = np.degrees(measure.torsion_angles(frame, self._fixed_torsions[k : k + 1])[0, 0])
        defects.append(
            Defect(
                "cis_trans",
                f"{self.name(self._fixed_torsions[k])} is {'trans' if trans[k] else 'cis'} "
                f"({angle:.0f} degrees), expected {'trans' if self._is_trans[k] else 'cis'}"
                f"{_also(len(bad))}",
            )
        )
        return tuple(self.name(self._fixed_torsions[i]) for i in bad)

    def _threaded(self, frame: np.ndarray, defects: list[Defect]) -> tuple[str, ...]:
        names = []
        ends = frame[0][self._screen.atoms]
        middles = ends.mean(axis=1)
        halves = 0.5 * np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        for ring, apart in zip(self._rings, self._bonds_apart, strict=True):
            corners = frame[0][list(ring)]
            center = corners.mean(axis=0)
            # A bond further from the centroid than the ring's radius and its own half cannot cross.
            reach = np.linalg.norm(corners - center, axis=1).max() + halves
            near = apart & (np.sum((middles - center) ** 2, axis=1) <= reach**2)
            bonds = self._screen.atoms[near]
            if not len(bonds):
                continue
            for k in np.flatnonzero(measure.ring_crossings(frame, ring, bonds)[0]):
                names.append(f"{self.name(bonds[k])} through the ring {self.name(ring)}")
        if names:
            defects.append(Defect("rings", f"{names[0]}{_also(len(names))}"))
        return tuple(names)

    def _misshapen(
        self, reason: str, found: list[Misshapen], defects: list[Defect]
    ) -> tuple[str, ...]:
        names = tuple(self.name(one.atoms) for one in found)
        if found:
            defects.append(Defect(reason, f"{names[0]} {found[0].words}{_also(len(found))}"))
        return names

    def _clash_defects(self, clashes: Clashes, defects: list[Defect]) -> str:
        def describe(k: int) -> str:
            first, second = (self._labels[i] for i in clashes.pairs[k])
            return f"{first} and {second}"

        for reason, chosen in (("clash", clashes.in_solute), ("environment", ~clashes.in_solute)):
            found = np.flatnonzero(chosen)
            if len(found):
                k = int(found[0])
                defects.append(
                    Defect(
                        reason,
                        f"{describe(k)} are {clashes.distances_nm[k]:.4f} nm apart, at least "
                        f"{clashes.limits_nm[k]:.4f} expected{_also(len(found))}",
                    )
                )
        return describe(0) if len(clashes) else ""

    def _constraint_defect(self, deviation: np.ndarray, defects: list[Defect]) -> tuple[float, str]:
        if not len(deviation):
            return 0.0, ""
        k = int(np.argmax(np.abs(deviation)))
        error, name = float(np.abs(deviation[k])), self.name(self._constraints.atoms[k])
        if error > self._constraint_tolerance_nm:
            expected = self._constraints.equilibrium[k]
            defects.append(
                Defect(
                    "constraints",
                    f"constrained distance {name} is {expected + deviation[k]:.4f} nm before "
                    f"projection, expected {expected:.4f} "
                    f"(tolerance {self._constraint_tolerance_nm:g})",
                )
            )
        return error, name

    def _outliers(self, sigma: np.ndarray, atoms: np.ndarray) -> tuple[int, str, float]:
        if not len(sigma):
            return 0, "", 0.0
        k = int(np.argmax(np.abs(sigma)))
        count = int(np.sum(np.abs(sigma) > self._outlier_sigmas))
        return count, self.name(atoms[k]), float(sigma[k])
