"""From the positions of one frame to its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.geometry import rmsd
from ..core.units import positions_in_nm
from ..trajectories.box_watch import same_shape
from ..trajectories.boxes import make_whole, reduced_box, spanning_tree
from .defects import HARD_REASONS, INVALID, Defect, decide, energy_defects
from .energies import EnergyDecomposer
from .findings import NAN, EnergyFindings, GeometryFindings, RelaxationFindings
from .forces import largest_force, movable_particles
from .frame_geometry import FrameGeometry
from .interactions import InteractionEnergies
from .judge_settings import FrameJudgeSettings
from .names import atom_labels
from .reference import EnergyReference
from .relaxation import Relaxation, RelaxationError, relax_frame
from .residue_energies import ResidueEnergies
from .rounding import SCATTER_SDS, coordinate_spacing
from .second_potential import SecondEnergy
from .solvation import SolvationDifference, has_solvation_force
from .terms import thermal_energy
from .verdict import FrameVerdict

__all__ = ["FrameJudge", "PlacedFrame"]

#: A coordinate beyond a metre is no coordinate; squares of such numbers overflow.
LARGEST_COORDINATE_NM = 1e9


@dataclass(frozen=True)
class PlacedFrame:
    """A frame that energies can be computed of.

    Attributes
    ----------
    positions_nm : array [P,3]
        Molecules whole.
    box_nm : array [3,3] or None
        The frame's, the System's, or none without periodicity.
    half_nm : float
        By how much rounding may have moved a coordinate.
    notes : tuple of str
        See `FrameVerdict`.
    """

    positions_nm: np.ndarray
    box_nm: np.ndarray | None
    half_nm: float
    notes: tuple[str, ...] = ()


class FrameJudge:
    """Judges frames of one System; `EnergyValidator` says what the numbers mean.

    Parameters
    ----------
    settings : FrameJudgeSettings
        Its System is not changed, and not used afterwards.

    Attributes
    ----------
    geometry : FrameGeometry
    residues : ResidueEnergies
    context : openmm.Context
        Of the whole System.
    force_names, interaction_names : tuple of str
    kt : float
        Thermal energy in kJ/mol.
    reference : EnergyReference or None
        Of the energy window; may be given later.
    """

    def __init__(self, settings: FrameJudgeSettings) -> None:
        self.settings = settings
        topology, system = settings.topology, settings.system
        where = (settings.platform, settings.threads)
        self.kt = thermal_energy(settings.temperature_K)
        self.reference: EnergyReference | None = None
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._default_box = reduced_box(positions_in_nm(system.getDefaultPeriodicBoxVectors()))
        self._labels = atom_labels(topology)
        native_nm = settings.native_nm
        if native_nm is not None and self._periodic and np.isfinite(native_nm).all():
            bonds = [(a.index, b.index) for a, b in topology.bonds()]
            tree = spanning_tree(len(native_nm), bonds)
            native_nm = make_whole(native_nm, tree, self._default_box)
        self.geometry = FrameGeometry(
            topology,
            system,
            temperature_K=settings.temperature_K,
            outlier_sigmas=settings.outlier_sigmas,
            native_nm=native_nm,
            features=settings.features,
            molecules=settings.molecules,
        )
        self._tree = spanning_tree(system.getNumParticles(), self.geometry.bond_pairs)
        self._movable = movable_particles(system)
        rigid = 3 if self._periodic else 6
        free = 3 * int(np.sum(self._movable)) - system.getNumConstraints() - rigid
        self._freedom = max(1, free)
        self._constrained = system.getNumConstraints() > 0
        self._decomposer = EnergyDecomposer(system, *where)
        self.context = self._decomposer.context
        self.force_names = self._decomposer.labels
        self.residues = ResidueEnergies(topology, system)
        self._interactions = InteractionEnergies(system, settings.pairs, *where)
        self.interaction_names = self._interactions.names
        self._solvation: SolvationDifference | None = None
        if settings.solvation and self.interaction_names and has_solvation_force(system):
            self._solvation = SolvationDifference(system, settings.pairs, *where)
        self._second: SecondEnergy | None = None
        if settings.second is not None:
            self._second = SecondEnergy(settings.second, topology, *where)

    def sample(self, positions_nm: np.ndarray, box_nm: np.ndarray | None) -> EnergyFindings:
        """The energies of a frame of molecular dynamics, without a verdict; NaN without any."""
        try:
            frame = self._placed(positions_nm, box_nm)
            split, forces = self._decomposer.evaluate(frame.positions_nm, frame.box_nm)
            constrained = split.total_kj_per_mol
            if self._constrained:
                found = relax_frame(self.context, frame.positions_nm, frame.box_nm, iterations=0)
                constrained = found.constrained_kj_per_mol
        except (ValueError, RelaxationError):
            return self._without_energy()
        return EnergyFindings(
            split.energies_kj_per_mol,
            split.total_kj_per_mol,
            constrained,
            **self._rounding(frame, forces),
            **self._in_depth(frame),
        )

    def relaxed_positions(self, positions_nm: np.ndarray) -> np.ndarray:
        """A frame [P,3] after the limited minimisation (nm); see `relax_frame`."""
        frame = self._placed(positions_nm, None)
        found = relax_frame(
            self.context, frame.positions_nm, frame.box_nm, max(1, self.settings.iterations)
        )
        assert found.relaxed_nm is not None
        return found.relaxed_nm

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
        try:
            placed = self._placed(positions_nm, box_nm)
        except ValueError as error:
            nothing = self._without_energy()
            return FrameVerdict(frame, time_ps, INVALID, "nonfinite", str(error), nothing)
        positions_nm, box = placed.positions_nm, placed.box_nm
        split, forces = self._decomposer.evaluate(positions_nm, box)
        atom, force = largest_force(forces, self._movable)
        widths = self.geometry.widths(positions_nm, placed.half_nm)
        geometry = self.geometry.measure(positions_nm, box, widths)
        rounding = self._rounding(placed, forces)
        allowance = rounding["rounding_allowance_kj_per_mol"]

        def before(relaxed: Relaxation) -> list[Defect]:
            limit = self._limit(relaxed.relaxed_kj_per_mol)
            return self._defects(geometry, relaxed.constrained_kj_per_mol, limit, allowance)

        if self.settings.relax == "needed":
            relaxed, failure = self._relaxed(placed, split.total_kj_per_mol, 0)
            reasons = {defect.reason for defect in before(relaxed)}
            if failure is None and reasons and not reasons & set(HARD_REASONS):
                relaxed, failure = self._relaxed(
                    placed, split.total_kj_per_mol, self.settings.iterations
                )
        else:
            relaxed, failure = self._relaxed(
                placed, split.total_kj_per_mol, self.settings.iterations
            )
        energies = EnergyFindings(
            split.energies_kj_per_mol,
            split.total_kj_per_mol,
            relaxed.constrained_kj_per_mol,
            relaxed.relaxed_kj_per_mol,
            self._limit(relaxed.relaxed_kj_per_mol),
            force,
            self._labels[atom],
            **rounding,
            **self._in_depth(placed),
        )
        left: list[Defect] | None = None
        moved = RelaxationFindings()
        if failure is not None:
            left = [Defect("relaxation", failure)]
        elif relaxed.relaxed_nm is not None:
            after = self.geometry.measure(relaxed.relaxed_nm, box)
            limit = energies.window_limit_kj_per_mol
            left = self._defects(after, energies.relaxed_kj_per_mol, limit)
            moved = self._moved(positions_nm, relaxed.relaxed_nm, after)
        verdict, decisive = decide(before(relaxed), left)
        return FrameVerdict(
            frame,
            time_ps,
            verdict,
            decisive.reason,
            decisive.detail,
            energies,
            geometry,
            moved,
            notes=placed.notes,
            worst_widths=self._worst_by_residue(widths),
        )

    def _without_energy(self) -> EnergyFindings:
        parts = [*self._interactions.parts]
        parts += ["solvation"] if self._solvation is not None else []
        return EnergyFindings(
            dict.fromkeys(self.force_names, NAN),
            window_limit_kj_per_mol=self._limit(NAN),
            interactions_kj_per_mol={
                name: dict.fromkeys(parts, NAN) for name in self.interaction_names
            },
            second_kj_per_mol=None if self._second is None else NAN,
        )

    def _placed(self, positions_nm: np.ndarray, box_nm: np.ndarray | None) -> PlacedFrame:
        """Whole molecules, and the box: the frame's, the System's, or none without periodicity."""
        # NaN compares false, so it is bad too.
        bad = np.flatnonzero(~(np.abs(positions_nm) <= LARGEST_COORDINATE_NM).all(axis=1))
        if len(bad):
            raise ValueError(
                f"coordinates of {len(bad)} atoms are not finite, first {self._labels[bad[0]]}"
            )
        half = coordinate_spacing(positions_nm) / 2
        notes = [f"have coordinates rounded to {2 * half:g} nm, allowed for"] if half else []
        if not self._periodic:
            return PlacedFrame(positions_nm, None, half, tuple(notes))
        box = self._default_box if box_nm is None else reduced_box(box_nm)
        if box_nm is None:
            notes.append("have no box of their own and are judged in the System's default one")
        elif not same_shape(box, self._default_box):
            notes.append(
                "have a box of another shape than the System's default one, and are judged in it"
            )
        whole = make_whole(positions_nm, self._tree, box)
        return PlacedFrame(whole, box, half, tuple(notes))

    def _relaxed(
        self, frame: PlacedFrame, raw_kj_per_mol: float, iterations: int
    ) -> tuple[Relaxation, str | None]:
        """The relaxation, and in words how it failed where it did."""
        if not iterations and not self._constrained:
            return Relaxation(frame.positions_nm, raw_kj_per_mol, None, NAN), None
        try:
            found = relax_frame(self.context, frame.positions_nm, frame.box_nm, iterations)
        except RelaxationError as error:
            nothing = Relaxation(frame.positions_nm, NAN, None, NAN)
            return nothing, f"the minimiser gave up: {error}"
        if found.relaxed_nm is not None and not np.isfinite(found.relaxed_nm).all():
            return found, "the minimiser gave positions that are not finite"
        return found, None

    def _limit(self, relaxed: float) -> float:
        """The highest energy (kJ/mol) that counts as thermal; NaN when nothing tells."""
        window = self.settings.window_sds
        if self.reference is not None:
            return self.reference.window_limit(window)
        if not np.isfinite(relaxed):
            return NAN
        mean = self._freedom * self.kt / 2
        return relaxed + mean + window * self.kt * np.sqrt(self._freedom / 2)

    def _rounding(self, frame: PlacedFrame, forces: np.ndarray) -> dict[str, Any]:
        if not frame.half_nm:
            return {"rounding_kj_per_mol": 0.0, "rounding_allowance_kj_per_mol": 0.0}
        rise = self.geometry.expected_rise(frame.positions_nm, frame.half_nm)
        scatter = frame.half_nm / np.sqrt(3) * float(np.linalg.norm(forces[self._movable]))
        return {
            "rounding_kj_per_mol": rise,
            "rounding_allowance_kj_per_mol": rise + SCATTER_SDS * scatter,
        }

    def _in_depth(self, frame: PlacedFrame) -> dict[str, Any]:
        """Energies of groups and residues, and in the second potential."""
        x, box = frame.positions_nm, frame.box_nm
        interactions = self._interactions(x, box)
        if self._solvation is not None:
            values = self._solvation(x)
            for parts, value in zip(interactions.values(), values, strict=True):
                parts["solvation"] = value
                parts["total"] += value
        found: dict[str, Any] = {
            "interactions_kj_per_mol": interactions,
            "residues_kj_per_mol": self.residues(x),
        }
        if self._second is not None:
            found["second_kj_per_mol"] = self._second(x, box)
        return found

    def _worst_by_residue(
        self, widths: tuple[np.ndarray, np.ndarray]
    ) -> dict[int, tuple[float, str]]:
        """Per residue with an outlier: its worst deviation in thermal widths, and the term."""
        worst: dict[int, tuple[float, str]] = {}
        kinds = ("bond", self.geometry.bond_atoms), ("angle", self.geometry.angle_atoms)
        for (kind, atoms), sigma in zip(kinds, widths, strict=True):
            middle = atoms[:, 1]
            for k in np.flatnonzero(np.abs(sigma) > self.settings.outlier_sigmas):
                residue = int(self.residues.owner[middle[k]])
                if abs(sigma[k]) > abs(worst.get(residue, (0.0, ""))[0]):
                    worst[residue] = (float(sigma[k]), f"{kind} {self.geometry.name(atoms[k])}")
        worst.pop(len(self.residues.labels), None)
        return worst

    def _defects(
        self, found: GeometryFindings, energy: float, limit: float, allowance: float = 0.0
    ) -> list[Defect]:
        strained = [
            (kind, sigma, name)
            for kind, sigma, name in (
                ("bond", found.worst_bond_sigma, found.worst_bond),
                ("angle", found.worst_angle_sigma, found.worst_angle),
            )
            if abs(sigma) > self.settings.strain_sigmas
        ]
        defects = list(found.defects)
        if strained:
            kind, sigma, name = max(strained, key=lambda entry: abs(entry[1]))
            defects.append(
                Defect(
                    "strain",
                    f"{kind} {name} is {sigma:+.1f} thermal standard deviations from its "
                    f"equilibrium (limit {self.settings.strain_sigmas:g})",
                )
            )
        return defects + energy_defects(energy, limit, allowance)

    def _moved(
        self, before: np.ndarray, after: np.ndarray, found: GeometryFindings
    ) -> RelaxationFindings:
        heavy, everything = (
            float(rmsd(after, before, atoms))
            for atoms in (self.geometry.solute_heavy, self.geometry.solute)
        )
        return RelaxationFindings(heavy, everything, found.clashes)
