"""TorsionDensity: an explicit density of all torsions of a molecule, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..core.text import listed
from .block_density import BlockDensity, Gates
from .wrapped_normal import LOG_TWO_PI, TWO_PI, FloatArray, wrap

__all__ = ["DEFAULT_UNIFORM_WEIGHT", "Draws", "TorsionDensity"]

DEFAULT_UNIFORM_WEIGHT = 0.02

_CHUNK = 1 << 21  # numbers in the largest temporary array, about


class Draws(Protocol):
    """Random numbers of one move, in the order in which they are asked for."""

    def uniform(self) -> float:
        """A number in (0, 1]."""
        ...

    def normal(self) -> float:
        """A standard normal deviate."""
        ...


@dataclass(frozen=True, eq=False)
class TorsionDensity:
    """An explicit, normalised density on the torus of a molecule's torsions.

    Torsions of a block (a residue, a ligand) stand together. A block has a mixture of wrapped
    normals whose weights may depend on torsions of other blocks, and a uniform part. `log_density`
    is the product over the blocks in turn, each given the earlier ones; `log_block` and
    `draw_block` are what a Metropolis move of one block or of a part of it needs.

    Parameters
    ----------
    names : tuple of str
        One for each of the T torsions, as of `find_torsions`.
    block_sizes : tuple of int
        Torsions in each block; they sum to T.
    previous : tuple of int
        For each block the one before it in its chain, or -1.
    blocks : tuple of BlockDensity
    uniform_weight : float
        Share of the uniform part in each block, above 0, so that no place is out of reach.

    Raises
    ------
    ValueError
        If the parts do not fit each other; the message says which.
    """

    names: tuple[str, ...]
    block_sizes: tuple[int, ...]
    previous: tuple[int, ...]
    blocks: tuple[BlockDensity, ...]
    uniform_weight: float = DEFAULT_UNIFORM_WEIGHT

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "block_sizes", tuple(int(n) for n in self.block_sizes))
        object.__setattr__(self, "previous", tuple(int(n) for n in self.previous))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        check_layout(self.names, self.block_sizes, self.previous)
        if not 0.0 < self.uniform_weight <= 1.0:
            raise ValueError(
                f"uniform_weight is {self.uniform_weight}; it must be above 0, so that every place "
                "can be reached, and at most 1."
            )
        found = [block.size for block in self.blocks]
        if found != list(self.block_sizes):
            raise ValueError(f"The blocks have {found} torsions, expected {self.block_sizes}.")
        for number, block in enumerate(self.blocks):
            self._check_gates(number, block)

    def _check_gates(self, number: int, block: BlockDensity) -> None:
        own = self.block_slices[number]
        for g, torsion in enumerate(block.gate_torsions.tolist()):
            if torsion >= len(self.names) or own.start <= torsion < own.stop:
                raise ValueError(
                    f"Block {number} has a gate on torsion {torsion}, which must be one of "
                    f"0..{len(self.names) - 1} outside of {own.start}..{own.stop - 1}."
                )
            if torsion >= own.stop and block.sequential[:, 1 + 2 * g : 3 + 2 * g].any():
                raise ValueError(
                    f"The sequential gates of block {number} depend on torsion {torsion} of a "
                    "later block; only earlier blocks are known when it is drawn."
                )

    @classmethod
    def uniform(
        cls, names: Sequence[str], block_sizes: Sequence[int], previous: Sequence[int]
    ) -> TorsionDensity:
        """The uniform density, which needs no model and no frames."""
        blocks = tuple(BlockDensity.uniform(int(size)) for size in block_sizes)
        return cls(tuple(names), tuple(block_sizes), tuple(previous), blocks)

    @cached_property
    def block_slices(self) -> tuple[slice, ...]:
        """Where the torsions of each block stand."""
        ends = np.cumsum(self.block_sizes).tolist()
        return tuple(slice(e - n, e) for e, n in zip(ends, self.block_sizes, strict=True))

    def check(self, names: Sequence[str]) -> None:
        """Check that the density is one of the molecule with these torsions.

        Raises
        ------
        ValueError
            With the differences, if it is not.
        """
        here, given = list(self.names), [str(name) for name in names]
        if here == given:
            return
        missing = [name for name in given if name not in set(here)]
        other = [name for name in here if name not in set(given)]
        parts = []
        if missing:
            parts.append(f"it lacks {listed(missing)}")
        if other:
            parts.append(f"it has {listed(other)}, which the molecule has not")
        if not parts:
            parts.append("their order differs")
        raise ValueError(
            f"The density is one of another molecule: {'; '.join(parts)}. Make one for this "
            "molecule."
        )

    def log_density(self, torsions: ArrayLike) -> FloatArray:
        """Log of the joint density, in 1/rad^T: blocks in turn, without local components.

        Parameters
        ----------
        torsions : array [F, T]
            In radians, any period.

        Returns
        -------
        float64 array [F]
        """
        return self.log_blocks(torsions, "sequential").sum(axis=1)

    def log_blocks(self, torsions: ArrayLike, gates: Gates = "conditional") -> FloatArray:
        """Logs of each block's density [F, B] given the other torsions of each frame [F, T].

        Local components are left out. Sequential ones sum to the joint log density.
        """
        t = self._frames(torsions)
        out = np.empty((len(t), len(self.blocks)))
        for number, (block, where) in enumerate(zip(self.blocks, self.block_slices, strict=True)):
            images = len(block.lasting_kernels.images.component)
            step = max(1, _CHUNK // max(1, images * block.size))
            for start in range(0, len(t), step):
                part = t[start : start + step]
                weights = block.log_weights(part, gates, local=False)
                delta = wrap(part[None, :, where] - block.means[:, None])
                terms = block.lasting_kernels.log_densities(delta) + weights
                out[start : start + step, number] = self._with_uniform(terms, block.size)
        return out

    def log_block(
        self, block: int, to: ArrayLike, at: ArrayLike, gates: Gates = "sequential"
    ) -> float:
        """Log of the density with which a block's torsions are drawn.

        Parameters
        ----------
        block : int
        to : array [d]
            Torsions of the block, where the density is asked for.
        at : array [T]
            All torsions, for the gates and the centre of the local component.
        gates : str
            "sequential" or "conditional"
        """
        mixture, where = self.blocks[block], self.block_slices[block]
        here = np.asarray(at, dtype=np.float64)
        weights = mixture.log_weights(here[None], gates)
        delta = wrap(np.asarray(to, dtype=np.float64) - mixture.centres(here[where]))
        terms = mixture.kernels.log_densities(delta[:, None]) + weights
        return float(self._with_uniform(terms, mixture.size)[0])

    def _with_uniform(self, terms: FloatArray, size: int) -> FloatArray:
        """Sum of a mixture's terms [L, F] and the uniform part, as logs [F]."""
        if len(terms) == 0:
            return np.full(terms.shape[1], -size * LOG_TWO_PI)
        uniform = math.log(self.uniform_weight) - size * LOG_TWO_PI
        rest = math.log1p(-self.uniform_weight) if self.uniform_weight < 1.0 else -math.inf
        highest = terms.max(axis=0)
        total = highest + np.log(np.exp(terms - highest).sum(axis=0)) + rest
        return np.asarray(np.logaddexp(total, uniform))

    def draw_block(
        self,
        block: int,
        free: Sequence[int],
        at: ArrayLike,
        draws: Draws,
        gates: Gates = "sequential",
    ) -> FloatArray:
        """Draw some torsions of a block given all others, exactly from the density.

        One uniform number picks the component, and the image of the given torsions, or the uniform
        part; then come the normals, or uniform numbers, of the free torsions in their order.

        Parameters
        ----------
        block : int
        free : sequence of int
            Which torsions of the block are drawn, counted within it, ascending.
        at : array [T]
            All torsions, for the given ones, the gates and the centre of the local component.
        draws : Draws
        gates : str
            "sequential" or "conditional"

        Returns
        -------
        float64 array [d]
            Torsions of the block in (-pi, pi]; those that are not free are as they were.
        """
        mixture, where = self.blocks[block], self.block_slices[block]
        here = np.asarray(at, dtype=np.float64)
        out = np.array(here[where])
        rows = list(free)
        component, given = self._pick(mixture, rows, here, out, draws.uniform(), gates)
        if component < 0:
            out[rows] = wrap([TWO_PI * draws.uniform() - math.pi for _ in rows])
            return out
        conditional = mixture.kernels.given(rows)
        normals = np.array([draws.normal() for _ in rows])
        centre = mixture.centres(out)[component, rows]
        moved = conditional.gain[component] @ given + conditional.factors[component] @ normals
        out[rows] = wrap(centre + moved)
        return out

    def _pick(
        self,
        mixture: BlockDensity,
        free: list[int],
        at: FloatArray,
        present: FloatArray,
        u: float,
        gates: Gates,
    ) -> tuple[int, FloatArray]:
        """The component, -1 for the uniform part, and the difference of the given torsions."""
        logs = mixture.log_weights(at[None], gates)[:, 0]
        if len(logs) == 0:
            return -1, np.zeros(0)
        weights = (1.0 - self.uniform_weight) * np.exp(logs)
        conditional = mixture.kernels.given(free)
        fixed = conditional.fixed
        if fixed:
            delta = wrap(present[fixed] - mixture.centres(present)[:, fixed])
            marginals = conditional.marginals
            x, terms = marginals.image_terms(delta[:, None])
            component = marginals.images.component
            weights = weights[component] * np.exp(terms[:, 0])
            differences = x[:, 0]
        else:
            component = np.arange(len(weights))
            differences = np.zeros((len(weights), 0))
        cumulative = np.cumsum(weights)
        total = cumulative[-1] + self.uniform_weight / TWO_PI ** len(fixed)
        chosen = int(np.searchsorted(cumulative, u * total, side="right"))
        if chosen == len(cumulative):
            return -1, np.zeros(0)
        return int(component[chosen]), differences[chosen]

    def draw(self, count: int, seed: int = 0) -> FloatArray:
        """Draw independent torsions [count, T] from the joint density.

        Parameters
        ----------
        count : int
        seed : int
            Of numpy's generator; the same seed gives the same numbers.
        """
        generator = np.random.default_rng(seed)
        out = np.zeros((count, len(self.names)))
        for block, where in zip(self.blocks, self.block_slices, strict=True):
            out[:, where] = generator.uniform(-math.pi, math.pi, (count, block.size))
            from_mixture = generator.random(count) >= self.uniform_weight
            u, normals = generator.random(count), generator.standard_normal((count, block.size))
            if len(block.means) == 0:
                continue
            cumulative = np.cumsum(np.exp(block.log_weights(out, "sequential", False)), axis=0)
            chosen = (cumulative < u * cumulative[-1]).sum(axis=0)
            moved = np.einsum("fij,fj->fi", block.lasting_kernels.factors[chosen], normals)
            drawn = wrap(block.means[chosen] + moved)
            out[from_mixture, where] = drawn[from_mixture]
        return out

    def _frames(self, torsions: ArrayLike) -> FloatArray:
        t = np.asarray(torsions, dtype=np.float64)
        if t.ndim != 2 or t.shape[1] != len(self.names):
            raise ValueError(
                f"torsions have shape {list(t.shape)}; expected [frames, {len(self.names)}]."
            )
        return t


def check_layout(names: Sequence[str], block_sizes: Sequence[int], previous: Sequence[int]) -> None:
    """Check that names, blocks and their links fit each other.

    Raises
    ------
    ValueError
        If they do not.
    """
    if sum(block_sizes) != len(names) or any(size < 1 for size in block_sizes):
        raise ValueError(
            f"block_sizes {list(block_sizes)} must be positive and sum to the number of torsions, "
            f"{len(names)}."
        )
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ValueError(f"Torsions of one name: {listed(repeated)}. Each needs its own.")
    if len(previous) != len(block_sizes):
        raise ValueError(f"previous names {len(previous)} blocks; there are {len(block_sizes)}.")
    wrong = [k for k, before in enumerate(previous) if not -1 <= before < k]
    if wrong:
        raise ValueError(
            f"previous[{wrong[0]}] is {previous[wrong[0]]}; a block follows an earlier one, or -1 "
            "for none."
        )
