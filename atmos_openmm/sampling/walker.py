"""One walker of a hybrid run: a Context with an AtmosIntegrator, and what it did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..core.geometry import rmsd
from ..jump.context_state import state_box, state_positions
from ..jump.noise import walker_seed
from ..jump.proposal import REASONS
from ..jump.velocities import particle_masses
from .hybrid_state import WalkerState
from .tables import ORIGINS, PROPOSAL_POSITIONS, TABLES

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from ..propagator import AtmosPropagator
    from ..systems.screening import ScreenSpec
    from .hybrid_settings import HybridSettings
    from .trajectory_files import Frame


#: Steps between the seeds of the thermostats and those of the jumps, so that they never coincide.
_THERMOSTAT_STREAM = 1000003
# Columns of the record that are fields of the integrator's proposals.
_COPIED = (
    "attempt",
    "step",
    "stage",
    "log_ratio",
    "energy_before_kj_per_mol",
    "energy_raw_kj_per_mol",
    "energy_after_kj_per_mol",
)


class UnstableDynamicsError(ValueError):
    """Molecular dynamics broke down although no jump came before it."""


class Walker:
    """Runs cycles of one jump and `interval` steps, and keeps records until they are committed.

    Parameters
    ----------
    index : int
        number of the walker
    context : openmm.Context
        with an AtmosIntegrator, its positions and velocities set
    solute : numpy.ndarray, shape [A]
        particles that the model moves
    screen : ScreenSpec
        for the verdict on trajectory frames
    interval, report : int
        steps between jumps and between frames
    periodic : bool
        whether frames carry box vectors
    """

    def __init__(
        self,
        index: int,
        context: openmm.Context,
        integrator: Any,
        *,
        solute: NDArray[np.int64],
        screen: ScreenSpec,
        interval: int,
        report: int,
        periodic: bool,
    ) -> None:
        self.index = index
        self.context = context
        self.integrator = integrator
        self._solute = solute
        self._screen = screen
        self._interval = interval
        self._report = report
        self._periodic = periodic
        self._groups = integrator.getIntegrationForceGroups()
        self._kinetic_limit = _kinetic_limit(context.getSystem(), integrator)
        self.step = 0
        self.segment = 0
        self.energy_limit = math.inf
        self.frames: list[Frame] = []
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self._frame_count = 0

    def state(self) -> WalkerState:
        """Where it is."""
        return WalkerState(
            context=self.context.createCheckpoint(),
            frames=self._frame_count,
            segment=self.segment,
            step=self.step,
            energy_limit_kj_per_mol=self.energy_limit,
        )

    def restore(self, state: WalkerState) -> None:
        """Go to where it was, with nothing that waits to be committed."""
        self.context.loadCheckpoint(state.context)
        self.step = state.step
        self.segment = state.segment
        self.energy_limit = state.energy_limit_kj_per_mol
        self._frame_count = state.frames
        self.forget()

    def forget(self) -> None:
        """Drop frames and rows: they are committed."""
        self.frames = []
        self.rows = {name: [] for name in TABLES}

    def run_cycle(self, cycle: int) -> tuple[str | None, bool]:
        """A jump, if one is due, and `interval` steps of dynamics.

        An accepted frame can still break down in the dynamics that follows. The walker then goes
        back to where it was before the jump, the proposal is recorded as "unstable", and the
        cycle is made without a jump.

        Returns
        -------
        str or None, bool
            the verdict on the proposal, None if there was none; whether the cycle ended in a valid
            generated frame

        Raises
        ------
        UnstableDynamicsError
            if dynamics breaks down without a jump
        """
        saved = self.context.createCheckpoint()
        kept = (self.step, self.segment, self.energy_limit, self._frame_count, len(self.frames))
        lengths = {name: len(rows) for name, rows in self.rows.items()}
        try:
            return self._run_cycle(cycle)
        except _BrokeDownError as error:
            self.step, self.segment, self.energy_limit, self._frame_count, frames = kept
            del self.frames[frames:]
            proposal = dict(self.rows["proposals"][-1]) if error.after_jump else None
            for name, length in lengths.items():
                del self.rows[name][length:]
            self.context.loadCheckpoint(saved)
            if proposal is None:
                raise UnstableDynamicsError(
                    f"Molecular dynamics of walker {self.index} broke down at step "
                    f"{self.step} without a jump before it ({error}). Use a shorter time step, "
                    "minimise the start, or check the force field."
                ) from None
            proposal["reason"] = REASONS.index("unstable")
            self.rows["proposals"].append(proposal)
            self.integrator.setJumpInterval(0)
            try:
                self._run_cycle(cycle)
            except _BrokeDownError as again:
                raise UnstableDynamicsError(
                    f"Molecular dynamics of walker {self.index} broke down at step {self.step}, "
                    f"with a jump and without ({again}). Use a shorter time step."
                ) from None
            finally:
                self.integrator.setJumpInterval(self._interval)
            return "unstable", False

    def _run_cycle(self, cycle: int) -> tuple[str | None, bool]:
        first_step, first_frame = self.step, self._frame_count
        end = first_step + self._interval
        proposed = self.integrator.getNumProposed()
        reason: str | None = None
        valid = False
        while self.step < end:
            target = min(end, (self.step // self._report + 1) * self._report)
            state, problem = self._advance(target - self.step)
            if self.integrator.getNumProposed() > proposed + (reason is not None):
                reason = self._record_proposal(cycle)
            if state is None:
                raise _BrokeDownError(problem, after_jump=reason == "accepted")
            self.step = target
            if target % self._report == 0:
                valid = self._record_frame(
                    cycle, state, generated=reason == "accepted" and target == end
                )
        self._record_segment(cycle, reason, first_step, first_frame)
        return reason, valid

    def _advance(self, steps: int) -> tuple[openmm.State | None, str]:
        """Make steps; the State after them, or None and what is wrong with it."""
        try:
            self.integrator.step(steps)
            state = self.context.getState(
                positions=True, energy=True, velocities=True, groups=self._groups
            )
        except Exception as error:
            if any(sign in str(error) for sign in ("NaN", "not a finite number")):
                return None, str(error)
            raise
        if not math.isfinite(state.getPotentialEnergy()._value):
            return None, "the potential energy is not finite"
        kinetic = float(state.getKineticEnergy()._value)
        if not kinetic < self._kinetic_limit:
            return None, f"the kinetic energy rose to {kinetic:.3g} kJ/mol"
        return state, ""

    def _record_proposal(self, cycle: int) -> str:
        """One row for the proposal just made."""
        proposal = self.integrator.getLastProposal()
        if math.isfinite(proposal.energy_limit_kj_per_mol):
            self.energy_limit = proposal.energy_limit_kj_per_mol
        row: dict[str, Any] = {
            "walker": self.index,
            "cycle": cycle,
            "segment": self.segment - 1,
            "reason": REASONS.index(proposal.reason),
        }
        for name in _COPIED:
            row[name] = getattr(proposal, name)
        for name in PROPOSAL_POSITIONS:
            positions = getattr(proposal, name)
            row[name] = np.full((len(self._solute), 3), np.nan) if positions is None else positions
        row["rmsd_raw_to_after_nm"] = (
            math.nan
            if proposal.positions_after_nm is None
            else float(rmsd(proposal.positions_raw_nm, proposal.positions_after_nm))
        )
        self.rows["proposals"].append(row)
        return str(proposal.reason)

    def _record_frame(self, cycle: int, state: openmm.State, generated: bool) -> bool:
        """Keep a frame for the trajectory, with its verdict; return whether it is new and valid."""
        from ..systems.screening import screen

        energy = float(state.getPotentialEnergy()._value)
        positions = state_positions(state)
        verdict = screen(self._screen, positions[self._solute])
        if verdict == "accepted" and energy > self.energy_limit:
            verdict = "energy"
        valid = generated and verdict == "accepted"
        box = state_box(state) if self._periodic else None
        self.frames.append((positions, box))
        self.rows["frames"].append(
            {
                "walker": self.index,
                "cycle": cycle,
                "frame": self._frame_count,
                "segment": self.segment,
                "step": self.step,
                "potential_energy_kj_per_mol": energy,
                "kinetic_energy_kj_per_mol": float(state.getKineticEnergy()._value),
                "verdict": REASONS.index(verdict),
                "generated": valid,
            }
        )
        self._frame_count += 1
        return valid

    def _record_segment(
        self, cycle: int, reason: str | None, first_step: int, first_frame: int
    ) -> None:
        """One row for the dynamics of this cycle."""
        if reason == "accepted":
            origin = "jump"
        else:
            origin = "start" if self.segment == 0 else "continuation"
        attempt = self.rows["proposals"][-1]["attempt"] if reason == "accepted" else -1
        self.rows["segments"].append(
            {
                "walker": self.index,
                "cycle": cycle,
                "segment": self.segment,
                "origin": ORIGINS.index(origin),
                "attempt": attempt,
                "first_step": first_step,
                "steps": self.step - first_step,
                "first_frame": first_frame,
                "frames": self._frame_count - first_frame,
            }
        )
        self.segment += 1


def create_walkers(
    topology: Topology,
    system: openmm.System,
    positions_nm: NDArray[np.float64],
    propagator: AtmosPropagator,
    settings: HybridSettings,
    properties: dict[str, str],
) -> list[Walker]:
    """Contexts with their integrators, at start positions [W, P, 3], without velocities.

    Parameters
    ----------
    topology, system, propagator
        What HybridSampler is given.
    positions_nm : float64 [W, P, 3]
    settings : HybridSettings
    properties : dict
        Of the Platform.
    """
    import openmm

    platform = openmm.Platform.getPlatform(settings.platform)
    periodic = system.usesPeriodicBoundaryConditions()
    box = topology.getPeriodicBoxVectors() if periodic else None
    screen = propagator.getScreen(system)
    dynamics, jumps = settings.dynamics, settings.jumps
    walkers = []
    for index, start in enumerate(positions_nm):
        integrator = propagator.createIntegrator(
            dynamics.temperature_k,
            dynamics.friction_per_ps,
            dynamics.step_ps,
            system=system,
            jumpInterval=jumps.interval,
            lag=jumps.lag_ps,
            acceptance=jumps.acceptance,
            energyWindow=jumps.energy_window,
            windowSamples=jumps.window_samples,
            relaxation=jumps.relaxation,
            seed=walker_seed(settings.seed, index),
        )
        integrator.setRandomNumberSeed(thermostat_seed(settings.seed, index))
        context = openmm.Context(system, integrator, platform, properties)
        if box is not None:
            context.setPeriodicBoxVectors(*box)
        context.setPositions(start)
        walkers.append(
            Walker(
                index,
                context,
                integrator,
                solute=np.asarray(propagator.atomIndices, dtype=np.int64),
                screen=screen,
                interval=jumps.interval,
                report=settings.report,
                periodic=periodic,
            )
        )
    return walkers


def thermostat_seed(seed: int, walker: int) -> int:
    """The seed of a walker's thermostat."""
    return walker_seed(seed, _THERMOSTAT_STREAM + walker)


class _BrokeDownError(Exception):
    """Dynamics gave numbers that are not finite, or a kinetic energy that cannot be."""

    def __init__(self, message: str, after_jump: bool) -> None:
        super().__init__(message)
        self.after_jump = after_jump


def _kinetic_limit(system: openmm.System, integrator: Any) -> float:
    """A kinetic energy in kJ/mol that no thermostatted dynamics reaches.

    Ten times the mean, and 50 kT more, which a Maxwell-Boltzmann distribution exceeds less than
    once in e^50 frames however few the degrees of freedom.
    """
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * float(integrator.getTemperature()._value)
    moving = int((particle_masses(system) > 0).sum())
    return thermal * (0.5 * 10 * 3 * moving + 50)
