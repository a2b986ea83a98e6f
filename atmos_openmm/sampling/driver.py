"""The schedule of one jump in pure Python.

`HybridDriver` does what the compiled `AtmosIntegrator` does, from outside: over any OpenMM
Integrator that has a Context, and for many walkers with one call of the network. It serves
integrators that are not Langevin, and it is the oracle that the compiled one is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.units import plain
from ..jump.acceptance import ACCEPTANCE_MODES, METROPOLIS, EnergyWindows
from ..jump.judge import Judge
from ..jump.metropolis import ModuleMoves, MovedFrame, make_moves, make_series
from ..jump.module_call import module_sizes
from ..jump.noise import fresh_seed, walker_seed
from ..jump.proposal import Proposal
from ..jump.snapshot import Snapshot
from ..jump.torsion_moves import MOVE_KINDS, TorsionMoves
from ..surrogate import SurrogateEnergy
from .driver_checkpoint import pack_walkers, unpack_walkers
from .driver_jumps import DriverWalker, JumpKind, JumpVelocities, MetropolisJumps, ModuleJumps

if TYPE_CHECKING:
    import openmm
    import torch

    from ..density.torsion_density import TorsionDensity
    from ..systems.screening import ScreenSpec
    from ..systems.torsions import Torsions

MODES = (*ACCEPTANCE_MODES, METROPOLIS)


class HybridDriver:
    """Alternates molecular dynamics with learned jumps, over Contexts that you provide.

    Create the Contexts as for any simulation, with any Integrator, set their positions and
    velocities, and hand them over together with a bound module and the screen of its molecule:

    >>> driver = HybridDriver([context], module, screen, lag=100*picoseconds,
    ...                       temperature=300*kelvin, jumpInterval=250, seed=1)
    >>> driver.step(10000)
    >>> driver.getNumAccepted(), driver.getReasons()

    With several Contexts the walkers are independent, and the network sees all of them in one
    batch. Each has its own seed, so the trajectory of a walker does not depend on its company
    (beyond rounding inside the network).

    A jump is due before a step, when `jumpInterval` steps have been made since the last time one
    was due. It takes no step and no Context time; what it skips is counted in
    `getLearnedTime()`. The acceptance `filter` first waits until `windowSamples` energies of the
    run's own MD are known. It is biased: a frame is taken because MD could have made it, and
    nothing is said about how often.

    The acceptance `metropolis` needs no screen, and no module. A jump is a number of moves of
    torsions, drawn from an explicit density; each costs one energy and is tested so that averages
    are those of the Boltzmann distribution, whatever the density:

    >>> torsions = find_torsions(topology, system=system)
    >>> driver = HybridDriver(context, acceptance="metropolis", torsions=torsions,
    ...                       density=TorsionDensity.uniform(torsions.names,
    ...                                torsions.block_sizes, torsions.previous), jumpInterval=20)

    A module whose `log_ratio` is that of its proposals, as `AtmosPropagator.torsionModule()` makes
    one, is tested in the same way where no torsions are given:

    >>> driver = HybridDriver(context, module, acceptance="metropolis", moves=1, jumpInterval=20,
    ...                       lag=5*nanoseconds)

    Jumps are made in the middle of a step where the Integrator has one (LangevinMiddle, Langevin,
    DPD, QTB). Velocities that are drawn there leave the distribution as it is; "metropolis" keeps
    those that there are.

    Parameters
    ----------
    contexts : Context or list of Contexts
        of Systems with the same particles
    module : torch.jit.ScriptModule
        a bound module (see docs/architecture.md); "metropolis" takes one without state in place of
        torsions
    screen : ScreenSpec
        tests of the geometry, in atom numbers of the module; not needed by "metropolis"
    solute : sequence of int
        particle index of each atom of the module; the first particles by default
    jumpInterval : int
        steps between jumps; 0 for none
    lag : time
        the time that one jump skips (ps); needed with a module
    temperature : temperature
        asked of the module and given to the new velocities (K); by default each integrator's at
        the time of the jump
    acceptance : str
        "filter", "none" or "metropolis"
    energyWindow : float
        width of the window in standard deviations above the mean
    windowSamples : int
        energies to be known before the first proposal of `filter`
    relaxation : sequence of int
        minimiser iterations of each stage
    torsions : Torsions
        what the moves of "metropolis" turn, as of `find_torsions` with the Contexts' System
    density : TorsionDensity
        of these torsions; it is what new ones are drawn from
    moves : int
        moves at each jump
    trials : int
        trials of each move, tested with a fast approximation of the energy (`SurrogateEnergy`);
        with 1 each move is tested with the energy itself
    moveShares : dict of str to float
        how often each kind of move is tried, see `TorsionMoves`
    smallMoveWidth : angle
        standard deviation of the moves of kind "small" (rad)
    seed : int or list of int
        of the first walker (the others follow from it), or of each; 0 draws one

    Raises
    ------
    ValueError
        An argument is missing for this acceptance, or not one of its values.
    """

    def __init__(
        self,
        contexts: openmm.Context | Sequence[openmm.Context],
        module: torch.jit.ScriptModule | None = None,
        screen: ScreenSpec | None = None,
        *,
        solute: Sequence[int] | NDArray[np.integer] | None = None,
        jumpInterval: int = 250,
        lag: Any = None,
        temperature: Any = None,
        acceptance: str = "filter",
        energyWindow: float = 6.0,
        windowSamples: int = 20,
        relaxation: Sequence[int] = (),
        torsions: Torsions | None = None,
        density: TorsionDensity | None = None,
        moves: int = 10,
        trials: int = 1,
        moveShares: Mapping[str, float] | None = None,
        smallMoveWidth: Any = 0.35,
        seed: int | Sequence[int] = 0,
        threads: int = 1,
    ) -> None:
        import openmm
        from openmm import unit

        if acceptance not in MODES:
            raise ValueError(f"Unknown acceptance {acceptance!r}; use one of {', '.join(MODES)}.")
        if jumpInterval < 0:
            raise ValueError(f"jumpInterval is {jumpInterval}; use 0 (no jumps) or more.")
        all_contexts = [contexts] if isinstance(contexts, openmm.Context) else list(contexts)
        if not all_contexts:
            raise ValueError("No Context was given; HybridDriver needs at least one.")
        self._interval = int(jumpInterval)
        self._since_jump = 0
        for context in all_contexts:
            integrator = context.getIntegrator()
            if temperature is None and not hasattr(integrator, "getTemperature"):
                raise ValueError(
                    f"A {type(integrator).__name__} has no temperature; give "
                    "HybridDriver(temperature=...) one."
                )
        system = all_contexts[0].getSystem()
        kelvin = None if temperature is None else plain(temperature, unit.kelvin)
        velocities = JumpVelocities(system)
        self._masses = velocities.masses_da
        self._state_size = 0
        self._jumps: JumpKind
        if acceptance == METROPOLIS:
            for name, number in (("moves", moves), ("trials", trials)):
                if number < 1:
                    raise ValueError(f"{name} is {number}; there has to be at least one.")
            make: Callable[[DriverWalker, Snapshot], MovedFrame]
            if torsions is None and density is None and module is not None:
                make = _module_moves(system, module, solute, lag, int(moves), threads)
            else:
                width = plain(smallMoveWidth, unit.radian)
                chosen = _torsion_moves(system, torsions, density, moveShares, width)
                groups = all_contexts[0].getIntegrator().getIntegrationForceGroups()
                surrogate = SurrogateEnergy(system, chosen.torsions, groups) if trials > 1 else None
                make = _density_moves(chosen, surrogate, int(moves), int(trials))
            self._jumps = MetropolisJumps(make, int(moves), velocities)
        else:
            if module is None or screen is None or lag is None:
                raise ValueError(
                    f"The acceptance {acceptance!r} needs a module, a screen and a lag; only "
                    "'metropolis' does without."
                )
            sizes = module_sizes(module)
            atoms = _solute_atoms(solute, sizes.num_atoms)
            judge = Judge(system, self._masses, atoms, screen, relaxation)
            lag_ps = plain(lag, unit.picosecond)
            self._state_size = sizes.state_size
            filtered = acceptance == "filter"
            self._jumps = ModuleJumps(module, atoms, judge, velocities, lag_ps, filtered, threads)
        seeds = _walker_seeds(seed, len(all_contexts))
        self._walkers = [
            DriverWalker(
                context,
                walker_seed,
                EnergyWindows(float(energyWindow), int(windowSamples)),
                np.zeros(self._state_size, dtype=np.float32),
                kelvin,
            )
            for context, walker_seed in zip(all_contexts, seeds, strict=True)
        ]

    def step(self, steps: int) -> None:
        """Advance every walker by a number of steps, with the jumps that fall due.

        Raises
        ------
        openmm.OpenMMException
            if the module fails, or the energy before a jump is not finite; every walker is then as
            it was before the jump
        """
        remaining = int(steps)
        while remaining > 0:
            if self._interval == 0:
                chunk = remaining
            else:
                if self._since_jump >= self._interval:
                    self._jump()
                    self._since_jump = 0
                chunk = min(remaining, self._interval - self._since_jump)
            for walker in self._walkers:
                walker.context.getIntegrator().step(chunk)
            self._since_jump += chunk
            remaining -= chunk

    def getNumProposed(self, walker: int = 0) -> int:
        """Number of proposals of a walker, or of its moves."""
        return self._walkers[walker].attempts

    def getNumAccepted(self, walker: int = 0) -> int:
        """Number of accepted proposals of a walker, or of its moves."""
        return self._walkers[walker].reasons["accepted"]

    def getReasons(self, walker: int = 0) -> dict[str, int]:
        """Number of proposals or moves of a walker by verdict, for the verdicts that occurred."""
        return dict(self._walkers[walker].reasons)

    def getMoveStatistics(self, walker: int = 0) -> dict[str, tuple[int, int]]:
        """How many moves of each kind a walker tried and accepted, for the kinds it tried."""
        chosen = self._walkers[walker]
        return {
            kind: (chosen.tried[kind], chosen.accepted[kind])
            for kind in MOVE_KINDS
            if chosen.tried[kind] > 0
        }

    def getNumJumps(self, walker: int = 0) -> int:
        """How often a walker jumped with "metropolis", a number of moves each time."""
        return self._walkers[walker].jumps

    def getNumWindowSamples(self, walker: int = 0) -> int:
        """Number of MD energies that a walker's window knows at its present temperature."""
        return self._walkers[walker].window.statistics.count

    def getLearnedTime(self, walker: int = 0) -> Any:
        """Time skipped by the accepted jumps of a walker, as a Quantity."""
        from openmm import unit

        return self._walkers[walker].learned_time_ps * unit.picosecond

    def getLastProposal(self, walker: int = 0) -> Proposal | None:
        """The last proposal of a walker; None before the first, and with "metropolis"."""
        return self._walkers[walker].last

    def getSeed(self, walker: int = 0) -> int:
        """The seed of a walker's noise."""
        return self._walkers[walker].seed

    def createCheckpoint(self) -> bytes:
        """Everything that is needed to go on: the Contexts' checkpoints and the driver's own state.

        It is bound to the platform and version of OpenMM, as the Contexts' checkpoints are, and to
        the module. Last proposals are not in it.
        """
        return pack_walkers(self._walkers, self._since_jump)

    def loadCheckpoint(self, checkpoint: bytes) -> None:
        """Go back to a checkpoint of a driver with as many walkers and the same module.

        Raises
        ------
        ValueError
            if it is of a driver with other walkers or another module
        """
        self._since_jump = unpack_walkers(checkpoint, self._walkers, self._state_size)

    def _jump(self) -> None:
        """Make the jump that is due, for every walker."""
        self._jumps.jump(self._walkers)


