"""Compiled operators of the network, ``torch.ops.atmos``.

Importing this module loads the operator library, once. Its operators have CPU, CUDA (where the
build had ``nvcc``) and Meta implementations, a gradient and an autocast policy, all in C++: a
TorchScript module that uses them runs in a process without Python, gradients included. Such a
process loads ``library_path()`` before the module.

Notes
-----
``ATMOS_KERNELS`` in the environment chooses what the operators run: ``auto`` (the default),
kernels where there are some for the device, dtype and widths, plain operations of torch elsewhere;
``reference``, plain operations always; ``strict``, kernels or an error. It is read at each call.

First derivatives only; a second derivative raises. Under autocast to bfloat16 the operators run in
bfloat16 with sums in float32, under autocast to float16 in float32 (a sum over N products can
overflow float16); float64 is left alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "library_info",
    "library_path",
    "triangle_multiplication",
    "triangle_multiplication_route",
]

_LIBRARY = Path(__file__).with_name("libatmos_ops.so")


def library_path() -> Path:
    """Path of the compiled operator library."""
    return _LIBRARY


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _load() -> None:
    if not _LIBRARY.is_file():
        raise ImportError(
            f"The operator library is missing: {_LIBRARY}. Build it with 'pip install .' in the "
            "source tree, or alone with 'cmake -S csrc/ops -B build-ops && cmake --build build-ops "
            "&& cmake --install build-ops'."
        )
    try:
        torch.ops.load_library(str(_LIBRARY))
    except OSError as error:
        raise ImportError(
            f"The operator library {_LIBRARY} does not load with torch {torch.__version__}: "
            f"{error}. It fits the minor version of torch that it was built against; rebuild it "
            "with 'pip install --no-build-isolation .', or install that version of torch."
        ) from error
    built = json.loads(torch.ops.atmos.library_info())["torch"]
    if _minor(built) != _minor(torch.__version__):
        raise ImportError(
            f"The operator library was built against torch {built} and torch is "
            f"{torch.__version__}; expected the same minor version. Rebuild it with "
            "'pip install --no-build-isolation .', or install the torch it was built against."
        )


_load()


def library_info() -> dict[str, Any]:
    """What the operator library was built for and what works here.

    Returns
    -------
    dict
        ``path`` (str); ``torch`` (str), the version built against; ``cpu_instruction_set`` (str),
        ``avx512``, ``avx2`` or ``generic``; ``cuda_built`` (bool); ``cuda_toolkit`` (str) and
        ``cuda_architectures`` (list of str), empty without CUDA; ``cuda_loaded`` (bool), whether
        the CUDA kernels could be opened (this needs no GPU); ``cuda_error`` (str), why not.
    """
    info: dict[str, Any] = json.loads(torch.ops.atmos.library_info())
    info["cuda_architectures"] = info["cuda_architectures"].split()
    info["path"] = str(_LIBRARY)
    return info


def triangle_multiplication(
    z: torch.Tensor,
    mask: torch.Tensor,
    norm_in_weight: torch.Tensor,
    norm_in_bias: torch.Tensor,
    norm_out_weight: torch.Tensor,
    norm_out_bias: torch.Tensor,
    linear_a_p: torch.Tensor,
    linear_a_g: torch.Tensor,
    linear_b_p: torch.Tensor,
    linear_b_g: torch.Tensor,
    linear_g: torch.Tensor,
    linear_z: torch.Tensor,
    outgoing: bool,
    residual: bool = False,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """Triangle multiplicative update, the whole layer (AlphaFold 3, Algorithms 12 and 13).

    With ``n = LayerNorm_in(z)``, ``a = mask * sigmoid(n @ linear_a_g.T) * (n @ linear_a_p.T)``,
    ``b`` likewise and ``x`` their sum over the third node of a triangle,
    ``x[i,j] = sum_k a[i,k] b[j,k]`` for outgoing and ``sum_k a[k,i] b[k,j]`` for incoming edges,
    the update is ``sigmoid(n @ linear_g.T) * (LayerNorm_out(x) @ linear_z.T)``.

    Parameters
    ----------
    z : torch.Tensor
        Pair representation, shape [B, N, N, C]; float32, float64 or bfloat16 (sums in float32).
        Any strides; those whose channels lie together are read without a copy.
    mask : torch.Tensor
        Shape [B, N, N], floating or bool; scales ``a`` and ``b``. A node whose row of these is
        masked as a whole (``mask[i, :]`` for outgoing, ``mask[:, i]`` for incoming edges: padding)
        does not exist: the update of its pairs is exactly zero, and so is the gradient through it.
        ``z`` is not read where the pair has neither a mask nor an update. A constant: no gradient.
    norm_in_weight, norm_in_bias : torch.Tensor
        Shape [C].
    norm_out_weight, norm_out_bias : torch.Tensor
        Shape [H].
    linear_a_p, linear_a_g, linear_b_p, linear_b_g : torch.Tensor
        Shape [H, C]; p for the values, g for the gates.
    linear_g, linear_z : torch.Tensor
        Shapes [C, C] and [C, H]. All parameters have the dtype of ``z``, or float32 with a
        bfloat16 ``z``; their gradients have their own.
    outgoing : bool
        Outgoing (True) or incoming (False) edges.
    residual : bool
        Whether ``z`` is added to the update.
    epsilon : float
        Of both layer norms.

    Returns
    -------
    torch.Tensor
        Shape [B, N, N, C], contiguous, dtype of ``z``. Two calls give equal bits, on the CPU on
        any number of threads.

    Raises
    ------
    RuntimeError
        For wrong shapes, dtypes or devices, a mask that requires a gradient, (in the backward
        pass) a second derivative, or no kernel with ``ATMOS_KERNELS=strict``.
    """
    return torch.ops.atmos.triangle_multiplication(
        z,
        mask,
        norm_in_weight,
        norm_in_bias,
        norm_out_weight,
        norm_out_bias,
        linear_a_p,
        linear_a_g,
        linear_b_p,
        linear_b_g,
        linear_g,
        linear_z,
        outgoing,
        residual,
        epsilon,
    )


def triangle_multiplication_route(z: torch.Tensor, hidden: int) -> str:
    """What `triangle_multiplication` runs for such a ``z`` and hidden width H.

    Returns
    -------
    str
        ``"kernel"``, or ``"reference"`` for plain operations of torch. The rule looks at device,
        dtype, widths and ``ATMOS_KERNELS`` alone: the CPU has kernels for everything; CUDA for
        float32 and bfloat16 with C and H multiples of 32 from 32 to 256. Empty tensors take the
        reference.

    Raises
    ------
    RuntimeError
        With ``ATMOS_KERNELS=strict`` where there is no kernel, and for another value of it.
    """
    return torch.ops.atmos.triangle_multiplication_route(z, hidden)
