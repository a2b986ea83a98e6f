"""One walker of a hybrid run: a Context with an AtmosIntegrator, and what it did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import rmsd
from ..jump.context_state import state_box, state_positions
from ..jump.noise import walker_seed
from ..jump.proposal import REASONS
from .hybrid_settings import Jumps
from .moving_walker import MovingWalker, UnstableDynamicsError, thermostat_seed
from .run_mode import Sampled
from .tables import ORIGINS, PROPOSAL_POSITIONS, TABLES

if TYPE_CHECKING:
    import openmm

    from ..propagator import AtmosPropagator
    from ..systems.screening import ScreenSpec


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


class Walker(MovingWalker):
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
        super().__init__(
            index, context, integrator, interval=interval, report=report, periodic=periodic
        )
        self._solute = solute
        self._screen = screen
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}

    def forget(self) -> None:
        """Drop frames and rows: they are committed."""
        super().forget()
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
            target = self._next_stop(end)
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


def create_walkers(sampled: Sampled, propagator: AtmosPropagator, jumps: Jumps) -> list[Walker]:
    """Contexts with their integrators, at the start positions, without velocities."""
    screen = propagator.getScreen(sampled.system)
    dynamics, seed = sampled.plan.dynamics, sampled.plan.seed
    walkers = []
    for index in range(len(sampled.starts_nm)):
        integrator = propagator.createIntegrator(
            dynamics.temperature_k,
            dynamics.friction_per_ps,
            dynamics.step_ps,
            system=sampled.system,
            jumpInterval=jumps.interval,
            lag=jumps.lag_ps,
            acceptance=jumps.acceptance,
            energyWindow=jumps.energy_window,
            windowSamples=jumps.window_samples,
            relaxation=jumps.relaxation,
            seed=walker_seed(seed, index),
        )
        integrator.setRandomNumberSeed(thermostat_seed(seed, index))
        walkers.append(
            Walker(
                index,
                sampled.context(integrator, index),
                integrator,
                solute=np.asarray(propagator.atomIndices, dtype=np.int64),
                screen=screen,
                interval=jumps.interval,
                report=sampled.plan.report,
                periodic=sampled.periodic,
            )
        )
    return walkers


class _BrokeDownError(Exception):
    """Dynamics gave numbers that are not finite, or a kinetic energy that cannot be."""

    def __init__(self, message: str, after_jump: bool) -> None:
        super().__init__(message)
        self.after_jump = after_jump
