"""`EnergyValidator`: every frame of a trajectory against its force field and its chemistry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import openmm
from openmm import unit

from ..core.units import plain, positions_in_nm
from ..trajectories.frames import Frame
from ..trajectories.reader import open_frames
from .contexts import check_positions
from .judging import FrameJudge
from .reference import EnergyReference, read_reference
from .summary import ValidationReport
from .verdict import FrameVerdict

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
        where energies are computed; Reference (double precision) when None.
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
    ) -> None:
        if topology.getNumAtoms() != system.getNumParticles():
            raise ValueError(
                f"the Topology has {topology.getNumAtoms()} atoms and the System "
                f"{system.getNumParticles()} particles; make the System from this Topology"
            )
        self.temperature_K = plain(temperature, unit.kelvin)
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
        native = None
        if nativePositions is not None:
            native = check_positions(
                nativePositions, system.getNumParticles(), "the native structure's positions"
            )
        self._judge = FrameJudge(
            topology,
            copy.deepcopy(system),
            temperature_K=self.temperature_K,
            window_sds=self.energyWindow,
            iterations=self.relaxationIterations,
            outlier_sigmas=float(outlierSigmas),
            strain_sigmas=self.strainSigmas,
            platform=platform,
            native_nm=native,
            features=features,
        )
        if reference is not None:
            self._judge.reference = read_reference(
                reference,
                topology,
                self._judge.constrained_energy,
                temperature_K=self.temperature_K,
            )

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
        for frame in source.frames(start, stop, stride):
            yield self._verdict(frame)
        if source.cut_short and (stop is None or stop > (source.num_frames or 0)):
            where = f"{source.name} cannot be read beyond frame {source.num_frames}"
            raise ValueError(f"{where}: {source.remarks[0]}")

    def _verdict(self, frame: Frame) -> FrameVerdict:
        return self._judge(frame.positions_nm, frame.box_nm, frame.index, frame.time_ps)

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
        report = ValidationReport(
            source=source.name,
            force_names=self.forceNames,
            omega_labels=self.omegaLabels,
            reference=self.reference,
            energy_window=self.energyWindow,
            kt_kj_per_mol=self._judge.kt,
            relaxed=self.relaxationIterations > 0,
            keep_frames=keepFrames,
        )
        with nullcontext() if csv is None else report.openCsv(csv) as writer:
            for done, frame in enumerate(source.frames(start, stop, stride), start=1):
                verdict = self._verdict(frame)
                report.add(verdict)
                if writer is not None:
                    writer.write(verdict)
                if progress is not None:
                    progress(done, total)
        report.remarks += source.remarks
        if report.num_frames == 0:
            raise ValueError(
                f"{source.name} has no frames {start}:{'' if stop is None else stop}:{stride}"
            )
        return report
