"""A hybrid run and plain MD of the same System, timed in turns on one machine.

The two take turns of a few seconds, each on its own clock, so that a change in the machine's load
meets both. Nothing runs at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openmm

    from ..sampling.hybrid import HybridSampler

TURN_SECONDS = 3.0
FRICTION_PER_PS = 1.0


@dataclass(frozen=True)
class Turns:
    """What `run_in_turns` measured.

    Attributes
    ----------
    cycle_seconds : float64 array [C]
        The hybrid run's own clock at the end of each cycle.
    hybrid_cpu_seconds, md_cpu_seconds : float
        Processor time of the process within each one's turns.
    md_positions_nm : float32 array [F, P, 3]
        Frames of the plain MD.
    md_energies_kj_per_mol : float64 array [F]
        Their potential energies.
    md_frame_seconds : float64 array [F]
        The MD's own clock at each frame.
    md_steps : int
        Steps of the plain MD.
    """

    cycle_seconds: NDArray[np.float64]
    hybrid_cpu_seconds: float
    md_positions_nm: NDArray[np.float32]
    md_energies_kj_per_mol: NDArray[np.float64]
    md_frame_seconds: NDArray[np.float64]
    md_cpu_seconds: float
    md_steps: int

    @property
    def hybrid_seconds(self) -> float:
        """Wall-clock time of the hybrid run."""
        return float(self.cycle_seconds[-1]) if len(self.cycle_seconds) else 0.0

    @property
    def md_seconds(self) -> float:
        """Wall-clock time of the plain MD."""
        return float(self.md_frame_seconds[-1]) if len(self.md_frame_seconds) else 0.0

    @property
    def seconds_per_md_step(self) -> float:
        """Wall-clock time of one step of plain MD, frames included."""
        return self.md_seconds / self.md_steps


class _PlainMD:
    """Plain MD in turns, with its own clock."""

    def __init__(self, context: openmm.Context, frame_steps: int) -> None:
        self._context = context
        self._frame_steps = frame_steps
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.steps = 0
        self.positions: list[NDArray[np.float32]] = []
        self.energies: list[float] = []
        self.times: list[float] = []

    def run(self, until_seconds: float) -> None:
        """Go on until the clock shows this time."""
        began, cpu = time.perf_counter(), time.process_time()
        before = self.seconds
        while self.seconds < until_seconds:
            self._context.getIntegrator().step(self._frame_steps)
            state = self._context.getState(positions=True, energy=True)
            positions = state.getPositions(asNumpy=True)._value
            self.positions.append(np.asarray(positions, dtype=np.float32))
            self.energies.append(float(state.getPotentialEnergy()._value))
            self.steps += self._frame_steps
            self.seconds = before + time.perf_counter() - began
            self.times.append(self.seconds)
        self.cpu_seconds += time.process_time() - cpu


def run_in_turns(
    sampler: HybridSampler,
    md: openmm.Context,
    *,
    seconds: float,
    frame_steps: int,
    md_seconds: float | None = None,
    progress: Callable[[float, Any], None] | None = None,
) -> Turns:
    """Run a hybrid sampler and plain MD for the same wall-clock time, in turns.

    The hybrid's clock holds all that `HybridSampler.run` does: network, screens, relaxation,
    rejected proposals, dynamics, and writing its files.

    Parameters
    ----------
    sampler : HybridSampler
        New; its equilibration is not timed.
    md : openmm.Context
        With an integrator of the same step size and its start set.
    seconds : float
        Of each.
    frame_steps : int
        Steps between frames of the plain MD.
    md_seconds : float, optional
        Of plain MD, where it is to run longer for a better estimate of its rate.
    progress : function, optional
        Called at the end of each turn with the hybrid's clock and the sampler's Progress.
    """
    plain = _PlainMD(md, frame_steps)
    cycle_seconds: list[float] = []
    turn_end = TURN_SECONDS
    away = away_cpu = 0.0  # time spent outside the hybrid run, inside the callback
    began, began_cpu = time.perf_counter(), time.process_time()

    def after_cycle(state: Any) -> None:
        nonlocal turn_end, away, away_cpu
        entered, entered_cpu = time.perf_counter(), time.process_time()
        clock = entered - began - away
        cycle_seconds.append(clock)
        if clock >= turn_end or clock >= seconds:
            plain.run(min(clock, seconds))
            if progress is not None:
                progress(clock, state)
            turn_end = clock + TURN_SECONDS
        if clock >= seconds:
            sampler.stop()
        away += time.perf_counter() - entered
        away_cpu += time.process_time() - entered_cpu

    sampler.run(cycles=2**31 - 1, progress=after_cycle)
    hybrid_cpu = time.process_time() - began_cpu - away_cpu
    # The end of the run, with its last commit, belongs to it.
    if cycle_seconds:
        cycle_seconds[-1] = time.perf_counter() - began - away
    plain.run(max(cycle_seconds[-1] if cycle_seconds else seconds, md_seconds or 0.0))
    return Turns(
        np.array(cycle_seconds),
        hybrid_cpu,
        np.array(plain.positions, dtype=np.float32),
        np.array(plain.energies),
        np.array(plain.times),
        plain.cpu_seconds,
        plain.steps,
    )


def plain_md_context(sampler: HybridSampler, *, seed: int) -> openmm.Context:
    """A Context for the plain MD that `run_in_turns` compares with.

    The same System, platform, temperature and step size as the sampler's first walker, and its
    equilibrated start with its own velocities.
    """
    import openmm

    walker = sampler.walkers[0]
    platform = walker.context.getPlatform()
    integrator = openmm.LangevinMiddleIntegrator(
        walker.integrator.getTemperature(), FRICTION_PER_PS, walker.integrator.getStepSize()
    )
    integrator.setRandomNumberSeed(seed)
    properties = {}
    if "Threads" in platform.getPropertyNames():
        properties["Threads"] = platform.getPropertyValue(walker.context, "Threads")
    context = openmm.Context(sampler.system, integrator, platform, properties)
    state = walker.context.getState(positions=True)
    context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    context.setPositions(state.getPositions(asNumpy=True))
    context.setVelocitiesToTemperature(walker.integrator.getTemperature(), seed)
    return context


@dataclass(frozen=True)
class HybridFrames:
    """Frames of the first walker of a hybrid run, read back from its folder.

    Attributes
    ----------
    positions_nm : float32 array [F, P, 3]
        Within and at the end of MD segments, never raw proposals.
    seconds : float64 array [F]
        Of the run's own clock, interpolated within each cycle.
    jump_seconds : float64 array [J]
        Clock at the end of each cycle that an accepted jump opened.
    proposals : dict of str to array
        Columns of the run's table of proposals.
    """

    positions_nm: NDArray[np.float32]
    seconds: NDArray[np.float64]
    jump_seconds: NDArray[np.float64]
    proposals: dict[str, NDArray[Any]]


def read_hybrid_frames(folder: str | Path, turns: Turns, topology: Any) -> HybridFrames:
    """Read what a run of `run_in_turns` wrote."""
    import mdtraj

    from ..jump.proposal import REASONS
    from ..sampling.storage import read_run
    from ..trajectories.formats import quiet_stdout
    from ..trajectories.readable_names import readable_name

    rows = read_run(folder)
    with quiet_stdout():
        trajectory = mdtraj.load(
            readable_name(Path(folder) / "trajectory_0000.dcd"),
            top=mdtraj.Topology.from_openmm(topology),
        )
    frames, segments, proposals = rows.frames, rows.segments, rows.proposals
    steps_at_end = np.cumsum(segments["steps"])
    seconds = np.interp(
        frames["step"],
        np.concatenate([[0], steps_at_end]),
        np.concatenate([[0.0], turns.cycle_seconds]),
    )
    accepted = proposals["reason"] == REASONS.index("accepted")
    return HybridFrames(
        trajectory.xyz, seconds, turns.cycle_seconds[proposals["cycle"][accepted]], proposals
    )
