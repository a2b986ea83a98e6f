"""One walker of a hybrid run: a Context with an AtmosIntegrator, and what it did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checkpoint import WalkerCheckpoint
from .proposal import REASONS
from .tables import ORIGINS

if TYPE_CHECKING:
    import openmm

    from ..systems.screening import ScreenSpec
    from .trajectory_files import Frame, GrowingTrajectory


class UnstableDynamicsError(ValueError):
    """Molecular dynamics broke down although no jump came before it."""


class Walker:
    """Runs cycles of one jump and `interval` steps, and keeps records until they are committed.

    Parameters
    ----------
    index: int
        number of the walker
    context: openmm.Context
        with an AtmosIntegrator, its positions and velocities set
    solute: numpy.ndarray, shape [A]
        particles that the model moves
    screen: ScreenSpec
        for the verdict on trajectory frames
    interval, report: int
        steps between jumps and between frames
    trajectory: GrowingTrajectory
        where its frames go
    periodic: bool
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
        trajectory: GrowingTrajectory,
        periodic: bool,
    ) -> None:
        self.index = index
        self.context = context
        self.integrator = integrator
        self._solute = solute
        self._screen = screen
        self._interval = interval
        self._report = report
        self._trajectory = trajectory
        self._periodic = periodic
        self._groups = integrator.getIntegrationForceGroups()
        self.step = 0
        self.segment = 0
        self.energy_limit = math.inf
        self.frames: list[Frame] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.forget()
        self._frame_count = 0
        self._solute_positions = np.full((len(solute), 3), np.nan)

    def begin(self) -> None:
        """Take note of where a new run starts."""
        self._solute_positions = self._positions()[self._solute]

    def restore(self, checkpoint: WalkerCheckpoint) -> None:
        """Go back to a committed moment."""
        self.context.loadCheckpoint(checkpoint.context)
        self.step = checkpoint.step
        self.segment = checkpoint.segment
        self.energy_limit = checkpoint.energy_limit_kj_per_mol
        self._frame_count = checkpoint.frames
        self.forget()
        self.begin()

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
        before = self._solute_positions
        try:
            return self._run_cycle(cycle)
        except _BrokeDownError as error:
            self.step, self.segment, self.energy_limit, self._frame_count, frames = kept
            del self.frames[frames:]
            proposal = dict(self.rows["proposals"][-1]) if error.after_jump else None
            for name, length in lengths.items():
                del self.rows[name][length:]
            self.context.loadCheckpoint(saved)
            self._solute_positions = before
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

    def commit_frames(self) -> tuple[int, int]:
        """Write the frames that wait to the trajectory; return its frames and bytes."""
        return self._trajectory.append(self.frames)

    def checkpoint(self, frames: int, size: int) -> WalkerCheckpoint:
        """The walker as it is, with the length of its trajectory file."""
        return WalkerCheckpoint(
            context=self.context.createCheckpoint(),
            frames=frames,
            trajectory_bytes=size,
            segment=self.segment,
            step=self.step,
            energy_limit_kj_per_mol=self.energy_limit,
        )

    def forget(self) -> None:
        """Drop frames and rows that were committed."""
        self.frames = []
        self.rows = {"proposals": [], "segments": [], "frames": []}

    def _run_cycle(self, cycle: int) -> tuple[str | None, bool]:
        first_step, first_frame = self.step, self._frame_count
        end = first_step + self._interval
        proposed = self.integrator.getNumProposed()
        reason: str | None = None
        valid = False
        started = False
        while self.step < end:
            target = min(end, (self.step // self._report + 1) * self._report)
            after_jump = reason == "accepted"
            try:
                self.integrator.step(target - self.step)
                if not started and self.integrator.getNumProposed() > proposed:
                    reason = self._record_proposal(cycle)
                    after_jump = reason == "accepted"
                state = self.context.getState(
                    positions=True, energy=True, velocities=True, groups=self._groups
                )
                finite = math.isfinite(state.getPotentialEnergy()._value)
            except Exception as error:
                if "NaN" not in str(error):
                    raise
                if not started and reason is None and self._jumped(proposed):
                    reason = self._record_proposal(cycle)
                    after_jump = reason == "accepted"
                raise _BrokeDownError(str(error), after_jump) from None
            if not finite:
                raise _BrokeDownError("the potential energy is not finite", after_jump)
            started = True
            self.step = target
            self._solute_positions = _array(state.getPositions(asNumpy=True))[self._solute]
            if target % self._report == 0:
                valid = self._record_frame(
                    cycle, state, generated=reason == "accepted" and target == end
                )
        self._record_segment(cycle, reason, first_step, first_frame)
        return reason, valid

    def _jumped(self, proposed: int) -> bool:
        return bool(self.integrator.getNumProposed() > proposed)

    def _record_proposal(self, cycle: int) -> str:
        """One row for the proposal just made."""
        proposal = self.integrator.getLastProposal()
        if math.isfinite(proposal.energyLimit):
            self.energy_limit = proposal.energyLimit
        atoms = len(self._solute)
        self.rows["proposals"].append(
            {
                "walker": self.index,
                "cycle": cycle,
                "attempt": proposal.attempt,
                "step": self.step,
                "segment": self.segment - 1,
                "energy_before_kj_per_mol": proposal.energyBefore,
                "energy_raw_kj_per_mol": proposal.energyRaw,
                "energy_after_kj_per_mol": proposal.energyAfter,
                "reason": REASONS.index(proposal.reason),
                "stage": proposal.stage,
                "log_ratio": proposal.logRatio,
                "positions_before_nm": self._solute_positions,
                "positions_raw_nm": _frame_or_nan(proposal.positions, atoms),
                "positions_after_nm": _frame_or_nan(proposal.finalPositions, atoms),
            }
        )
        return str(proposal.reason)

    def _record_frame(self, cycle: int, state: openmm.State, generated: bool) -> bool:
        """Keep a frame for the trajectory, with its verdict; return whether it is new and valid."""
        from ..systems.screening import screen

        energy = float(state.getPotentialEnergy()._value)
        verdict = screen(self._screen, self._solute_positions, self._solute_positions)
        if verdict == "accepted" and energy > self.energy_limit:
            verdict = "energy"
        valid = generated and verdict == "accepted"
        box = _array(state.getPeriodicBoxVectors(asNumpy=True)) if self._periodic else None
        self.frames.append((_array(state.getPositions(asNumpy=True)), box))
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

    def _positions(self) -> NDArray[np.float64]:
        return _array(self.context.getState(positions=True).getPositions(asNumpy=True))


class _BrokeDownError(Exception):
    """Dynamics gave coordinates or energies that are not finite."""

    def __init__(self, message: str, after_jump: bool) -> None:
        super().__init__(message)
        self.after_jump = after_jump


def _array(quantity: Any) -> NDArray[np.float64]:
    """The numbers of a Quantity in OpenMM's own units."""
    return np.array(quantity._value, dtype=np.float64)


def _frame_or_nan(values: Any, atoms: int) -> NDArray[np.float64]:
    """Positions [A, 3] in nm from whatever the integrator returns; NaN where there are none."""
    if values is None:
        return np.full((atoms, 3), np.nan)
    array = np.asarray(getattr(values, "_value", values), dtype=np.float64)
    return array.reshape(atoms, 3) if array.size else np.full((atoms, 3), np.nan)
