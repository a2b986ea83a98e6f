"""The triangle contraction on the CPU, against a plain statement in float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from atmos_openmm.ops import library_info, library_path, triangle_contraction

# Unit roundoff of the sums and of the stored result.
SUM_ROUNDOFF = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-24}
STORE_ROUNDOFF = {torch.float64: 0.0, torch.float32: 0.0, torch.bfloat16: 2.0**-8}


def reference(a, b, mask, outgoing):
    a = a * mask[..., None]
    b = b * mask[..., None]
    return torch.einsum("bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc", a, b)


def inputs(size, channels, batch=1, dtype=torch.float64, masked=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, size, size, channels)
    a, b, grad = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)
    )
    mask = (torch.rand(shape[:3], generator=generator) >= masked).to(dtype)
    return a, b, mask, grad


def values_and_gradients(function, a, b, mask, grad, outgoing):
    a = a.detach().requires_grad_()
    b = b.detach().requires_grad_()
    out = function(a, b, mask, outgoing)
    return (out.detach(), *torch.autograd.grad(out, (a, b), grad))


def assert_close_to_reference(a, b, mask, grad, outgoing):
    """Each element within the bound of a sum of N products, gamma_n = n u times sum |a| |b|."""
    actual = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    wide = [tensor.double() for tensor in (a, b, mask, grad)]
    exact = values_and_gradients(reference, *wide, outgoing)
    magnitude = values_and_gradients(reference, *(tensor.abs() for tensor in wide), outgoing)
    # float64 is compared to a reference with rounding errors of its own.
    steps = (a.shape[1] + 2) * (2 if a.dtype == torch.float64 else 1)
    for name, value, right, size in zip(
        ("out", "grad_a", "grad_b"), actual, exact, magnitude, strict=True
    ):
        assert value.dtype == a.dtype and value.is_contiguous()
        bound = steps * SUM_ROUNDOFF[a.dtype] * size
        bound = bound * (1 + STORE_ROUNDOFF[a.dtype]) + STORE_ROUNDOFF[a.dtype] * right.abs()
        excess = (value.double() - right).abs() - bound
        assert (excess <= 0).all(), f"{name} is {excess.max().item():.3e} outside its bound"


@pytest.mark.parametrize("outgoing", [True, False])
def test_every_small_size_agrees_in_float64(outgoing):
    for size in range(1, 41):
        a, b, mask, grad = inputs(size, channels=1 + size % 19, batch=1 + size % 2, seed=size)
        actual = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
        expected = values_and_gradients(reference, a, b, mask, grad, outgoing)
        for value, right in zip(actual, expected, strict=True):
            scale = max(1.0, right.abs().max().item())
            assert (value - right).abs().max().item() <= 1e-12 * scale


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "channels", "batch"),
    # One pair; odd everything; whole tiles; several groups of channels; several row blocks; a sum
    # and columns that are cut into blocks.
    [(1, 1, 1), (7, 5, 2), (24, 32, 1), (33, 70, 2), (131, 17, 1), (270, 3, 1)],
)
def test_rounding_stays_within_its_bound(size, channels, batch, dtype, outgoing):
    assert_close_to_reference(*inputs(size, channels, batch, dtype), outgoing)


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fully_masked_nodes_give_exact_zeros(dtype, outgoing):
    a, b, mask, grad = inputs(19, 20, batch=2, dtype=dtype, masked=0.0)
    gone = 4
    mask[1, gone, :] = 0
    mask[1, :, gone] = 0
    out, grad_a, grad_b = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    for tensor in (out, grad_a, grad_b):
        assert (tensor[1, gone] == 0).all() and (tensor[1, :, gone] == 0).all()
        assert (tensor[0] != 0).any()
    nothing = values_and_gradients(
        triangle_contraction, a, b, torch.zeros_like(mask), grad, outgoing
    )
    assert all((tensor == 0).all() for tensor in nothing)


@pytest.mark.parametrize("outgoing", [True, False])
def test_what_is_masked_is_not_read(outgoing):
    a, b, mask, grad = inputs(23, 9, dtype=torch.float32)
    clean = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    a = a.masked_fill(mask[..., None] == 0, float("nan"))
    b = b.masked_fill(mask[..., None] == 0, float("inf"))
    dirty = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    assert all(torch.equal(x, y) for x, y in zip(clean, dirty, strict=True))


def test_nan_where_the_mask_is_one_is_passed_on():
    a, b, mask, _ = inputs(6, 3, dtype=torch.bfloat16, masked=0.0)
    a[0, 2, 3, 1] = float("nan")
    out = triangle_contraction(a, b, mask, True)
    assert out[0, 2, :, 1].isnan().all() and out.isnan().sum() == 6


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float16, torch.float64])
def test_masks_of_other_dtypes(mask_dtype):
    a, b, mask, _ = inputs(11, 6, dtype=torch.float32)
    expected = triangle_contraction(a, b, mask, True)
    assert torch.equal(triangle_contraction(a, b, mask.to(mask_dtype), True), expected)


@pytest.mark.parametrize("outgoing", [True, False])
def test_gradcheck(outgoing):
    a, b, mask, _ = inputs(5, 3, batch=2)
    assert torch.autograd.gradcheck(
        lambda x, y: triangle_contraction(x, y, mask, outgoing),
        (a.requires_grad_(), b.requires_grad_()),
    )


@pytest.mark.parametrize("outgoing", [True, False])
def test_gradient_of_one_input_alone(outgoing):
    a, b, mask, grad = inputs(8, 4)
    both = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    (only_b,) = torch.autograd.grad(
        triangle_contraction(a, b.requires_grad_(), mask, outgoing), b, grad
    )
    assert torch.equal(only_b, both[2])


def as_views(tensor):
    """The same values with other strides: transposed pairs, channels first, a slice, a broadcast
    copy's layout."""
    yield tensor.transpose(1, 2).contiguous().transpose(1, 2)
    yield tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    wide = torch.full((*tensor.shape[:3], 2 * tensor.shape[3]), float("nan"), dtype=tensor.dtype)
    wide[..., 1 : 1 + tensor.shape[3]] = tensor
    yield wide[..., 1 : 1 + tensor.shape[3]]


