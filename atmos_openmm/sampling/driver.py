"""The schedule of one jump in pure Python.

`HybridDriver` does what the compiled `AtmosIntegrator` does, from outside: over any OpenMM
Integrator that has a Context, and for many walkers with one call of the network. It serves
integrators that are not Langevin, and it is the oracle that the compiled one is tested against.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.units import plain
from ..jump.acceptance import ACCEPTANCE_MODES, EnergyWindow, RunningStatistics
from ..jump.judge import Judge, Snapshot
from ..jump.module_call import module_sizes
from ..jump.noise import fresh_seed, walker_seed
from ..jump.proposal import Proposal
from ..jump.propose import ProposedFrames, propose_frames
from ..jump.velocities import draw_velocities, particle_masses, virtual_sites

if TYPE_CHECKING:
    import openmm
    import torch

    from ..systems.screening import ScreenSpec


@dataclass
class _Walker:
    """What persists between the jumps of one Context."""

    context: openmm.Context
    seed: int
    window: EnergyWindow
    state: NDArray[np.float32]
    attempts: int = 0
    learned_time_ps: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    last: Proposal | None = None


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

    Parameters
    ----------
    contexts : Context or list of Contexts
        of Systems with the same particles
    module : torch.jit.ScriptModule
        a bound module (see docs/architecture.md)
    screen : ScreenSpec
        tests of the geometry, in atom numbers of the module
    solute : sequence of int
        particle index of each atom of the module; the first particles by default
    jumpInterval : int
        steps between jumps; 0 for none
    lag : time
        the time that one jump skips (ps)
    temperature : temperature
        asked of the module and given to the new velocities (K); the integrator's by default
    acceptance : str
        "filter" or "none"
    energyWindow : float
        width of the window in standard deviations above the mean
    windowSamples : int
        energies to be known before the first proposal of `filter`
    relaxation : sequence of int
        minimiser iterations of each stage
    seed : int or list of int
        of the first walker (the others follow from it), or of each; 0 draws one
    """

    def __init__(
        self,
        contexts: openmm.Context | Sequence[openmm.Context],
        module: torch.jit.ScriptModule,
        screen: ScreenSpec,
        *,
        solute: Sequence[int] | NDArray[np.integer] | None = None,
        jumpInterval: int = 250,
        lag: Any,
        temperature: Any = None,
        acceptance: str = "filter",
        energyWindow: float = 6.0,
        windowSamples: int = 20,
        relaxation: Sequence[int] = (),
        seed: int | Sequence[int] = 0,
        threads: int = 1,
    ) -> None:
        import openmm
        from openmm import unit

        if acceptance not in ACCEPTANCE_MODES:
            raise ValueError(
                f"Unknown acceptance {acceptance!r}; use one of {', '.join(ACCEPTANCE_MODES)}."
            )
        if jumpInterval < 0:
            raise ValueError(f"jumpInterval is {jumpInterval}; use 0 (no jumps) or more.")
        all_contexts = [contexts] if isinstance(contexts, openmm.Context) else list(contexts)
        if not all_contexts:
            raise ValueError("No Context was given; HybridDriver needs at least one.")
        self._module = module
        self._sizes = module_sizes(module)
        atoms = np.arange(self._sizes.num_atoms) if solute is None else np.asarray(solute)
        if len(atoms) != self._sizes.num_atoms:
            raise ValueError(
                f"solute names {len(atoms)} particles, but the module was bound to "
                f"{self._sizes.num_atoms} atoms."
            )
        self._solute = atoms.astype(np.int64)
        self._interval = int(jumpInterval)
        self._lag_ps = plain(lag, unit.picosecond)
        integrator = all_contexts[0].getIntegrator()
        if temperature is None:
            if not hasattr(integrator, "getTemperature"):
                raise ValueError(
                    f"A {type(integrator).__name__} has no temperature; give "
                    "HybridDriver(temperature=...) one."
                )
            temperature = integrator.getTemperature()
        self._temperature_k = plain(temperature, unit.kelvin)
        self._acceptance = acceptance
        self._threads = threads
        self._since_jump = 0
        system = all_contexts[0].getSystem()
        self._masses = particle_masses(system)
        self._virtual = virtual_sites(system)
        self._judge = Judge(system, self._masses, self._solute, screen, relaxation)
        seeds = _walker_seeds(seed, len(all_contexts))
        self._walkers = [
            _Walker(
                context,
                walker_seed,
                EnergyWindow(float(energyWindow), int(windowSamples), RunningStatistics()),
                np.zeros(self._sizes.state_size, dtype=np.float32),
            )
            for context, walker_seed in zip(all_contexts, seeds, strict=True)
        ]

    def step(self, steps: int) -> None:
        """Advance every walker by a number of steps, with the jumps that fall due.

        Raises
        ------
        openmm.OpenMMException
            if the module fails; every walker is then as it was before the jump
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
        """Number of proposals of a walker."""
        return self._walkers[walker].attempts

    def getNumAccepted(self, walker: int = 0) -> int:
        """Number of accepted proposals of a walker."""
        return self._walkers[walker].reasons["accepted"]

    def getReasons(self, walker: int = 0) -> dict[str, int]:
        """Number of proposals of a walker by verdict, for the verdicts that occurred."""
        return dict(self._walkers[walker].reasons)

    def getNumWindowSamples(self, walker: int = 0) -> int:
        """Number of MD energies that the window of a walker knows."""
        return self._walkers[walker].window.statistics.count

    def getLearnedTime(self, walker: int = 0) -> Any:
        """Time skipped by the accepted jumps of a walker, as a Quantity."""
        from openmm import unit

        return self._walkers[walker].learned_time_ps * unit.picosecond

    def getLastProposal(self, walker: int = 0) -> Proposal | None:
        """The last proposal of a walker, or None before the first."""
        return self._walkers[walker].last

    def getSeed(self, walker: int = 0) -> int:
        """The seed of a walker's noise."""
        return self._walkers[walker].seed

    def createCheckpoint(self) -> bytes:
        """Everything that is needed to go on: the Contexts' checkpoints and the driver's own state.

        It is bound to the platform and version of OpenMM, as the Contexts' checkpoints are, and to
        the module. Last proposals are not in it.
        """
        meta = {
            "since_jump": self._since_jump,
            "walkers": [
                {
                    "seed": walker.seed,
                    "attempts": walker.attempts,
                    "learned_time_ps": walker.learned_time_ps,
                    "reasons": dict(walker.reasons),
                    "window": asdict(walker.window.statistics),
                }
                for walker in self._walkers
            ],
        }
        arrays: dict[str, NDArray[Any]] = {"meta": _bytes_array(json.dumps(meta).encode())}
        for index, walker in enumerate(self._walkers):
            arrays[f"context_{index}"] = _bytes_array(walker.context.createCheckpoint())
            arrays[f"state_{index}"] = walker.state
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    def loadCheckpoint(self, checkpoint: bytes) -> None:
        """Go back to a checkpoint of a driver with as many walkers and the same module.

        Raises
        ------
        ValueError
            if it is of a driver with other walkers or another module
        """
        with np.load(io.BytesIO(checkpoint), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays["meta"].tobytes().decode())
        if len(meta["walkers"]) != len(self._walkers):
            raise ValueError(
                f"The checkpoint holds {len(meta['walkers'])} walkers, but this driver has "
                f"{len(self._walkers)}."
            )
        size = len(arrays["state_0"])
        if size != self._sizes.state_size:
            raise ValueError(
                f"The checkpoint holds states of {size} numbers, but this driver's module has "
                f"{self._sizes.state_size}: it is of another module."
            )
        self._since_jump = meta["since_jump"]
        for index, (walker, saved) in enumerate(zip(self._walkers, meta["walkers"], strict=True)):
            walker.context.loadCheckpoint(arrays[f"context_{index}"].tobytes())
            walker.state = arrays[f"state_{index}"]
            walker.seed = saved["seed"]
            walker.attempts = saved["attempts"]
            walker.learned_time_ps = saved["learned_time_ps"]
            walker.reasons = Counter(saved["reasons"])
            walker.window.statistics = RunningStatistics(**saved["window"])
            walker.last = None

    def _jump(self) -> None:
        """Propose one frame for every walker whose window is ready."""
        learned = [replace(walker.window.statistics) for walker in self._walkers]
        snapshots = [Snapshot.of(walker.context) for walker in self._walkers]
        self._learn_energies(snapshots)
        ready = [
            (walker, snapshot)
            for walker, snapshot in zip(self._walkers, snapshots, strict=True)
            if self._acceptance == "none" or walker.window.ready
        ]
        if not ready:
            return
        try:
            frames = propose_frames(
                self._module,
                np.stack([snapshot.positions_nm[self._solute] for _, snapshot in ready]),
                np.stack([walker.state for walker, _ in ready]),
                [(walker.seed, walker.attempts) for walker, _ in ready],
                self._lag_ps,
                self._temperature_k,
                self._threads,
            )
        except RuntimeError as error:
            import openmm

            # Nothing was written yet: only the energies just learned have to be forgotten.
            for walker, statistics in zip(self._walkers, learned, strict=True):
                walker.window.statistics = statistics
            raise openmm.OpenMMException(str(error)) from None
        for row, (walker, snapshot) in enumerate(ready):
            self._settle(walker, snapshot, frames, row)

    def _learn_energies(self, snapshots: list[Snapshot]) -> None:
        """Tell the windows the energies of the dynamics."""
        import openmm

        for index, (walker, snapshot) in enumerate(zip(self._walkers, snapshots, strict=True)):
            if not math.isfinite(snapshot.energy_kj_per_mol):
                raise openmm.OpenMMException(
                    f"The potential energy of walker {index} before a jump is not a finite number, "
                    "so the dynamics has failed. Use a smaller step size, or minimize the "
                    "starting positions."
                )
            walker.window.statistics.add(snapshot.energy_kj_per_mol)

    def _settle(
        self, walker: _Walker, snapshot: Snapshot, frames: ProposedFrames, row: int
    ) -> None:
        """Judge a walker's frame; keep it with new velocities, or put everything back."""
        attempt = walker.attempts
        walker.attempts += 1
        window = walker.window if self._acceptance == "filter" else None
        proposal = self._judge.judge(walker.context, snapshot, frames, row, attempt, window)
        walker.last = proposal
        walker.reasons[proposal.reason] += 1
        if not proposal.accepted:
            snapshot.restore(walker.context)
            return
        walker.state = frames.states[row].copy()
        walker.learned_time_ps += self._lag_ps
        draw_velocities(
            walker.context,
            self._masses,
            self._virtual,
            self._temperature_k,
            walker.seed,
            attempt,
        )


def _bytes_array(data: bytes) -> NDArray[np.uint8]:
    """Bytes as an array, for numpy's archive format."""
    return np.frombuffer(data, dtype=np.uint8)


def _walker_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed a walker: those given, or a sequence that follows from the first."""
    if not isinstance(seed, int):
        seeds = [int(s) for s in seed]
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds were given for {count} walkers.")
        return [s or fresh_seed() for s in seeds]
    return [walker_seed(seed or fresh_seed(), walker) for walker in range(count)]
