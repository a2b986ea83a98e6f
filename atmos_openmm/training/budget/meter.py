"""Counters of what a piece of training does: bytes alive, and floating-point operations.

They look at shapes and storages alone, so they count on fake tensors (``FakeTensorMode``), which
hold no data, what they count on real ones.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .operator_costs import bytes_beside

__all__ = ["Bytes", "StepMeter"]


class Bytes:
    """Bytes of storages that were noted and are still there, each counted once.

    Attributes
    ----------
    now, most : int
        At present, and at the worst moment so far.
    """

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._known: dict[int, weakref.ref] = {}

    def note(self, tensor: Tensor) -> None:
        """Count a tensor's storage from now on for as long as it lives."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: weakref.ref) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


class StepMeter(TorchDispatchMode):
    """Counts what every operation inside of the context costs, gradients and recomputation too.

    Operations are products of matrices, convolutions and attention, as in
    ``torch.utils.flop_counter``, whose table of formulas is used.

    Parameters
    ----------
    there : iterable of Tensor
        Tensors that are there before: parameters, gradients, inputs.

    Attributes
    ----------
    live : Bytes
        Of all tensors that are alive, those of `there` included.
    flops : dict from dtype to int
        Floating-point operations by dtype of the result.
    """

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = Bytes()
        self.flops: dict[torch.dtype, int] = defaultdict(int)
        for tensor in there:
            self.live.note(tensor)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        outs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in outs:
            self.live.note(tensor)
        formula = flop_registry.get(operator._overloadpacket)
        if formula is not None:
            self.flops[outs[0].dtype] += int(formula(*args, **kwargs, out_val=result))
            beside = bytes_beside(operator, outs[0])
            self.live.most = max(self.live.most, self.live.now + beside)
        return result
