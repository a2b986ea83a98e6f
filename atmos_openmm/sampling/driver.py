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
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import centroid, superpose
from ..core.units import plain
from ..jump.acceptance import ACCEPTANCE_MODES, EnergyWindow, RunningStatistics
from ..jump.module_call import call_module, module_sizes
from ..jump.noise import fresh_seed, proposal_noise, walker_seed
from ..jump.proposal import Proposal
from ..jump.velocities import (
    particle_masses,
    thermal_velocities,
    virtual_sites,
    without_net_momentum,
)

if TYPE_CHECKING:
    import openmm
    import torch

    from ..systems.screening import ScreenSpec

RELAXATION_TOLERANCE_KJ_PER_MOL_NM = 10.0


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


@dataclass
class _Snapshot:
    """A Context before its jump; positions and velocities [P, 3] in nm and nm/ps."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    energy: float
    statistics: RunningStatistics
    box: NDArray[np.float64]


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
    contexts: Context or list of Contexts
        of Systems with the same particles
    module: torch.jit.ScriptModule
        a bound module (see docs/architecture.md)
    screen: ScreenSpec
        tests of the geometry, in atom numbers of the module
    solute: sequence of int
        particle index of each atom of the module; the first particles by default
    jumpInterval: int
        steps between jumps; 0 for none
    lag: time
        the time that one jump skips (ps)
    temperature: temperature
        asked of the module and given to the new velocities (K); the integrator's by default
    acceptance: str
        "filter" or "none"
    energyWindow: float
        width of the window in standard deviations above the mean
    windowSamples: int
        energies to be known before the first proposal of `filter`
    relaxation: sequence of int
        minimiser iterations of each stage
    seed: int or list of int
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
        self._screen = screen
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
        self._relaxation = tuple(int(n) for n in relaxation)
        self._threads = threads
        self._since_jump = 0
        system = all_contexts[0].getSystem()
        self._masses = particle_masses(system)
        self._virtual = virtual_sites(system)
        self._environment = np.setdiff1d(np.flatnonzero(self._masses > 0), self._solute)
        self._constraints = _solute_constraints(system, self._solute)
        self._periodic = system.usesPeriodicBoundaryConditions()
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
        import openmm

        snapshots = [self._take_snapshot(walker) for walker in self._walkers]
        for index, (walker, snapshot) in enumerate(zip(self._walkers, snapshots, strict=True)):
            if not math.isfinite(snapshot.energy):
                raise openmm.OpenMMException(
                    f"The potential energy of walker {index} before a jump is not a finite number, "
                    "so the dynamics has failed. Use a smaller step size, or minimize the "
                    "starting positions."
                )
            walker.window.statistics.add(snapshot.energy)
        ready = [
            (walker, snapshot)
            for walker, snapshot in zip(self._walkers, snapshots, strict=True)
            if self._acceptance == "none" or walker.window.ready
        ]
        if not ready:
            return
        centred = [
            s.positions[self._solute] - centroid(s.positions[self._solute]) for _, s in ready
        ]
        try:
            frames, states, log_ratios = call_module(
                self._module,
                np.stack(centred).astype(np.float32),
                np.stack([walker.state for walker, _ in ready]),
                np.stack(
                    [
                        proposal_noise(walker.seed, walker.attempts, self._sizes.noise_size)
                        for walker, _ in ready
                    ]
                ),
                self._lag_ps,
                self._temperature_k,
                self._threads,
            )
        except RuntimeError as error:
            # Nothing was written yet: only the energies just learned have to be forgotten.
            for walker, snapshot in zip(self._walkers, snapshots, strict=True):
                walker.window.statistics = snapshot.statistics
            raise openmm.OpenMMException(str(error)) from None
        for row, (walker, snapshot) in enumerate(ready):
            attempt = walker.attempts
            walker.attempts += 1
            proposal = self._judge(
                walker, snapshot, frames[row], states[row], attempt, float(log_ratios[row])
            )
            walker.last = proposal
            walker.reasons[proposal.reason] += 1
            if proposal.accepted:
                walker.state = states[row].copy()
                walker.learned_time_ps += self._lag_ps
                self._draw_velocities(walker, attempt)
            else:
                walker.context.setPositions(snapshot.positions)
                walker.context.setVelocities(snapshot.velocities)

    def _take_snapshot(self, walker: _Walker) -> _Snapshot:
        """Positions, velocities, energy of the integration groups, and the window as they are."""
        state = walker.context.getState(
            positions=True,
            velocities=True,
            energy=True,
            groups=walker.context.getIntegrator().getIntegrationForceGroups(),
        )
        statistics = walker.window.statistics
        return _Snapshot(
            _positions(state),
            np.asarray(state.getVelocities(asNumpy=True)._value, dtype=np.float64),
            state.getPotentialEnergy()._value,
            RunningStatistics(statistics.count, statistics.mean, statistics.sum_of_squares),
            np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value, dtype=np.float64),
        )

    def _judge(
        self,
        walker: _Walker,
        snapshot: _Snapshot,
        frame: NDArray[np.float32],
        state: NDArray[np.float32],
        attempt: int,
        log_ratio: float,
    ) -> Proposal:
        """Test one frame; when it passes, the Context holds it afterwards."""
        from ..systems.screening import check_environment, screen

        before = snapshot.positions[self._solute]
        record: dict[str, Any] = {
            "attempt": attempt,
            "step": walker.context.getStepCount(),
            "energy_before_kj_per_mol": snapshot.energy,
            "log_ratio": log_ratio,
            "positions_before_nm": before,
            "positions_raw_nm": frame.astype(np.float64),
        }
        if self._acceptance == "filter":
            record["energy_limit_kj_per_mol"] = walker.window.limit_kj_per_mol
        proposed = record["positions_raw_nm"]
        if not (np.isfinite(proposed).all() and np.isfinite(state).all()):
            return Proposal(reason="nonfinite", **record)
        if float(np.linalg.norm(centroid(proposed))) > self._screen.max_displacement_nm:
            return Proposal(reason="displaced", **record)
        raw = superpose(proposed, before)
        record["positions_raw_nm"] = raw
        fault = screen(self._screen, raw, before)
        if fault != "accepted":
            return Proposal(reason=fault, **record)
        others = snapshot.positions[self._environment]
        if not check_environment(
            self._screen, raw, others, snapshot.box if self._periodic else None
        ):
            return Proposal(reason="environment", **record)

        # Write the frame, and measure how far the constraints have to pull.

        context = walker.context
        integrator = context.getIntegrator()
        tolerance = integrator.getConstraintTolerance()
        groups = integrator.getIntegrationForceGroups()
        positions = snapshot.positions.copy()
        positions[self._solute] = raw
        context.setPositions(positions)
        context.computeVirtualSites()
        if self._constraint_error(positions) > self._screen.constraint_tolerance_nm:
            return Proposal(reason="constraints", **record)
        context.applyConstraints(tolerance)
        energy = _energy(context, groups)
        record["energy_raw_kj_per_mol"] = energy

        # Relax by stages: while the energy is too high (filter), or all of them (none).

        stage = 0
        for iterations in self._relaxation:
            if self._acceptance == "filter" and walker.window.contains(energy):
                break
            energy = _minimized_energy(context, groups, iterations)
            stage += 1
        after, forces_are_finite = _positions_and_forces(context, groups)
        after = after[self._solute]
        record.update(energy_after_kj_per_mol=energy, stage=stage, positions_after_nm=after)
        if stage > 0:
            fault = screen(self._screen, after, before, only=("chirality", "cis_trans"))
            if fault != "accepted":
                return Proposal(reason=fault, **record)
        inside = (
            walker.window.contains(energy)
            if self._acceptance == "filter"
            else math.isfinite(energy)
        ) and forces_are_finite
        return Proposal(reason="accepted" if inside else "energy", **record)

    def _constraint_error(self, positions: NDArray[np.float64]) -> float:
        """Largest deviation from a constrained distance of the solute, in nm."""
        if not self._constraints:
            return 0.0
        first, second, distance = map(np.array, zip(*self._constraints, strict=True))
        actual = np.linalg.norm(positions[first] - positions[second], axis=1)
        return float(np.abs(actual - distance).max())

    def _draw_velocities(self, walker: _Walker, attempt: int) -> None:
        """New velocities at the thermostat's temperature, on the constraints, without drift."""
        context = walker.context
        integrator = context.getIntegrator()
        velocities = thermal_velocities(self._masses, self._temperature_k, walker.seed, attempt)

        # They are drawn for the time of the positions; a leapfrog scheme keeps them half a step
        # behind, and would otherwise heat with every jump.

        offset_ps = _velocity_offset_ps(integrator)
        if offset_ps > 0:
            state = context.getState(forces=True, groups=integrator.getIntegrationForceGroups())
            forces = np.asarray(state.getForces(asNumpy=True)._value, dtype=np.float64)
            moving = self._masses > 0
            velocities[moving] -= forces[moving] * (offset_ps / self._masses[moving])[:, None]
        context.setVelocities(velocities)
        context.applyVelocityConstraints(integrator.getConstraintTolerance())
        if bool(((self._masses > 0) | self._virtual).all()):
            state = context.getState(velocities=True)
            velocities = np.asarray(state.getVelocities(asNumpy=True)._value, dtype=np.float64)
            context.setVelocities(without_net_momentum(velocities, self._masses))


