"""Moves of torsions drawn from an explicit density, with the ratio that makes their test exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..density.torsion_density import TorsionDensity
from ..density.wrapped_normal import wrap
from ..systems.torsions import Torsions
from .noise import MOVE_STREAM, NoiseStream

FloatArray = NDArray[np.float64]

MOVE_KINDS = ("all", "residue", "neighbours", "backbone", "sidechain", "torsion", "small")

SERIES = "series"
"""What series of trials are called where moves are counted by kind."""

DEFAULT_SHARES = {
    "all": 1.0,
    "residue": 2.0,
    "neighbours": 1.0,
    "backbone": 2.0,
    "sidechain": 2.0,
    "torsion": 2.0,
    "small": 0.0,
}

MOST_BLOCKS_AT_ONCE = 4
"""Molecules with more blocks hardly ever accept a move of all torsions: no share by default."""


@dataclass(frozen=True, eq=False)
class TorsionMove:
    """A proposed change of torsions.

    Attributes
    ----------
    kind : str
        One of `MOVE_KINDS`.
    angles : float64 [T]
        All torsions after the move, radians in (-pi, pi].
    log_ratio : float
        log q(old | new) - log q(new | old): with it the Metropolis test is exact.
    changed : tuple of int
        Which torsions the move drew.
    """

    kind: str
    angles: FloatArray
    log_ratio: float
    changed: tuple[int, ...]


class TorsionMoves:
    """Proposes moves of several kinds.

    The kinds are: all torsions; those of a residue given all others; two neighbouring residues;
    the backbone of a residue given its side chain, and the reverse; one torsion given all others;
    and a small step of one torsion, which needs no density.

    Parameters
    ----------
    torsions : Torsions
    density : TorsionDensity
        Of these torsions.
    shares : mapping from str to float, optional
        How often each kind is tried, relative to the others; kinds that are not named are not
        tried. By default see `DEFAULT_SHARES`, without "all" for more than 4 residues.
    small_width_rad : float
        Standard deviation of the small steps.

    Raises
    ------
    ValueError
        The density is of other torsions, a share is of no kind or negative, or nothing is left to
        move.
    """

    def __init__(
        self,
        torsions: Torsions,
        density: TorsionDensity,
        shares: Mapping[str, float] | None = None,
        small_width_rad: float = 0.35,
    ) -> None:
        density.check(torsions.names)
        if tuple(density.block_sizes) != tuple(torsions.block_sizes):
            raise ValueError(
                f"The density has blocks of {list(density.block_sizes)} torsions, but the molecule "
                f"has {list(torsions.block_sizes)}. Make one for this molecule."
            )
        if not small_width_rad > 0:
            raise ValueError(f"The width of small moves is {small_width_rad}; use more than 0.")
        self.torsions = torsions
        self.density = density
        self._width = float(small_width_rad)
        starts = np.concatenate([[0], np.cumsum(torsions.block_sizes)]).astype(int).tolist()
        self._slices = [slice(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
        parts = [torsions.backbone[where] for where in self._slices]
        self._backbone = [np.flatnonzero(part).tolist() for part in parts]
        self._side_chain = [np.flatnonzero(~part).tolist() for part in parts]
        self._pairs = [(p, k) for k, p in enumerate(torsions.previous) if p >= 0]
        self._mixed = [k for k, part in enumerate(parts) if part.any() and not part.all()]
        self._shares = self._possible(shares)

    def _possible(self, shares: Mapping[str, float] | None) -> list[tuple[str, float]]:
        """Return the kinds that have something to move, with their shares."""
        if shares is None:
            shares = dict(DEFAULT_SHARES)
            if len(self._slices) > MOST_BLOCKS_AT_ONCE:
                shares["all"] = 0.0
        for kind, share in shares.items():
            if kind not in MOVE_KINDS:
                raise ValueError(f"Unknown kind of move {kind!r}; known: {', '.join(MOVE_KINDS)}.")
            if not (np.isfinite(share) and share >= 0):
                raise ValueError(f"The share of moves {kind!r} is {share}; use 0 or more.")
        if not len(self.torsions):
            raise ValueError("The molecule has no torsion to move; " + self._why_none())
        targets = {"neighbours": self._pairs, "backbone": self._mixed, "sidechain": self._mixed}
        possible = [
            (kind, float(shares.get(kind, 0.0)))
            for kind in MOVE_KINDS
            if shares.get(kind, 0.0) > 0 and targets.get(kind, True)
        ]
        if not possible:
            raise ValueError(
                f"The shares of moves {dict(shares)} leave nothing to move in this molecule; give "
                'some to "residue" or "torsion".'
            )
        return possible

    def _why_none(self) -> str:
        notes = " ".join(self.torsions.notes)
        return f"left to dynamics: {notes}" if notes else "it has no rotatable bond."

    def propose(
        self, angles: FloatArray, seed: int, attempt: int, stream: int = MOVE_STREAM
    ) -> TorsionMove:
        """Propose a move.

        Parameters
        ----------
        angles : float64 [T]
            The present torsions.
        seed, attempt, stream : int
            Which noise it is drawn from.
        """
        draws = NoiseStream(seed, stream, attempt)
        kind = self._draw_kind(draws.uniform())
        if kind == "all":
            draws.uniform()
            return self._in_turn(kind, range(len(self._slices)), angles, draws)
        if kind == "neighbours":
            return self._in_turn(kind, self._pairs[draws.index(len(self._pairs))], angles, draws)
        if kind == "small":
            torsion = draws.index(len(angles))
            new = np.array(angles)
            new[torsion] = wrap(new[torsion] + self._width * draws.normal())
            return TorsionMove(kind, new, 0.0, (torsion,))
        block, free = self._target(kind, draws)
        return self._conditional(kind, block, free, angles, draws)

    def apply(self, positions_nm: FloatArray, angles: FloatArray, move: TorsionMove) -> FloatArray:
        """Return the positions [P, 3] after a move, from those before it and their torsions."""
        changes = {k: float(wrap(move.angles[k] - angles[k])) for k in move.changed}
        return self.torsions.rotated(positions_nm, changes)

    def _draw_kind(self, u: float) -> str:
        threshold = u * sum(share for _, share in self._shares)
        cumulative = 0.0
        for kind, share in self._shares:
            cumulative += share
            if cumulative > threshold:
                return kind
        return self._shares[-1][0]

    def _target(self, kind: str, draws: NoiseStream) -> tuple[int, list[int]]:
        """Draw a block and which of its torsions move."""
        if kind == "torsion":
            torsion = draws.index(len(self.torsions))
            block = next(k for k, where in enumerate(self._slices) if torsion < where.stop)
            return block, [torsion - self._slices[block].start]
        if kind == "residue":
            block = draws.index(len(self._slices))
            return block, list(range(self.torsions.block_sizes[block]))
        block = self._mixed[draws.index(len(self._mixed))]
        return block, (self._backbone if kind == "backbone" else self._side_chain)[block]

    def _conditional(
        self, kind: str, block: int, free: list[int], angles: FloatArray, draws: NoiseStream
    ) -> TorsionMove:
        """Draw some torsions of a block given all others.

        Those that are given do not change, so the ratio of conditional densities is that of the
        whole block's.
        """
        where = self._slices[block]
        new = np.array(angles)
        new[where] = self.density.draw_block(block, free, angles, draws, "conditional")
        forward = self.density.log_block(block, new[where], angles, "conditional")
        backward = self.density.log_block(block, angles[where], new, "conditional")
        return TorsionMove(
            kind, new, backward - forward, tuple(where.start + k for k in sorted(free))
        )

    def _in_turn(
        self, kind: str, blocks: Sequence[int], angles: FloatArray, draws: NoiseStream
    ) -> TorsionMove:
        """Draw whole blocks one after the other, each given those drawn before it."""
        new = np.array(angles)
        forward = backward = 0.0
        for block in blocks:
            where = self._slices[block]
            drawn = self.density.draw_block(
                block, range(self.torsions.block_sizes[block]), new, draws, "sequential"
            )
            forward += self.density.log_block(block, drawn, new, "sequential")
            new[where] = drawn
        # The move back draws the same blocks in the same order, from the new torsions.
        at = np.array(new)
        for block in blocks:
            where = self._slices[block]
            backward += self.density.log_block(block, angles[where], at, "sequential")
            at[where] = angles[where]
        changed = tuple(
            k for b in blocks for k in range(self._slices[b].start, self._slices[b].stop)
        )
        return TorsionMove(kind, new, backward - forward, changed)
