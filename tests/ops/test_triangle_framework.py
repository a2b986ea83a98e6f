"""The layer operator inside torch: opcheck, TorchScript, a C++ host, compilation, autocast."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from triangle_host import FRESH_PROCESS, Given, compile_host
from triangle_layer import make, plain, values_and_gradients

from atmos_openmm.model.triangle import TriangleMultiplication
from atmos_openmm.ops import (
    library_path,
    triangle_multiplication,
    triangle_multiplication_route,
)

IN_PLACE = torch.ops.atmos.triangle_multiplication_
FORWARD = torch.ops.atmos.triangle_multiplication_forward
BACKWARD = torch.ops.atmos.triangle_multiplication_backward


@pytest.mark.parametrize(
    ("dtype", "outgoing", "kernels"),
    [
        (torch.float32, True, "auto"),
        (torch.bfloat16, False, "auto"),
        (torch.float32, False, "reference"),
    ],
)
def test_opcheck(dtype, outgoing, kernels, monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", kernels)
    layer = make(6, 5, 7, batch=2, dtype=dtype)
    settings = (outgoing, True, 1e-5)
    x = FORWARD(layer.z, layer.mask, *layer.parameters, *settings)[1]
    torch.library.opcheck(
        BACKWARD.default, (layer.grad, layer.z, layer.mask, x, *layer.parameters, *settings)
    )
    leaves = [t.requires_grad_() for t in (layer.z, *layer.parameters)]
    given = (leaves[0], layer.mask, *leaves[1:], *settings)
    torch.library.opcheck(torch.ops.atmos.triangle_multiplication.default, given)
    torch.library.opcheck(FORWARD.default, given)
    torch.library.opcheck(
        torch.ops.atmos.triangle_multiplication_route.default,
        (leaves[0].detach(), 7),
        test_utils="test_schema",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_in_place_gives_the_bits_of_the_residual(dtype, kernels, monkeypatch):
    monkeypatch.setenv("ATMOS_KERNELS", kernels)
    layer = make(20, 24, 17, batch=2, dtype=dtype)
    expected = triangle_multiplication(layer.z, layer.mask, *layer.parameters, False, True)
    swapped = layer.z.transpose(1, 2).contiguous().transpose(1, 2)
    for z in (layer.z.clone(), swapped):
        version = z._version
        IN_PLACE(z, layer.mask, *layer.parameters, False, 1e-5)
        assert torch.equal(z, expected) and z._version > version


def test_opcheck_of_the_operator_in_place():
    layer = make(6, 5, 7, batch=2, dtype=torch.float32)
    given = (layer.z, layer.mask, *layer.parameters, True, 1e-5)
    torch.library.opcheck(IN_PLACE.default, given)


def test_in_place_has_no_gradient_and_says_so():
    layer = make(6, 5, 7, dtype=torch.float32)
    parameters = [p.requires_grad_() for p in layer.parameters]
    with pytest.raises(RuntimeError, match="works in place and has no gradient"):
        IN_PLACE(layer.z, layer.mask, *parameters, True, 1e-5)
    with torch.no_grad():
        IN_PLACE(layer.z, layer.mask, *parameters, True, 1e-5)


class Network(torch.nn.Module):
    """Both directions of the model's own layer, with parameters that are not at their start."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = TriangleMultiplication(8, 6, True)
        self.incoming = TriangleMultiplication(8, 6, False)
        generator = torch.Generator().manual_seed(5)
        for parameter in self.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = parameter.data + noise / 8**0.5

    def forward(self, z: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        z = z + self.outgoing(z, mask)
        return self.incoming(z, mask, residual=True)


def module_parameters(module):
    return (
        module.layer_norm_in.weight,
        module.layer_norm_in.bias,
        module.layer_norm_out.weight,
        module.layer_norm_out.bias,
        *(
            getattr(module, f"linear_{name}").weight
            for name in ("a_p", "a_g", "b_p", "b_g", "g", "z")
        ),
    )


def plain_network(network, z, mask):
    for module in (network.outgoing, network.incoming):
        settings = (module.outgoing, True, module.layer_norm_in.eps)
        z = plain(z, mask, *module_parameters(module), *settings)
    return z


def inputs(size=7):
    layer = make(size, 8, 6, batch=2, dtype=torch.float32, seed=size)
    return layer.z, layer.mask


def results(function, network, z, mask):
    z = z.detach().requires_grad_()
    out = function(z, mask)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), [z, *network.parameters()])]


def assert_same_numbers(found, expected):
    assert len(found) == len(expected)
    for value, right in zip(found, expected, strict=True):
        # Two layers of sums of order ten terms, and their gradients: some hundred roundings.
        assert (value - right).abs().max() <= 300 * 2.0**-24 * right.abs().max().clamp_min(1.0)


