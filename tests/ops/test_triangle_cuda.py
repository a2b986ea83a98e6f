"""The triangle multiplicative update on a GPU. Skips where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
import triangle_layer
from triangle_layer import (
    make,
    pairs_with,
    plain,
    poisoned,
    relative_errors,
    values_and_gradients,
    without_nodes,
)

from atmos_openmm.ops import library_info, triangle_multiplication, triangle_multiplication_route

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif(not library_info()["cuda_built"], reason="built without CUDA"),
]

BFLOAT16, FLOAT32, FLOAT64 = torch.bfloat16, torch.float32, torch.float64


@pytest.fixture(autouse=True)
def kernels_or_an_error(monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", "strict")


def on_gpu(*args, dtype, **kwargs):
    return make(*args, **kwargs).to(dtype).to("cuda")


def assert_no_worse_than_torch(layer, outgoing, residual=True):
    """At most 1.5 times torch's error, with one rounding of the stored value as the floor."""
    exact = values_and_gradients(plain, layer.to(FLOAT64), outgoing, residual)
    found = values_and_gradients(triangle_multiplication, layer, outgoing, residual)
    theirs = values_and_gradients(plain, layer, outgoing, residual)
    errors = relative_errors(found, exact), relative_errors(theirs, exact)
    for index, (ours, other) in enumerate(zip(*errors, strict=True)):
        assert ours <= max(1.5 * other, torch.finfo(layer.z.dtype).eps), index


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_every_small_size(dtype, outgoing):
    for size in range(1, 71):
        widths = 32 * (1 + size % 8), 32 * (1 + size % 5)
        layer = on_gpu(size, *widths, batch=1 + size % 3, dtype=dtype, seed=size)
        assert_no_worse_than_torch(layer, outgoing, residual=size % 2 == 0)


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
@pytest.mark.parametrize(
    ("size", "channels", "hidden"),
    [(128, 128, 128), (300, 128, 128), (257, 64, 256), (384, 32, 32)],
)
def test_larger_sizes(size, channels, hidden, dtype, outgoing):
    assert_no_worse_than_torch(on_gpu(size, channels, hidden, dtype=dtype), outgoing)


def test_the_longest_system():
    # Planes of 3072^2 elements; 300 of them reach beyond 2^31.
    layer = on_gpu(3072, 32, 32, batch=8, dtype=BFLOAT16)
    z = layer.z.requires_grad_()
    out = triangle_multiplication(z, layer.mask, *layer.parameters, True, True)
    (found,) = torch.autograd.grad(out, z, layer.grad)
    last = layer._replace(z=layer.z[-1:], mask=layer.mask[-1:], grad=layer.grad[-1:])
    alone, grad, *_ = values_and_gradients(triangle_multiplication, last, True)
    assert torch.equal(out[-1:], alone) and torch.equal(found[-1:], grad)
    theirs = plain(last.z.detach(), last.mask, *last.parameters, True, True, 1e-5)
    assert (alone - theirs).float().norm() <= 0.05 * theirs.float().norm()


def test_float64_takes_the_reference(monkeypatch):
    layer = on_gpu(20, 32, 48, dtype=FLOAT64)
    with pytest.raises(RuntimeError, match="no kernel for dtype Double on cuda"):
        triangle_multiplication(layer.z, layer.mask, *layer.parameters, True)
    monkeypatch.setenv("ATMOS_KERNELS", "auto")
    found = values_and_gradients(triangle_multiplication, layer, True)
    for value, right in zip(found, values_and_gradients(plain, layer, True), strict=True):
        assert (value - right).abs().max() <= 1e-11 * right.abs().max().clamp_min(1.0)