def _solute_atoms(
    solute: Sequence[int] | NDArray[np.integer] | None, expected: int
) -> NDArray[np.int64]:
    """Particle of each atom of a module."""
    atoms = np.arange(expected) if solute is None else np.asarray(solute)
    if len(atoms) != expected:
        raise ValueError(
            f"solute names {len(atoms)} particles, but the module was bound to {expected} atoms."
        )
    return atoms.astype(np.int64)


def _torsion_moves(
    system: openmm.System,
    torsions: Torsions | None,
    density: TorsionDensity | None,
    shares: Mapping[str, float] | None,
    width_rad: float,
) -> TorsionMoves:
    """The moves of "metropolis", checked against the System."""
    if torsions is None or density is None:
        raise ValueError(
            "The acceptance 'metropolis' needs torsions (see find_torsions) and their density "
            "(TorsionDensity.uniform is one)."
        )
    chosen = TorsionMoves(torsions, density, shares, width_rad)
    last = int(torsions.atoms.max())
    if last >= system.getNumParticles():
        raise ValueError(
            f"The torsions name particle {last}, but the System has {system.getNumParticles()}. "
            "Find them in the Topology of this System."
        )
    return chosen


def _density_moves(
    moves: TorsionMoves,
    surrogate: SurrogateEnergy | None,
    count: int,
    trials: int,
) -> Callable[[DriverWalker, Snapshot], MovedFrame]:
    """Moves of torsions drawn from a density: each tested with the energy, or series of trials."""

    def single(w: DriverWalker, at: Snapshot) -> MovedFrame:
        return make_moves(w.context, at, moves, count, w.temperature_k, w.seed, w.attempts)

    if surrogate is None:
        return single
    energies: SurrogateEnergy = surrogate

    def series(w: DriverWalker, at: Snapshot) -> MovedFrame:
        tried, kelvin = w.tried.total(), w.temperature_k
        return make_series(
            w.context, at, moves, energies, count, trials, kelvin, w.seed, w.attempts, tried
        )

    return series


def _module_moves(
    system: openmm.System,
    module: torch.jit.ScriptModule,
    solute: Sequence[int] | NDArray[np.integer] | None,
    lag: Any,
    count: int,
    threads: int,
) -> Callable[[DriverWalker, Snapshot], MovedFrame]:
    """Moves that a module proposes with their log_ratio."""
    from openmm import unit

    if lag is None:
        raise ValueError("A module was given, but no lag for it; give HybridDriver(lag=...) one.")
    atoms = _solute_atoms(solute, module_sizes(module).num_atoms)
    lag_ps = plain(lag, unit.picosecond)
    moves = ModuleMoves(module, system, atoms, lag_ps, threads)
    return lambda w, at: moves.make(w.context, at, count, w.temperature_k, w.seed, w.attempts)


def _walker_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed a walker: those given, or a sequence that follows from the first."""
    if not isinstance(seed, int):
        seeds = [int(s) for s in seed]
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds were given for {count} walkers.")
        return [s or fresh_seed() for s in seeds]
    return [walker_seed(seed or fresh_seed(), walker) for walker in range(count)]
