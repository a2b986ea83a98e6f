"""Training trajectories of one molecule: plain dynamics and temperature replica exchange.

Many copies run in one Context (see `packing`), one Context a temperature. In replica exchange the
copies are as many independent ladders: copy m of every temperature belongs to ladder m, and
neighbouring temperatures of a ladder change places with the Metropolis probability
min(1, exp[(b_i - b_j)(U_i - U_j)]), b = 1/kT (Sugita and Okamoto, Chem. Phys. Lett. 314, 141,
1999), velocities scaled by sqrt(T_new/T_old).
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K, HYDROGEN_MASS_DALTON
from ..core.settings import check_same_settings
from ..trajectories.layout import TrajectoryData, TrajectoryFile, write_trajectory_file
from .chunks import ChunkStore
from .packing import PackedSystem, create_single_system, pack

if TYPE_CHECKING:
    from openmm import Context, System
    from openmm.app import Topology

__all__ = ["MODES", "SimulationSettings", "SimulationUnstableError", "simulate"]

MODES = ("dynamics", "exchange", "both")
FRICTION_PER_PS = 1.0
HOT_KELVIN = 400.0  # above it the shorter time step is used
# In 1 ps a molecule of 100 dalton at 520 K diffuses by 0.3 nm along an axis (kT / (m friction)),
# a fifth of the room that `packing` leaves between copies.
RECENTRE_PS = 1.0
ATTEMPTS = 3  # runs of a chunk that blew up, each with other random numbers
MINIMISER_ITERATIONS = 500


class SimulationUnstableError(ValueError):
    """The dynamics blew up again and again."""


@dataclass(frozen=True)
class SimulationSettings:
    """All that decides a run. Lengths are picoseconds, temperatures kelvin, time steps fs.

    Attributes
    ----------
    mode : str
        ``dynamics``, ``exchange`` or ``both`` (one after the other, into one file).
    temperatures : tuple of float
        Increasing. Dynamics runs at each of them, exchange between them.
    copies : int
        Copies of the molecule at each temperature; in exchange the number of ladders.
    length_ps : float
        Length that is stored, of each copy.
    interval_ps : float
        Time between frames.
    exchange_interval_ps : float
        Time between attempts to exchange.
    burn_in_ps : float
        Run before frames are stored, in both modes.
    hot_ps : float
        Exchange only: run at the highest temperature before the burn-in, to scatter the starts.
    starts : tuple of str
        Names of `systems.peptides.BASINS`, dealt out to the copies in turn, or ``as-given``.
    chunk_ps : float
        What a kill can lose at most.
    """

    mode: str = "dynamics"
    temperatures: tuple[float, ...] = (300.0,)
    copies: int = 16
    length_ps: float = 100.0
    interval_ps: float = 1.0
    exchange_interval_ps: float = 1.0
    burn_in_ps: float = 5.0
    hot_ps: float = 0.0
    starts: tuple[str, ...] = ("beta", "alphaR", "alphaL", "ppII")
    seed: int = 1
    forcefield: tuple[str, ...] = ("amber14-all.xml", "implicit/gbn2.xml")
    timestep_fs: float = 4.0
    hot_timestep_fs: float = 3.0
    chunk_ps: float = 5.0
    platform: str = "CPU"

    def __post_init__(self) -> None:
        from ..systems.peptides import BASINS

        def refuse(message: str) -> None:
            raise ValueError(message)

        if self.mode not in MODES:
            refuse(f"Unknown mode {self.mode!r}; use one of {', '.join(MODES)}.")
        if not self.temperatures or any(t <= 0 for t in self.temperatures):
            refuse("Give at least one temperature, in kelvin, above zero.")
        if list(self.temperatures) != sorted(set(self.temperatures)):
            refuse(f"Temperatures must increase; found {self.temperatures}.")
        if self.mode != "dynamics" and len(self.temperatures) < 2:
            refuse("Replica exchange needs at least two temperatures, e.g. 300,360,432,520.")
        if self.copies < 1:
            refuse(f"The number of copies must be at least 1; found {self.copies}.")
        for name in (
            "length_ps",
            "interval_ps",
            "exchange_interval_ps",
            "chunk_ps",
            "timestep_fs",
            "hot_timestep_fs",
        ):
            if not getattr(self, name) > 0:
                refuse(f"{name} must be above zero; found {getattr(self, name)}.")
        for name in ("burn_in_ps", "hot_ps"):
            if not getattr(self, name) >= 0:
                refuse(f"{name} must not be negative; found {getattr(self, name)}.")
        if not 0 < self.seed < 2**31:
            refuse(f"The seed must be between 1 and 2147483647; found {self.seed}.")
        if self.interval_ps > self.length_ps:
            refuse(
                f"One frame every {self.interval_ps} ps in {self.length_ps} ps stores none; "
                "choose a shorter --interval-ps or a longer --length-ps."
            )
        if self.mode != "dynamics":
            ratio = self.interval_ps / self.exchange_interval_ps
            whole = max(ratio, 1.0 / ratio)
            if abs(whole - round(whole)) > 1e-6:
                refuse(
                    f"The frame interval ({self.interval_ps} ps) and the exchange interval "
                    f"({self.exchange_interval_ps} ps) must be multiples of each other."
                )
        unknown = [s for s in self.starts if s not in BASINS and s != "as-given"]
        if unknown or not self.starts:
            refuse(f"Unknown start {unknown}; use {', '.join(BASINS)} or as-given.")

    def timestep_for(self, temperature_kelvin: float) -> float:
        """Time step in fs at a temperature."""
        if temperature_kelvin > HOT_KELVIN:
            return min(self.timestep_fs, self.hot_timestep_fs)
        return self.timestep_fs

    def starts_of(self, mode: str, temperature_index: int) -> list[str]:
        """Start of each copy at one temperature; ladders begin in different basins."""
        shift = temperature_index if mode == "exchange" else 0
        return [self.starts[(m + shift) % len(self.starts)] for m in range(self.copies)]


@dataclass
class _Stage:
    """One stretch of one mode: hot, burn-in or stored; its length in blocks."""

    mode: str
    name: str
    blocks: int


@dataclass
class _State:
    """Everything the next chunk needs."""

    positions_nm: NDArray[np.float64]  # [T, M, A, 3]
    velocities: NDArray[np.float64]  # [T, M, A, 3] nm/ps
    attempted: NDArray[np.int64]  # [T-1]
    accepted: NDArray[np.int64]  # [T-1]
    walkers: NDArray[np.int64]  # [T, M] which walker of its ladder stands at each temperature
    round_trips: NDArray[np.int64]  # [M]
    direction: NDArray[np.int64]  # [T, M], indexed by walker: +1 last at the top, -1 at the bottom


@dataclass
class _Frames:
    """Frames of one chunk."""

    positions: list[NDArray[np.float32]] = field(default_factory=list)  # each [T, M, A, 3]
    time_ps: list[NDArray[np.float64]] = field(default_factory=list)  # each [T]


class _Engine:
    """The Contexts of one molecule: a packed one a temperature and a small one for energies."""

    def __init__(
        self,
        settings: SimulationSettings,
        single: System,
        packed: PackedSystem,
        threads: int,
    ) -> None:
        import openmm as mm

        self.settings = settings
        self.packed = packed
        platform = mm.Platform.getPlatform(settings.platform)
        properties = {"Threads": str(threads)} if settings.platform == "CPU" else {}
        self.contexts: list[Context] = []
        self.integrators: list[Any] = []
        for temperature in settings.temperatures:
            integrator = mm.LangevinMiddleIntegrator(
                temperature, FRICTION_PER_PS, settings.timestep_for(temperature) * 1e-3
            )
            self.integrators.append(integrator)
            self.contexts.append(mm.Context(packed.system, integrator, platform, properties))
        self.single = mm.Context(single, mm.VerletIntegrator(0.001), platform, properties)
        self.beta = 1.0 / (GAS_CONSTANT_KJ_PER_MOL_K * np.array(settings.temperatures))

    def seed(self, *key: Any) -> np.random.Generator:
        """Fresh random numbers for every Context, a function of the seed and the key alone."""
        for number, (context, integrator) in enumerate(
            zip(self.contexts, self.integrators, strict=True)
        ):
            integrator.setRandomNumberSeed(_derive(self.settings.seed, *key, number))
            context.reinitialize(preserveState=False)
        return np.random.Generator(np.random.Philox(_derive(self.settings.seed, *key, "exchange")))

    def potential_energies(self, copies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Potential energy in kJ/mol of each copy [..., A, 3] alone, without a cutoff."""
        from openmm import unit

        flat = copies.reshape(-1, *copies.shape[-2:])
        energies = np.empty(len(flat))
        for i, x in enumerate(flat):
            self.single.setPositions(x)
            state = self.single.getState(energy=True)
            energies[i] = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return energies.reshape(copies.shape[:-2])

    def minimise(self, copies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each copy [N, A, 3] relaxed alone."""
        import openmm as mm

        out = np.empty_like(copies)
        for i, x in enumerate(copies):
            self.single.setPositions(x)
            mm.LocalEnergyMinimizer.minimize(self.single, 10.0, MINIMISER_ITERATIONS)
            self.single.applyConstraints(1e-6)
            out[i] = _numpy(self.single.getState(positions=True).getPositions(asNumpy=True))
        return out

    def load(self, t: int, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        self.contexts[t].setPositions(self.packed.to_sites(positions))
        self.contexts[t].setVelocities(velocities.reshape(-1, 3))

    def read(self, t: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        state = self.contexts[t].getState(positions=True, velocities=True)
        shape = (self.packed.num_copies, self.packed.num_atoms, 3)
        positions = self.packed.from_sites(_numpy(state.getPositions(asNumpy=True)))
        return positions, _numpy(state.getVelocities(asNumpy=True)).reshape(shape)


def _numpy(quantity: Any) -> NDArray[np.float64]:
    """A Quantity's array in OpenMM's own units (nm, nm/ps)."""
    return np.array(quantity._value, dtype=float)


def _derive(*key: Any) -> int:
    """A positive 31-bit seed from anything JSON holds."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:4], "little") % (2**31 - 1) + 1


def swap_probability(
    beta_i: float, beta_j: float, energy_i: NDArray[np.float64], energy_j: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability that configurations at two temperatures change places.

    Parameters
    ----------
    beta_i, beta_j : float
        1/kT in mol/kJ.
    energy_i, energy_j : ndarray
        Potential energies in kJ/mol.

    Returns
    -------
    ndarray
        min(1, exp[(beta_i - beta_j) (U_i - U_j)]).
    """
    return np.exp(np.minimum(0.0, (beta_i - beta_j) * (energy_i - energy_j)))


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
    store = ChunkStore(out.with_name(out.name + ".partial"), deciding)
    try:
        return _run(
            store,
            topology,
            positions_nm,
            out,
            settings,
            deciding,
            name,
            threads,
            command_line,
            progress,
            single,
            packed,
        )
    finally:
        store.close()


def _run(
    store: ChunkStore,
    topology: Topology,
    positions_nm: NDArray[np.float64],
    out: Path,
    settings: SimulationSettings,
    deciding: dict[str, Any],
    name: str,
    threads: int,
    command_line: str,
    progress: Callable[[str, bool], None] | None,
    single: System,
    packed: PackedSystem,
) -> Path:
    """What is left of a run, chunk by chunk, and the final file."""
    from openmm import Platform, XmlSerializer

    block_ps, frame_blocks, exchange_blocks = _blocks(settings)
    stages = _stages(settings, block_ps)
    plan = _plan(stages, max(1, round(settings.chunk_ps / block_ps)))
    committed = len(store.paths())
    reporter = _Progress(name, plan, block_ps, settings, committed, progress)

    engine: _Engine | None = None
    state: _State | None = None
    for number, (stage, first_block, blocks) in enumerate(plan):
        if number < committed:
            continue
        engine = engine or _Engine(settings, single, packed, threads)
        if state is None and number > 0:
            state = _unpack_state(store.load(number - 1))
        for attempt in range(ATTEMPTS):
            rng = engine.seed(number, attempt)
            if number == 0 or plan[number - 1][0].mode != stage.mode:
                state = _start(engine, topology, positions_nm, settings, stage.mode, rng)
            assert state is not None
            try:
                frames, after = _run_chunk(
                    engine,
                    state,
                    stage,
                    first_block,
                    blocks,
                    (block_ps, frame_blocks, exchange_blocks),
                    rng,
                )
                break
            except _BlewUpError as error:
                if attempt + 1 == ATTEMPTS:
                    raise SimulationUnstableError(
                        f"The dynamics of {name} blew up {ATTEMPTS} times at {error} K in chunk "
                        f"{number}. Use a shorter time step (--timestep-fs, "
                        "--hot-timestep-fs); the chunks before are kept."
                    ) from error
        state = after
        store.append(number, _pack_chunk(stage, frames, state))
        reporter.chunk_done(number)

    versions = {"openmm": Platform.getOpenMMVersion(), "python": sys.version.split()[0]}
    try:
        _consolidate(
            out,
            store,
            plan,
            settings,
            deciding,
            topology,
            XmlSerializer.serialize(single),
            name,
            command_line,
            versions,
        )
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
        raise OSError(
            f"{out} could not be written ({error}). All frames are safe in {store.folder}: make "
            "room, then run the same command again."
        ) from error
    store.remove()
    reporter.finished(out)
    return out


def _blocks(settings: SimulationSettings) -> tuple[float, int, int]:
    """Length of a block in ps, blocks between frames, blocks between exchanges.

    Copies go back to their sites after each block, so that a block is short however far apart the
    frames are.
    """
    between = [settings.interval_ps]
    if settings.mode != "dynamics":
        between.append(settings.exchange_interval_ps)
    block = min(between)
    block /= math.ceil(block / RECENTRE_PS - 1e-9)
    return (
        block,
        round(settings.interval_ps / block),
        round(settings.exchange_interval_ps / block) if len(between) > 1 else 1,
    )


def _stages(settings: SimulationSettings, block_ps: float) -> list[_Stage]:
    def count(length_ps: float) -> int:
        return max(0, round(length_ps / block_ps))

    stages = []
    for mode in ("dynamics", "exchange"):
        if settings.mode not in (mode, "both"):
            continue
        if mode == "exchange":
            stages.append(_Stage(mode, "hot", count(settings.hot_ps)))
        stages.append(_Stage(mode, "burn-in", count(settings.burn_in_ps)))
        stages.append(_Stage(mode, "stored", count(settings.length_ps)))
    return [stage for stage in stages if stage.blocks]


def _plan(stages: Sequence[_Stage], chunk_blocks: int) -> list[tuple[_Stage, int, int]]:
    """Chunks of a run: (stage, number of its first block within the stage, blocks)."""
    return [
        (stage, first, min(chunk_blocks, stage.blocks - first))
        for stage in stages
        for first in range(0, stage.blocks, chunk_blocks)
    ]


def _start(
    engine: _Engine,
    topology: Topology,
    positions_nm: NDArray[np.float64],
    settings: SimulationSettings,
    mode: str,
    rng: np.random.Generator,
) -> _State:
    """Relaxed copies in their start basins with Maxwell-Boltzmann velocities."""
    from ..systems.peptides import BASINS, alpha_handedness, set_backbone

    distinct = list(dict.fromkeys(settings.starts))
    raw = np.stack(
        [
            np.array(positions_nm)
            if s == "as-given"
            else set_backbone(topology, positions_nm, *BASINS[s])
            for s in distinct
        ]
    )
    minimised = engine.minimise(raw)
    turned = [
        s
        for s, x in zip(distinct, minimised, strict=True)
        if not np.array_equal(
            alpha_handedness(topology, x), alpha_handedness(topology, np.array(positions_nm))
        )
    ]
    if turned:
        raise ValueError(
            f"Minimising the start {', '.join(turned)} inverted an alpha carbon: the structure "
            "clashes there. Leave that start out of --starts."
        )
    relaxed = dict(zip(distinct, minimised, strict=True))
    num_temperatures = len(settings.temperatures)
    positions = np.stack(
        [
            np.stack([relaxed[s] for s in settings.starts_of(mode, t)])
            for t in range(num_temperatures)
        ]
    )
    velocities = np.empty_like(positions)
    for t, temperature in enumerate(settings.temperatures):
        engine.load(t, positions[t], np.zeros_like(positions[t]))
        engine.contexts[t].applyConstraints(1e-6)
        engine.contexts[t].setVelocitiesToTemperature(temperature, int(rng.integers(1, 2**31 - 1)))
        positions[t], velocities[t] = engine.read(t)
    pairs = max(0, num_temperatures - 1)
    walkers = np.repeat(np.arange(num_temperatures)[:, None], settings.copies, axis=1)
    return _State(
        positions,
        velocities,
        np.zeros(pairs, np.int64),
        np.zeros(pairs, np.int64),
        walkers,
        np.zeros(settings.copies, np.int64),
        np.zeros_like(walkers),
    )


class _BlewUpError(Exception):
    """Positions or velocities are not finite."""


def _run_chunk(
    engine: _Engine,
    before: _State,
    stage: _Stage,
    first_block: int,
    blocks: int,
    counts: tuple[float, int, int],
    rng: np.random.Generator,
) -> tuple[_Frames, _State]:
    """Run ``blocks`` blocks from a state that is left as it was."""
    from openmm import OpenMMException

    settings = engine.settings
    block_ps, frame_blocks, exchange_blocks = counts
    temperatures = settings.temperatures
    hot = stage.name == "hot"
    # In the hot stage all Contexts run at the highest temperature, with its time step.
    bath = [max(temperatures)] * len(temperatures) if hot else list(temperatures)
    step_ps = [settings.timestep_for(t) * 1e-3 for t in bath]
    steps = [max(1, round(block_ps / step)) for step in step_ps]
    state = replace(
        before,
        **{k: getattr(before, k).copy() for k in before.__dataclass_fields__},
    )
    frames = _Frames()
    for integrator, temperature, step in zip(engine.integrators, bath, step_ps, strict=True):
        integrator.setTemperature(temperature)
        integrator.setStepSize(step)
    for t in range(len(temperatures)):
        engine.load(t, state.positions_nm[t], state.velocities[t])
    for block in range(first_block + 1, first_block + blocks + 1):
        for t, integrator in enumerate(engine.integrators):
            try:
                integrator.step(steps[t])
                state.positions_nm[t], state.velocities[t] = engine.read(t)
            except OpenMMException as error:
                raise _BlewUpError(f"{temperatures[t]:g}") from error
            # An atom further from its copy's centroid than bonds reach has left the molecule (and
            # nan compares as false).
            extent = np.abs(state.positions_nm[t]).max()
            if not (extent < engine.packed.cutoff_nm and np.isfinite(state.velocities[t]).all()):
                raise _BlewUpError(f"{temperatures[t]:g}")
        if stage.name == "stored" and block % frame_blocks == 0:
            frames.positions.append(state.positions_nm.astype(np.float32))
            frames.time_ps.append(
                np.array([block * n * dt for n, dt in zip(steps, step_ps, strict=True)])
            )
        if stage.mode == "exchange" and not hot and block % exchange_blocks == 0:
            _exchange(engine, state, (block // exchange_blocks) % 2, rng)
        # Back to the sites: copies diffuse, and must not come near each other.
        for t in range(len(temperatures)):
            engine.load(t, state.positions_nm[t], state.velocities[t])
    return frames, state


def _exchange(engine: _Engine, state: _State, parity: int, rng: np.random.Generator) -> None:
    """Try to swap neighbouring temperatures of every ladder, in place."""
    temperatures = engine.settings.temperatures
    energies = engine.potential_energies(state.positions_nm)  # [T, M]
    for low in range(parity, len(temperatures) - 1, 2):
        high = low + 1
        chance = swap_probability(
            engine.beta[low], engine.beta[high], energies[low], energies[high]
        )
        swapped = rng.random(len(chance)) < chance
        state.attempted[low] += len(chance)
        state.accepted[low] += int(swapped.sum())
        scale = np.sqrt(temperatures[high] / temperatures[low])
        x, v, w = state.positions_nm, state.velocities, state.walkers
        for a in (x, w):
            a[low, swapped], a[high, swapped] = a[high, swapped], a[low, swapped].copy()
        v[low, swapped], v[high, swapped] = v[high, swapped] / scale, v[low, swapped] * scale
    # A round trip: from the lowest temperature to the highest and back.
    for m in range(state.walkers.shape[1]):
        top, bottom = state.walkers[-1, m], state.walkers[0, m]
        if state.direction[bottom, m] == 1:
            state.round_trips[m] += 1
        state.direction[bottom, m] = -1
        if state.direction[top, m] == -1:
            state.direction[top, m] = 1


def _pack_chunk(stage: _Stage, frames: _Frames, state: _State) -> dict[str, Any]:
    arrays = {f"state_{key}": getattr(state, key) for key in state.__dataclass_fields__}
    if frames.positions:
        arrays["frames"] = np.stack(frames.positions)  # [F, T, M, A, 3]
        arrays["time_ps"] = np.stack(frames.time_ps)  # [F, T]
    arrays["mode"] = np.array(stage.mode)
    return arrays


def _unpack_state(arrays: dict[str, NDArray[Any]]) -> _State:
    return _State(**{key: arrays[f"state_{key}"] for key in _State.__dataclass_fields__})


def _consolidate(
    out: Path,
    store: ChunkStore,
    plan: Sequence[tuple[_Stage, int, int]],
    settings: SimulationSettings,
    deciding: dict[str, Any],
    topology: Topology,
    system_xml: str,
    name: str,
    command_line: str,
    versions: dict[str, str],
) -> None:
    """All chunks into the final file."""
    frames: dict[str, list[NDArray[np.float32]]] = {}
    times: dict[str, list[NDArray[np.float64]]] = {}
    statistics: dict[str, Any] = {}
    for number, (stage, _, _) in enumerate(plan):
        arrays = store.load(number)
        if "frames" in arrays:
            frames.setdefault(stage.mode, []).append(arrays["frames"])
            times.setdefault(stage.mode, []).append(arrays["time_ps"])
        if stage.mode == "exchange":
            statistics = {
                "temperatures_K": np.array(settings.temperatures),
                "attempted": arrays["state_attempted"],
                "accepted": arrays["state_accepted"],
                "round_trips": arrays["state_round_trips"],
            }
    trajectories = []
    for mode, pieces in frames.items():
        positions = np.concatenate(pieces)
        time_ps = np.concatenate(times[mode])
        for t, temperature in enumerate(settings.temperatures):
            for m, start in enumerate(settings.starts_of(mode, t)):
                trajectories.append(
                    TrajectoryData(
                        positions[:, t, m],
                        time_ps[:, t],
                        mode,
                        temperature,
                        start,
                        settings.seed,
                        {"ladder" if mode == "exchange" else "copy": m},
                    )
                )
    described = {
        "simulation": deciding,
        "integrator": "LangevinMiddleIntegrator",
        "friction_per_ps": FRICTION_PER_PS,
        "timestep_fs": [settings.timestep_for(t) for t in settings.temperatures],
        "hydrogen_mass_dalton": HYDROGEN_MASS_DALTON,
        "constraints": "HBonds",
        "nonbonded_method": "NoCutoff",
        "forcefield": list(settings.forcefield),
        "seed": settings.seed,
        "command_line": command_line,
        "versions": versions,
    }
    write_trajectory_file(out, name, topology, system_xml, described, trajectories, statistics)


class _Progress:
    """Lines about how far a run is and when it will end."""

    def __init__(
        self,
        name: str,
        plan: Sequence[tuple[_Stage, int, int]],
        block_ps: float,
        settings: SimulationSettings,
        committed: int,
        sink: Callable[[str, bool], None] | None,
    ) -> None:
        self.name = name
        self.plan = plan
        self.block_ps = block_ps
        self.replicas = settings.copies * len(settings.temperatures)
        self.sink = sink
        self.total = sum(blocks for _, _, blocks in plan)
        self.before = sum(blocks for _, _, blocks in plan[:committed])
        self.began = time.monotonic()
        if committed and sink:
            sink(f"{name}: going on after {self.before * block_ps:g} ps", False)

    def chunk_done(self, number: int) -> None:
        if self.sink is None:
            return
        done = sum(blocks for _, _, blocks in self.plan[: number + 1])
        elapsed = time.monotonic() - self.began
        rate = (done - self.before) / elapsed
        left = (self.total - done) / rate
        stage = self.plan[number][0]
        speed = rate * self.block_ps * self.replicas * 86.4
        self.sink(
            f"{self.name}: {stage.mode} {stage.name} {done * self.block_ps:g} of "
            f"{self.total * self.block_ps:g} ps, {self.replicas} replicas, {speed:.0f} ns/day, "
            f"{left // 60:.0f} min {left % 60:.0f} s left",
            False,
        )

    def finished(self, out: Path) -> None:
        if self.sink is not None:
            self.sink(f"{self.name}: wrote {out}", True)