def _bytes_array(data: bytes) -> NDArray[np.uint8]:
    """Bytes as an array, for numpy's archive format."""
    return np.frombuffer(data, dtype=np.uint8)


def _positions(state: openmm.State) -> NDArray[np.float64]:
    """Positions [P, 3] of a State in nm."""
    return np.array(state.getPositions(asNumpy=True)._value, dtype=np.float64)


def _positions_and_forces(context: openmm.Context, groups: int) -> tuple[NDArray[np.float64], bool]:
    """Positions [P, 3] in nm, and whether the forces of the groups are finite.

    A finite energy is no guarantee: where two atoms of an angle coincide it has no gradient.
    """
    import openmm

    try:
        state = context.getState(positions=True, forces=True, groups=groups)
    except openmm.OpenMMException as error:
        if "NaN" not in str(error):
            raise
        return _positions(context.getState(positions=True)), False
    return _positions(state), bool(np.isfinite(state.getForces(asNumpy=True)._value).all())


def _velocity_offset_ps(integrator: openmm.Integrator) -> float:
    """How far an integrator keeps its velocities behind the positions, in ps.

    As `Integrator::getVelocityTimeOffset()` of OpenMM says, which Python does not see.
    """
    import openmm

    if isinstance(integrator, openmm.CompoundIntegrator):
        integrator = integrator.getIntegrator(0)
    half_step_behind = (
        openmm.LangevinMiddleIntegrator,
        openmm.LangevinIntegrator,
        openmm.VerletIntegrator,
        openmm.DPDIntegrator,
        openmm.QTBIntegrator,
    )
    if isinstance(integrator, half_step_behind):
        return 0.5 * float(integrator.getStepSize()._value)
    return 0.0


