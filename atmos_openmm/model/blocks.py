"""Blocks of rows for tensors that are larger than the processor's cache.

A pair tensor of 64 tokens and 128 channels has 2 MB, one of 256 tokens 34 MB. An operation on all
of it writes main memory and the next one reads it back. Done a block at a time, the values between
the first operation and the last stay in the cache, and no more than a block of them is ever there:
less time and less memory. Gradients need what lies between, so training takes the plain way.
A GPU is kept busy by larger blocks, which bound its memory all the same.
"""

import torch
from torch import Tensor

BLOCK_PAIRS = 1024  # 0.5 MB for 128 channels
BLOCK_ATOM_PAIRS = 8192  # 0.5 MB for 16 channels
CUDA_BLOCKS = 64  # times as large on a GPU: 34 MB
# TorchScript knows globals as defaults of parameters alone.


def blocks_of(
    rows: int,
    pairs_in_row: int,
    cuda: bool = False,
    block: int = BLOCK_PAIRS,
    cuda_blocks: int = CUDA_BLOCKS,
) -> list[tuple[int, int]]:
    """Return the blocks (start, end) of `rows` rows that hold `pairs_in_row` pairs each."""
    size = max(1, (cuda_blocks * block if cuda else block) // pairs_in_row)
    result: list[tuple[int, int]] = []
    for start in range(0, rows, size):
        result.append((start, min(rows, start + size)))
    return result


def atom_blocks_of(
    windows: int, pairs_in_window: int, cuda: bool = False, block: int = BLOCK_ATOM_PAIRS
) -> list[tuple[int, int]]:
    """Return the blocks (start, end) of windows of atom pairs."""
    return blocks_of(windows, pairs_in_window, cuda, block)


def in_blocks(x: Tensor, weight: Tensor, training: bool) -> bool:
    """Whether a module with this weight, in this mode, can update x in place by blocks."""
    differentiable = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return not differentiable and not training
