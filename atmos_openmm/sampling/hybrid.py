"""Hybrid runs: walkers that alternate learned jumps and molecular dynamics, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.files import StorageError, explained
from ..core.settings import digest, versions
from .hybrid_settings import Dynamics, HybridSettings, Jumps, stored_atoms
from .jump_run import JumpRun
from .platforms import choose_platform, platform_properties
from .progress import Progress, RunSummary
from .resumable_run import ResumableRun, chosen_seed
from .run_mode import Advance, RunMode, Sampled
from .start import bound_propagator, check_same_molecules, start_positions

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
        model = bound_propagator(propagator, topology, lag, positions)
        lag_ps = model.checkedLag(lag)
        jumps = Jumps.of(jumpInterval, lag_ps, acceptance, energyWindow, windowSamples, relaxation)
        plan = HybridSettings(
            walkers,
            Dynamics.of(temperature, frictionCoeff, stepSize, equilibrationSteps, minimize),
            jumps,
            int(jumps.interval if reportInterval is None else reportInterval),
            trajectoryFormat,
            chosen_seed(folder, seed),
            choose_platform(platform),
            stored_atoms(model, storePositions),
        )
        self.seed = plan.seed
        self._plan = plan
        self._starts = start_positions(positions, walkers, system.getNumParticles())
        properties = platform_properties(plan.platform, len(self._starts[0]), threads)
        sampled = Sampled(topology, system, self._starts, plan, properties)
        self._mode: RunMode = JumpRun(sampled, model, jumps)
        self.folder = self._mode.make_folder(
            folder,
            {**(settings or {}), **self._what_is_sampled(), **plan.plain()},
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
        limit = self._mode.last_cycle(cycles, valid_frames, max_cycles)
        self._begin()
        wanted, first_cycle = valid_frames or 0, self.cycle

        def current(elapsed_s: float) -> Any:
            new_cycles = self.cycle - first_cycle
            return self._mode.progress(Advance(self.cycle, limit, wanted, new_cycles, elapsed_s))

        self._loop(lambda: self.cycle >= limit or self._mode.reached(wanted), current, progress)
        advance = Advance(self.cycle, limit, wanted)
        return self._mode.summary(advance, self._walltime_s, self.stopped)

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
        """Molecule and start, by their hashes."""
        import openmm

        return {
            "system_sha256": digest(openmm.XmlSerializer.serialize(self.system).encode()),
            "start_sha256": digest(self._starts.tobytes()),
            "atoms": self.topology.getNumAtoms(),
        }

    def _take_up(self) -> None:
        state = self._mode.take_up()
        self.walkers = self._mode.walkers
        self.cycle = state.cycle
        self._walltime_s = state.walltime_s

    def _advance(self) -> None:
        """One cycle of every walker."""
        self._torn = True
        self._mode.run_cycle(self.cycle)
        self.cycle += 1
        self._torn = False

    def _has_news(self) -> bool:
        return self._mode.has_news()

    def _write(self) -> None:
        self._mode.write(self.cycle, self._walltime_s)


__all__ = ["HybridSampler", "StorageError"]
