"""The verdict on a proposed frame: screen, constraints, relaxation, energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..systems.openmm_bridge import constraint_arrays
from ..systems.screening import check_displacement, check_environment, screen
from .acceptance import EnergyWindow
from .context_state import (
    minimized_energy,
    positions_and_forces,
    potential_energy,
)
from .proposal import Proposal
from .propose import ProposedFrames
from .snapshot import Snapshot

if TYPE_CHECKING:
    import openmm

    from ..systems.screening import ScreenSpec


class Judge:
    """Tests frames that a module proposed for the solute of one System.

    Parameters
    ----------
    system : openmm.System
    masses_da : float64 [P]
        Of its particles; those without mass do not count as environment.
    solute : int64 [A]
        Particle of each atom of the module.
    spec : ScreenSpec
        In atom numbers of the module.
    relaxation : sequence of int
        Minimiser iterations of each stage.

    Attributes
    ----------
    fragments : tuple of Fragment
        What moves where that is not all of the module's atoms.
    """

    def __init__(
        self,
        system: openmm.System,
        masses_da: NDArray[np.float64],
        solute: NDArray[np.int64],
        spec: ScreenSpec,
        relaxation: Sequence[int],
    ) -> None:
        self.fragments = spec.fragments
        self._solute = solute
        self._spec = spec
        self._relaxation = tuple(int(n) for n in relaxation)
        self._environment = np.setdiff1d(np.flatnonzero(masses_da > 0), solute)
        pairs, distances = constraint_arrays(system)
        touching = np.isin(pairs, solute).any(axis=1)
        self._constrained, self._distances_nm = pairs[touching], distances[touching]
        self._periodic = system.usesPeriodicBoundaryConditions()

    def judge(
        self,
        context: openmm.Context,
        before: Snapshot,
        frames: ProposedFrames,
        row: int,
        attempt: int,
        window: EnergyWindow | None,
    ) -> Proposal:
        """Test one frame. When it passes, the Context holds it afterwards; else restore `before`.

        Parameters
        ----------
        context : openmm.Context
        before : Snapshot
            Of the Context.
        frames : ProposedFrames
        row : int
            Which of the frames.
        attempt : int
            Number of the proposal.
        window : EnergyWindow or None
            What the energy is compared with; with None any finite energy will do, and all stages
            are applied.
        """
        raw = frames.centred_nm[row].astype(np.float64)
        record: dict[str, Any] = {
            "attempt": attempt,
            "step": before.step,
            "log_ratio": float(frames.log_ratios[row]),
            "energy_before_kj_per_mol": before.energy_kj_per_mol,
            "energy_limit_kj_per_mol": math.inf if window is None else window.limit_kj_per_mol,
            "positions_before_nm": before.positions_nm[self._solute],
            "positions_raw_nm": raw,
        }
        if not (np.isfinite(raw).all() and np.isfinite(frames.states[row]).all()):
            return Proposal(reason="nonfinite", **record)
        if not check_displacement(self._spec, raw):
            return Proposal(reason="displaced", **record)
        raw = record["positions_raw_nm"] = frames.positions_nm[row]
        fault = self._geometry_fault(raw, before)
        if fault != "accepted":
            return Proposal(reason=fault, **record)
        if self._write(context, raw, before) > self._spec.constraint_tolerance_nm:
            return Proposal(reason="constraints", **record)
        integrator = context.getIntegrator()
        groups = integrator.getIntegrationForceGroups()
        context.applyConstraints(integrator.getConstraintTolerance())
        energy = record["energy_raw_kj_per_mol"] = potential_energy(context, groups)
        energy, stage = self._relax(context, groups, energy, window)
        positions, forces_are_finite = positions_and_forces(context, groups)
        after = positions[self._solute]
        record.update(energy_after_kj_per_mol=energy, stage=stage, positions_after_nm=after)
        if stage > 0:
            only = ("chirality", "cis_trans")
            fault = screen(self._spec, after, record["positions_before_nm"], only)
            if fault != "accepted":
                return Proposal(reason=fault, **record)
        inside = math.isfinite(energy) if window is None else window.contains(energy)
        return Proposal(reason="accepted" if inside and forces_are_finite else "energy", **record)

    def _geometry_fault(self, raw: NDArray[np.float64], before: Snapshot) -> str:
        """The first test that a superposed frame fails, or "accepted"."""
        fault = screen(self._spec, raw, before.positions_nm[self._solute])
        if fault != "accepted":
            return fault
        others = before.positions_nm[self._environment]
        box = before.box_nm if self._periodic else None
        return check_environment(self._spec, raw, others, box).reason

    def _write(self, context: openmm.Context, raw: NDArray[np.float64], before: Snapshot) -> float:
        """Put the frame into the Context; how far its constraints have to pull at most, in nm."""
        positions = before.positions_nm.copy()
        positions[self._solute] = raw
        context.setPositions(positions)
        context.computeVirtualSites()
        if not len(self._constrained):
            return 0.0
        first, second = self._constrained.T
        actual = np.linalg.norm(positions[first] - positions[second], axis=1)
        return float(np.abs(actual - self._distances_nm).max())

    def _relax(
        self, context: openmm.Context, groups: int, energy: float, window: EnergyWindow | None
    ) -> tuple[float, int]:
        """Run the stages while the energy is above the window; the last energy and their number."""
        stage = 0
        for iterations in self._relaxation:
            if window is not None and window.contains(energy):
                break
            energy = minimized_energy(context, groups, iterations)
            stage += 1
        return energy, stage