def test_the_rule_of_widths(monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", "auto")
    for width, kind in ((16, "reference"), (32, "kernel"), (40, "reference"), (256, "kernel")):
        z = torch.zeros(1, 2, 2, width, device="cuda")
        assert triangle_multiplication_route(z, 64) == kind
    assert (
        triangle_multiplication_route(torch.zeros(1, 2, 2, 288, device="cuda"), 64) == "reference"
    )


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_pairs_of_absent_nodes_are_not_read_and_get_nothing(dtype, outgoing):
    layer = without_nodes(on_gpu(50, 64, 64, dtype=dtype), 7, 49)
    clean = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    absent = pairs_with(layer, 7, 49)
    layer = poisoned(layer, 7, 49)
    dirty = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    assert all(torch.equal(x, y) for x, y in zip(clean, dirty, strict=True))
    assert (clean[0][absent] == 0).all() and (clean[1][absent] == 0).all()


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_two_runs_are_bit_equal(dtype):
    layer = on_gpu(210, 128, 128, batch=2, dtype=dtype)
    first = values_and_gradients(triangle_multiplication, layer, True)
    for _ in range(3):
        again = values_and_gradients(triangle_multiplication, layer, True)
        assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_strided_views():
    layer = on_gpu(21, 32, 64, batch=2, dtype=BFLOAT16)
    expected = values_and_gradients(triangle_multiplication, layer, False)
    z, mask, grad = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in layer[:3])
    wide = torch.full((2, 21, 21, 70), float("nan"), dtype=BFLOAT16, device="cuda")
    wide[..., 3:35] = layer.z
    for view in (z, wide[..., 3:35]):
        leaf = view.detach().requires_grad_()
        out = triangle_multiplication(leaf, mask, *layer.parameters, False, True)
        assert torch.equal(out, expected[0])
        assert torch.equal(torch.autograd.grad(out, leaf, grad)[0], expected[1])


def test_offsets_beyond_32_bits():
    layer = on_gpu(5, 32, 32, batch=2, dtype=BFLOAT16)
    distance = 2**31 + 128
    store = torch.empty(distance + 800, dtype=BFLOAT16, device="cuda")
    far = store.as_strided((2, 5, 5, 32), (distance, 160, 32, 1))
    far.copy_(layer.z)
    expected = values_and_gradients(triangle_multiplication, layer, True)
    far.requires_grad_()
    out = triangle_multiplication(far, layer.mask, *layer.parameters, True, True)
    assert torch.equal(out, expected[0])
    assert torch.equal(torch.autograd.grad(out, far, layer.grad)[0], expected[1])


def test_runs_on_the_current_stream():
    layer = on_gpu(64, 128, 128, dtype=BFLOAT16)
    expected = values_and_gradients(triangle_multiplication, layer, True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        found = values_and_gradients(triangle_multiplication, layer, True)
    torch.cuda.current_stream().wait_stream(side)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", [64, 101])
def test_forward_and_backward_in_a_cuda_graph(size):
    layer = on_gpu(size, 128, 128, dtype=BFLOAT16)
    expected = values_and_gradients(triangle_multiplication, layer, True)
    leaves = [t.detach().requires_grad_() for t in (layer.z, *layer.parameters)]

    def step():
        out = triangle_multiplication(leaves[0], layer.mask, *leaves[1:], True, True)
        return (out, *torch.autograd.grad(out, leaves, layer.grad))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for tensor in captured:
        tensor.detach().zero_()
    graph.replay()
    assert all(torch.equal(x, y) for x, y in zip(captured, expected, strict=True))


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_opcheck(dtype):
    layer = on_gpu(6, 32, 64, dtype=dtype)
    leaves = [t.requires_grad_() for t in (layer.z, *layer.parameters)]
    given = (leaves[0], layer.mask, *leaves[1:], True, True, 1e-5)
    torch.library.opcheck(torch.ops.atmos.triangle_multiplication.default, given)
    torch.library.opcheck(torch.ops.atmos.triangle_multiplication_forward.default, given)


def test_autocast_keeps_the_residual_in_float32():
    layer = on_gpu(9, 32, 32, dtype=FLOAT32)
    low = layer.z.bfloat16()
    update = triangle_multiplication(low, layer.mask, *layer.parameters, True)
    with torch.autocast("cuda", dtype=BFLOAT16):
        out = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True, True)
    assert torch.equal(out, layer.z + update)


def test_peak_memory_is_at_most_half_of_that_of_torch():
    layer = on_gpu(1024, 128, 128, dtype=BFLOAT16)
    peaks = []
    for function in (triangle_multiplication, plain):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad():
            function(layer.z, layer.mask, *layer.parameters, True, True, 1e-5)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] <= peaks[1] / 2


SANITIZED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from triangle_layer import make, values_and_gradients
from atmos_openmm.ops import triangle_multiplication
for dtype in (torch.bfloat16, torch.float32):
    for size, channels, hidden in ((1, 32, 32), (13, 64, 96), (12, 160, 256)):
        layer = make(size, channels, hidden, batch=2).to(dtype).to("cuda")
        values_and_gradients(triangle_multiplication, layer, size > 5)
torch.cuda.synchronize()
"""


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer(tool):
    done = subprocess.run(
        [
            *("compute-sanitizer", "--tool", tool, "--error-exitcode", "9"),
            *(sys.executable, "-c", SANITIZED),
            os.path.dirname(triangle_layer.__file__),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
