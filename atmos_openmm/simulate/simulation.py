"""Training trajectories of one molecule: plain dynamics and temperature replica exchange.

Many copies run in one Context (see `packing`), one Context a temperature. The run proceeds by
chunks, each committed with all that the next one needs, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.settings import check_same_settings
from ..trajectories.layout import TrajectoryFile
from .chunks import ChunkStore
from .exchange import exchange
from .packing import create_single_system, pack
from .plan import Chunk, RunPlan
from .replicas import Replicas, ReplicaState
from .simulation_progress import SimulationProgress
from .simulation_settings import SimulationSettings
from .starts import start
from .writing import write_run

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = ["SimulationUnstableError", "simulate"]

ATTEMPTS = 3  # runs of a chunk that blew up, each with other random numbers

Start = Callable[[str, np.random.Generator], ReplicaState]
"""Makes the state in which a mode begins."""


class SimulationUnstableError(ValueError):
    """The dynamics blew up again and again."""


class _BlewUpError(Exception):
    """Positions or velocities are not finite; the message is the temperature."""


def simulate(
    topology: Topology,
    positions_nm: NDArray[np.float64],
    out: Path,
    settings: SimulationSettings,
    name: str,
    threads: int = 1,
    command_line: str = "",
    progress: Callable[[str, bool], None] | None = None,
) -> Path:
    """Run, or go on with, a simulation and write its trajectory file.

    Parameters
    ----------
    topology : openmm.app.Topology
        One connected molecule with all hydrogens.
    positions_nm : ndarray, shape (A, 3)
    out : Path
        The file to write. Until the run is complete its work is in ``<out>.partial``; the same
        call goes on from there.
    settings : SimulationSettings
    name : str
        Name of the molecule, stored.
    threads : int
        Threads of the CPU platform. No part of the settings: a run may go on with others.
    command_line : str
        Stored with the settings.
    progress : callable, optional
        Called with a line of text and whether it is the last.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    SettingsMismatchError
        The output exists with other settings.
    SimulationUnstableError
        The dynamics blew up repeatedly.
    ValueError
        The force field does not know a residue, the molecule is not connected, ...
    OSError
        The folder cannot be written, the disk is full. What was committed stays.
    """
    from openmm import app

    from ..systems.peptides import backbone_quads

    out = Path(out)
    if not backbone_quads(topology):
        # Nothing to turn: the copies start as the structure is, and the file says so.
        settings = replace(settings, starts=("as-given",))
    deciding = {**asdict(settings), "name": name}
    if out.exists():
        with TrajectoryFile(out) as existing:
            check_same_settings(existing.settings.get("simulation", {}), deciding, out)
        if progress:
            progress(f"{out} is complete already; nothing was done.", True)
        return out

    forcefield = app.ForceField(*settings.forcefield)
    single = create_single_system(topology, forcefield)
    packed = pack(topology, forcefield, settings.copies)
    plan = RunPlan.of(settings)
    store = ChunkStore(out.with_name(out.name + ".partial"), deciding)
    try:
        committed = store.committed()
        count = settings.copies * len(settings.temperatures)
        reporter = SimulationProgress(name, plan, count, committed, progress)
        if committed < len(plan.chunks):
            replicas = Replicas(settings, single, packed, threads)
            begin = partial(start, replicas, topology, positions_nm)
            _run_chunks(replicas, plan, store, committed, begin, reporter, name)
        write_run(out, store, plan, settings, deciding, topology, single, command_line)
        reporter.finished(out)
    finally:
        store.close()
    return out


def _run_chunks(
    replicas: Replicas,
    plan: RunPlan,
    store: ChunkStore,
    committed: int,
    begin: Start,
    reporter: SimulationProgress,
    name: str,
) -> None:
    """Run and commit what is left of a plan."""
    state = ReplicaState.of(store.load(committed - 1)) if committed else None
    for number in range(committed, len(plan.chunks)):
        frames, state = _stable_chunk(replicas, plan, number, state, begin, name)
        mode = np.array(plan.chunks[number].mode)
        store.append(number, {**frames, **state.arrays(), "mode": mode})
        reporter.chunk_done(number)


def _stable_chunk(
    replicas: Replicas,
    plan: RunPlan,
    number: int,
    state: ReplicaState | None,
    begin: Start,
    name: str,
) -> tuple[dict[str, NDArray[Any]], ReplicaState]:
    """Run a chunk, again with other random numbers where it blows up."""
    chunk = plan.chunks[number]
    for attempt in range(ATTEMPTS):
        rng = replicas.seed(number, attempt)
        if state is None or plan.begins_mode(number):
            state = begin(chunk.mode, rng)
        try:
            return _run_chunk(replicas, state, plan, chunk, rng)
        except _BlewUpError as error:
            told = error
    raise SimulationUnstableError(
        f"The dynamics of {name} blew up {ATTEMPTS} times at {told} K in chunk {number}. Use a "
        "shorter time step (there is one for temperatures above 400 K, too); the chunks before "
        "are kept."
    ) from told


def _run_chunk(
    replicas: Replicas,
    before: ReplicaState,
    plan: RunPlan,
    chunk: Chunk,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray[Any]], ReplicaState]:
    """Run a chunk from a state that is left as it was.

    Returns
    -------
    frames : dict of str to ndarray
        ``frames`` [F, T, M, A, 3] in nm and ``time_ps`` [F, T]; empty where none was due.
    state : ReplicaState
    """
    temperatures = replicas.settings.temperatures
    hot = chunk.phase == "hot"
    # In the hot phase all Contexts run at the highest temperature, with its time step.
    bath = [max(temperatures)] * len(temperatures) if hot else list(temperatures)
    step_ps = np.array([replicas.settings.timestep_for(t) * 1e-3 for t in bath])
    steps = [max(1, round(plan.block_ps / step)) for step in step_ps.tolist()]
    for integrator, temperature, step in zip(replicas.integrators, bath, step_ps, strict=True):
        integrator.setTemperature(temperature)
        integrator.setStepSize(step)
    state = before.copy()
    frames: list[NDArray[np.float32]] = []
    times: list[NDArray[np.float64]] = []
    for block in range(chunk.first_block + 1, chunk.first_block + chunk.blocks + 1):
        # Back to the sites: copies diffuse, and must not come near each other.
        for t in range(len(temperatures)):
            replicas.load(t, state.positions_nm[t], state.velocities[t])
        _run_block(replicas, state, steps)
        if chunk.phase == "stored" and block % plan.frame_blocks == 0:
            frames.append(state.positions_nm.astype(np.float32))
            times.append(block * np.array(steps) * step_ps)
        if chunk.mode == "exchange" and not hot and block % plan.exchange_blocks == 0:
            exchange(replicas, state, (block // plan.exchange_blocks) % 2, rng)
    if not frames:
        return {}, state
    return {"frames": np.stack(frames), "time_ps": np.stack(times)}, state


def _run_block(replicas: Replicas, state: ReplicaState, steps: list[int]) -> None:
    """Step every Context from where it is, into the state."""
    from openmm import OpenMMException

    for t, integrator in enumerate(replicas.integrators):
        kelvin = f"{replicas.settings.temperatures[t]:g}"
        try:
            integrator.step(steps[t])
            state.positions_nm[t], state.velocities[t] = replicas.read(t)
        except OpenMMException as error:
            raise _BlewUpError(kelvin) from error
        # An atom further from its copy's centroid than bonds reach has left the molecule (and
        # nan compares as false).
        extent = np.abs(state.positions_nm[t]).max()
        if not (extent < replicas.packed.cutoff_nm and np.isfinite(state.velocities[t]).all()):
            raise _BlewUpError(kelvin)
