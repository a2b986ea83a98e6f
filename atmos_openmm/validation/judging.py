"""From the positions of one frame to its verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm

from ..core.geometry import rmsd
from ..core.units import positions_in_nm
from ..trajectories.boxes import make_whole, reduced_box, spanning_tree
from .defects import INVALID, Defect, decide, energy_defects
from .energies import EnergyDecomposer
from .findings import NAN, EnergyFindings, GeometryFindings, RelaxationFindings
from .forces import largest_force, movable_particles
from .frame_geometry import FrameGeometry
from .names import atom_labels
from .reference import EnergyReference
from .relaxation import Relaxation, RelaxationError, relax_frame
from .terms import thermal_energy
from .verdict import FrameVerdict

__all__ = ["FrameJudge"]

#: A coordinate beyond a metre is no coordinate; squares of such numbers overflow.
LARGEST_COORDINATE_NM = 1e9


class FrameJudge:
    """Judges frames of one System; `EnergyValidator` says what the numbers mean.

    Parameters
    ----------
    topology : openmm.app.Topology
    system : openmm.System
        Of the same atoms; not changed, and not used afterwards.
    temperature_K : float
    window_sds : float
        Width of the energy window in standard deviations.
    iterations : int
        Of the minimiser; 0 leaves the relaxation out.
    outlier_sigmas, strain_sigmas : float
        Thermal widths beyond which bonds and angles are counted, and are a defect.
    platform : openmm.Platform or str or None
    native_nm : array [P, 3] or None
    features : MoleculeFeatures or None

    Attributes
    ----------
    geometry : FrameGeometry
    context : openmm.Context
        Of the whole System.
    force_names : tuple of str
    kt : float
        Thermal energy in kJ/mol.
    reference : EnergyReference or None
        Of the energy window; may be given later.
    """

    def __init__(
        self,
        topology: Any,
        system: openmm.System,
        *,
        temperature_K: float,
        window_sds: float,
        iterations: int,
        outlier_sigmas: float,
        strain_sigmas: float,
        platform: openmm.Platform | str | None = None,
        native_nm: np.ndarray | None = None,
        features: Any = None,
    ) -> None:
        self._window_sds = window_sds
        self._iterations = iterations
        self._strain_sigmas = strain_sigmas
        self.kt = thermal_energy(temperature_K)
        self.reference: EnergyReference | None = None
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._default_box = reduced_box(positions_in_nm(system.getDefaultPeriodicBoxVectors()))
        self._labels = atom_labels(topology)
        self.geometry = FrameGeometry(
            topology,
            system,
            temperature_K=temperature_K,
            outlier_sigmas=outlier_sigmas,
            native_nm=native_nm,
            features=features,
        )
        self._tree = spanning_tree(system.getNumParticles(), self.geometry.bond_pairs)
        self._movable = movable_particles(system)
        rigid = 3 if self._periodic else 6
        free = 3 * int(np.sum(self._movable)) - system.getNumConstraints() - rigid
        self._freedom = max(1, free)
        self._decomposer = EnergyDecomposer(system, platform)
        self.context = self._decomposer.context
        self.force_names = self._decomposer.labels

    def constrained_energy(self, positions_nm: np.ndarray, box_nm: np.ndarray | None) -> float:
        """Energy after constraints (kJ/mol); NaN where there is none."""
        if not np.isfinite(positions_nm).all():
            return NAN
        positions_nm, box = self._placed(positions_nm, box_nm)
        try:
            return relax_frame(self.context, positions_nm, box, iterations=0).constrained_kj_per_mol
        except RelaxationError:
            return NAN

    # Coordinates of any size are measured; what overflows on the way is a number out of range.
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def __call__(
        self,
        positions_nm: np.ndarray,
        box_nm: np.ndarray | None = None,
        frame: int = 0,
        time_ps: float = NAN,
    ) -> FrameVerdict:
        """Judge positions [P, 3] in a box [3, 3]; `frame` and `time_ps` go into the verdict."""
        # NaN compares false, so it is bad too.
        bad = np.flatnonzero(~(np.abs(positions_nm) <= LARGEST_COORDINATE_NM).all(axis=1))
        try:
            if len(bad):
                raise ValueError(
                    f"coordinates of {len(bad)} atoms are not finite, first {self._labels[bad[0]]}"
                )
            positions_nm, box = self._placed(positions_nm, box_nm)
        except ValueError as error:
            nothing = EnergyFindings(
                dict.fromkeys(self.force_names, NAN), window_limit_kj_per_mol=self._limit(NAN)
            )
            return FrameVerdict(frame, time_ps, INVALID, "nonfinite", str(error), nothing)
        split = self._decomposer.decompose(positions_nm, box)
        # The decomposer has left the frame in the Context of the whole System.
        atom, force = largest_force(self.context, self._movable)
        geometry = self.geometry.measure(positions_nm, box)
        relaxed, failure = self._relaxed(positions_nm, box)
        energies = EnergyFindings(
            split.energies_kj_per_mol,
            split.total_kj_per_mol,
            relaxed.constrained_kj_per_mol,
            relaxed.relaxed_kj_per_mol,
            self._limit(relaxed.relaxed_kj_per_mol),
            force,
            self._labels[atom],
        )
        limit = energies.window_limit_kj_per_mol
        left: list[Defect] | None = None
        moved = RelaxationFindings()
        if failure is not None:
            left = [Defect("relaxation", failure)]
        elif relaxed.relaxed_nm is not None:
            after = self.geometry.measure(relaxed.relaxed_nm, box)
            left = self._defects(after, energies.relaxed_kj_per_mol, limit)
            moved = self._moved(positions_nm, relaxed.relaxed_nm, after)
        verdict, decisive = decide(
            self._defects(geometry, energies.constrained_kj_per_mol, limit), left
        )
        return FrameVerdict(
            frame, time_ps, verdict, decisive.reason, decisive.detail, energies, geometry, moved
        )

    def _placed(
        self, positions_nm: np.ndarray, box_nm: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Whole molecules, and the box: the frame's, the System's, or none without periodicity."""
        if not self._periodic:
            return positions_nm, None
        box = self._default_box if box_nm is None else reduced_box(box_nm)
        return make_whole(positions_nm, self._tree, box), box

    def _relaxed(
        self, positions_nm: np.ndarray, box: np.ndarray | None
    ) -> tuple[Relaxation, str | None]:
        """The relaxation, and in words how it failed where it did."""
        try:
            found = relax_frame(self.context, positions_nm, box, self._iterations)
        except RelaxationError as error:
            nothing = Relaxation(positions_nm, NAN, None, NAN)
            return nothing, f"the minimiser gave up: {error}"
        if found.relaxed_nm is not None and not np.isfinite(found.relaxed_nm).all():
            return found, "the minimiser gave positions that are not finite"
        return found, None

    def _limit(self, relaxed: float) -> float:
        """The highest energy (kJ/mol) that counts as thermal; NaN when nothing tells."""
        if self.reference is not None:
            return self.reference.window_limit(self._window_sds)
        if not np.isfinite(relaxed):
            return NAN
        mean = self._freedom * self.kt / 2
        return relaxed + mean + self._window_sds * self.kt * np.sqrt(self._freedom / 2)

    def _defects(self, found: GeometryFindings, energy: float, limit: float) -> list[Defect]:
        strained = [
            (kind, sigma, name)
            for kind, sigma, name in (
                ("bond", found.worst_bond_sigma, found.worst_bond),
                ("angle", found.worst_angle_sigma, found.worst_angle),
            )
            if abs(sigma) > self._strain_sigmas
        ]
        defects = list(found.defects)
        if strained:
            kind, sigma, name = max(strained, key=lambda entry: abs(entry[1]))
            defects.append(
                Defect(
                    "strain",
                    f"{kind} {name} is {sigma:+.1f} thermal standard deviations from its "
                    f"equilibrium (limit {self._strain_sigmas:g})",
                )
            )
        return defects + energy_defects(energy, limit)

    def _moved(
        self, before: np.ndarray, after: np.ndarray, found: GeometryFindings
    ) -> RelaxationFindings:
        heavy, everything = (
            float(rmsd(after, before, atoms))
            for atoms in (self.geometry.solute_heavy, self.geometry.solute)
        )
        return RelaxationFindings(heavy, everything, found.clashes)
