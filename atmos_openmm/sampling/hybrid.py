"""Hybrid runs: walkers that alternate learned jumps and molecular dynamics, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.files import StorageError, explained
from ..core.settings import digest, versions
from ..jump.acceptance import METROPOLIS
from ..surrogate import chosen_moves
from .exact_averages import averages_of
from .exact_progress import ExactProgress, ExactSummary
from .exact_run import NO_VALID_FRAMES
from .exact_setup import exact_run
from .from_inputs import FromInputs
from .hybrid_settings import (
    Dynamics,
    HybridSettings,
    Jumps,
    Moves,
    hot_temperatures,
    stored_atoms,
)
from .jump_run import JumpRun
from .platforms import choose_platform, platform_properties
from .progress import RunSummary
from .resumable_run import ResumableRun, chosen_seed
from .run_mode import Advance, RunMode, Sampled
from .start import bound_propagator, check_same_molecules, number_of_starts, start_positions

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from ..density import TorsionDensity
    from ..propagator import AtmosPropagator
    from .averages import Averages


class HybridSampler(FromInputs, ResumableRun):
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

    The folder holds `topology.pdb`, `system.xml`, `run.json` with the settings,
    `trajectory_0000.dcd` (one a walker; frames every reportInterval steps, never the raw generated
    ones), and tables of every proposal, every stretch of dynamics (with its origin: start, jump or
    continuation) and every frame. Read them, also of a run that is going on, with
    `atmos_openmm.sampling.read_run(folder)`.

    With acceptance 'filter' and 'none' the populations that a run visits are not Boltzmann's, but
    the model's: such runs explore. Each stretch of dynamics is unbiased from its own start.

    **Averages** are what acceptance 'metropolis' is for. A jump is then a number of moves that
    draw torsions from an explicit density, each tested by the exact Metropolis criterion, so that
    all frames are samples of Boltzmann's distribution, each of weight 1:

    >>> sampler = HybridSampler(pdb.topology, system, pdb.positions, propagator, 'run2',
    ...                         acceptance='metropolis', walkers=4, adapt=1000)
    >>> print(sampler.run(cycles=10000).averages)

    The density is made of the propagator's frames; or give one (`density`), or no propagator, for
    the uniform one. It decides how fast a run converges, not to what. With `adapt` it is refitted
    to the walkers' own frames before the run that counts. Walkers start in different basins
    (`starts`), so that their agreement means something. The folder has `moves.npy` and `frames.npy`
    (with the torsions of every frame) in place of the three tables, `density.safetensors`, and
    `atmos_openmm.sampling.read_exact_run(folder)` reads them.

    `HybridSampler.fromFiles()` makes one of PDB, AMBER, GROMACS or CHARMM files, and
    `HybridSampler.fromSimulation()` of a Simulation that exists.

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
        propagator: AtmosPropagator | torch.jit.ScriptModule | None,
        folder: str | Path,
        *,
        temperature: Any = 300.0,
        frictionCoeff: Any = 1.0,
        stepSize: Any = 0.004,
        walkers: int = 1,
        jumpInterval: int | None = None,
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
        density: TorsionDensity | str | Path | None = None,
        moves: int | None = None,
        trials: int | None = None,
        moveShares: Mapping[str, float] | None = None,
        dynamics: str = "langevin",
        methyls: bool = False,
        starts: str | None = None,
        temperatures: Sequence[Any] | None = None,
        adapt: int = 0,
        solute: str | Iterable[int] | None = None,
        molecules: Mapping[str, Any] | None = None,
        preparing: Callable[[ExactProgress], None] | None = None,
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
        propagator : AtmosPropagator or torch.jit.ScriptModule or None
            What proposes the jumps; None with acceptance 'metropolis' and a density that is no
            model's
        folder : str or Path
            Where everything is written; made if it is missing
        temperature, frictionCoeff, stepSize : Quantity or float
            Of the Langevin dynamics (in K, 1/ps, ps)
        walkers : int
            How many walkers
        jumpInterval : int, optional
            The number of steps between jumps; 250 by default; with acceptance 'metropolis' 25,
            or 10 for series of trials between Langevin dynamics
        reportInterval : int, optional
            The number of steps between trajectory frames; jumpInterval by default
        lag : Quantity or float, optional
            The time that one jump skips (in ps); the longest that the model knows by default
        acceptance : str
            'filter' or 'none', which explore, or 'metropolis', which gives averages; see
            AtmosIntegrator
        energyWindow, windowSamples
            With 'filter': width of the window (standard deviations), and energies it has to know
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
        density : TorsionDensity, str or Path, optional
            With 'metropolis', as what follows: a density to draw torsions from, the file of one,
            'uniform', or 'model' (the default): that of the propagator's torsion head, or else of
            its frames, drawn once and cached
        moves : int, optional
            The number of moves in a jump; each costs an energy evaluation. By default 10, or 1
            where it is a series of trials
        trials : int, optional
            The number of trials in a move, tested with a fast approximation of the energy
            (`SurrogateEnergy`) before the end is tested with the energy itself. By default 100
            where it knows every force of the System, else 1, which is none
        moveShares : mapping, optional
            How often each kind of move is tried: all, residue, neighbours, backbone, sidechain,
            torsion, small
        dynamics : str
            'langevin', or 'hmc' for trajectories of jumpInterval steps that are tested as well
        methyls : bool
            Whether methyls and their like are turned as well
        starts : str, optional
            'given', or 'density' for walkers (but the first) that start where the density says;
            the default for several walkers and one start
        temperatures : sequence of Quantity or float, optional
            Of a ladder of replicas, from the run's own up (in K), e.g. [300, 360, 430, 520]: above
            each walker as many replicas as there are higher ones move as it does, and exchange
            configurations with it after each cycle.  Frames are those of the walkers
        adapt : int
            Cycles of each walker, before the run that counts, to whose frames the density is fitted
        solute : str or iterable of int, optional
            What may turn, as in AtmosPropagator; the propagator's, or all but solvent, by default
        molecules : mapping, optional
            RDKit molecules by residue name, for residues that are not standard
        preparing : function, optional
            Called with an ExactProgress while frames of the model are drawn and the density adapts
        commitSeconds : float
            Wall-clock time between commits; what came after the last one is repeated after a kill
        settings, notes : mapping, optional
            More to be stored in run.json; settings have to be the same when the run is taken up

        Raises
        ------
        ValueError
            If an argument makes no sense, the model or density does not fit, or nothing turns
        StorageError
            If the folder cannot be written, is in use, or holds something else
        """
        check_same_molecules(topology, system)
        self.topology, self.system = topology, system
        model = None
        if propagator is not None:
            model = bound_propagator(propagator, topology, lag, positions)
        hot_k = hot_temperatures(temperature, temperatures, acceptance)
        jumps: Jumps | Moves
        stored = None
        if acceptance == METROPOLIS:
            spread = walkers > 1 and number_of_starts(positions) == 1
            starts = starts or ("density" if spread else "given")
            tried = chosen_moves(system, moves, trials)
            jumps = Moves.of(
                jumpInterval, *tried, moveShares, dynamics, methyls, starts, adapt, hot_k
            )
        elif model is None:
            raise ValueError(f"Acceptance {acceptance!r} needs a propagator, which proposes jumps.")
        else:
            lag_ps = model.checkedLag(lag)
            jumps = Jumps.of(
                jumpInterval, lag_ps, acceptance, energyWindow, windowSamples, relaxation
            )
            stored = stored_atoms(model, storePositions)
        plan = HybridSettings(
            walkers,
            Dynamics.of(temperature, frictionCoeff, stepSize, equilibrationSteps, minimize),
            jumps,
            int(jumps.interval if reportInterval is None else reportInterval),
            trajectoryFormat,
            chosen_seed(folder, seed),
            choose_platform(platform),
            stored,
        )
        self.seed, self._plan = plan.seed, plan
        self._starts = start_positions(positions, walkers, system.getNumParticles())
        properties = platform_properties(plan.platform, len(self._starts[0]), threads)
        sampled = Sampled(topology, system, self._starts, plan, properties)
        self._mode: RunMode
        if isinstance(jumps, Moves):
            self._mode = exact_run(
                sampled,
                jumps,
                folder,
                model,
                density,
                lag=lag,
                solute=solute,
                molecules=molecules,
                told=preparing,
            )
        elif model is not None:
            self._mode = JumpRun(sampled, model, jumps)
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
        progress: Callable[[Any], None] | None = None,
    ) -> RunSummary | ExactSummary:
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
            Called with a Progress (an ExactProgress with acceptance 'metropolis') after each cycle
            of all walkers

        Returns
        -------
        RunSummary or ExactSummary
            What the whole run has come to. `complete` tells whether what was asked for was
            reached, and `message` why it was not. With acceptance 'metropolis' it holds averages.

        Raises
        ------
        ValueError
            If neither cycles nor valid_frames is given, dynamics breaks down, or valid frames are
            asked of an exact run
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
        the cycles that made them; returns its path.

        Parameters
        ----------
        count : int, optional
            How many at most, from the first on; all by default
        path : str or Path, optional
            The file, ending in .dcd or .xtc; valid_frames in the run's folder by default
        """
        from .extract import write_valid_frames

        if self._plan.jumps.acceptance == METROPOLIS:
            raise ValueError(NO_VALID_FRAMES)
        target = (
            self.folder.path / f"valid_frames.{self._plan.format}" if path is None else Path(path)
        )
        with explained(self.folder.path, self.folder.committed_text()):
            write_valid_frames(self.folder.path, self.topology, target, count)
        return target

    def averages(self, discard: float = 0.1) -> Averages:
        """
        Get the averages of a run with acceptance 'metropolis', as far as it is committed:
        populations of basins with errors, effective samples and R-hat. They print as a table.

        Parameters
        ----------
        discard : float
            The share of the frames of each walker, from the first on, that is left out

        Raises
        ------
        ValueError
            If the run explores: the populations of 'filter' and 'none' are the model's
        """
        return averages_of(self.folder.path, discard)

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
