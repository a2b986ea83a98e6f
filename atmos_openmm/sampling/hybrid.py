"""Hybrid runs: walkers that alternate learned jumps and molecular dynamics, kept in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..core.files import StorageError, explained
from ..core.settings import digest, versions
from .hybrid_settings import Dynamics, HybridSettings, Jumps, stored_atoms
from .hybrid_state import HybridState
from .platforms import choose_platform, platform_properties
from .progress import Progress, RunSummary, summarize, why_too_few
from .resumable_run import ResumableRun, chosen_seed
from .start import (
    bound_propagator,
    check_hand,
    check_same_molecules,
    make_ready,
    start_positions,
)
from .storage import HybridFolder, read_run
from .tables import TABLES, packed_records
from .walker import create_walkers, thermostat_seed

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from ..propagator import AtmosPropagator


class HybridSampler(ResumableRun):
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
    every reportInterval steps, never the raw generated ones), `proposals.npy` with a row for every
    proposal (energies before, raw and after, verdict, relaxation stage, positions),
    `segments.npy` for every stretch of dynamics (with its origin: start, jump or continuation),
    `frames.npy` for every frame, and `run.json` with the settings. Read the tables, also of a run
    that is going on, with `atmos_openmm.sampling.read_run(folder)`.

    The populations that a hybrid run visits are not Boltzmann's: the acceptance is a filter. Each
    stretch of dynamics is unbiased from its own start, which is why all of them are recorded with
    their origins.

    A propagator of your own can be given as a bound TorchScript module (docs/architecture.md);
    `lag` has to be given then.

    Attributes
    ----------
    folder : HybridFolder
        the files of the run
    walkers : list[Walker]
        the walkers, with their Contexts
    cycle : int
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
        topology : openmm.app.Topology
            The molecule, with anything around it
        system : openmm.System
            The System to sample
        positions : Quantity or array
            Where the walkers start: [P, 3], or [walkers, P, 3] for one start each (in nm)
        propagator : AtmosPropagator or torch.jit.ScriptModule
            What proposes the jumps
        folder : str or Path
            Where everything is written; made if it is missing
        temperature, frictionCoeff, stepSize : Quantity or float
            Of the Langevin dynamics (in K, 1/ps, ps)
        walkers : int
            How many walkers
        jumpInterval : int
            The number of steps between jumps
        reportInterval : int, optional
            The number of steps between trajectory frames; jumpInterval by default
        lag : Quantity or float, optional
            The time that one jump skips (in ps); the longest that the model knows by default
        acceptance : str
            'filter' or 'none', see AtmosIntegrator
        energyWindow, windowSamples
            Width of the energy window in standard deviations, and how many energies it has to
            know before the first jump
        relaxation : sequence of int
            The minimiser iterations of each relaxation stage
        seed : int
            Of everything random; 0 draws one, which is stored in run.json
        platform : str, optional
            Name of the OpenMM Platform; the fastest by default
        threads : int, optional
            Threads of the CPU platform; 1 by default for small systems
        trajectoryFormat : str
            'dcd' or 'xtc'
        minimize : bool
            Whether to minimise the start (by at most 500 iterations)
        equilibrationSteps : int
            Steps of plain dynamics before the first cycle, with which nothing is learned or written
        storePositions : bool, optional
            Whether the record keeps the positions of each proposal; by default for solutes of up
            to 500 atoms
        commitSeconds : float
            Wall-clock time between commits; what came after the last one is repeated after a kill
        settings, notes : mapping, optional
            More to be stored in run.json; settings have to be the same when the run is taken up

        Raises
        ------
        ValueError
            If an argument makes no sense or the model does not fit
        StorageError
            If the folder cannot be written, is in use, or holds something else
        """
        check_same_molecules(topology, system)
        self.topology = topology
        self.system = system
        self._propagator = bound_propagator(propagator, topology, lag, positions)
        lag_ps = self._propagator.checkedLag(lag)
        self._plan = HybridSettings(
            walkers,
            Dynamics.of(temperature, frictionCoeff, stepSize, equilibrationSteps, minimize),
            Jumps.of(jumpInterval, lag_ps, acceptance, energyWindow, windowSamples, relaxation),
            int(jumpInterval if reportInterval is None else reportInterval),
            trajectoryFormat,
            chosen_seed(folder, seed),
            choose_platform(platform),
            stored_atoms(self._propagator, storePositions),
        )
        self.seed = self._plan.seed
        self._starts = start_positions(positions, walkers, system.getNumParticles())
        self._properties = platform_properties(self._plan.platform, len(self._starts[0]), threads)
        self.walkers = create_walkers(
            topology, system, self._starts, self._propagator, self._plan, self._properties
        )
        self._beginning: HybridState | None = None
        self.folder = HybridFolder(
            folder,
            {**(settings or {}), **self._what_is_sampled(), **self._plan.plain()},
            {**versions(), **(notes or {})},
        )
        super().__init__(self.folder, commitSeconds)

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
        cycles : int, optional
            The cycles that each walker has to have completed, those of earlier calls included
        valid_frames : int, optional
            The valid generated frames to have in total; the run may end with a few more, because
            every walker completes its cycle
        max_cycles : int, optional
            With valid_frames: the cycles after which to give up
        progress : function, optional
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
        limit = self._plan.last_cycle(cycles, valid_frames, max_cycles)
        self._begin()
        first_cycle = self.cycle

        def reached() -> bool:
            enough = valid_frames is not None and self._generated >= valid_frames
            return enough or self.cycle >= limit

        def current(elapsed_s: float) -> Progress:
            return Progress(
                cycle=self.cycle,
                cycles=limit,
                walkers=len(self.walkers),
                reasons=Counter(self._reasons),
                generated=self._generated,
                wanted=valid_frames or 0,
                elapsed_s=elapsed_s,
                new_cycles=self.cycle - first_cycle,
                cycle_md_ps=self._plan.jumps.interval * self._plan.dynamics.step_ps,
                lag_ps=self._plan.jumps.lag_ps,
            )

        self._loop(reached, current, progress)
        return self._summary(limit, valid_frames)

    def writeValidFrames(self, count: int | None = None, path: str | Path | None = None) -> Path:
        """
        Gather the valid generated frames of all walkers in one trajectory file, in the order of
        the cycles that made them.

        Parameters
        ----------
        count : int, optional
            How many at most, from the first on; all by default
        path : str or Path, optional
            The file, ending in .dcd or .xtc; valid_frames in the run's folder by default

        Returns
        -------
        Path
            The file written
        """
        from .extract import write_valid_frames

        target = (
            self.folder.path / f"valid_frames.{self._plan.format}" if path is None else Path(path)
        )
        with explained(self.folder.path, self.folder.committed_text()):
            write_valid_frames(self.folder.path, self.topology, target, count)
        return target

    def _what_is_sampled(self) -> dict[str, Any]:
        """Model, molecule and start, by their hashes."""
        import openmm

        return {
            "model": self._propagator.modelName,
            "model_sha256": self._propagator.fingerprint(),
            "system_sha256": digest(openmm.XmlSerializer.serialize(self.system).encode()),
            "start_sha256": digest(self._starts.tobytes()),
            "atoms": self.topology.getNumAtoms(),
            "solute_atoms": len(self._propagator.atomIndices),
        }

    def _take_up(self) -> None:
        state = self.folder.open(
            self.topology,
            len(self.walkers),
            self._plan.report * self._plan.dynamics.step_ps,
            self._plan.stored_atoms,
        )
        if state is None:
            if self._beginning is None:
                self._beginning = self._start()
            state = self._beginning
        for walker, saved in zip(self.walkers, state.walkers, strict=True):
            walker.restore(saved)
        self.cycle = state.cycle
        self._generated = state.generated
        self._reasons = Counter(state.reasons)
        self._walltime_s = state.walltime_s

    def _start(self) -> HybridState:
        """Write the topology, and make the walkers of a new run ready; where they are then."""
        self.folder.write_system(self.topology, self._starts[0], self.system)
        screen = self._propagator.getScreen(self.system)
        for walker in self.walkers:
            make_ready(
                walker.context,
                self._plan.dynamics,
                thermostat_seed(self.seed, walker.index),
                self.topology,
                self._properties,
            )
            check_hand(self._propagator, screen, walker)
        return HybridState(0, 0.0, 0, Counter(), tuple(walker.state() for walker in self.walkers))

    def _advance(self) -> None:
        """One cycle of every walker."""
        self._torn = True
        for walker in self.walkers:
            reason, valid = walker.run_cycle(self.cycle)
            if reason is not None:
                self._reasons[reason] += 1
            self._generated += valid
        self.cycle += 1
        self._torn = False

    def _has_news(self) -> bool:
        return any(walker.rows["segments"] for walker in self.walkers)

    def _write(self) -> None:
        walkers = tuple(walker.state() for walker in self.walkers)
        reasons = Counter(self._reasons)
        state = HybridState(self.cycle, self._walltime_s, self._generated, reasons, walkers)
        tables = {name: self._new_rows(name) for name in TABLES}
        self.folder.commit([walker.frames for walker in self.walkers], tables, state)
        for walker in self.walkers:
            walker.forget()

    def _new_rows(self, name: str) -> NDArray[Any]:
        """What is new in a table, in the order in which a run without commits would have it."""
        records = [record for walker in self.walkers for record in walker.rows[name]]
        records.sort(key=lambda record: (record["cycle"], record["walker"]))
        return packed_records(name, records, self._plan.stored_atoms)

    def _summary(self, limit: int, valid_frames: int | None) -> RunSummary:
        """Count everything, and say why something was not reached."""
        message = ""
        complete = self.cycle >= limit
        if valid_frames is not None:
            complete = self._generated >= valid_frames
        if not complete and self.stopped:
            message = (
                f"Stopped at cycle {self.cycle} of {limit}. Run the same command again to go on."
            )
        elif not complete:
            message = why_too_few(self._generated, valid_frames or 0, limit, self._reasons)
        return summarize(
            read_run(self.folder.path, positions=False),
            cycles=self.cycle,
            walkers=len(self.walkers),
            step_ps=self._plan.dynamics.step_ps,
            lag_ps=self._plan.jumps.lag_ps,
            walltime_s=self._walltime_s,
            complete=complete,
            message=message,
        )


__all__ = ["HybridSampler", "StorageError"]
