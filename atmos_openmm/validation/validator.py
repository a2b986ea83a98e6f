"""`EnergyValidator`: every frame of a trajectory against its force field and its chemistry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openmm
from openmm import unit

from ..core.units import positions_in_nm
from ..trajectories.reader import open_frames
from .contexts import check_positions
from .frame_pool import FrameRunner
from .judge_settings import FrameJudgeSettings, checked_settings
from .judging import FrameJudge
from .reference import EnergyReference, read_reference
from .summary import ValidationReport
from .verdict import FrameVerdict

if TYPE_CHECKING:
    from ..systems.system_options import SystemOptions

__all__ = ["EnergyValidator"]


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
    topology : openmm.app.Topology
        with bonds and hydrogens.
    system : openmm.System
        of the same atoms in the same order. Not changed.
    temperature : Quantity or float
        temperature (K) of the frames.
    reference : optional
        energies or frames of molecular dynamics; see `atmos_openmm.validation.reference
        .read_reference` for what can be given. Frames are evaluated here, once.
    energyWindow : float
        width of the energy window in standard deviations.
    relaxationIterations : int
        at most so many iterations of the minimiser a frame; 0 leaves the relaxation out.
    platform : openmm.Platform or str or None
        where energies are computed; Reference (double precision) when None. The CPU platform has
        one thread, so that energies do not depend on their number; `workers` use more.
    nativePositions : Quantity or array or None
        P x 3 (nm), a structure with the right handedness at every centre and the right class of
        every peptide bond. Without it: L amino acids and trans peptide bonds.
    features : atmos_openmm.systems.MoleculeFeatures or None
        the chemistry of the solute, where it needs more than the Topology tells (ligands); made
        from the Topology when None.
    outlierSigmas : float
        bonds and angles further from equilibrium than so many thermal standard deviations
        sqrt(kT/k) are counted as outliers.
    strainSigmas : float
        bonds and angles further off than this are a fault of their own, since the total energy of
        a large molecule hides one bad place: 10 standard deviations are 50 kT in one term.
    ligands : mapping from residue name to RDKit Mol, optional
        the chemistry of ligands, as `atmos_openmm.systems.inputs.Molecule.molecules` has it: bond
        orders, the hand of their centres and the configuration of their double bonds, against
        which frames are judged.
    relax : str
        which frames are minimised: 'all', or only those that 'needed' it, because they have
        overlaps, strain or a high energy and no fault that a minimiser cannot mend. Verdicts are
        the same; relaxed energies and RMSDs of the others are not computed. Needs a reference,
        since the window is counted from the relaxed frame without one.
    workers : int
        processes that judge frames, each with one thread of the CPU platform. Verdicts and their
        order are those of one. In a script, the call has to stand under
        ``if __name__ == "__main__":``.
    groups : mapping from name to particle numbers, optional
        between which interaction energies are computed, all pairs of them. By default protein and
        each ligand (the chains of a protein without one), and solute and solvent.
    interactionSolvation : bool
        whether interaction energies get the part of an implicit solvent, E(AB) - E(A) - E(B) of
        its force, at the cost of two more evaluations of it a frame.
    second : optional
        another potential that each frame's energy is computed in: a System of the same particles,
        the name of a potential of openmm-ml, or a `SecondPotential`.

    Raises
    ------
    ValueError
        when Topology and System do not fit, the chemistry cannot be told (with the residue and
        what to do), the native structure is broken itself, or the reference is of no use.

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
        ligands: Mapping[str, Any] | None = None,
        relax: str = "all",
        workers: int = 1,
        groups: Mapping[str, Sequence[int]] | None = None,
        interactionSolvation: bool = False,
        second: Any = None,
    ) -> None:
        self._settings = checked_settings(
            topology,
            system,
            temperature=temperature,
            energyWindow=energyWindow,
            relaxationIterations=relaxationIterations,
            relax=relax,
            has_reference=reference is not None,
            platform=platform,
            nativePositions=nativePositions,
            features=features,
            outlierSigmas=outlierSigmas,
            strainSigmas=strainSigmas,
            ligands=ligands,
            groups=groups,
            interactionSolvation=interactionSolvation,
            second=second,
        )
        if workers < 1:
            raise ValueError(f"workers should be 1 or more, not {workers}")
        self.topology = topology
        self.temperature_K = self._settings.temperature_K
        self.energyWindow = self._settings.window_sds
        self.relaxationIterations = self._settings.iterations
        self.strainSigmas = self._settings.strain_sigmas
        self._judge = FrameJudge(self._settings)
        self._runner = FrameRunner(self._judge, workers)
        if reference is not None:
            with self._runner.closed_on_failure():
                self._judge.reference = read_reference(
                    reference, topology, self._runner.samples, temperature_K=self.temperature_K
                )

    @classmethod
    def fromFiles(
        cls,
        files: str | Path | Sequence[str | Path],
        *,
        options: SystemOptions | None = None,
        records: Sequence[str | int] | None = None,
        molecules: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> EnergyValidator:
        """Read what frames are of from files of any kind, and make their System.

        Parameters
        ----------
        files : path or sequence of paths
            as `atmos_openmm.systems.read_molecule` takes them: a structure with SDF files, files
            of AMBER, GROMACS or CHARMM, or a structure and the XML file of its System.
        options : SystemOptions, optional
            how the System is made; the defaults without them.
        records, molecules
            see there.
        arguments
            those of `EnergyValidator`.

        Raises
        ------
        ValueError
            A file cannot be read, or the force field does not fit the molecule.
        """
        from ..systems.forcefield import read_with_system

        molecule, made = read_with_system(files, options, records=records, molecules=molecules)
        return cls(molecule.topology, made.system, ligands=molecule.molecules, **arguments)

    @classmethod
    def fromSimulation(
        cls, simulation: Any, *, molecules: Mapping[str, Any] | None = None, **arguments: Any
    ) -> EnergyValidator:
        """Take Topology, System and temperature from a Simulation that exists.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            with positions.
        molecules : mapping from residue name to RDKit Mol, optional
            ligands; told from their elements, bonds and hydrogens without it.
        arguments
            those of `EnergyValidator`; the temperature is the integrator's where it has one.

        Raises
        ------
        ValueError
            There are no positions, or the System is of other atoms than the Topology.
        """
        from ..systems.simulation_molecule import molecule_of_simulation

        if "temperature" not in arguments and hasattr(simulation.integrator, "getTemperature"):
            arguments["temperature"] = simulation.integrator.getTemperature()
        molecule = molecule_of_simulation(simulation, molecules)
        return cls(molecule.topology, simulation.system, ligands=molecule.molecules, **arguments)

    def close(self) -> None:
        """End the worker processes, where there are any; they start again when needed."""
        self._runner.close()

    def __enter__(self) -> EnergyValidator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def settings(self) -> FrameJudgeSettings:
        """What frames are judged by."""
        return self._settings

    @property
    def reference(self) -> EnergyReference | None:
        """The energies of molecular dynamics, where there are any."""
        return self._judge.reference

    @property
    def forceNames(self) -> tuple[str, ...]:
        """Names of the forces that energies are split into."""
        return self._judge.force_names

    @property
    def omegaLabels(self) -> tuple[str, ...]:
        """Names of the peptide bonds, in the order of `GeometryFindings.omega_deg`."""
        return self._judge.geometry.omegas.labels

    @property
    def kT(self) -> unit.Quantity:
        """The thermal energy (kJ/mol)."""
        return self._judge.kt * unit.kilojoule_per_mole

    def validate(self, positions: Any, *, periodicBoxVectors: Any = None) -> FrameVerdict:
        """Judge one frame.

        Parameters
        ----------
        positions : Quantity or array
            P x 3 (nm). NaN and infinite coordinates are a verdict, not an error.
        periodicBoxVectors : Quantity or array or None
            3 x 3 (nm), used when the System is periodic; its default box when None.

        Returns
        -------
        FrameVerdict
            Of frame 0, without a time.

        Raises
        ------
        ValueError
            When the positions have the wrong shape.
        EnergySumError
            When the energies of the forces do not sum to the total.
        """
        values = check_positions(positions, self.topology.getNumAtoms())
        box = None if periodicBoxVectors is None else positions_in_nm(periodicBoxVectors)
        return self._judge(values, box)

    def relaxedPositions(self, positions: Any) -> unit.Quantity:
        """What the limited minimisation of a frame gives.

        Parameters
        ----------
        positions : Quantity or array
            P x 3 (nm), finite.

        Returns
        -------
        Quantity
            P x 3, in nm.

        Raises
        ------
        RelaxationError
            When the minimiser gives up.
        """
        values = check_positions(positions, self.topology.getNumAtoms())
        return self._judge.relaxed_positions(values) * unit.nanometer

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
        trajectory : path, mdtraj.Trajectory, array [F,P,3]
            see `atmos_openmm.trajectories.reader.open_frames`.
        start, stop, stride : int
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
            when the trajectory cannot be read, and after its last frame where it is cut short.
        """
        source = open_frames(trajectory, self.topology)
        yield from self._runner.verdicts(source.frames(start, stop, stride))
        if source.cut_short and (stop is None or stop > (source.num_frames or 0)):
            where = f"{source.name} cannot be read beyond frame {source.num_frames}"
            raise ValueError(f"{where}: {source.remarks[0]}")

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
        trajectory : path, mdtraj.Trajectory, array [F,P,3]
            see `iterateTrajectory`.
        start, stop, stride : int
            which frames, counted from 0.
        csv : path or None
            where rows are written while frames are judged.
        keepFrames : bool
            whether the report keeps every verdict (about 2 kB each). Without them it keeps the
            energies, the counts and the worst frames, and memory hardly grows with the length.
        progress : callable or None
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
        report = self._report(source.name, keepFrames)

        table = nullcontext() if csv is None else report.openCsv(csv)
        with self._runner.closed_on_failure(), table as writer:
            verdicts = self._runner.verdicts(source.frames(start, stop, stride))
            for done, verdict in enumerate(verdicts, start=1):
                report.add(verdict)
                if writer is not None:
                    writer.write(verdict)
                if progress is not None:
                    progress(done, total)
        report.remarks += source.remarks
        if report.num_frames == 0:
            holds = "it cannot be told how many" if source.num_frames is None else source.num_frames
            raise ValueError(
                f"{source.name} has no frames {start}:{'' if stop is None else stop}:{stride}; it "
                f"holds {holds}"
            )
        return report

    def validateTrajectories(
        self, trajectories: Sequence[Any], **arguments: Any
    ) -> tuple[list[ValidationReport], ValidationReport]:
        """Judge several trajectories of the same System, each by itself and all together.

        Parameters
        ----------
        trajectories : sequence
            see `iterateTrajectory`.
        arguments
            those of `validateTrajectory`; `csv` is then a sequence of paths, one a trajectory.

        Returns
        -------
        list of ValidationReport, ValidationReport
            One a trajectory, and one of all their frames.
        """
        for trajectory in trajectories:
            open_frames(trajectory, self.topology)  # what cannot be read is told before the work
        paths = arguments.pop("csv", None) or [None] * len(trajectories)
        reports = [
            self.validateTrajectory(trajectory, csv=path, **arguments)
            for trajectory, path in zip(trajectories, paths, strict=True)
        ]
        every = self._report(f"{len(reports)} trajectories", arguments.get("keepFrames", True))
        for report in reports:
            every.take(report)
        return reports, every

    def _report(self, name: str, keep_frames: bool) -> ValidationReport:
        return ValidationReport(
            source=name,
            force_names=self.forceNames,
            omega_labels=self.omegaLabels,
            reference=self.reference,
            energy_window=self.energyWindow,
            kt_kj_per_mol=self._judge.kt,
            relaxed=self.relaxationIterations > 0,
            keep_frames=keep_frames,
            residue_labels=self._judge.residues.labels,
            second=None if self._settings.second is None else self._settings.second.name,
        )