@pytest.mark.parametrize("outgoing", [True, False])
def test_strides_do_not_change_the_result(outgoing):
    a, b, mask, grad = inputs(13, 18, batch=2, dtype=torch.float32)
    expected = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    mask_view = mask.transpose(1, 2).contiguous().transpose(1, 2)
    for a_view, b_view, grad_view in zip(as_views(a), as_views(b), as_views(grad), strict=True):
        actual = values_and_gradients(
            triangle_contraction, a_view, b_view, mask_view, grad_view, outgoing
        )
        assert all(torch.equal(x, y) for x, y in zip(actual, expected, strict=True))


def test_broadcast_inputs_and_gradients():
    a, b, mask, _ = inputs(6, 4, batch=1)
    a = a[:, :, :1].expand(3, 6, 6, 4)
    b = b.expand(3, 6, 6, 4)
    mask = mask.expand(3, 6, 6)
    expected = reference(a, b, mask, True)
    assert (triangle_contraction(a, b, mask, True) - expected).abs().max() <= 1e-13
    b = b.clone().requires_grad_()
    triangle_contraction(a, b, mask, True).sum().backward()  # a gradient without strides
    (right,) = torch.autograd.grad(reference(a, b, mask, True).sum(), b)
    assert (b.grad - right).abs().max() <= 1e-13


def test_offsets_beyond_32_bits():
    # Only the pages at both ends are ever touched, so this takes little memory.
    distance = 2**31 + 128
    shape, strides = (2, 5, 5, 8), (distance, 40, 8, 1)
    try:
        store = torch.empty(distance + 200, dtype=torch.bfloat16)
    except RuntimeError:
        pytest.skip("4 GiB of address space cannot be had")
    a, b, mask, _ = inputs(5, 8, batch=2, dtype=torch.bfloat16)
    far = store.as_strided(shape, strides)
    far.copy_(a)
    for outgoing in (True, False):
        expected = triangle_contraction(a, b, mask, outgoing)
        assert torch.equal(triangle_contraction(far, b, mask, outgoing), expected)


@pytest.fixture
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("outgoing", [True, False])
def test_bits_do_not_depend_on_run_or_threads(restore_threads, dtype, outgoing):
    # One group of channels and one row block: a second thread cuts the rows finer.
    a, b, mask, grad = inputs(75, 24, dtype=dtype)
    results = []
    for threads in (1, 1, 2, 3):
        torch.set_num_threads(threads)
        results.append(values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_a_batch_gives_the_bits_of_its_members():
    a, b, mask, _ = inputs(17, 40, batch=3, dtype=torch.float32)
    together = triangle_contraction(a, b, mask, False)
    for i in range(3):
        alone = triangle_contraction(a[i : i + 1], b[i : i + 1], mask[i : i + 1], False)
        assert torch.equal(together[i : i + 1], alone)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 0, 0, 3), (2, 4, 4, 0)])
def test_empty_tensors(shape):
    a = torch.randn(shape, requires_grad=True)
    b = torch.randn(shape, requires_grad=True)
    out = triangle_contraction(a, b, torch.ones(shape[:3]), True)
    assert out.shape == shape
    out.sum().backward()
    assert a.grad.shape == shape and b.grad.shape == shape


NARROW_SETS = """
import json, sys, torch
torch.ops.load_library(sys.argv[1])
info = json.loads(torch.ops.atmos.library_info())
worst = 0.0
generator = torch.Generator().manual_seed(1)
for size, channels in ((1, 1), (9, 5), (37, 33), (70, 8)):
    for outgoing in (True, False):
        a, b, grad = (
            torch.randn(1, size, size, channels, generator=generator, dtype=torch.float64)
            for _ in range(3)
        )
        mask = (torch.rand(1, size, size, generator=generator) > 0.2).double()
        def plain(x, y):
            x, y = x * mask[..., None], y * mask[..., None]
            return torch.einsum("bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc", x, y)
        def ours(x, y):
            return torch.ops.atmos.triangle_contraction(x, y, mask, outgoing)
        results = []
        for function in (plain, ours):
            x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
            out = function(x, y)
            results.append((out, *torch.autograd.grad(out, (x, y), grad)))
        for right, value in zip(*results):
            worst = max(worst, float((right - value).abs().max()))
print(json.dumps([info["cpu_instruction_set"], worst]))
"""


@pytest.mark.parametrize("name", ["avx2", "generic"])
def test_narrower_instruction_sets_agree(name):
    if library_info()["cpu_instruction_set"] == "generic":
        pytest.skip("this machine or build has the generic code alone")
    done = subprocess.run(
        [sys.executable, "-c", NARROW_SETS, str(library_path())],
        env={**os.environ, "ATMOS_CPU_INSTRUCTION_SET": name},
        capture_output=True,
        text=True,
        check=True,
    )
    used, worst = json.loads(done.stdout)
    assert used == name
    # 72 terms of order 1 to 10: a thousandth of the float32 error.
    assert worst <= 1e-12
