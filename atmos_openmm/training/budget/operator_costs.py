"""What the compiled operators cost: formulas that counters of operations look up.

Importing this module registers them with ``torch.utils.flop_counter``, so that ``FlopCounterMode``
and :class:`~.meter.StepMeter` know the triangle multiplicative update and the CPU's fused
attention, which torch's own counter does not. An operation is a multiplication or an addition.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import (
    flop_registry,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from ... import ops as _ops  # noqa: F401  registers the operators

_ATMOS = torch.ops.atmos
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
Shape = Any  # torch.Size, or a tuple of int

_PLANES_BESIDE = {
    _ATMOS.triangle_multiplication: 2,
    _ATMOS.triangle_multiplication_forward: 1,
    _ATMOS.triangle_multiplication_backward: 7,
}
"""Pair tensors [B, N, N, C] that the GPU kernels (csrc/ops/triangle_cuda.h) hold for a
moment beyond their results; for H = C."""


def bytes_beside(operator: Any, z: torch.Tensor) -> int:
    """Bytes that an operator holds for a moment beyond its results."""
    return _PLANES_BESIDE.get(operator._overloadpacket, 0) * z.nbytes


def _linear_and_contraction(z: Shape, gate_a: Shape) -> tuple[int, int]:
    """Operations of the six linear maps, and of the contraction over the third node."""
    *pairs, channels = z
    hidden = gate_a[0]
    linear = 2 * prod(pairs) * (4 * hidden * channels + channels * channels + channels * hidden)
    return linear, 2 * prod(pairs) * pairs[-1] * hidden


def _triangle_flops(z: Shape, mask: Shape, *rest: Any, **_: Any) -> int:
    """Operations of the update (AF3 Algorithms 12 and 13): products of matrices alone."""
    return sum(_linear_and_contraction(z, rest[4]))


def _triangle_backward_flops(
    grad: Shape, z: Shape, mask: Shape, x: Shape, *rest: Any, **_: Any
) -> int:
    """Operations of its gradient: two products for each of the update's, which are all but the
    contraction computed again."""
    linear, contraction = _linear_and_contraction(z, rest[4])
    return 3 * linear + 2 * contraction


for _operator, _formula in (
    (_ATMOS.triangle_multiplication, _triangle_flops),
    (_ATMOS.triangle_multiplication_forward, _triangle_flops),
    (_ATMOS.triangle_multiplication_backward, _triangle_backward_flops),
    (_CPU_ATTENTION, lambda *qkv, **_: sdpa_flop_count(*qkv[:3])),
    (_CPU_ATTENTION_BACKWARD, lambda *grad_qkv, **_: sdpa_backward_flop_count(*grad_qkv[:4])),
):
    if _operator not in flop_registry:
        register_flop_formula(_operator)(_formula)
