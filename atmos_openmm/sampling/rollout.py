"""Rollouts: frames of a learned propagator, one after the other, without dynamics between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError
from ..core.settings import digest, versions
from .resumable_run import ResumableRun, chosen_seed
from .rollout_attempt import Attempt
from .rollout_folder import RolloutFolder
from .rollout_proposer import Proposer, check_starts
from .rollout_report import RolloutProgress, RolloutSummary, summarize_rollout
from .rollout_state import RolloutState
from .start import bound_propagator, number_of_starts, start_positions
from .trajectory_files import check_format

if TYPE_CHECKING:
    import torch
    from openmm.app import Topology

    from ..propagator import AtmosPropagator

ON_INVALID = ("retry", "keep", "stop")
#: New frames and rows are committed at the latest when they take so much memory.
_BUFFER_BYTES = 8 << 20
_ROW_BYTES = 1 << 10


class Rollout(ResumableRun):
    """
    Rollout lets a learned propagator generate a trajectory by itself: each frame comes from the
    one before and from the latent state, which the propagator carries on from frame to frame. No
    molecular dynamics and no force field takes part. This is what ATMOS does (arXiv 2603.17633);
    for jumps that alternate with dynamics, see HybridSampler.

    You provide a Topology, positions to start from, an AtmosPropagator, and a folder:

    >>> propagator = AtmosPropagator('capped-amino-acids', pdb.topology, positions=pdb.positions)
    >>> with Rollout(pdb.topology, pdb.positions, propagator, 'rollout1', walkers=4) as rollout:
    ...     print(rollout.run(frames=1000))

    Each frame lies one lag after the one before. It is superposed on it, because the network gives
    frames in an arbitrary orientation, as `AtmosPropagator.propagate()` and the integrator do it.
    The walkers go through the network together and know nothing of each other: walker w makes the
    frames that a rollout of one walker with the seed `noise.walker_seed(seed, w)` makes, but for
    the rounding of batched arithmetic.

    `run()` takes the total number of frames. To make a rollout longer, or to go on after it was
    killed, create it again with the same arguments and the same folder and call `run()`: it gives
    the same frames as one that was never interrupted, bit for bit on the CPU of the same machine.
    A folder that holds a rollout with other settings is refused, with a list of the differences.
    Time and memory for a frame do not depend on how many there were before.

    **Frames that fail the screen.** Every frame is screened as a jump of the integrator is (bonds,
    chirality, cis and trans, rings, clashes; no energies). `onInvalid` says what becomes of one
    that fails:

    - 'retry' (default): it is not written, and another is drawn from the last valid frame and its
      latent with fresh noise, at most maxAttempts times. All frames of the trajectory pass the
      screen. They are the model's, given that they pass; the more are drawn again, the further
      that is from what the model would do by itself.
    - 'keep': it is written and the rollout goes on from it. This is the model by itself.
    - 'stop': it is not written, and the rollout ends.

    In each case it has a row in the table, with the reason. Numbers that are not finite cannot be
    gone on from: they are never written, and end the rollout unless 'retry' finds others. After an
    end of this kind the same call again goes on with fresh noise.

    The folder holds `topology.pdb` (the atoms that the propagator moves, at their start),
    `trajectory_0000.dcd` (one a walker, without the start), `frames.csv` with a row for every
    frame and every failed attempt, `checkpoint.npz` and `run.json` with the settings. Read the
    table, also of a rollout that is going on, with `atmos_openmm.sampling.read_rollout(folder)`.
    Energies are not computed; `atmos-openmm validate` or EnergyValidator judge the trajectory.

    A propagator of your own can be given as a bound TorchScript module (docs/architecture.md);
    `lag` has to be given then.

    Attributes
    ----------
    folder : RolloutFolder
        the files of the rollout
    seed : int
        the seed, also where it was drawn
    frame : int
        frames that every walker has
    """

    _folder_type: ClassVar[type[RolloutFolder]] = RolloutFolder

    def __init__(
        self,
        topology: Topology,
        positions: Any,
        propagator: AtmosPropagator | torch.jit.ScriptModule,
        folder: str | Path,
        *,
        temperature: Any = None,
        lag: Any = None,
        walkers: int | None = None,
        seed: int = 0,
        onInvalid: str = "retry",
        maxAttempts: int = 20,
        trajectoryFormat: str = "dcd",
        threads: int = 1,
        commitSeconds: float = 30.0,
        settings: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Create a Rollout, and take up the one that the folder holds, if there is one.

        Parameters
        ----------
        topology : openmm.app.Topology
            The Topology that the propagator is bound to
        positions : Quantity or array
            Where the walkers start: all atoms of the Topology, [P, 3] or [walkers, P, 3] (in nm)
        propagator : AtmosPropagator or torch.jit.ScriptModule
            What makes the frames
        folder : str or Path
            Where everything is written; made if it is missing
        temperature : Quantity or float, optional
            The temperature asked of the model (in K); that of the propagator by default
        lag : Quantity or float, optional
            The time between frames (in ps); that of the propagator by default
        walkers : int, optional
            How many walkers; by default as many as there are starts
        seed : int
            Of the noise; 0 draws one, which is stored in run.json
        onInvalid : str
            What becomes of a frame that fails the screen: 'retry', 'keep' or 'stop'
        maxAttempts : int
            With 'retry': how often a frame is drawn before the rollout ends
        trajectoryFormat : str
            'dcd' or 'xtc'
        threads : int
            Threads of torch; more than 1 pays for large molecules only
        commitSeconds : float
            Wall-clock time between commits; what came after the last one is repeated after a kill
        settings, notes : mapping, optional
            More to be stored in run.json; settings have to be the same when it is taken up

        Raises
        ------
        ValueError
            If an argument makes no sense, the model does not fit, or the start is not a frame of
            this molecule
        StorageError
            If the folder cannot be written, is in use, or holds something else
        """
        from ..systems.selection import subset_topology

        _check_choices(onInvalid, maxAttempts, trajectoryFormat, threads)
        walkers = number_of_starts(positions) if walkers is None else walkers
        if walkers < 1:
            raise ValueError(f"walkers is {walkers}; there has to be at least one.")
        starts = start_positions(positions, walkers, topology.getNumAtoms())
        propagator = bound_propagator(propagator, topology, lag, starts[0])
        _check_bound_to(propagator, topology)
        self._starts = starts[:, propagator.atomIndices]
        check_starts(propagator, self._starts)
        # Files list atoms in the order of the Topology, whatever that of the module is.
        self._file_order = np.argsort(propagator.atomIndices)
        self._topology = subset_topology(topology, propagator.atomIndices)
        self.seed = chosen_seed(folder, seed)
        self._on_invalid = onInvalid
        self._limit = int(maxAttempts) if onInvalid == "retry" else 1
        self._proposer = Proposer(propagator, self.seed, lag, temperature, int(threads))
        self._last_failures = [""] * walkers
        everything = {
            **(settings or {}),
            **self._proposer.settings(),
            "start_sha256": digest(self._starts.tobytes()),
            "walkers": walkers,
            "on_invalid": onInvalid,
            "format": trajectoryFormat,
        }
        everything_else = {**versions(), "max_attempts": maxAttempts, **(notes or {})}
        self.folder = self._folder_type(folder, everything, everything_else)
        super().__init__(self.folder, commitSeconds)

    @property
    def frame(self) -> int:
        """Frames that every walker has."""
        return self._state.done

    def run(
        self, frames: int, *, progress: Callable[[RolloutProgress], None] | None = None
    ) -> RolloutSummary:
        """
        Generate frames until every walker has a total number of them.

        Parameters
        ----------
        frames : int
            The frames that each walker has to have, those of earlier calls included
        progress : function, optional
            Called with a RolloutProgress after each call of the network

        Returns
        -------
        RolloutSummary
            What the whole rollout has come to. `complete` tells whether the frames are there, and
            `message` why they are not.

        Raises
        ------
        RuntimeError
            If the module fails; what was generated before is committed
        StorageError
            If the disk is full or failing; what was committed is safe and can be taken up
        """
        self._begin()
        # Attempts at a frame are counted over kills, but anew where they had been used up.
        self._state.failures[self._state.failures >= self._limit] = 0
        first = self.frame

        def current(elapsed_s: float) -> RolloutProgress:
            return RolloutProgress(
                frame=self.frame,
                frames=frames,
                walkers=len(self._starts),
                reasons=Counter(self._state.reasons),
                largest_h=self._state.largest_h,
                lag_ps=self._proposer.lag_ps,
                elapsed_s=elapsed_s,
                new_frames=self.frame - first,
            )

        self._loop(lambda: self.frame >= frames or self._is_stuck(), current, progress)
        return summarize_rollout(
            self._state,
            frames,
            lag_ps=self._proposer.lag_ps,
            on_invalid=self._on_invalid,
            limit=self._limit,
            last_failures=self._last_failures,
        )

    def getPositions(self) -> Any:
        """
        Get the last frame of each walker, of the atoms that the propagator moves and in its order.

        Returns
        -------
        Quantity
            [walkers, A, 3], in nm
        """
        from openmm import unit

        return self._state.positions_nm.copy() * unit.nanometer

    def getStates(self) -> NDArray[np.float32]:
        """Get the latent state of each walker after its last frame: [walkers, S]."""
        return self._state.latents.copy()

    def _take_up(self) -> None:
        committed = self.folder.open(
            self._topology, self._starts[:, self._file_order], self._proposer.lag_ps
        )
        self._state = committed or RolloutState.start(self._starts, self._proposer.state_size)
        self._walltime_s = self._state.walltime_s
        self._forget()

    def _forget(self) -> None:
        self._frames: list[list[NDArray[np.float64]]] = [[] for _ in self._starts]
        self._rows: list[dict[str, Any]] = []

    def _advance(self) -> None:
        """One attempt at the next frame of every walker that is behind."""
        attempts = self._proposer.attempts(self._state)
        self._torn = True
        for walker, attempt in attempts:
            self._take(walker, attempt)
        self._torn = False

    def _take(self, walker: int, attempt: Attempt) -> None:
        """Record an attempt, and go on from its frame if it is one."""
        keep = attempt.reason == "accepted" or self._on_invalid == "keep"
        written = keep and attempt.positions_nm is not None
        frame = int(self._state.frames[walker])
        number = int(self._state.attempts[walker])
        learned_time_ps = self._proposer.lag_ps * (frame + 1)
        self._rows.append(self.folder.row(attempt, frame, walker, number, learned_time_ps, written))
        self._state.take(walker, attempt, written)
        if written:
            assert attempt.positions_nm is not None
            self._frames[walker].append(attempt.positions_nm[self._file_order])
        else:
            self._last_failures[walker] = f"{attempt.reason}: {attempt.detail}"

    def _is_stuck(self) -> bool:
        return bool((self._state.failures >= self._limit).any())

    def _has_news(self) -> bool:
        return bool(self._rows)

    def _is_full(self) -> bool:
        return self._buffered() > _BUFFER_BYTES

    def _buffered(self) -> int:
        """Memory of what is not committed yet, in bytes."""
        frames = sum(len(new) for new in self._frames) * self._starts[0].nbytes
        return frames + _ROW_BYTES * len(self._rows)

    def _write(self) -> None:
        self._state.walltime_s = self._walltime_s
        self.folder.commit(self._frames, self._rows, self._state)
        self._forget()


def _check_bound_to(propagator: AtmosPropagator, topology: Topology) -> None:
    last, atoms = max(propagator.atomIndices), topology.getNumAtoms()
    if last >= atoms:
        raise ValueError(
            f"The propagator moves atom {last}, but the Topology has {atoms} atoms. Give the "
            "Topology that the propagator is bound to."
        )


def _check_choices(on_invalid: str, attempts: int, trajectory_format: str, threads: int) -> None:
    if on_invalid not in ON_INVALID:
        raise ValueError(f"Unknown onInvalid {on_invalid!r}; use {', '.join(ON_INVALID)}.")
    if attempts < 1:
        raise ValueError(f"maxAttempts is {attempts}; it has to be at least 1.")
    check_format(trajectory_format)
    if threads < 1:
        raise ValueError(f"threads is {threads}; it has to be at least 1.")


__all__ = ["ON_INVALID", "Rollout", "RolloutProgress", "RolloutSummary", "StorageError"]
