"""The triangle contraction on a GPU. Skips where there is none."""

from __future__ import annotations

import pytest
import torch

from atmos_openmm.ops import library_info, triangle_contraction

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif(not library_info()["cuda_built"], reason="built without CUDA"),
]


def reference(a, b, mask, outgoing):
    a = a * mask[..., None]
    b = b * mask[..., None]
    return torch.einsum("bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc", a, b)


def inputs(size, channels, batch=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(size)
    shape = (batch, size, size, channels)
    a, b, grad = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).cuda()
        for _ in range(3)
    )
    mask = (torch.rand(shape[:3], generator=generator) >= 0.3).to(dtype).cuda()
    return a, b, mask, grad


def values_and_gradients(function, a, b, mask, grad, outgoing):
    a = a.detach().requires_grad_()
    b = b.detach().requires_grad_()
    out = function(a, b, mask, outgoing)
    return (out.detach(), *torch.autograd.grad(out, (a, b), grad))


@pytest.mark.parametrize("outgoing", [True, False])
def test_every_small_size_agrees_in_float64(outgoing):
    for size in range(1, 71):
        given = inputs(size, channels=1 + size % 37, batch=1 + size % 3)
        actual = values_and_gradients(triangle_contraction, *given, outgoing)
        expected = values_and_gradients(reference, *given, outgoing)
        for value, right in zip(actual, expected, strict=True):
            assert (value - right).abs().max() <= 1e-12 * max(1.0, right.abs().max().item())


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize(("dtype", "store"), [(torch.float32, 0.0), (torch.bfloat16, 2.0**-8)])
@pytest.mark.parametrize("size", [33, 191, 200, 257])
def test_rounding_stays_within_its_bound(size, dtype, store, outgoing):
    a, b, mask, grad = inputs(size, channels=40, dtype=dtype)
    actual = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    wide = [tensor.double() for tensor in (a, b, mask, grad)]
    exact = values_and_gradients(reference, *wide, outgoing)
    magnitude = values_and_gradients(reference, *(tensor.abs() for tensor in wide), outgoing)
    for value, right, scale in zip(actual, exact, magnitude, strict=True):
        bound = (size + 2) * 2.0**-24 * scale * (1 + store) + store * right.abs()
        assert ((value.double() - right).abs() <= bound).all()


@pytest.mark.parametrize("outgoing", [True, False])
def test_error_is_no_worse_than_that_of_torch_in_bfloat16(outgoing):
    a, b, mask, grad = inputs(256, channels=64, dtype=torch.bfloat16)
    exact = values_and_gradients(
        reference, a.double(), b.double(), mask.double(), grad.double(), outgoing
    )
    ours = values_and_gradients(triangle_contraction, a, b, mask, grad, outgoing)
    theirs = values_and_gradients(reference, a, b, mask, grad, outgoing)
    for value, other, right in zip(ours, theirs, exact, strict=True):
        assert (value.double() - right).norm() <= 1.5 * (other.double() - right).norm()


def test_masked_pairs_are_not_read_and_give_zeros():
    a, b, mask, grad = inputs(50, 20, dtype=torch.float32)
    mask[0, 7, :] = 0
    mask[0, :, 7] = 0
    clean = values_and_gradients(triangle_contraction, a, b, mask, grad, True)
    a = a.masked_fill(mask[..., None] == 0, float("nan"))
    dirty = values_and_gradients(triangle_contraction, a, b, mask, grad, True)
    for value, other in zip(clean, dirty, strict=True):
        assert torch.equal(value, other)
        assert (value[0, 7] == 0).all() and (value[0, :, 7] == 0).all()


def test_two_runs_are_bit_equal():
    given = inputs(210, 33, batch=2, dtype=torch.bfloat16)
    first = values_and_gradients(triangle_contraction, *given, True)
    for _ in range(3):
        again = values_and_gradients(triangle_contraction, *given, True)
        assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_strided_views():
    a, b, mask, grad = inputs(21, 18, dtype=torch.float32)
    expected = values_and_gradients(triangle_contraction, a, b, mask, grad, False)
    swapped = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (a, b, mask, grad)]
    channels_first = a.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for first in (swapped[0], channels_first):
        actual = values_and_gradients(triangle_contraction, first, *swapped[1:], False)
        assert all(torch.equal(x, y) for x, y in zip(actual, expected, strict=True))


def test_offsets_beyond_32_bits():
    a, b, mask, _ = inputs(5, 8, batch=2, dtype=torch.bfloat16)
    distance = 2**31 + 128
    store = torch.empty(distance + 200, dtype=torch.bfloat16, device="cuda")
    far = store.as_strided((2, 5, 5, 8), (distance, 40, 8, 1))
    far.copy_(a)
    assert torch.equal(
        triangle_contraction(far, b, mask, True), triangle_contraction(a, b, mask, True)
    )


def test_runs_on_the_current_stream_and_in_a_graph():
    a, b, mask, _ = inputs(64, 32, dtype=torch.float32)
    expected = triangle_contraction(a, b, mask, True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        on_side = triangle_contraction(a, b, mask, True)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(on_side, expected)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = triangle_contraction(a, b, mask, True)
    captured.zero_()
    graph.replay()
    assert torch.equal(captured, expected)


def test_opcheck():
    a, b, mask, _ = inputs(6, 5, dtype=torch.float32)
    torch.library.opcheck(
        torch.ops.atmos.triangle_contraction.default,
        (a.requires_grad_(), b.requires_grad_(), mask, True),
    )
