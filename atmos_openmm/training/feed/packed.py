"""A draw as one block of memory, to be handed from process to process and to a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batch import Batch
from .draws import Draw

__all__ = ["PackedDraw"]

ALIGNMENT = 64
"""Bytes; of a cache line, and a multiple of every element's size."""


@dataclass(frozen=True)
class PackedDraw:
    """A draw whose tensors lie one after the other in one.

    A draw has some forty small tensors. Each that goes to another process by itself is a block of
    shared memory with a file descriptor of its own, of which a process may have 1,024.

    Attributes
    ----------
    data : Tensor [bytes] uint8
    layout : tuple of (offset, dtype, shape)
    rest : Draw
        Without tensors.
    """

    data: Tensor
    layout: tuple[tuple[int, torch.dtype, tuple[int, ...]], ...]
    rest: Draw

    @staticmethod
    def of(draw: Draw) -> PackedDraw:
        """Pack a draw."""
        tensors = draw.batch.tensors
        layout, end = [], 0
        for tensor in tensors:
            layout.append((end, tensor.dtype, tuple(tensor.shape)))
            end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        data = torch.zeros(end, dtype=torch.uint8)
        for tensor, (offset, dtype, shape) in zip(tensors, layout, strict=True):
            _view(data, offset, dtype, shape).copy_(tensor)
        nothing: Any = None
        empty = Batch(draw.batch.name, *[nothing] * (len(draw.batch) - 1))
        return PackedDraw(data, tuple(layout), draw._replace(batch=empty))

    def unpacked(self) -> Draw:
        """The draw; its tensors are views of `data`."""
        views = [_view(self.data, *place) for place in self.layout]
        batch = Batch.of_tensors(self.rest.batch.name, views)
        return self.rest._replace(batch=batch)

    def pin_memory(self, device: object = None) -> PackedDraw:
        """The same in page-locked memory (the name that DataLoader calls)."""
        return PackedDraw(self.data.pin_memory(), self.layout, self.rest)


def _view(data: Tensor, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    return data[offset : offset + size].view(dtype).reshape(shape)
