"""Valid frames out of a propagator: drawn, screened, judged by energies, and written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.progress import duration
from ..core.settings import digest
from .generation_folder import GenerationFolder, JudgedAttempt
from .layout import failures, seconds_left, share, table
from .rollout import Rollout
from .rollout_attempt import Attempt
from .rollout_folder import RolloutFolder

if TYPE_CHECKING:
    import torch
    from openmm.app import Topology

    from ..propagator import AtmosPropagator
    from ..validation import EnergyValidator, FrameVerdict

__all__ = ["ACCEPT", "Generation", "GenerationProgress", "GenerationSummary"]

ACCEPT = ("valid", "relaxed")


@dataclass(frozen=True)
class GenerationProgress:
    """A generation after a call of the network.

    Attributes
    ----------
    valid, wanted : int
        Valid frames written, and asked for.
    draws, budget : int
        Frames drawn, and the most that may be.
    reasons : Counter
        Draws by what became of them.
    elapsed_s : float
        Wall-clock time of this process.
    new : int
        Valid frames of this process.
    """

    valid: int
    wanted: int
    draws: int
    budget: int
    reasons: Counter[str]
    elapsed_s: float
    new: int

    def line(self) -> str:
        """One line for the terminal."""
        parts = [f"valid {self.valid}/{self.wanted}", f"drawn {self.draws} of {self.budget}"]
        failed = failures(self.reasons)
        if failed:
            parts.append(f"failed: {failed}")
        left = seconds_left(self.wanted - self.valid, self.new, self.elapsed_s)
        return "  ".join([*parts, f"ETA {duration(left)}"])


@dataclass(frozen=True)
class GenerationSummary:
    """What a generation has come to.

    Attributes
    ----------
    valid, wanted : int
        Valid frames written, and asked for.
    draws, budget : int
        Frames drawn, and the most that may be.
    reasons : Counter
        Draws by what became of them: "accepted", or why not.
    restarts : int
        How often a walker went back to its start, because no draw from its last frame was valid.
    walltime_s : float
        Of all processes that worked on it.
    message : str
        Where it is not complete: why.
    """

    valid: int
    wanted: int
    draws: int
    budget: int
    reasons: Counter[str]
    restarts: int
    walltime_s: float
    message: str = ""

    @property
    def complete(self) -> bool:
        """Whether there are as many valid frames as were asked for."""
        return self.valid >= self.wanted

    def __str__(self) -> str:
        rows = [
            ("valid frames", f"{self.valid} of {self.wanted}"),
            ("frames drawn", f"{self.draws} (at most {self.budget})"),
        ]
        rows += [share(name, n, max(1, self.draws)) for name, n in self.reasons.most_common() if n]
        if self.restarts:
            rows.append(("back to the start", str(self.restarts)))
        rows.append(("wall-clock time", duration(self.walltime_s)))
        return table(rows, self.message)


class Generation(Rollout):
    """
    Generation draws frames from a learned propagator until a number of them is valid, as an
    EnergyValidator judges them, and writes these.

    >>> validator = EnergyValidator(pdb.topology, system, reference='md.dcd')
    >>> with Generation(pdb.topology, pdb.positions, propagator, 'frames1', validator) as frames:
    ...     print(frames.generate(1000, maxDraws=20000))

    It is a Rollout: each frame is drawn from the last valid one of its walker and screened. Those
    that pass the screen are judged with their energies; one that is valid is written and gone on
    from, another is drawn in place of one that is not. When maxAttempts draws in a row from the
    same frame are not valid, the walker goes back to its start. So the frames are the model's,
    given that they are valid; they have no common time between them, and their populations are
    nobody's.

    The folder is that of a rollout, with the columns `verdict`, `energy_kj_per_mol` and
    `window_limit_kj_per_mol` in `frames.csv`, which has a row for every frame that was drawn. The
    same arguments with the same folder go on where it was stopped or killed, with the same frames.
    """

    _folder_type: ClassVar[type[RolloutFolder]] = GenerationFolder

    def __init__(
        self,
        topology: Topology,
        positions: Any,
        propagator: AtmosPropagator | torch.jit.ScriptModule,
        folder: str | Path,
        validator: EnergyValidator,
        *,
        accept: str = "valid",
        maxAttempts: int = 20,
        settings: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        """
        Create a Generation, and take up the one that the folder holds, if there is one.

        Parameters
        ----------
        topology, positions, propagator, folder
            As a Rollout has them
        validator : EnergyValidator
            Of the atoms that the propagator moves, in the order of the Topology
        accept : str
            'valid': frames that are valid as they are; 'relaxed': also those that are valid after
            the validator's relaxation, which are written relaxed
        maxAttempts : int
            Draws in a row from the same frame before the walker goes back to its start
        settings : mapping, optional
            More to be stored in run.json
        arguments
            Those of Rollout but onInvalid

        Raises
        ------
        ValueError
            If an argument makes no sense, or the validator is of other atoms
        StorageError
            If the folder cannot be written, is in use, or holds something else
        """
        if accept not in ACCEPT:
            raise ValueError(f"accept is {accept!r}; use {' or '.join(ACCEPT)}.")
        # A bound module of one's own moves what it was bound to; Rollout looks into it.
        moved = getattr(propagator, "atomIndices", None)
        atoms = topology.getNumAtoms() if moved is None else len(moved)
        if validator.topology.getNumAtoms() != atoms:
            raise ValueError(
                f"The validator is of {validator.topology.getNumAtoms()} atoms and the propagator "
                f"moves {atoms}; make it from the Topology of these "
                "(systems.selection.subset_topology)."
            )
        self._validator = validator
        self._accept_relaxed = accept == "relaxed"
        reference = validator.reference
        energies = b"" if reference is None else reference.energies_kj_per_mol.tobytes()
        super().__init__(
            topology,
            positions,
            propagator,
            folder,
            onInvalid="retry",
            maxAttempts=maxAttempts,
            settings={
                **(settings or {}),
                **validator.settings.digests(),
                "reference_sha256": digest(energies) if energies else None,
                "accept": accept,
                "restart_after": maxAttempts,
            },
            **arguments,
        )

    def generate(
        self,
        valid: int,
        *,
        maxDraws: int,
        progress: Callable[[GenerationProgress], None] | None = None,
    ) -> GenerationSummary:
        """
        Draw frames until there are enough valid ones, or the budget is used up.

        Parameters
        ----------
        valid : int
            The valid frames that there have to be, in all walkers together and those of earlier
            calls included; each walker makes the same share of them
        maxDraws : int
            The most frames that may be drawn, those of earlier calls included
        progress : function, optional
            Called with a GenerationProgress after each call of the network

        Returns
        -------
        GenerationSummary
            `complete` tells whether the frames are there, and `message` why they are not

        Raises
        ------
        RuntimeError
            If the module fails; what was generated before is committed
        StorageError
            If the disk is full or failing; what was committed is safe and can be taken up
        """
        if valid < 0 or maxDraws < 1:
            raise ValueError(f"{valid} valid frames of at most {maxDraws} draws cannot be made.")
        self._begin()
        share_of_each = math.ceil(valid / len(self._starts))
        first = self._written()

        def current(elapsed_s: float) -> GenerationProgress:
            written = self._written()
            reasons = Counter(self._state.reasons)
            return GenerationProgress(
                written, valid, self._draws(), maxDraws, reasons, elapsed_s, written - first
            )

        self._loop(
            lambda: self.frame >= share_of_each or self._draws() >= maxDraws, current, progress
        )
        written, draws = self._written(), self._draws()
        message = ""
        if written < valid:
            message = self._why_not(valid, draws, maxDraws)
        return GenerationSummary(
            valid=written,
            wanted=valid,
            draws=draws,
            budget=maxDraws,
            reasons=Counter(self._state.reasons),
            restarts=self._state.restarts,
            walltime_s=self._state.walltime_s,
            message=message,
        )

    def _written(self) -> int:
        return int(self._state.frames.sum())

    def _draws(self) -> int:
        return int(self._state.attempts.sum())

    def _why_not(self, valid: int, draws: int, budget: int) -> str:
        if draws < budget:
            return "Stopped. The same again goes on."
        failed = [(n, name) for name, n in self._state.reasons.items() if name != "accepted"]
        most, name = max(failed, default=(0, "nothing"))
        last = next((text for text in self._last_failures if text), "")
        return (
            f"The budget of {budget} draws was used up before there were {valid} valid frames. "
            f"What failed most often is {name} ({most} of {draws})"
            f"{f'; the last failure was {last}' if last else ''}. More draws go on from here; a "
            "model that knows the molecule better, a shorter lag or relaxed frames give more."
        )

    def _take(self, walker: int, attempt: Attempt) -> None:
        super()._take(walker, self._judged(attempt))
        if self._state.failures[walker] >= self._limit:
            self._state.failures[walker] = 0
            self._state.restarts += 1
            self._state.positions_nm[walker] = self._starts[walker]
            self._state.latents[walker] = 0

    def _judged(self, attempt: Attempt) -> JudgedAttempt:
        """The attempt with the verdict of the validator, where it passed the screen."""
        if attempt.reason != "accepted" or attempt.positions_nm is None:
            return JudgedAttempt(**vars(attempt))
        found = self._validator.validate(attempt.positions_nm[self._file_order])
        positions, reason = attempt.positions_nm, found.reason
        if found.isValid and found.reason != "accepted":
            reason = found.reason
            if self._accept_relaxed:
                positions, reason = self._relaxed(positions), "accepted"
        return JudgedAttempt(
            reason,
            found.detail,
            attempt.latent,
            positions,
            attempt.rmsd_nm,
            **_columns(found),
        )

    def _relaxed(self, positions_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        from openmm import unit

        relaxed = self._validator.relaxedPositions(positions_nm[self._file_order])
        result = np.empty_like(positions_nm)
        result[self._file_order] = relaxed.value_in_unit(unit.nanometer)
        return result


def _columns(found: FrameVerdict) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "energy_kj_per_mol": found.energies.constrained_kj_per_mol,
        "window_limit_kj_per_mol": found.energies.window_limit_kj_per_mol,
    }
