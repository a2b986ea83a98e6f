"""The triangle multiplicative update on the CPU, against a plain statement in float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import triangle_layer
from triangle_layer import (
    make,
    plain,
    poisoned,
    relative_errors,
    values_and_gradients,
    without_nodes,
)

from atmos_openmm.ops import library_info, library_path, triangle_multiplication

NAMES = ("out", "z", "norm_in_weight", "norm_in_bias", "norm_out_weight", "norm_out_bias")
NAMES += ("linear_a_p", "linear_a_g", "linear_b_p", "linear_b_g", "linear_g", "linear_z")


@pytest.fixture(params=["auto", "reference"])
def kernels(request, monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", request.param)
    return request.param


@pytest.mark.parametrize("outgoing", [True, False])
def test_every_small_size_agrees_in_float64(kernels, outgoing):
    # One rounding of float64 is 1.1e-16; sums have up to 70^2 terms, and the layer norm of the one
    # pair of N = 1 may divide by a small spread.
    for size in range(1, 71):
        layer = make(size, 1 + size % 19, 2 + size % 17, batch=1 + size % 2, seed=size)
        found = values_and_gradients(
            triangle_multiplication, layer, outgoing, residual=size % 3 > 0
        )
        exact = values_and_gradients(plain, layer, outgoing, residual=size % 3 > 0)
        for name, value, right in zip(NAMES, found, exact, strict=True):
            scale = max(1.0, right.abs().max().item())
            assert (value - right).abs().max().item() <= 1e-11 * scale, (size, name)


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize(
    ("dtype", "parameters"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32),
    ],
)
@pytest.mark.parametrize(("size", "channels", "hidden"), [(9, 32, 48), (45, 64, 33), (67, 130, 32)])
def test_errors_are_no_larger_than_those_of_torch(
    kernels, size, channels, hidden, dtype, parameters, outgoing
):
    layer = make(size, channels, hidden, dtype=dtype, seed=size)
    if parameters != dtype:
        layer = layer._replace(parameters=make(size, channels, hidden, seed=size).to(parameters)[3])
    exact = values_and_gradients(plain, layer.to(torch.float64), outgoing)
    found = values_and_gradients(triangle_multiplication, layer, outgoing)
    torch_layer = layer._replace(parameters=tuple(p.to(dtype) for p in layer.parameters))
    theirs = values_and_gradients(plain, torch_layer, outgoing)
    assert [value.dtype for value in found] == [dtype, dtype] + [parameters] * 10
    errors = relative_errors(found, exact), relative_errors(theirs, exact)
    for name, ours, other in zip(NAMES, *errors, strict=True):
        # The ratio of issue 4, and a floor of one rounding of the stored value.
        assert ours <= max(1.5 * other, torch.finfo(dtype).eps), name


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_gradcheck(outgoing, residual):
    layer = make(4, 3, 5, batch=2)
    inputs = [t.requires_grad_() for t in (layer.z, *layer.parameters)]
    assert torch.autograd.gradcheck(
        lambda z, *p: triangle_multiplication(z, layer.mask, *p, outgoing, residual), inputs
    )


def test_gradient_of_one_input_alone(kernels):
    layer = make(8, 4, 6, dtype=torch.float32)
    every = values_and_gradients(triangle_multiplication, layer, True)
    for index in range(len(NAMES) - 1):
        given = [tensor.detach() for tensor in (layer.z, *layer.parameters)]
        given[index] = given[index].clone().requires_grad_()
        out = triangle_multiplication(given[0], layer.mask, *given[1:], True, True)
        (alone,) = torch.autograd.grad(out, given[index], layer.grad)
        assert torch.equal(alone, every[index + 1]), NAMES[index + 1]


def test_a_mask_between_zero_and_one_scales_what_is_summed():
    layer = make(7, 5, 6)
    layer = layer._replace(mask=torch.rand(layer.mask.shape, dtype=torch.float64) * layer.mask)
    found = values_and_gradients(triangle_multiplication, layer, True)
    for value, right in zip(found, values_and_gradients(plain, layer, True), strict=True):
        assert (value - right).abs().max() <= 1e-12 * max(1.0, right.abs().max().item())


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_absent_nodes_get_no_update_and_no_gradient(kernels, dtype, outgoing):
    layer = make(19, 20, 32, batch=2, dtype=dtype)
    gone = 4
    layer = without_nodes(layer, gone, system=1)
    out, grad_z, *_ = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    for tensor in (out, grad_z):
        assert (tensor[1, gone] == 0).all() and (tensor[1, :, gone] == 0).all()
        assert (tensor[0] != 0).any(-1).all()
    # With the residual, z and its gradient pass through untouched.
    out, grad_z, *_ = values_and_gradients(triangle_multiplication, layer, outgoing, residual=True)
    assert torch.equal(out[1, gone], layer.z[1, gone])
    assert torch.equal(grad_z[1, :, gone], layer.grad[1, :, gone])
    nothing = layer._replace(mask=torch.zeros_like(layer.mask))
    for tensor in values_and_gradients(triangle_multiplication, nothing, outgoing, residual=False):
        assert (tensor == 0).all()


@pytest.mark.parametrize("outgoing", [True, False])
def test_pairs_of_absent_nodes_are_not_read(kernels, outgoing):
    layer = without_nodes(make(23, 9, 11, dtype=torch.float32), 3, 22)
    clean = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    layer = poisoned(layer, 3, 22)
    dirty = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    assert all(torch.equal(x, y) for x, y in zip(clean, dirty, strict=True))


@pytest.mark.parametrize("outgoing", [True, False])
def test_a_masked_pair_of_nodes_that_exist_is_updated_but_not_summed(kernels, outgoing):
    layer = make(7, 8, 6, dtype=torch.float32, masked=0.0)
    layer.mask[0, 2, 5] = 0
    given = (layer.mask, *layer.parameters, outgoing)
    before = triangle_multiplication(layer.z, *given)
    layer.z[0, 2, 5] *= -1
    layer.z[0, 2, 5, 0] += 3
    changed = (triangle_multiplication(layer.z, *given) != before).any(-1)[0]
    assert changed[2, 5] and changed.sum() == 1


@pytest.mark.parametrize("outgoing", [True, False])
def test_a_node_that_exists_as_a_column_alone_is_summed(kernels, outgoing):
    # Its own row of the factors is masked, so its pairs get no update, but others see it.
    layer = make(6, 8, 7)
    mask = torch.ones(1, 6, 6, dtype=torch.float64)
    if outgoing:
        mask[0, 4, :] = 0
    else:
        mask[0, :, 4] = 0
    layer = layer._replace(mask=mask)
    found = values_and_gradients(triangle_multiplication, layer, outgoing, residual=False)
    exact = values_and_gradients(plain, layer, outgoing, residual=False)
    for value, right in zip(found, exact, strict=True):
        assert (value - right).abs().max() <= 1e-12 * right.abs().max().clamp_min(1.0)
    assert (found[0][0, 4] == 0).all() and (found[0][0, :, 4] == 0).all()
    seen = found[1][0, :, 4] if outgoing else found[1][0, 4]
    assert (seen[:4] != 0).any(-1).all()


def test_nan_of_a_pair_that_exists_is_passed_on(kernels):
    layer = make(6, 8, 8, dtype=torch.float32, masked=0.0)
    layer.z[0, 2, 3, 1] = float("nan")
    out = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True)
    assert out[0, 2, 3].isnan().all() and out[0, 2].isnan().any(-1).all()
    assert not out[0, 4, 5].isnan().any()


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float16, torch.float64])
def test_masks_of_other_dtypes(kernels, mask_dtype):
    layer = make(11, 6, 7, dtype=torch.float32)
    expected = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True)
    found = triangle_multiplication(layer.z, layer.mask.to(mask_dtype), *layer.parameters, True)
    assert torch.equal(found, expected)


def as_views(tensor):
    """The same values with other strides: transposed pairs, channels first, a slice."""
    yield tensor.transpose(1, 2).contiguous().transpose(1, 2)
    yield tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    wide = torch.full((*tensor.shape[:3], 2 * tensor.shape[3]), float("nan"), dtype=tensor.dtype)
    wide[..., 1 : 1 + tensor.shape[3]] = tensor
    yield wide[..., 1 : 1 + tensor.shape[3]]


@pytest.mark.parametrize("outgoing", [True, False])
def test_strides_do_not_change_the_result(outgoing):
    layer = make(13, 18, 20, batch=2, dtype=torch.float32)
    expected = values_and_gradients(triangle_multiplication, layer, outgoing)
    mask = layer.mask.transpose(1, 2).contiguous().transpose(1, 2)
    turned = [
        p if p.dim() == 1 else p.t().contiguous().t() for p in (q.clone() for q in layer.parameters)
    ]
    for z, grad in zip(as_views(layer.z), as_views(layer.grad), strict=True):
        leaves = [t.detach().requires_grad_() for t in (z, *turned)]
        out = triangle_multiplication(leaves[0], mask, *leaves[1:], outgoing, True)
        found = (out, *torch.autograd.grad(out, leaves, grad))
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_broadcast_inputs_and_gradients(kernels):
    layer = make(6, 4, 5, masked=0.0)
    z = layer.z[:, :, :1].expand(3, 6, 6, 4).detach().requires_grad_()
    mask = layer.mask.expand(3, 6, 6)
    out = triangle_multiplication(z, mask, *layer.parameters, False, True)
    (found,) = torch.autograd.grad(out.sum(), z)  # a gradient without strides
    other = plain(z, mask, *layer.parameters, False, True, 1e-5)
    (right,) = torch.autograd.grad(other.sum(), z)
    assert (out - other).abs().max() <= 1e-12 and (found - right).abs().max() <= 1e-12


def test_offsets_beyond_32_bits():
    # Only the pages at both ends are ever touched, so this takes little memory.
    distance = 2**31 + 128
    layer = make(5, 8, 6, batch=2, dtype=torch.bfloat16)
    try:
        store = torch.empty(distance + 200, dtype=torch.bfloat16)
    except RuntimeError:
        pytest.skip("4 GiB of address space cannot be had")
    far = store.as_strided((2, 5, 5, 8), (distance, 40, 8, 1))
    far.copy_(layer.z)
    expected = values_and_gradients(triangle_multiplication, layer, True)
    far.requires_grad_()
    out = triangle_multiplication(far, layer.mask, *layer.parameters, True, True)
    assert torch.equal(out, expected[0])
    assert torch.equal(torch.autograd.grad(out, far, layer.grad)[0], expected[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "channels"), [(1, 24), (5, 24), (75, 24), (40, 96)])
def test_bits_do_not_depend_on_run_or_threads(dtype, size, channels):
    layer = make(size, channels, 32, dtype=dtype)
    results = []
    for threads in (1, 1, 2, 3):
        torch.set_num_threads(threads)
        results.append(values_and_gradients(triangle_multiplication, layer, True))
    for other in results[1:]:
        for name, value, first in zip(NAMES, other, results[0], strict=True):
            assert torch.equal(value, first), name


def test_a_batch_gives_the_bits_of_its_members():
    layer = make(17, 40, 32, batch=3, dtype=torch.float32)
    together = triangle_multiplication(layer.z, layer.mask, *layer.parameters, False)
    for i in range(3):
        z, mask = layer.z[i : i + 1], layer.mask[i : i + 1]
        alone = triangle_multiplication(z, mask, *layer.parameters, False)
        assert torch.equal(together[i : i + 1], alone)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 0, 0, 3)])
def test_empty_tensors(shape, monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", "strict")
    layer = make(2, 3, 4)
    leaves = [t.requires_grad_() for t in (torch.randn(shape).double(), *layer.parameters)]
    mask = torch.ones(shape[:3])
    out = triangle_multiplication(leaves[0], mask, *leaves[1:], True, True)
    assert out.shape == shape
    grads = torch.autograd.grad(out.sum(), leaves)
    assert grads[0].shape == shape and all((g == 0).all() for g in grads[1:])


def test_only_z_and_the_contraction_are_saved():
    layer = make(12, 32, 16, dtype=torch.float32)
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    z = layer.z.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        triangle_multiplication(z, layer.mask, *layer.parameters, True)
    pairs = 12 * 12
    assert sum(sizes) == pairs * (32 + 16 + 1) + sum(p.numel() for p in layer.parameters)


NARROW_SETS = """
import json, sys, torch
sys.path.insert(0, sys.argv[2])
torch.ops.load_library(sys.argv[1])
from triangle_layer import make, plain, relative_errors, values_and_gradients
info = json.loads(torch.ops.atmos.library_info())
worst = {}
for dtype in (torch.float64, torch.float32, torch.bfloat16):
    errors = []
    for size, channels, hidden in ((1, 5, 3), (9, 16, 33), (37, 70, 20)):
        layer = make(size, channels, hidden, batch=2, dtype=dtype)
        found = values_and_gradients(torch.ops.atmos.triangle_multiplication, layer, size > 5)
        exact = values_and_gradients(plain, layer.to(torch.float64), size > 5)
        errors += relative_errors(found, exact)
    worst[str(dtype)] = max(errors)
print(json.dumps([info["cpu_instruction_set"], worst]))
"""


@pytest.mark.parametrize("name", ["avx2", "generic"])
def test_narrower_instruction_sets_agree(name):
    if library_info()["cpu_instruction_set"] == "generic":
        pytest.skip("this machine or build has the generic code alone")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            NARROW_SETS,
            str(library_path()),
            os.path.dirname(triangle_layer.__file__),
        ],
        env={**os.environ, "ATMOS_CPU_INSTRUCTION_SET": name},
        capture_output=True,
        text=True,
        check=True,
    )
    used, worst = json.loads(done.stdout)
    assert used == name
    # A few dozen roundings each: of 2^-53, of 2^-24, and of 2^-9 for what is stored.
    assert worst["torch.float64"] <= 1e-13
    assert worst["torch.float32"] <= 1e-5
    assert worst["torch.bfloat16"] <= 3e-2
