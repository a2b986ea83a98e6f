"""Hybrid runs: walkers that alternate learned jumps and molecular dynamics, kept in a folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError, explained
from ..core.settings import digest, read_settings, versions
from ..core.units import plain
from ..jump.acceptance import ACCEPTANCE_MODES
from ..jump.noise import fresh_seed, walker_seed
from ..jump.proposal import REASONS
from .checkpoint import RunCheckpoint
from .platforms import choose_platform, platform_properties
from .progress import Progress, RunSummary, summarize
from .start import Equilibration, make_ready, start_positions
from .storage import RunFolder, read_run
from .tables import TABLES, Rows, columns_of
from .trajectory_files import FORMATS, open_trajectory
from .walker import Walker

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from ..propagator import AtmosPropagator

#: Raw and relaxed positions of proposals are stored by default for solutes up to this size.
SMALL_SOLUTE_ATOMS = 500
#: Steps between the seeds of the thermostats and those of the jumps, so that they never coincide.
_THERMOSTAT_STREAM = 1000003


class HybridSampler:
    """
    HybridSampler samples a molecule by learned jumps that alternate with molecular dynamics, with
    any number of walkers, and writes everything to a folder from which it can go on after a kill.

    You provide what a simulation needs anyway, a Topology, a System and positions, together with
    an AtmosPropagator and a folder:

    >>> propagator = AtmosPropagator('capped-amino-acids', pdb.topology)
    >>> sampler = HybridSampler(pdb.topology, system, pdb.positions, propagator, 'run1',
    ...                         temperature=300*kelvin, walkers=4)
    >>> print(sampler.run(cycles=1000))

    A cycle is one jump (if the energy window is known; see AtmosIntegrator) followed by
    jumpInterval steps of Langevin dynamics. `run()` returns a summary that prints as a table. To
    make the run longer, or to go on after it was killed, create the sampler again with the same
    arguments and the same folder and call `run()` with the total number of cycles: what is there
    is taken up, bit for bit on the Reference platform. A folder that holds a run with other
    settings is refused, with a list of the differences.

    Instead of a number of cycles you can ask for a number of valid generated frames:

    >>> summary = sampler.run(valid_frames=500, max_cycles=20000)
    >>> summary.complete, summary.message

    A frame counts when its cycle was opened by an accepted jump and when after the dynamics of
    that cycle it still passes the screen (bonds, chirality, rings, clashes) and its energy is in
    the window. The run goes on until there are as many, or says why there are not.

    The folder holds `topology.pdb`, `system.xml`, `trajectory_0000.dcd` (one a walker; frames
    every reportInterval steps, never the raw generated ones), `record.h5` with a row for every
    proposal (origin, energies before, raw and after, verdict, relaxation stage, positions), every
    stretch of dynamics (with its origin: start, jump or continuation) and every frame, and
    `run.json` with the settings. Read the tables, also of a run that is going on, with
    `atmos_openmm.sampling.storage.read_run(folder)`.

    The populations that a hybrid run visits are not Boltzmann's: the acceptance is a filter. Each
    stretch of dynamics is unbiased from its own start, which is why all of them are recorded with
    their origins.

    A propagator of your own can be given as a bound TorchScript module (docs/architecture.md);
    `lag` has to be given then.

    Attributes
    ----------
    folder: RunFolder
        the files of the run
    walkers: list[Walker]
        the walkers, with their Contexts
    cycle: int
        cycles completed by every walker
    """

    def __init__(
        self,
        topology: Topology,
        system: openmm.System,
        positions: Any,
        propagator: AtmosPropagator | torch.jit.ScriptModule,
        folder: str | Path,
        *,
        temperature: Any = 300.0,
        frictionCoeff: Any = 1.0,
        stepSize: Any = 0.004,
        walkers: int = 1,
        jumpInterval: int = 250,
        reportInterval: int | None = None,
        lag: Any = None,
        acceptance: str = "filter",
        energyWindow: float = 6.0,
        windowSamples: int = 20,
        relaxation: Sequence[int] = (),
        seed: int = 0,
        platform: str | None = None,
        threads: int | None = None,
        trajectoryFormat: str = "dcd",
        minimize: bool = True,
        equilibrationSteps: int = 2500,
        storePositions: bool | None = None,
        commitSeconds: float = 30.0,
        settings: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Create a HybridSampler, and take up the run that the folder holds, if there is one.

        Parameters
        ----------
        topology: openmm.app.Topology
            The molecule, with anything around it
        system: openmm.System
            The System to sample
        positions: Quantity or array
            Where the walkers start: [P, 3], or [walkers, P, 3] for one start each (in nm)
        propagator: AtmosPropagator or torch.jit.ScriptModule
            What proposes the jumps
        folder: str or Path
            Where everything is written; made if it is missing
        temperature, frictionCoeff, stepSize: Quantity or float
            Of the Langevin dynamics (in K, 1/ps, ps)
        walkers: int
            How many walkers
        jumpInterval: int
            The number of steps between jumps
        reportInterval: int, optional
            The number of steps between trajectory frames; jumpInterval by default
        lag: Quantity or float, optional
            The time that one jump skips (in ps); the longest that the model knows by default
        acceptance: str
            'filter' or 'none', see AtmosIntegrator
        energyWindow, windowSamples:
            Width of the energy window in standard deviations, and how many energies it has to
            know before the first jump
        relaxation: sequence of int
            The minimiser iterations of each relaxation stage
        seed: int
            Of everything random; 0 draws one, which is stored in run.json
        platform: str, optional
            Name of the OpenMM Platform; the fastest by default
        threads: int, optional
            Threads of the CPU platform; 1 by default for small systems
        trajectoryFormat: str
            'dcd' or 'xtc'
        minimize: bool
            Whether to minimise the start (by at most 500 iterations)
        equilibrationSteps: int
            Steps of plain dynamics before the first cycle, with which nothing is learned or written
        storePositions: bool, optional
            Whether the record keeps the positions of each proposal; by default for solutes of up
            to 500 atoms
        commitSeconds: float
            Wall-clock time between commits; what came after the last one is repeated after a kill
        settings, notes: mapping, optional
            More to be stored in run.json; settings have to be the same when the run is taken up

        Raises
        ------
        ValueError
            If an argument makes no sense or the model does not fit
        StorageError
            If the folder cannot be written, is in use, or holds something else
        """
        import openmm
        from openmm import unit

        from ..propagator import AtmosPropagator

        report = jumpInterval if reportInterval is None else reportInterval
        _check(walkers >= 1, f"walkers is {walkers}; there has to be at least one.")
        _check(jumpInterval >= 1, f"jumpInterval is {jumpInterval}; it has to be at least 1 step.")
        _check(report >= 1, f"reportInterval is {report}; it has to be at least 1 step.")
        _check(
            trajectoryFormat in FORMATS,
            f"Unknown trajectory format {trajectoryFormat!r}; use {' or '.join(FORMATS)}.",
        )
        _check(
            acceptance in ACCEPTANCE_MODES,
            f"Unknown acceptance {acceptance!r}; use {' or '.join(ACCEPTANCE_MODES)}.",
        )
        _check(
            system.getNumParticles() == topology.getNumAtoms(),
            f"The System has {system.getNumParticles()} particles, but the Topology has "
            f"{topology.getNumAtoms()} atoms; they have to describe the same molecules.",
        )
        if not isinstance(propagator, AtmosPropagator):
            propagator = AtmosPropagator(propagator, topology, lag=lag, positions=positions)
        self.topology = topology
        self.system = system
        self._propagator = propagator
        self._positions = start_positions(positions, walkers, system.getNumParticles())
        self._temperature_k = plain(temperature, unit.kelvin)
        self._friction_per_ps = plain(frictionCoeff, unit.picosecond**-1)
        self._step_ps = plain(stepSize, unit.picosecond)
        self._lag_ps = propagator.checkedLag(lag)
        propagator.checkedTemperature(self._temperature_k)
        self._interval = int(jumpInterval)
        self._report = int(report)
        self._format = trajectoryFormat
        self._equilibration = Equilibration(
            self._temperature_k,
            self._friction_per_ps,
            self._step_ps,
            int(equilibrationSteps),
            bool(minimize),
        )
        self._commit_seconds = commitSeconds
        solute = np.asarray(propagator.atomIndices, dtype=np.int64)
        keep = len(solute) <= SMALL_SOLUTE_ATOMS if storePositions is None else storePositions
        self._stored_atoms = len(solute) if keep else None
        self._platform = choose_platform(platform)
        self._properties = platform_properties(self._platform, system.getNumParticles(), threads)
        stored = read_settings(folder) if (Path(folder) / "run.json").exists() else {}
        self.seed = int(seed) or int(stored.get("seed", 0)) or fresh_seed()
        self._settings: dict[str, Any] = {
            **(settings or {}),
            "model": propagator.modelName,
            "model_sha256": propagator.fingerprint(),
            "system_sha256": digest(openmm.XmlSerializer.serialize(system).encode()),
            "start_sha256": digest(self._positions.tobytes()),
            "atoms": topology.getNumAtoms(),
            "solute_atoms": len(solute),
            "walkers": walkers,
            "temperature_K": self._temperature_k,
            "friction_per_ps": self._friction_per_ps,
            "step_ps": self._step_ps,
            "jump_interval": self._interval,
            "report_interval": self._report,
            "lag_ps": self._lag_ps,
            "acceptance": acceptance,
            "energy_window": float(energyWindow),
            "window_samples": int(windowSamples),
            "relaxation": [int(n) for n in relaxation],
            "seed": self.seed,
            "platform": self._platform.getName(),
            "format": trajectoryFormat,
            "minimize": self._equilibration.minimize,
            "equilibration_steps": self._equilibration.steps,
            "store_positions": bool(keep),
        }
        self.folder = RunFolder(folder, self._settings, {**versions(), **(notes or {})})
        self.cycle = 0
        self._stop = False
        self._torn = False
        self._generated = 0
        self._walltime_s = 0.0
        self._reasons: Counter[str] = Counter()
        try:
            self.walkers = self._create_walkers(
                solute, acceptance, energyWindow, windowSamples, relaxation
            )
            if self.folder.checkpoint is None:
                self._start()
            else:
                self._take_up(self.folder.checkpoint)
        except BaseException:
            self.folder.close()
            raise

    def run(
        self,
        cycles: int | None = None,
        *,
        valid_frames: int | None = None,
        max_cycles: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> RunSummary:
        """
        Run until a total number of cycles, or of valid generated frames, is reached.

        Parameters
        ----------
        cycles: int, optional
            The cycles that each walker has to have completed, those of earlier calls included
        valid_frames: int, optional
            The valid generated frames to have in total; the run may end with a few more, because
            every walker completes its cycle
        max_cycles: int, optional
            With valid_frames: the cycles after which to give up
        progress: function, optional
            Called with a Progress after each cycle of all walkers

        Returns
        -------
        RunSummary
            What the whole run has come to. `complete` tells whether what was asked for was
            reached, and `message` why it was not.

        Raises
        ------
        ValueError
            If neither cycles nor valid_frames is given, or dynamics breaks down
        StorageError
            If the disk is full or failing; what was committed is safe and can be taken up
        """
        limit = cycles if valid_frames is None else max_cycles
        if limit is None and valid_frames is None:
            raise ValueError("Say when to stop: run(cycles=...) or run(valid_frames=...).")
        if valid_frames is not None and cycles is not None:
            raise ValueError(
                "Give either cycles or valid_frames (with max_cycles as its limit), not both."
            )
        if valid_frames is not None and self._interval % self._report:
            raise ValueError(
                f"Frames are written every {self._report} steps, which misses the ends of cycles "
                f"of {self._interval} steps; for valid_frames the report interval has to divide "
                "the jump interval."
            )
        if limit is None:
            raise ValueError(
                "valid_frames needs max_cycles: the number of cycles after which to give up."
            )
        self._stop = False
        if self._torn:
            if self.folder.checkpoint is None:
                raise ValueError(
                    "The run was interrupted within its first cycles, before anything was "
                    "committed. Create the sampler again to start over."
                )
            self._take_up(self.folder.checkpoint)
        wanted = valid_frames or 0
        began = committed = time.monotonic()
        before_s = self._walltime_s
        first_cycle = self.cycle
        while self.cycle < limit and not self._stop:
            if valid_frames is not None and self._generated >= valid_frames:
                break
            self._round()
            now = time.monotonic()
            self._walltime_s = before_s + now - began
            if now - committed >= self._commit_seconds:
                self._commit()
                committed = time.monotonic()
            if progress is not None:
                progress(
                    Progress(
                        cycle=self.cycle,
                        cycles=limit,
                        walkers=len(self.walkers),
                        reasons=Counter(self._reasons),
                        generated=self._generated,
                        wanted=wanted,
                        elapsed_s=now - began,
                        new_cycles=self.cycle - first_cycle,
                        cycle_md_ps=self._interval * self._step_ps,
                        lag_ps=self._lag_ps,
                    )
                )
        self._commit()
        self.folder.merge()
        return self._summary(limit, valid_frames)

    def writeValidFrames(self, count: int | None = None, path: str | Path | None = None) -> Path:
        """
        Gather the valid generated frames of all walkers in one trajectory file, in the order of
        the cycles that made them.

        Parameters
        ----------
        count: int, optional
            How many at most, from the first on; all by default
        path: str or Path, optional
            The file, ending in .dcd or .xtc; valid_frames in the run's folder by default

        Returns
        -------
        Path
            The file written
        """
        from .extract import write_valid_frames

        target = self.folder.path / f"valid_frames.{self._format}" if path is None else Path(path)
        with explained(self.folder.path, self.folder.committed_text()):
            write_valid_frames(self.folder.path, self.topology, target, count)
        return target

    @property
    def stopped(self) -> bool:
        """Whether `stop()` was called."""
        return self._stop

    def stop(self) -> None:
        """
        Ask a `run()` that is going on, from a signal handler or another thread, to end after the
        current cycle and commit. It returns a summary with `complete` false.
        """
        self._stop = True

    def close(self) -> None:
        """Let other processes use the folder. The sampler cannot be used afterwards."""
        self.folder.close()

    def __enter__(self) -> HybridSampler:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _create_walkers(
        self,
        solute: NDArray[np.int64],
        acceptance: str,
        window: float,
        samples: int,
        relaxation: Sequence[int],
    ) -> list[Walker]:
        """Contexts with their integrators, at the start positions."""
        import openmm

        periodic = self.system.usesPeriodicBoundaryConditions()
        checkpoint = self.folder.checkpoint
        walkers = []
        for index in range(self._settings["walkers"]):
            integrator = self._propagator.createIntegrator(
                self._temperature_k,
                self._friction_per_ps,
                self._step_ps,
                system=self.system,
                jumpInterval=self._interval,
                lag=self._lag_ps,
                acceptance=acceptance,
                energyWindow=window,
                relaxation=relaxation,
                seed=walker_seed(self.seed, index),
            )
            integrator.setWindowSamples(samples)
            integrator.setRandomNumberSeed(self._thermostat_seed(index))
            context = openmm.Context(self.system, integrator, self._platform, self._properties)
            if periodic and self.topology.getPeriodicBoxVectors() is not None:
                context.setPeriodicBoxVectors(*self.topology.getPeriodicBoxVectors())
            context.setPositions(self._positions[index])
            frames = checkpoint.walkers[index].frames if checkpoint else 0
            size = checkpoint.walkers[index].trajectory_bytes if checkpoint else 0
            with explained(self.folder.path, self.folder.committed_text()):
                trajectory = open_trajectory(
                    self.folder.path / f"trajectory_{index:04d}.{self._format}",
                    self.topology,
                    self._report * self._step_ps,
                    frames,
                    size,
                )
            walkers.append(
                Walker(
                    index,
                    context,
                    integrator,
                    solute=solute,
                    screen=self._propagator.getScreen(self.system),
                    interval=self._interval,
                    report=self._report,
                    trajectory=trajectory,
                    periodic=periodic,
                )
            )
        return walkers

    def _start(self) -> None:
        """Write the topology, and make the walkers of a new run ready."""
        self.folder.write_system(self.topology, self._positions[0], self.system)
        for walker in self.walkers:
            make_ready(
                walker.context,
                self._equilibration,
                self._thermostat_seed(walker.index),
                self.topology,
                self._properties,
            )
            self._check_start(walker)

    def _check_start(self, walker: Walker) -> None:
        """Refuse a start of another hand than the screen's: it would turn every proposal down."""
        from ..systems.screening import inspect_frame

        state = walker.context.getState(positions=True)
        positions = np.asarray(state.getPositions(asNumpy=True)._value)
        screen = self._propagator.getScreen(self.system)
        verdict = inspect_frame(
            screen, positions[self._propagator.atomIndices], only=("chirality", "rings")
        )
        if not verdict:
            raise ValueError(
                f"The start of walker {walker.index} does not pass the screen: "
                f"{self._propagator.describeVerdict(verdict)}. Mend the structure; if it is meant "
                "so (a D residue), create the AtmosPropagator with positions=..., from which it "
                "takes the hand."
            )

    def _take_up(self, checkpoint: RunCheckpoint) -> None:
        """Go back to the last commit."""
        for walker, saved in zip(self.walkers, checkpoint.walkers, strict=True):
            walker.restore(saved)
        self._torn = False
        self.cycle = checkpoint.cycle
        self._generated = checkpoint.generated
        self._walltime_s = checkpoint.walltime_s
        codes = read_run(self.folder.path, positions=False).proposals["reason"]
        self._reasons = Counter(REASONS[code] for code in codes)

    def _round(self) -> None:
        """One cycle of every walker.

        What interrupts it leaves the walkers at different cycles; the next run goes back to the
        last commit then.
        """
        self._torn = True
        for walker in self.walkers:
            reason, valid = walker.run_cycle(self.cycle)
            if reason is not None:
                self._reasons[reason] += 1
            self._generated += valid
        self.cycle += 1
        self._torn = False

    def _commit(self) -> None:
        """Write what is new since the last commit, if anything is."""
        last = self.folder.checkpoint
        if last is not None and last.cycle == self.cycle:
            return
        with explained(self.folder.path, self.folder.committed_text()):
            lengths = [walker.write_frames() for walker in self.walkers]
        rows = Rows(*(self._new_rows(name) for name in TABLES))
        checkpoint = RunCheckpoint(
            commit=self.folder.commit_number + 1,
            cycle=self.cycle,
            walltime_s=self._walltime_s,
            generated=self._generated,
            walkers=tuple(
                walker.checkpoint(*length)
                for walker, length in zip(self.walkers, lengths, strict=True)
            ),
        )
        self.folder.commit(rows, checkpoint)
        for walker in self.walkers:
            walker.forget()

    def _new_rows(self, name: str) -> dict[str, NDArray[Any]]:
        """What is new in a table, in the order in which a run without commits would have it."""
        records = [record for walker in self.walkers for record in walker.rows[name]]
        records.sort(key=lambda record: (record["cycle"], record["walker"]))
        return columns_of(name, records, self._stored_atoms)

    def _summary(self, limit: int, valid_frames: int | None) -> RunSummary:
        """Count everything, and say why something was not reached."""
        message = ""
        complete = self.cycle >= limit
        if valid_frames is not None:
            complete = self._generated >= valid_frames
        if not complete and self._stop:
            message = (
                f"Stopped at cycle {self.cycle} of {limit}. Run the same command again to go on."
            )
        elif not complete:
            message = self._why_too_few(valid_frames or 0, limit)
        return summarize(
            read_run(self.folder.path, positions=False),
            cycles=self.cycle,
            walkers=len(self.walkers),
            step_ps=self._step_ps,
            lag_ps=self._lag_ps,
            walltime_s=self._walltime_s,
            complete=complete,
            message=message,
        )

    def _why_too_few(self, wanted: int, limit: int) -> str:
        """Why there are fewer valid frames than were asked for."""
        proposed = sum(self._reasons.values())
        text = f"Only {self._generated} of {wanted} valid frames after {limit} cycles: "
        if proposed == 0:
            return text + (
                "nothing was proposed yet, because the energy window was still being learned. "
                "Allow more cycles (--max-cycles)."
            )
        rejected = [
            f"{name} {count}" for name, count in self._reasons.most_common() if name != "accepted"
        ]
        text += f"{self._reasons['accepted']} of {proposed} proposals were accepted"
        if rejected:
            text += f" (rejected: {', '.join(rejected)})"
        lost = self._reasons["accepted"] - self._generated
        if lost:
            text += f", and {lost} accepted frames were no longer valid after the dynamics"
        text += ". Allow more cycles (--max-cycles)"
        if self._reasons["energy"]:
            text += ", relax proposals (--relax 10,20) or widen the window (--window)"
        return text + "."

    def _thermostat_seed(self, walker: int) -> int:
        return walker_seed(self.seed, _THERMOSTAT_STREAM + walker)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


__all__ = ["HybridSampler", "StorageError"]
