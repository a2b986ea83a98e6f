"""What decides a hybrid run, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..core.units import plain
from ..jump.acceptance import ACCEPTANCE_MODES, METROPOLIS
from .trajectory_files import check_format

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator


#: MD steps between jumps by default: of learned ones, of moves of torsions, and of series of trials
#: between Langevin dynamics.
JUMP_INTERVAL = 250
EXACT_INTERVAL = 25
SERIES_INTERVAL = 10
DYNAMICS = ("langevin", "hmc")
MOST_TEMPERATURES = 64
STARTS = ("given", "density")
#: Raw and relaxed positions of proposals are stored by default for solutes up to this size.
SMALL_SOLUTE_ATOMS = 500


@dataclass(frozen=True)
class Dynamics:
    """The Langevin dynamics between jumps, and how walkers are made ready by it.

    Attributes
    ----------
    temperature_k, friction_per_ps, step_ps : float
    equilibration_steps : int
        Steps before the first cycle.
    minimize : bool
        Whether to minimise before them.
    """

    temperature_k: float
    friction_per_ps: float
    step_ps: float
    equilibration_steps: int
    minimize: bool

    @staticmethod
    def of(
        temperature: Any, friction: Any, step: Any, equilibration_steps: int, minimize: bool
    ) -> Dynamics:
        """From Quantities, or numbers in K, 1/ps and ps."""
        from openmm import unit

        return Dynamics(
            plain(temperature, unit.kelvin),
            plain(friction, unit.picosecond**-1),
            plain(step, unit.picosecond),
            int(equilibration_steps),
            bool(minimize),
        )


@dataclass(frozen=True)
class Jumps:
    """When walkers jump, and what becomes of a proposal; see AtmosIntegrator.

    Attributes
    ----------
    interval : int
        MD steps between jumps.
    lag_ps : float
    acceptance : str
    energy_window : float
    window_samples : int
    relaxation : tuple of int
    """

    interval: int
    lag_ps: float
    acceptance: str
    energy_window: float
    window_samples: int
    relaxation: tuple[int, ...]

    @staticmethod
    def of(
        interval: int | None,
        lag_ps: float,
        acceptance: str,
        window: float,
        samples: int,
        relaxation: Sequence[int],
    ) -> Jumps:
        """From the arguments of HybridSampler.

        Raises
        ------
        ValueError
            An argument makes no sense.
        """
        interval = JUMP_INTERVAL if interval is None else interval
        if interval < 1:
            raise ValueError(f"jumpInterval is {interval}; it has to be at least 1 step.")
        if acceptance not in ACCEPTANCE_MODES:
            raise ValueError(
                f"Unknown acceptance {acceptance!r}; use {' or '.join(ACCEPTANCE_MODES)}."
            )
        stages = tuple(int(n) for n in relaxation)
        return Jumps(int(interval), lag_ps, acceptance, float(window), int(samples), stages)

    def plain(self) -> dict[str, Any]:
        """As run.json keeps them."""
        return {
            "jump_interval": self.interval,
            "lag_ps": self.lag_ps,
            "acceptance": self.acceptance,
            "energy_window": self.energy_window,
            "window_samples": self.window_samples,
            "relaxation": list(self.relaxation),
        }


@dataclass(frozen=True)
class Moves:
    """The torsional moves of an exact run; see AtmosIntegrator.

    Attributes
    ----------
    interval : int
        MD steps between jumps.
    count : int
        Moves in a jump.
    trials : int
        Trials in a move, tested with a surrogate of the energy; 1 for none.
    shares : dict of str to float or None
        How often each kind of move is tried.
    dynamics : str
        What happens in between: "langevin" or "hmc".
    methyls : bool
        Whether methyls and their like are turned as well.
    starts : str
        "given" or "density".
    adapt : int
        Cycles of each walker before the run that counts, to which the density is adapted.
    hot_k : tuple of float
        Temperatures of replicas above each walker, which exchange configurations with it.
    """

    interval: int
    count: int
    trials: int
    shares: dict[str, float] | None
    dynamics: str
    methyls: bool
    starts: str
    adapt: int
    hot_k: tuple[float, ...] = ()

    @staticmethod
    def of(
        interval: int | None,
        count: int,
        trials: int,
        shares: Mapping[str, float] | None,
        dynamics: str,
        methyls: bool,
        starts: str,
        adapt: int,
        hot_k: tuple[float, ...] = (),
    ) -> Moves:
        """From the arguments of HybridSampler."""
        if interval is None:
            is_quick = trials > 1 and dynamics == "langevin"
            interval = SERIES_INTERVAL if is_quick else EXACT_INTERVAL
        return Moves(
            int(interval),
            int(count),
            int(trials),
            None if shares is None else {kind: float(share) for kind, share in shares.items()},
            dynamics,
            bool(methyls),
            starts,
            int(adapt),
            hot_k,
        )

    def __post_init__(self) -> None:
        least = {"jumpInterval": (self.interval, 1), "moves": (self.count, 1)}
        least |= {"trials": (self.trials, 1), "adapt": (self.adapt, 0)}
        for name, (value, minimum) in least.items():
            if value < minimum:
                raise ValueError(f"{name} is {value}; it has to be at least {minimum}.")
        if self.hot_k and self.dynamics == "hmc":
            raise ValueError(
                "temperatures are given with dynamics 'hmc'; replicas exchange in the middle of a "
                "step of Langevin dynamics: take 'langevin'."
            )
        choices = {"dynamics": (self.dynamics, DYNAMICS), "starts": (self.starts, STARTS)}
        for name, (chosen, known) in choices.items():
            if chosen not in known:
                raise ValueError(f"Unknown {name} {chosen!r}; use {' or '.join(known)}.")

    @property
    def acceptance(self) -> str:
        """The acceptance mode of such runs."""
        return METROPOLIS

    def check_report(self, report: int) -> None:
        """Refuse frames that would not be samples.

        Raises
        ------
        ValueError
            With HMC, frames fall within a trajectory that is not yet tested.
        """
        if self.dynamics == "hmc" and report % self.interval:
            raise ValueError(
                f"Frames are written every {report} steps, which falls within HMC trajectories of "
                f"{self.interval} steps that are not accepted yet; the report interval has to be a "
                "multiple of the jump interval."
            )

    def plain(self) -> dict[str, Any]:
        """As run.json keeps them."""
        return {
            "jump_interval": self.interval,
            "acceptance": self.acceptance,
            "moves": self.count,
            "trials": self.trials,
            "move_shares": self.shares,
            "dynamics": self.dynamics,
            "methyls": self.methyls,
            "starts": self.starts,
            "adapt_cycles": self.adapt,
            "hot_replicas_K": list(self.hot_k),
        }


def hot_temperatures(
    temperature: Any, ladder: Sequence[Any] | None, acceptance: str
) -> tuple[float, ...]:
    """Temperatures in K above that of a run, of a ladder that begins with it.

    Raises
    ------
    ValueError
        The ladder begins with another temperature, does not rise, is too long, or the acceptance is
        not 'metropolis'.
    """
    from openmm import unit

    if ladder is None:
        return ()
    if acceptance != METROPOLIS:
        raise ValueError(
            f"temperatures are given with acceptance {acceptance!r}; a ladder of replicas needs "
            "'metropolis'."
        )
    kelvin = [plain(value, unit.kelvin) for value in ladder]
    own = plain(temperature, unit.kelvin)
    if len(kelvin) < 2 or any(not b > a for a, b in pairwise(kelvin)):
        raise ValueError(f"temperatures are {kelvin} K; give two or more that rise.")
    if abs(kelvin[0] - own) > 1e-6:
        raise ValueError(
            f"temperatures begin with {kelvin[0]:g} K, but the run is at {own:g} K; the first has "
            "to be the run's own, which averages are of."
        )
    if len(kelvin) > MOST_TEMPERATURES:
        raise ValueError(
            f"There are {len(kelvin)} temperatures; {MOST_TEMPERATURES} are the most of a ladder."
        )
    return tuple(kelvin[1:])


@dataclass(frozen=True)
class HybridSettings:
    """What decides a hybrid run, beside the molecule and the model.

    Attributes
    ----------
    walkers : int
    dynamics : Dynamics
    jumps : Jumps or Moves
    report : int
        MD steps between trajectory frames.
    format : str
        Of trajectories.
    seed : int
    platform : str
        OpenMM's name of it.
    stored_atoms : int or None
        Atoms of each proposal whose positions are kept.
    """

    walkers: int
    dynamics: Dynamics
    jumps: Jumps | Moves
    report: int
    format: str
    seed: int
    platform: str
    stored_atoms: int | None

    def __post_init__(self) -> None:
        if self.walkers < 1:
            raise ValueError(f"walkers is {self.walkers}; there has to be at least one.")
        if self.report < 1:
            raise ValueError(f"reportInterval is {self.report}; it has to be at least 1 step.")
        if isinstance(self.jumps, Moves):
            self.jumps.check_report(self.report)
        check_format(self.format)

    def last_cycle(
        self, cycles: int | None, valid_frames: int | None, max_cycles: int | None
    ) -> int:
        """The cycle at which a run with these arguments ends at the latest.

        Raises
        ------
        ValueError
            They do not say when to stop, or the ends of cycles are not written.
        """
        if valid_frames is None:
            if cycles is None:
                raise ValueError("Say when to stop: run(cycles=...) or run(valid_frames=...).")
            return cycles
        if cycles is not None:
            raise ValueError(
                "Give either cycles or valid_frames (with max_cycles as its limit), not both."
            )
        if self.jumps.interval % self.report:
            raise ValueError(
                f"Frames are written every {self.report} steps, which misses the ends of cycles "
                f"of {self.jumps.interval} steps; for valid_frames the report interval has to "
                "divide the jump interval."
            )
        if max_cycles is None:
            raise ValueError(
                "valid_frames needs max_cycles: the number of cycles after which to give up."
            )
        return max_cycles

    def plain(self) -> dict[str, Any]:
        """As run.json keeps them."""
        return {
            "walkers": self.walkers,
            "temperature_K": self.dynamics.temperature_k,
            "friction_per_ps": self.dynamics.friction_per_ps,
            "step_ps": self.dynamics.step_ps,
            **self.jumps.plain(),
            "report_interval": self.report,
            "seed": self.seed,
            "platform": self.platform,
            "format": self.format,
            "minimize": self.dynamics.minimize,
            "equilibration_steps": self.dynamics.equilibration_steps,
            "store_positions": self.stored_atoms is not None,
        }


def stored_atoms(propagator: AtmosPropagator, asked: bool | None) -> int | None:
    """Atoms of each proposal whose positions are kept; by default those of small solutes."""
    atoms = len(propagator.atomIndices)
    keep = atoms <= SMALL_SOLUTE_ATOMS if asked is None else asked
    return atoms if keep else None
