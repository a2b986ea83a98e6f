"""`EnergyValidator`: every frame of a trajectory against its force field and its chemistry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openmm
from openmm import unit

from ..core.geometry import rmsd
from ..trajectories.boxes import make_whole, reduced_box, spanning_tree
from ..trajectories.frames import Frame
from ..trajectories.reader import open_frames
from .contexts import as_positions_nm, as_value, check_positions
from .energies import EnergyDecomposer
from .forces import largest_force, movable_particles
from .geometry import Geometry, GeometryFindings
from .names import atom_labels
from .reference import EnergyReference, read_reference
from .relaxation import Relaxation, RelaxationError, relax_frame
from .summary import ValidationReport
from .terms import thermal_energy
from .verdict import INVALID, Fault, FrameVerdict, decide, format_energy

__all__ = ["EnergyValidator"]

NAN = float("nan")

#: A coordinate beyond a metre is no coordinate; squares of such numbers overflow.
LARGEST_COORDINATE_NM = 1e9


class EnergyValidator:
    """Judges frames by the energies of a System and by the chemistry of its Topology.

    For every frame: the potential energy split by force, the largest force and its atom, overlaps,
    bonds and angles far from their equilibrium, constraints, handedness at every stereocentre,
    omega angles, threaded rings, and what a limited minimisation makes of the energy and the
    positions. From these follows a verdict, ``valid``, ``valid after relaxation`` or ``invalid``,
    and its reason.

    A low minimised energy does not make a frame valid: a mirror image has the energy of the
    original, and atoms thrown about at random minimise to unremarkable energies. So bonds,
    handedness, cis and trans, and rings are judged on the frame as it is, and no relaxation mends
    them.

    The energy is judged after the constraints were applied, against a window:

    - with a reference (energies of molecular dynamics of the same System at the same temperature):
      its mean and `energyWindow` standard deviations. Only high energies are faults;
    - without one: the energy that a harmonic system of so many degrees of freedom has on top of
      its minimum, f kT / 2 with the standard deviation kT sqrt(f / 2), counted from the relaxed
      frame. This tells a hot frame from a thermal one, but not whether its minimum is a good one;
    - without either (no relaxation), the energy only has to be finite.

    Parameters
    ----------
    topology: openmm.app.Topology
        with bonds and hydrogens.
    system: openmm.System
        of the same atoms in the same order. Not changed.
    temperature: Quantity or float
        temperature (K) of the frames.
    reference: optional
        energies or frames of molecular dynamics; see `atmos_openmm.validation.reference
        .read_reference` for what can be given. Frames are evaluated here, once.
    energyWindow: float
        width of the energy window in standard deviations.
    relaxationIterations: int
        at most so many iterations of the minimiser a frame; 0 leaves the relaxation out.
    platform: openmm.Platform or str or None
        where energies are computed; Reference (double precision) when None.
    nativePositions: Quantity or array or None
        P x 3 (nm), a structure with the right handedness at every centre and the right class of
        every peptide bond. Without it: L amino acids and trans peptide bonds.
    features: atmos_openmm.systems.MoleculeFeatures or None
        the chemistry of the solute, where it needs more than the Topology tells (ligands); made
        from the Topology when None.
    outlierSigmas: float
        bonds and angles further from equilibrium than so many thermal standard deviations
        sqrt(kT/k) are counted as outliers.
    strainSigmas: float
        bonds and angles further off than this are a fault of their own, since the total energy of
        a large molecule hides one bad place: 10 standard deviations are 50 kT in one term.

    Raises
    ------
    ValueError
        when Topology and System do not fit, the chemistry cannot be told (with the residue and
        what to do), or the reference is of no use.

    >>> validator = EnergyValidator(topology, system, reference="md.dcd")      # doctest: +SKIP
    >>> validator.validate(positions).verdict                                  # doctest: +SKIP
    'valid'
    >>> report = validator.validateTrajectory("generated.xtc")                 # doctest: +SKIP
    >>> print(report.table())                                                  # doctest: +SKIP
    """

    def __init__(
        self,
        topology: Any,
        system: openmm.System,
        *,
        temperature: Any = 300.0,
        reference: Any = None,
        energyWindow: float = 6.0,
        relaxationIterations: int = 100,
        platform: openmm.Platform | str | None = None,
        nativePositions: Any = None,
        features: Any = None,
        outlierSigmas: float = 6.0,
        strainSigmas: float = 10.0,
    ) -> None:
        if topology.getNumAtoms() != system.getNumParticles():
            raise ValueError(
                f"the Topology has {topology.getNumAtoms()} atoms and the System "
                f"{system.getNumParticles()} particles; make the System from this Topology"
            )
        self.temperature_K = float(as_value(temperature, unit.kelvin))
        if not self.temperature_K > 0 or not np.isfinite(self.temperature_K):
            raise ValueError(f"the temperature should be positive (K), not {self.temperature_K}")
        if not energyWindow > 0 or not 0 < outlierSigmas <= strainSigmas:
            raise ValueError(
                "energyWindow and outlierSigmas should be positive and strainSigmas not smaller "
                f"than outlierSigmas; found {energyWindow}, {outlierSigmas}, {strainSigmas}"
            )
        if relaxationIterations < 0:
            raise ValueError(
                f"relaxationIterations should be 0 (none) or more, not {relaxationIterations}"
            )
        self.topology = topology
        self.energyWindow = float(energyWindow)
        self.relaxationIterations = int(relaxationIterations)
        self.strainSigmas = float(strainSigmas)
        self._kt = thermal_energy(self.temperature_K)
        system = copy.deepcopy(system)
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._default_box = reduced_box(as_positions_nm(system.getDefaultPeriodicBoxVectors()))
        self._labels = atom_labels(topology)
        self._geometry = Geometry(
            topology,
            system,
            temperature_K=self.temperature_K,
            outlier_sigmas=float(outlierSigmas),
            native_nm=(
                None
                if nativePositions is None
                else check_positions(nativePositions, system.getNumParticles())
            ),
            features=features,
        )
        self._tree = spanning_tree(system.getNumParticles(), self._geometry.bond_pairs)
        self._movable = movable_particles(system)
        rigid = 3 if self._periodic else 6
        free = 3 * int(np.sum(self._movable)) - system.getNumConstraints() - rigid
        self._freedom = max(1, free)
        self._decomposer = EnergyDecomposer(system, platform)
        self._context = self._decomposer.context
        self.reference: EnergyReference | None = None
        if reference is not None:
            self.reference = read_reference(
                reference, topology, self._constrained_energy, temperature_K=self.temperature_K
            )

    @property
    def forceNames(self) -> tuple[str, ...]:
        """Names of the forces that energies are split into."""
        return self._decomposer.labels

    @property
    def omegaLabels(self) -> tuple[str, ...]:
        """Names of the peptide bonds, in the order of `FrameVerdict.omega_deg`."""
        return self._geometry.omegas.labels

    @property
    def kT(self) -> unit.Quantity:
        """The thermal energy (kJ/mol)."""
        return self._kt * unit.kilojoule_per_mole

    def _box(self, box_nm: np.ndarray | None) -> np.ndarray | None:
        """The box a frame is evaluated in: its own, the System's, or none without periodicity."""
        if not self._periodic:
            return None
        return self._default_box if box_nm is None else reduced_box(box_nm)

    def _constrained_energy(self, positions_nm: np.ndarray, box_nm: np.ndarray | None) -> float:
        """Energy after constraints (kJ/mol); NaN where there is none."""
        if not np.isfinite(positions_nm).all():
            return NAN
        box = self._box(box_nm)
        whole = positions_nm if box is None else make_whole(positions_nm, self._tree, box)
        try:
            return relax_frame(self._context, whole, box, iterations=0).constrained_kj_per_mol
        except RelaxationError:
            return NAN

    def validate(self, positions: Any, *, periodicBoxVectors: Any = None) -> FrameVerdict:
        """Judge one frame.

        Parameters
        ----------
        positions: Quantity or array
            P x 3 (nm). NaN and infinite coordinates are a verdict, not an error.
        periodicBoxVectors: Quantity or array or None
            3 x 3 (nm), used when the System is periodic; its default box when None.

        Returns
        -------
        FrameVerdict
            of frame 0, without a time.

        Raises
        ------
        ValueError
            when the positions have the wrong shape.
        EnergySumError
            when the energies of the forces do not sum to the total.
        """
        values = check_positions(positions, self._decomposer.num_particles)
        box = None if periodicBoxVectors is None else as_positions_nm(periodicBoxVectors)
        return self._judge(Frame(0, NAN, values, box))

    # Coordinates of any size are measured; what overflows on the way is a number out of range.
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _judge(self, frame: Frame) -> FrameVerdict:
        positions = frame.positions_nm
        # NaN compares false, so it is bad too.
        bad = np.flatnonzero(~(np.abs(positions) <= LARGEST_COORDINATE_NM).all(axis=1))
        if len(bad):
            return self._nonfinite(frame, bad)
        try:
            box = self._box(frame.box_nm)
        except ValueError as error:
            return self._empty(frame, Fault("nonfinite", str(error)))
        if box is not None:
            positions = make_whole(positions, self._tree, box)
        split = self._decomposer.decompose(positions, box)
        # The decomposer has left the frame in the Context of the whole System.
        force = largest_force(self._context, self._movable)
        findings = self._geometry.measure(positions, box)
        faults = self._geometry_faults(findings)

        relaxation: Relaxation | None = None
        after: GeometryFindings | None = None
        failure: Fault | None = None
        try:
            relaxation = relax_frame(self._context, positions, box, self.relaxationIterations)
        except RelaxationError as error:
            failure = Fault("relaxation", f"the minimiser gave up: {error}")
        constrained = NAN if relaxation is None else relaxation.constrained_kj_per_mol
        relaxed = NAN if relaxation is None else relaxation.relaxed_kj_per_mol
        limit = self._limit(relaxed)
        faults += self._energy_faults(constrained, limit)

        left: list[Fault] | None = None
        heavy = everything = NAN
        if failure is not None:
            left = [failure]
        elif relaxation is not None and relaxation.relaxed_nm is not None:
            moved = relaxation.relaxed_nm
            if np.isfinite(moved).all():
                after = self._geometry.measure(moved, box)
                left = self._geometry_faults(after) + self._energy_faults(relaxed, limit)
                heavy, everything = self._rmsd(positions, moved)
            else:
                left = [Fault("relaxation", "the minimiser gave positions that are not finite")]
        verdict, fault = decide(faults, left)
        return FrameVerdict(
            frame=frame.index,
            time_ps=frame.time_ps,
            verdict=verdict,
            reason=fault.reason,
            detail=fault.detail,
            energies_kj_per_mol=split.energies_kj_per_mol,
            energy_raw_kj_per_mol=split.total_kj_per_mol,
            energy_constrained_kj_per_mol=constrained,
            energy_relaxed_kj_per_mol=relaxed,
            window_limit_kj_per_mol=limit,
            in_window=bool(constrained <= limit),
            largest_force_kj_per_mol_nm=force.magnitude_kj_per_mol_nm,
            largest_force_atom=self._labels[force.atom],
            clashes=findings.clashes,
            worst_clash=findings.worst_clash,
            worst_clash_nm=findings.worst_clash_nm,
            bond_outliers=findings.bond_outliers,
            worst_bond=findings.worst_bond,
            worst_bond_sigma=findings.worst_bond_sigma,
            angle_outliers=findings.angle_outliers,
            worst_angle=findings.worst_angle,
            worst_angle_sigma=findings.worst_angle_sigma,
            constraint_error_nm=findings.constraint_error_nm,
            worst_constraint=findings.worst_constraint,
            broken_bonds=findings.broken_bonds,
            wrong_chirality=findings.wrong_chirality,
            flipped_torsions=findings.flipped_torsions,
            threaded_rings=findings.threaded_rings,
            omega_deg=findings.omega_deg,
            cis_peptide_bonds=findings.cis_peptide_bonds,
            rmsd_heavy_nm=heavy,
            rmsd_all_nm=everything,
            relaxed_clashes=-1 if after is None else after.clashes,
        )

    def _rmsd(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        solute, heavy = self._geometry.solute, self._geometry.solute_heavy
        return (
            float(rmsd(after, before, heavy)),
            float(rmsd(after, before, solute)),
        )

    def _limit(self, relaxed: float) -> float:
        """The highest energy (kJ/mol) that counts as thermal; NaN when nothing tells."""
        if self.reference is not None:
            return self.reference.window_limit(self.energyWindow)
        if not np.isfinite(relaxed):
            return NAN
        mean = self._freedom * self._kt / 2
        return relaxed + mean + self.energyWindow * self._kt * np.sqrt(self._freedom / 2)

    def _geometry_faults(self, findings: GeometryFindings) -> list[Fault]:
        faults = [Fault(reason, detail) for reason, detail in findings.faults]
        strained = [
            (kind, sigma, name)
            for kind, sigma, name in (
                ("bond", findings.worst_bond_sigma, findings.worst_bond),
                ("angle", findings.worst_angle_sigma, findings.worst_angle),
            )
            if abs(sigma) > self.strainSigmas
        ]
        if strained:
            kind, sigma, name = max(strained, key=lambda entry: abs(entry[1]))
            faults.append(
                Fault(
                    "strain",
                    f"{kind} {name} is {sigma:+.1f} thermal standard deviations from its "
                    f"equilibrium (limit {self.strainSigmas:g})",
                )
            )
        return faults

    def _energy_faults(self, energy: float, limit: float) -> list[Fault]:
        if not np.isfinite(energy):
            return [Fault("energy", "the potential energy is not finite")]
        if energy > limit:
            return [
                Fault(
                    "energy",
                    f"{format_energy(energy)} is above the window's {format_energy(limit)}",
                )
            ]
        return []

    def _nonfinite(self, frame: Frame, bad: np.ndarray) -> FrameVerdict:
        detail = f"coordinates of {len(bad)} atoms are not finite, first {self._labels[bad[0]]}"
        return self._empty(frame, Fault("nonfinite", detail))

    def _empty(self, frame: Frame, fault: Fault) -> FrameVerdict:
        """The verdict on a frame that cannot be evaluated."""
        return FrameVerdict(
            frame=frame.index,
            time_ps=frame.time_ps,
            verdict=INVALID,
            reason=fault.reason,
            detail=fault.detail,
            energies_kj_per_mol=dict.fromkeys(self.forceNames, NAN),
            energy_raw_kj_per_mol=NAN,
            energy_constrained_kj_per_mol=NAN,
            energy_relaxed_kj_per_mol=NAN,
            window_limit_kj_per_mol=self._limit(NAN),
            in_window=False,
            largest_force_kj_per_mol_nm=NAN,
            largest_force_atom="",
            clashes=0,
            worst_clash="",
            worst_clash_nm=NAN,
            bond_outliers=0,
            worst_bond="",
            worst_bond_sigma=NAN,
            angle_outliers=0,
            worst_angle="",
            worst_angle_sigma=NAN,
            constraint_error_nm=NAN,
            worst_constraint="",
            broken_bonds=(),
            wrong_chirality=(),
            flipped_torsions=(),
            threaded_rings=(),
            omega_deg=(),
            cis_peptide_bonds=(),
            rmsd_heavy_nm=NAN,
            rmsd_all_nm=NAN,
            relaxed_clashes=-1,
        )

    def iterateTrajectory(
        self,
        trajectory: Any,
        *,
        start: int = 0,
        stop: int | None = None,
        stride: int = 1,
    ) -> Iterator[FrameVerdict]:
        """Judge the frames of a trajectory one after the other, in constant memory.

        Parameters
        ----------
        trajectory: path, mdtraj.Trajectory, array [F,P,3]
            see `atmos_openmm.trajectories.reader.open_frames`.
        start, stop, stride: int
            which frames, counted from 0.

        Yields
        ------
        FrameVerdict
            one a frame; none is left out.

        Raises
        ------
        TrajectoryMismatchError
            when the trajectory's atoms are not the Topology's.
        ValueError
            when the trajectory cannot be read.
        """
        source = open_frames(trajectory, self.topology)
        for frame in source.frames(start, stop, stride):
            yield self._judge(frame)

    def validateTrajectory(
        self,
        trajectory: Any,
        *,
        start: int = 0,
        stop: int | None = None,
        stride: int = 1,
        csv: Any = None,
        keepFrames: bool = True,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> ValidationReport:
        """Judge a trajectory and sum up.

        Parameters
        ----------
        trajectory: path, mdtraj.Trajectory, array [F,P,3]
            see `iterateTrajectory`.
        start, stop, stride: int
            which frames, counted from 0.
        csv: path or None
            where rows are written while frames are judged.
        keepFrames: bool
            whether the report keeps every verdict (about 2 kB each). Without them it keeps the
            energies, the counts and the worst frames, and memory hardly grows with the length.
        progress: callable or None
            called with the number of frames done and the number of all (None when not known).

        Returns
        -------
        ValidationReport

        Raises
        ------
        ValueError
            when the trajectory does not fit, cannot be read, or no frame was asked for.
        """
        source = open_frames(trajectory, self.topology)
        total = source.count(start, stop, stride)
        report = ValidationReport(
            source=source.name,
            force_names=self.forceNames,
            omega_labels=self.omegaLabels,
            reference=self.reference,
            energy_window=self.energyWindow,
            kt_kj_per_mol=self._kt,
            relaxed=self.relaxationIterations > 0,
            keep_frames=keepFrames,
        )
        writer = None if csv is None else report.openCsv(csv)
        try:
            for done, frame in enumerate(source.frames(start, stop, stride), start=1):
                verdict = self._judge(frame)
                report.add(verdict)
                if writer is not None:
                    writer.write(verdict)
                if progress is not None:
                    progress(done, total)
        finally:
            if writer is not None:
                writer.close()
        report.remarks += source.remarks
        if report.num_frames == 0:
            raise ValueError(
                f"{source.name} has no frames {start}:{'' if stop is None else stop}:{stride}"
            )
        return report
