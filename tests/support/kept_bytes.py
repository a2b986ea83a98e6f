"""Bytes that operations keep for their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from atmos_openmm.training.budget.meter import Bytes


@contextmanager
def kept_bytes(apart: Iterable[Tensor] = ()) -> Iterator[Bytes]:
    """Count what operations inside of the context keep for their gradients.

    Of a block that is checkpointed the inputs are counted, which are all that it keeps. What is
    given (parameters, inputs) is there whether it is kept or not, and does not count.
    """
    counter = Bytes()
    there = {tensor.untyped_storage()._cdata for tensor in apart}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in there:
            counter.note(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield counter
