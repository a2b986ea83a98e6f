"""How a molecule's torsions are arranged in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.text import listed

__all__ = ["block_slices", "check_layout", "neighbours"]


def block_slices(block_sizes: Sequence[int]) -> tuple[slice, ...]:
    """Where the torsions of each block stand."""
    ends = np.cumsum(block_sizes).tolist()
    return tuple(slice(end - size, end) for end, size in zip(ends, block_sizes, strict=True))


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


def neighbours(
    names: Sequence[str],
    block_sizes: Sequence[int],
    previous: Sequence[int],
    backbone: Sequence[bool] | None = None,
    wanted: bool = True,
) -> list[tuple[list[int], list[int]]]:
    """For each block the backbone torsions of the block before it and of those after it.

    Parameters
    ----------
    names, block_sizes, previous
        As of `TorsionDensity`.
    backbone : sequence of bool, optional
        Which torsions are of the backbone; those named phi and psi by default.
    wanted : bool
        Without it nobody has neighbours.
    """
    if backbone is None:
        backbone = [name.split()[-1] in ("phi", "psi") for name in names]
    if len(backbone) != len(names):
        raise ValueError(f"backbone has {len(backbone)} entries for {len(names)} torsions.")
    own = [
        [t for t in range(where.start, where.stop) if backbone[t]]
        for where in block_slices(block_sizes)
    ]
    if not wanted:
        return [([], []) for _ in own]
    return [
        (
            own[before] if before >= 0 else [],
            [t for other, link in enumerate(previous) if link == block for t in own[other]],
        )
        for block, before in enumerate(previous)
    ]
