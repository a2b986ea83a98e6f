"""Attempts at the next frames of a rollout: proposed together, superposed, screened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..jump.module_call import check_device, module_sizes
from ..jump.noise import walker_seed
from ..jump.propose import ProposedFrames, propose_frames
from .rollout_attempt import Attempt

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator
    from ..systems.screening import ScreenSpec
    from .rollout_state import RolloutState

#: An atom further than this from the centre is nowhere: networks fail on such coordinates, and the
#: formats of trajectories cannot hold them.
LARGEST_COORDINATE_NM = 1e5


class Proposer:
    """Makes attempts at frames, with noise that is a function of walker and attempt.

    Parameters
    ----------
    propagator : AtmosPropagator
    seed : int
        of the noise of walker 0, from which those of the others follow
    lag, temperature : Quantity or float, optional
        in ps and K; those of the propagator by default
    threads : int
        of torch

    Attributes
    ----------
    state_size : int
        numbers in the latent of one walker, S
    lag_ps : float

    Raises
    ------
    ValueError
        if the propagator's device is not there, or the model does not know lag or temperature
    """

    def __init__(
        self,
        propagator: AtmosPropagator,
        seed: int,
        lag: Any = None,
        temperature: Any = None,
        threads: int = 1,
    ) -> None:
        self.lag_ps = propagator.checkedLag(lag)
        self._temperature_k = propagator.checkedTemperature(temperature)
        device = propagator.info()["device"]
        check_device(device)
        self.state_size = module_sizes(propagator.bind()).state_size
        self._propagator = propagator
        self._screen = propagator.getScreen()
        self._device = device
        self._seed = seed
        self._threads = threads

    def settings(self) -> dict[str, Any]:
        """What decides the frames, as run.json keeps it."""
        moved = self._propagator.movedIndices
        part = {"moved_atoms": moved} if len(moved) < len(self._propagator.atomIndices) else {}
        return {
            **part,
            "model": self._propagator.modelName,
            "model_sha256": self._propagator.fingerprint(),
            "atoms": len(self._propagator.atomIndices),
            "temperature_K": self._temperature_k,
            "lag_ps": self.lag_ps,
            "seed": self._seed,
            "device": self._device,
            "threads": self._threads,
        }

    def attempts(self, state: RolloutState) -> list[tuple[int, Attempt]]:
        """One attempt at the next frame of every walker that is behind, in one call of the network.

        Parameters
        ----------
        state : RolloutState
            not changed

        Returns
        -------
        list of (walker, Attempt)

        Raises
        ------
        RuntimeError
            if the module fails
        """
        due = state.due.tolist()
        before = state.positions_nm[due]
        frames = propose_frames(
            self._propagator.moduleOnDevice(),
            before,
            state.latents[due],
            [(walker_seed(self._seed, walker), int(state.attempts[walker])) for walker in due],
            self.lag_ps,
            self._temperature_k,
            self._threads,
            self._device,
            self._screen.fragments,
        )
        return [
            (walker, screened(self._propagator, self._screen, before[row], frames, row))
            for row, walker in enumerate(due)
        ]


def screened(
    propagator: AtmosPropagator,
    screen: ScreenSpec,
    before_nm: NDArray[np.float64],
    frames: ProposedFrames,
    row: int,
) -> Attempt:
    """Screen what the network proposed, with the tests of a jump that need no System.

    Parameters
    ----------
    propagator : AtmosPropagator
        names atoms
    screen : ScreenSpec
    before_nm : float64 [A, 3]
        the frame before
    frames : ProposedFrames
    row : int
        which of the frames
    """
    from ..systems.screening import check_displacement, inspect_frame

    proposed_nm, positions = frames.centred_nm[row], frames.positions_nm[row]
    latent = frames.states[row]
    if not np.isfinite(latent).all():
        count = int((~np.isfinite(latent)).sum())
        detail = f"{count} of {latent.size} components of the latent state are not finite"
        return Attempt("nonfinite", detail, latent)
    count = int((~np.isfinite(proposed_nm).all(axis=1)).sum())
    if count:
        detail = f"coordinates of {count} of {len(proposed_nm)} atoms are not finite"
        return Attempt("nonfinite", detail, latent)
    reach_nm = float(np.abs(proposed_nm).max())
    if reach_nm > LARGEST_COORDINATE_NM:
        detail = f"a coordinate is {reach_nm:.3g} nm, beyond any molecule"
        return Attempt("nonfinite", detail, latent)
    verdict = check_displacement(screen, proposed_nm)
    if verdict:
        verdict = inspect_frame(screen, positions, before_nm)
    detail = "" if verdict else propagator.describeVerdict(verdict)
    rmsd = float(np.sqrt(((positions - before_nm) ** 2).sum(axis=1).mean()))
    return Attempt(verdict.reason, detail, latent, positions, rmsd)


def check_starts(propagator: AtmosPropagator, starts_nm: NDArray[np.float64]) -> None:
    """Refuse starts [W, A, 3] that are no frames of this molecule, or of the other hand.

    Raises
    ------
    ValueError
        with the walker, the atoms, and what to do
    """
    from ..systems.screening import inspect_frame

    screen = propagator.getScreen()
    for walker, start in enumerate(starts_nm):
        verdict = inspect_frame(screen, start, only=("bonds", "chirality", "rings"))
        if not verdict:
            raise ValueError(
                f"The start of walker {walker} does not pass the screen: "
                f"{propagator.describeVerdict(verdict)}. Check that the positions are those of "
                "this molecule, in nm and in the order of the Topology; mend or minimise the "
                "structure. If the hand is meant so (a D residue), create the AtmosPropagator with "
                "positions=..., from which it takes the hand."
            )
