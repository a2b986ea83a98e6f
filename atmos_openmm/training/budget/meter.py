"""Counters of what a piece of training does: bytes kept and alive, operations, bytes moved.

They look at shapes and storages alone, so they count on fake tensors (``FakeTensorMode``), which
hold no data, what they count on real ones.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .operator_costs import bytes_beside, bytes_moved

__all__ = ["Bytes", "StepMeter", "kept_bytes"]


class Bytes:
    """Bytes of storages that were noted and are still there, each counted once.

    Attributes
    ----------
    now, most: int
        At present, and at the worst moment so far.
    """

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._known: dict[int, weakref.ref] = {}

    def note(self, tensor: Tensor, *, counts: bool = True) -> None:
        """Count a tensor's storage from now on for as long as it lives.

        Parameters
        ----------
        counts: bool
            Whether it counts at all; if not, it will not when it is noted again.
        """
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if counts else 0

        def gone(_: weakref.ref) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


@contextlib.contextmanager
def kept_bytes(apart: Iterable[Tensor] = ()) -> Iterator[Bytes]:
    """Count what operations inside of the context keep for their gradients.

    Of a block that is checkpointed the inputs are counted, which are all that it keeps.

    Parameters
    ----------
    apart: iterable of Tensor
        Parameters and inputs, which are there whether they are kept or not.
    """
    counter = Bytes()
    for tensor in apart:
        counter.note(tensor, counts=False)

    def pack(tensor: Tensor) -> Tensor:
        counter.note(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield counter


class StepMeter(TorchDispatchMode):
    """Counts what every operation inside of the context costs, gradients and recomputation too.

    Operations are products of matrices, convolutions and attention, as in
    ``torch.utils.flop_counter``, whose table of formulas is used; elementwise ones count by the
    bytes that they move.

    Parameters
    ----------
    there: iterable of Tensor
        Tensors that are there before: parameters, gradients, inputs.

    Attributes
    ----------
    live: Bytes
        Of all tensors that are alive, those of `there` included.
    flops: dict
        Floating-point operations by dtype of the result.
    moved: int
        Bytes read and written.
    kernels: int
        Operations that do more than look at a tensor in another shape.
    """

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = Bytes()
        self.flops: dict[torch.dtype, int] = defaultdict(int)
        self.moved = 0
        self.kernels = 0
        self._costs: list[Callable[[int, torch.dtype, int], None]] = []
        for tensor in there:
            self.live.note(tensor)

    def on_operation(self, call: Callable[[int, torch.dtype, int], None]) -> None:
        """Have a function called with each operation's flops, dtype and bytes moved."""
        self._costs.append(call)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        outs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        ins = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        given = {tensor.untyped_storage()._cdata for tensor in ins}
        fresh = [tensor for tensor in outs if tensor.untyped_storage()._cdata not in given]
        for tensor in fresh:
            self.live.note(tensor)
        changed = operator._schema.is_mutable
        if outs and (fresh or changed):
            self._count(operator, args, kwargs, result, outs, [*ins, *fresh])
        return result

    def _count(
        self, operator: Any, args: tuple, kwargs: dict, result: Any, outs: list, tensors: list
    ) -> None:
        formula = flop_registry.get(operator._overloadpacket)
        flops = 0 if formula is None else int(formula(*args, **kwargs, out_val=result))
        moved = bytes_moved(operator, tensors)
        self.live.most = max(self.live.most, self.live.now + bytes_beside(operator, outs[0]))
        self.flops[outs[0].dtype] += flops
        self.moved += moved
        self.kernels += 1
        for call in self._costs:
            call(flops, outs[0].dtype, moved)
