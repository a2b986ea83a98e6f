"""Raw proposals from held-out frames: screen, handedness, energies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.energy import potential_energies
from .before_after import Measurement
from .quantities import at_lag

if TYPE_CHECKING:
    import openmm

    from ..propagator import AtmosPropagator

__all__ = ["HeldOutEnergies", "judge_frames", "judge_proposals"]

WINDOW_SD = 6.0
#: Proposals that go through the network together.
BATCH = 32

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOutEnergies:
    """Potential energies of held-out molecular dynamics under a System, after constraints.

    Attributes
    ----------
    system : openmm.System
    mean, sd : float
        Of held-out frames, kJ/mol.
    platform : str
    """

    system: openmm.System
    mean: float
    sd: float
    platform: str = "CPU"

    @staticmethod
    def of(
        system: openmm.System, frames_nm: NDArray[Any], platform: str = "CPU"
    ) -> HeldOutEnergies:
        """Those of frames [F, P, 3]."""
        energies = potential_energies(frames_nm, system, platform, constrained=True)
        found = energies[np.isfinite(energies)]
        if len(found) < 2 or not found.std() > 0.0:
            raise ValueError(
                "The held-out frames have no finite potential energies that differ under the "
                "System; is it of this molecule, with its atoms in this order?"
            )
        return HeldOutEnergies(system, float(found.mean()), float(found.std(ddof=1)), platform)

    def shifts(self, frames_nm: NDArray[Any]) -> Floats:
        """Energies [F] after constraints, as standard deviations above the mean; inf where they
        overflow."""
        energies = potential_energies(frames_nm, self.system, self.platform, constrained=True)
        return (energies - self.mean) / self.sd


def judge_proposals(
    propagator: AtmosPropagator,
    starts_nm: Floats,
    lag_ps: float,
    temperature_kelvin: float,
    seed: int,
    energies: HeldOutEnergies | None,
    progress: Callable[[int], None],
) -> Measurement:
    """Propose a frame from each start, and judge it as a jump would be.

    Parameters
    ----------
    propagator : AtmosPropagator
    starts_nm : array [n, P, 3]
        All atoms of the Topology; in the order of time.
    seed : int
        The noise of proposal k is a function of the seed and k alone.
    energies : HeldOutEnergies or None
        Without it proposals are judged by geometry alone.
    progress : function
        Called with the number of proposals made.
    """
    from ..sampling.rollout_proposer import Proposer
    from ..sampling.rollout_state import RolloutState

    atoms = np.asarray(propagator.atomIndices)
    frames = np.array(starts_nm, np.float64)
    reasons: list[str] = []
    for first in range(0, len(frames), BATCH):
        proposer = Proposer(propagator, seed + first, lag_ps, temperature_kelvin)
        state = RolloutState.start(frames[first : first + BATCH, atoms], proposer.state_size)
        for walker, attempt in proposer.attempts(state):
            reasons.append(attempt.reason)
            place = attempt.positions_nm
            frames[first + walker, atoms] = np.nan if place is None else place
        progress(len(reasons))
    return _judged(propagator, frames, reasons, lag_ps, energies)


def judge_frames(
    propagator: AtmosPropagator,
    frames_nm: Floats,
    lags_ps: Sequence[float],
    energies: HeldOutEnergies | None,
) -> Measurement:
    """Judge frames of molecular dynamics [F, P, 3] as if they were proposals: the oracle."""
    from ..systems.screening import screen

    spec, atoms = propagator.getScreen(), np.asarray(propagator.atomIndices)
    reasons = [screen(spec, frame[atoms]) for frame in frames_nm]
    samples: dict[str, Sequence[float]] = {}
    for lag in lags_ps:
        samples |= _judged(propagator, frames_nm, reasons, lag, energies).samples
    return Measurement(samples)


def _judged(
    propagator: AtmosPropagator,
    frames_nm: Floats,
    reasons: Sequence[str],
    lag_ps: float,
    energies: HeldOutEnergies | None,
) -> Measurement:
    from ..systems.screening import screen

    spec, atoms = propagator.getScreen(), np.asarray(propagator.atomIndices)
    passed = np.array([reason == "accepted" for reason in reasons], float)
    finite = [bool(np.isfinite(frame).all()) for frame in frames_nm]
    samples: dict[str, Sequence[float]] = {"screen": passed.tolist()}
    if len(spec.chiral_centers):
        samples["handed"] = [
            float(ok and screen(spec, frame[atoms], only=["chirality"]) == "accepted")
            for ok, frame in zip(finite, frames_nm, strict=True)
        ]
    usable = passed
    if energies is not None:
        shifts = energies.shifts(frames_nm)
        samples["energy_shift"] = shifts.tolist()
        usable = passed * (shifts <= WINDOW_SD)
    samples = {"usable": usable.tolist(), **samples}
    told = ", ".join(
        f"{name} {reasons.count(name)}" for name in dict.fromkeys(reasons) if name != "accepted"
    )
    notes = (f"lag {lag_ps:g} ps, {len(reasons)} proposals: {told or 'all pass the screen'}",)
    return Measurement({at_lag(k, lag_ps): v for k, v in samples.items()}, {}, notes)
