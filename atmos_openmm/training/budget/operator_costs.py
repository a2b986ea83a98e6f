"""What the compiled operators cost: formulas that counters of operations look up.

Importing this module registers them with ``torch.utils.flop_counter``, so that ``FlopCounterMode``
and :class:`~.meter.StepMeter` know the triangle multiplicative update and the CPU's fused
attention, which torch's own counter does not. An operation is a multiplication or an addition.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula

from ... import ops as _ops  # noqa: F401  registers the operators

_ATMOS = torch.ops.atmos
_ATEN = torch.ops.aten
Shape = Any  # torch.Size, or a tuple of int

_PLANES_BESIDE = {
    "triangle_multiplication": 2,
    "triangle_multiplication_forward": 1,
    "triangle_multiplication_backward": 7,
}
_PLANES_MOVED = {
    "triangle_multiplication": 9,
    "triangle_multiplication_forward": 9,
    "triangle_multiplication_backward": 34,
}
"""Pair tensors [B, N, N, C] that the GPU kernels (csrc/ops/triangle_cuda.h) hold for a
moment beyond their results, and that they read and write; for H = C."""


def _linear_and_contraction(z: Shape, gate_a: Shape) -> tuple[int, int]:
    """Operations of the six linear maps, and of the contraction over the third node."""
    *pairs, channels = z
    hidden = gate_a[0]
    linear = 2 * prod(pairs) * (4 * hidden * channels + channels * channels + channels * hidden)
    return linear, 2 * prod(pairs) * pairs[-1] * hidden


def triangle_flops(z: Shape, mask: Shape, *rest: Any, **_: Any) -> int:
    """Operations of the update (AF3 Algorithms 12 and 13): products of matrices alone."""
    return sum(_linear_and_contraction(z, rest[4]))


def triangle_backward_flops(
    grad: Shape, z: Shape, mask: Shape, x: Shape, *rest: Any, **_: Any
) -> int:
    """Operations of its gradient: two products for each of the update's, which are all but the
    contraction computed again."""
    linear, contraction = _linear_and_contraction(z, rest[4])
    return 3 * linear + 2 * contraction


def _attention_flops(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(q) * k[-2] + 2 * prod(q[:-1]) * k[-2] * v[-1]


def _attention_backward_flops(grad: Shape, q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    # The logits again; gradients of weights, values, queries and keys.
    return 6 * prod(q) * k[-2] + 4 * prod(q[:-1]) * k[-2] * v[-1]


def _register() -> None:
    for operator, formula in (
        (_ATMOS.triangle_multiplication, triangle_flops),
        (_ATMOS.triangle_multiplication_forward, triangle_flops),
        (_ATMOS.triangle_multiplication_backward, triangle_backward_flops),
        (_ATEN._scaled_dot_product_flash_attention_for_cpu, _attention_flops),
        (_ATEN._scaled_dot_product_flash_attention_for_cpu_backward, _attention_backward_flops),
    ):
        if operator not in flop_registry:
            register_flop_formula(operator)(formula)


_register()


def bytes_beside(operator: Any, z: torch.Tensor) -> int:
    """Bytes that an operator holds for a moment beyond its results."""
    return _PLANES_BESIDE.get(_name(operator), 0) * z.nbytes


def bytes_moved(operator: Any, tensors: list[torch.Tensor]) -> int:
    """Bytes that an operator reads and writes, given its inputs and results."""
    planes = _PLANES_MOVED.get(_name(operator))
    if planes is not None:
        return planes * max(tensor.nbytes for tensor in tensors)
    # A tensor that is expanded over an axis is read once.
    return sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in tensors)


def _name(operator: Any) -> str:
    """Name of one of this package's operators, else an empty one."""
    namespace, _, name = operator._schema.name.partition("::")
    return name if namespace == "atmos" else ""