def test_the_model_is_the_plain_layer():
    network = Network()
    z, mask = inputs()
    expected = results(lambda a, b: plain_network(network, a, b), network, z, mask)
    assert_same_numbers(results(network, network, z, mask), expected)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A scripted network and its inputs in files, and what they must give."""
    folder = tmp_path_factory.mktemp("saved")
    network = Network()
    z, mask = inputs()
    torch.jit.script(network).save(str(folder / "network.pt"))
    torch.jit.script(Given(z, mask)).save(str(folder / "given.pt"))
    expected = results(lambda a, b: plain_network(network, a, b), network, z, mask)
    return folder, expected


def test_a_saved_module_has_its_gradient_in_a_fresh_process(saved):
    folder, expected = saved
    files = [str(folder / name) for name in ("network.pt", "given.pt", "python.pt")]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, str(library_path()), *files], check=True)
    assert_same_numbers(torch.load(files[2], weights_only=True), expected)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_a_saved_module_has_its_gradient_in_a_cpp_program(saved):
    folder, expected = saved
    program = compile_host(folder)
    files = [str(folder / name) for name in ("network.pt", "given.pt", "cpp.pt")]
    subprocess.run([str(program), str(library_path()), *files], check=True)
    found = torch.jit.load(files[2])
    assert_same_numbers([value for _, value in sorted(found.named_buffers())], expected)


def test_the_python_functions_can_be_scripted():
    layer = make(5, 4, 3, dtype=torch.float32)
    given = (layer.z, layer.mask, *layer.parameters, True)
    scripted = torch.jit.script(triangle_multiplication)
    assert torch.equal(scripted(*given), triangle_multiplication(*given))
    assert torch.jit.script(triangle_multiplication_route)(layer.z, 3) == "kernel"


def test_compiles_without_a_graph_break():
    network = Network()
    z, mask = inputs()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert_same_numbers(results(compiled, network, z, mask), results(network, network, z, mask))


def test_exports_with_a_dynamic_size():
    network = Network()
    size = torch.export.Dim("size", min=2, max=64)
    program = torch.export.export(
        network, inputs(), dynamic_shapes=({1: size, 2: size}, {1: size, 2: size})
    )
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("triangle_multiplication" in name for name in names) == 2
    given = inputs(size=9)
    assert torch.equal(program.module()(*given), network(*given))


def test_autocast_to_bfloat16_keeps_the_residual_in_float32():
    layer = make(6, 8, 7, dtype=torch.float32)
    low = layer.z.bfloat16()
    update = triangle_multiplication(low, layer.mask, *layer.parameters, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alone = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True)
        added = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True, True)
        z = layer.z.clone()
        IN_PLACE(z, layer.mask, *layer.parameters, True, 1e-5)
    assert alone.dtype == torch.bfloat16 and torch.equal(alone, update)
    assert added.dtype == torch.float32 and torch.equal(added, layer.z + update)
    assert torch.equal(z, added)


def test_autocast_to_float16_runs_in_float32():
    layer = make(6, 8, 7, dtype=torch.float32)
    half = layer.to(torch.float16)
    with torch.autocast("cpu", dtype=torch.float16):
        out = triangle_multiplication(half.z, layer.mask, *half.parameters, True)
    single = half.to(torch.float32)
    expected = triangle_multiplication(single.z, layer.mask, *single.parameters, True)
    assert out.dtype == torch.float32 and torch.equal(out, expected)


def test_autocast_leaves_float64_alone_and_gradients_in_their_dtype():
    layer = make(6, 8, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True, True)
    assert out.dtype == torch.float64
    leaves = [t.float().requires_grad_() for t in (layer.z, *layer.parameters)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = triangle_multiplication(leaves[0], layer.mask, *leaves[1:], True, True)
    for grad in torch.autograd.grad(out.sum(), leaves):
        assert grad.dtype == torch.float32 and (grad != 0).any()


def test_inference_mode():
    layer = make(20, 8, 7, dtype=torch.float32)
    expected = values_and_gradients(triangle_multiplication, layer, True)
    with torch.inference_mode():
        out = triangle_multiplication(layer.z, layer.mask, *layer.parameters, True, True)
        x = FORWARD(layer.z, layer.mask, *layer.parameters, True, True, 1e-5)[1]
        given = (layer.grad, layer.z, layer.mask, x, *layer.parameters, True, True, 1e-5)
        grads = BACKWARD(*given)
    assert out.is_inference() and torch.equal(out.clone(), expected[0])
    assert all(torch.equal(a.clone(), b) for a, b in zip(grads, expected[1:], strict=True))