def _energy(context: openmm.Context, groups: int) -> float:
    """Potential energy of the force groups in kJ/mol; NaN where OpenMM refuses the positions."""
    import openmm

    try:
        return float(context.getState(energy=True, groups=groups).getPotentialEnergy()._value)
    except openmm.OpenMMException as error:
        if "NaN" in str(error):
            return math.nan
        raise


def _minimized_energy(context: openmm.Context, groups: int, iterations: int) -> float:
    """Minimise a little; the energy afterwards, NaN where OpenMM refuses the positions."""
    import openmm

    try:
        openmm.LocalEnergyMinimizer.minimize(
            context, RELAXATION_TOLERANCE_KJ_PER_MOL_NM, iterations
        )
    except openmm.OpenMMException as error:
        if "NaN" not in str(error):
            raise
        return math.nan
    return _energy(context, groups)


def _solute_constraints(
    system: openmm.System, solute: NDArray[np.int64]
) -> list[tuple[int, int, float]]:
    """Constraints on at least one atom of the solute: particles and distance in nm."""
    inside = set(solute.tolist())
    found = []
    for index in range(system.getNumConstraints()):
        first, second, distance = system.getConstraintParameters(index)
        if first in inside or second in inside:
            found.append((first, second, float(distance._value)))
    return found


def _walker_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed a walker: those given, or a sequence that follows from the first."""
    if not isinstance(seed, int):
        seeds = [int(s) for s in seed]
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds were given for {count} walkers.")
        return [s or fresh_seed() for s in seeds]
    return [walker_seed(seed or fresh_seed(), walker) for walker in range(count)]
