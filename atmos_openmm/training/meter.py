"""Counters of what a piece of training does: bytes kept.

They look at tensors' shapes alone, so they count on fake tensors (``FakeTensorMode``), which hold
no data, what they count on real ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["KeptBytes", "kept_bytes"]


class KeptBytes:
    """Bytes of the tensors that the backward pass will read, each storage counted once.

    Attributes
    ----------
    total: int
    """

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.total = 0
        # Keeps what it has seen, so that no storage of a dead tensor is taken for a new one's.
        self._seen: dict[int, Any] = {}
        for tensor in apart:
            self._note(tensor)

    def _note(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage._cdata in self._seen:
            return 0
        self._seen[storage._cdata] = storage
        return storage.nbytes()

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is about to be kept."""
        self.total += self._note(tensor)
        return tensor


@contextlib.contextmanager
def kept_bytes(apart: Iterable[Tensor] = ()) -> Iterator[KeptBytes]:
    """Count what operations inside of the context keep for their gradients.

    Of a block that is checkpointed the inputs are counted, which are all that it keeps.

    Parameters
    ----------
    apart: iterable of Tensor
        Parameters and inputs, which are there whether they are kept or not.
    """
    counter = KeptBytes(apart)
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda tensor: tensor):
        yield counter
