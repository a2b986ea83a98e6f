"""Which molecule a draw sees: a function of the draw's number, without memory of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "Schedule", "apportion", "draws_of_rank"]

BLOCK = 100
"""Draws of a block, in which the shares of the pools are kept; more where a share is smaller."""
LARGEST_BLOCK = 10_000
"""A share below a ten-thousandth is drawn once a block of this size."""
_ORDER_OF_BLOCK, _ORDER_OF_EPOCH = 1, 2  # streams of random numbers


def draws_of_rank(step: int, draws: int, rank: int = 0, world: int = 1) -> range:
    """Numbers of the draws that a rank makes in a step.

    Step k has the draws k D to (k + 1) D - 1; rank r of R takes those whose number is r modulo R.
    So the draws of a step are the same for any number of ranks.

    Raises
    ------
    ValueError
        A rank that there is none of.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank is {rank} of {world}; expected 0 to {world - 1}.")
    first = step * draws
    return range(first + (rank - first) % world, first + draws, world)


def apportion(shares: Sequence[float], places: int) -> NDArray[np.int64]:
    """Split places by shares: largest remainders, and at least one for each share above 0.

    Parameters
    ----------
    shares : sequence of float
        At least 0, not all of them 0.
    places : int
        At least as many as there are shares above 0.

    Returns
    -------
    ndarray of int64
        Sum: `places`.
    """
    share = np.asarray(shares, np.float64)
    exact = share / share.sum() * places
    counts = np.floor(exact).astype(np.int64)
    counts[(counts == 0) & (share > 0.0)] = 1
    while (left := places - int(counts.sum())) != 0:
        behind = exact - counts
        if left > 0:
            behind[share == 0.0] = -np.inf
            # The first of those equally far behind, whatever rounding makes of them.
            counts[int(np.argmax(np.round(behind, 9)))] += 1
        else:
            behind[counts <= 1] = np.inf
            counts[int(np.argmin(np.round(behind, 9)))] -= 1
    return counts


class Schedule:
    """Which pool and which of its molecules each draw of a stage sees.

    Shares are exact within blocks of draws, whose order is shuffled by (seed, stage, block). The
    draws of a pool go through its molecules in epochs, each molecule once, in an order permuted
    by (seed, stage, pool, epoch).

    Parameters
    ----------
    sizes : sequence of int
        Molecules of each pool.
    shares : sequence of float
        How often each pool is drawn from; need not sum to 1. A share of 0 is never drawn.
    seed, stage : int

    Attributes
    ----------
    block : int
        Draws of a block.

    Raises
    ------
    ValueError
        Pools without molecules, shares below 0 or all of them 0.
    """

    def __init__(
        self, sizes: Sequence[int], shares: Sequence[float], seed: int, stage: int = 0
    ) -> None:
        self.sizes = tuple(int(n) for n in sizes)
        self.shares = tuple(float(s) for s in shares)
        if len(self.sizes) != len(self.shares) or any(n < 1 for n in self.sizes):
            raise ValueError(
                f"Pools have the sizes {list(sizes)} and the shares {list(shares)}; expected one "
                "share a pool, and at least one molecule in each."
            )
        positive = [s for s in self.shares if s > 0.0]
        if not positive or min(self.shares) < 0.0 or not np.isfinite(self.shares).all():
            raise ValueError(f"shares is {list(shares)}; expected numbers from 0, one above 0.")
        smallest = min(positive) / sum(positive)
        self.block = int(min(LARGEST_BLOCK, max(BLOCK, np.ceil(1.0 / smallest))))
        self.seed = int(seed)
        self.stage = int(stage)
        self._counts = apportion(self.shares, self.block)

    def draw(self, number: int, attempt: int = 0) -> tuple[int, int]:
        """Return the pool of a draw, and its molecule's number in the pool.

        Parameters
        ----------
        number : int
            Of the draw, from 0.
        attempt : int
            The molecule so many places later in the epoch's order, from its start again at its
            end: what takes the place of a molecule that cannot be used.

        Raises
        ------
        ValueError
            Negative numbers.
        """
        if number < 0 or attempt < 0:
            raise ValueError(f"Draw {number}, attempt {attempt}: expected numbers from 0.")
        block, place = divmod(int(number), self.block)
        pools, ranks = self._order(block)
        pool = int(pools[place])
        epoch, position = divmod(
            block * int(self._counts[pool]) + int(ranks[place]), self.sizes[pool]
        )
        order = _permutation(self.seed, self.stage, pool, epoch, self.sizes[pool])
        return pool, int(order[(position + attempt) % self.sizes[pool]])

    def _order(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _shuffled(self.seed, self.stage, block, tuple(self._counts.tolist()))


# Memory of the last results, which are functions of their arguments: neighbouring draws share them.


@lru_cache(maxsize=64)
def _permutation(seed: int, stage: int, pool: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([_ORDER_OF_EPOCH, seed, stage, pool, epoch]).permutation(size)


@lru_cache(maxsize=16)
def _shuffled(
    seed: int, stage: int, block: int, counts: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pool of each draw of a block, and how many draws of that pool come before it there."""
    pools = np.repeat(np.arange(len(counts)), counts)
    pools = np.random.default_rng([_ORDER_OF_BLOCK, seed, stage, block, 0]).permutation(pools)
    ranks = np.zeros(len(pools), np.int64)
    for pool in range(len(counts)):
        mine = pools == pool
        ranks[mine] = np.arange(int(mine.sum()))
    return pools, ranks
