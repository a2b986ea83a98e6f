"""The CUDA kernels of the layer, emulated on the host: indices, barriers, shared memory.

The kernels' own source and the sequence of their steps are compiled against an emulation of the few
device operations that they use. What this cannot show: the PTX of those operations, the compiler's
code, and speed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from triangle_layer import (
    make,
    pairs_with,
    plain,
    poisoned,
    relative_errors,
    values_and_gradients,
    without_nodes,
)

TESTS = Path(__file__).parents[1]
CSRC = TESTS.parent / "csrc"

pytestmark = [
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="the sources are not beside the tests"),
    pytest.mark.skipif(sys.platform != "linux", reason="fibers by ucontext"),
]

BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """``torch.ops.atmos_emulated``, compiled once."""
    folder = Path(torch.__file__).parent
    library = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    includes = [CSRC, CSRC / "kernels", TESTS / "cuda_emulation"]
    subprocess.run(
        [
            *("c++", "-std=c++20", "-O1", "-shared", "-fPIC", "-DATMOS_EMULATE_CUDA"),
            *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *(f"-I{path}" for path in includes),
            *("-isystem", f"{folder}/include"),
            *("-isystem", f"{folder}/include/torch/csrc/api/include"),
            *("-x", "c++", str(TESTS / "cuda_emulation" / "emulated_ops.cpp")),
            *(f"-L{folder}/lib", "-ltorch_cpu", "-lc10", "-o", str(library)),
        ],
        check=True,
    )
    torch.ops.load_library(str(library))
    return torch.ops.atmos_emulated


def run(emulated, layer, outgoing, residual=True):
    parameters = list(layer.parameters)
    settings = (outgoing, residual, 1e-5)
    out, x = emulated.forward(layer.z, layer.mask, parameters, *settings)
    grads = emulated.backward(layer.grad, layer.z, layer.mask, x, parameters, *settings)
    return (out, *grads)


def assert_no_worse_than_torch(found, layer, outgoing, residual=True):
    exact = values_and_gradients(plain, layer.to(torch.float64), outgoing, residual)
    theirs = values_and_gradients(plain, layer, outgoing, residual)
    errors = relative_errors(found, exact), relative_errors(theirs, exact)
    # Ten roundings are the floor: single values of small sums fall on either side.
    floor = 10 * torch.finfo(layer.z.dtype).eps / (8 if layer.z.dtype == BFLOAT16 else 1)
    for index, (ours, other) in enumerate(zip(*errors, strict=True)):
        assert ours <= max(1.5 * other, floor), index


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize(
    ("dtype", "size", "channels", "hidden", "batch"),
    [
        # Both shapes of tiles of each dtype; one tile and several, whole and not; widths with a
        # partial chunk; two systems.
        (BFLOAT16, 1, 32, 32, 1),
        (BFLOAT16, 12, 32, 96, 2),
        (BFLOAT16, 17, 128, 32, 1),
        (BFLOAT16, 9, 160, 64, 1),
        (BFLOAT16, 8, 32, 256, 1),
        (FLOAT32, 9, 96, 64, 2),
        (FLOAT32, 16, 32, 128, 1),
        (FLOAT32, 7, 64, 224, 1),
    ],
)
def test_values_and_gradients(emulated, dtype, size, channels, hidden, batch, outgoing):
    layer = make(size, channels, hidden, batch=batch, dtype=dtype, seed=size)
    found = run(emulated, layer, outgoing, residual=outgoing)
    assert_no_worse_than_torch(found, layer, outgoing, residual=outgoing)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_the_widest_layer_fits_into_shared_memory(emulated, dtype):
    layer = make(3, 256, 256, dtype=dtype)
    assert_no_worse_than_torch(run(emulated, layer, True), layer, True)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_several_parts_of_the_weight_gradients(emulated, dtype):
    # More than one part of 8 tiles, with a rest: 2 x 9 tiles of 128 rows, 2 x 9 of 64.
    layer = make(33 if dtype == BFLOAT16 else 23, 32, 32, batch=2, dtype=dtype)
    assert_no_worse_than_torch(run(emulated, layer, False), layer, False)


def test_the_order_of_threads_and_blocks_does_not_matter(emulated, monkeypatch):
    layer = make(13, 64, 32, batch=2, dtype=BFLOAT16)
    forward = run(emulated, layer, True)
    monkeypatch.setenv("ATMOS_EMULATION_ORDER", "reverse")
    for value, other in zip(run(emulated, layer, True), forward, strict=True):
        assert torch.equal(value, other)


@pytest.mark.parametrize("outgoing", [True, False])
def test_pairs_of_absent_nodes_are_not_read_and_get_nothing(emulated, outgoing):
    layer = without_nodes(make(11, 32, 32, dtype=FLOAT32), 3, 10)
    clean = run(emulated, layer, outgoing, residual=False)
    assert_no_worse_than_torch(clean, layer, outgoing, residual=False)
    absent = pairs_with(layer, 3, 10)
    layer = poisoned(layer, 3, 10)
    for value, other in zip(run(emulated, layer, outgoing, residual=False), clean, strict=True):
        assert torch.equal(value, other)
    assert (clean[0][absent] == 0).all() and (clean[1][absent] == 0).all()


def test_strided_views(emulated):
    layer = make(6, 32, 64, batch=2, dtype=BFLOAT16)
    expected = run(emulated, layer, False)
    swapped = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in layer[:3]]
    wide = torch.full((2, 6, 6, 70), float("nan"), dtype=BFLOAT16)
    wide[..., 3:35] = layer.z  # rows that are not aligned to 16 bytes
    for z in (swapped[0], wide[..., 3:35]):
        found = run(emulated, layer._replace(z=z, mask=swapped[1], grad=swapped[2]), False)
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_float32_parameters_of_a_bfloat16_layer(emulated):
    layer = make(5, 32, 32, dtype=BFLOAT16)
    single = layer._replace(parameters=tuple(p.float() for p in layer.parameters))
    found, expected = run(emulated, single, True), run(emulated, layer, True)
    assert [g.dtype for g in found[2:]] == [FLOAT32] * 10
    for value, other in zip(found, expected, strict=True):
        assert torch.equal(value.to(other.dtype), other)
