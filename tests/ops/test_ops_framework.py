"""The operators inside torch: opcheck, TorchScript, compilation, export, autocast."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from atmos_openmm.ops import library_info, library_path, triangle_contraction


def example(dtype=torch.float32, size=6, channels=5):
    generator = torch.Generator().manual_seed(3)
    a, b = (
        torch.randn(2, size, size, channels, generator=generator, dtype=torch.float64).to(dtype)
        for _ in range(2)
    )
    mask = (torch.rand(2, size, size, generator=generator) > 0.3).float()
    return a, b, mask


class Layer(torch.nn.Module):
    """Both directions after a projection, as the network uses them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.left = torch.nn.Linear(channels, channels)
        self.right = torch.nn.Linear(channels, channels)

    def forward(self, pair: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        a = self.left(pair)
        b = self.right(pair)
        outgoing = torch.ops.atmos.triangle_contraction(a, b, mask, True)
        return torch.ops.atmos.triangle_contraction(outgoing, b, mask, False)


@pytest.mark.parametrize(("dtype", "outgoing"), [(torch.float32, True), (torch.bfloat16, False)])
def test_opcheck(dtype, outgoing):
    a, b, mask = example(dtype)
    torch.library.opcheck(
        torch.ops.atmos.triangle_contraction.default,
        (a.requires_grad_(), b.requires_grad_(), mask, outgoing),
        rtol=0.0,
        atol=0.0,
    )
    torch.library.opcheck(
        torch.ops.atmos.triangle_contraction_backward.default,
        (torch.ones_like(a), a.detach(), b.detach(), mask, outgoing),
        rtol=0.0,
        atol=0.0,
    )


FRESH_PROCESS = """
import sys, warnings, torch
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
torch.ops.load_library(sys.argv[1])
assert not any(name.startswith("atmos_openmm") for name in sys.modules)
module = torch.jit.load(sys.argv[2])
given = torch.load(sys.argv[3], weights_only=True)
pair = given["pair"].requires_grad_()
out = module(pair, given["mask"])
out.square().sum().backward()
gradients = [pair.grad] + [p.grad for p in module.parameters()]
torch.save([out.detach()] + gradients, sys.argv[4])
"""


def test_a_saved_module_has_its_gradient_in_a_fresh_process(tmp_path):
    torch.manual_seed(0)
    layer = Layer(5)
    pair, _, mask = example()
    scripted = torch.jit.script(layer)
    scripted.save(str(tmp_path / "layer.pt"))
    torch.save({"pair": pair, "mask": mask}, tmp_path / "given.pt")

    # The same layer in plain operations.
    pair = pair.requires_grad_()
    a = layer.left(pair) * mask[..., None]
    b = layer.right(pair) * mask[..., None]
    inner = torch.einsum("bikc,bjkc->bijc", a, b) * mask[..., None]
    out = torch.einsum("bkic,bkjc->bijc", inner, b)
    out.square().sum().backward()
    expected = [out.detach(), pair.grad] + [p.grad for p in layer.parameters()]

    subprocess.run(
        [
            sys.executable,
            "-c",
            FRESH_PROCESS,
            str(library_path()),
            str(tmp_path / "layer.pt"),
            str(tmp_path / "given.pt"),
            str(tmp_path / "found.pt"),
        ],
        check=True,
    )
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert len(found) == len(expected) == 6
    for value, right in zip(found, expected, strict=True):
        # Two contractions and a square, 6 terms each: a few dozen roundings of the largest term.
        assert (value - right).abs().max() <= 50 * 2.0**-24 * right.abs().max()


def test_the_python_function_can_be_scripted():
    scripted = torch.jit.script(triangle_contraction)
    a, b, mask = example()
    assert torch.equal(scripted(a, b, mask, True), triangle_contraction(a, b, mask, True))


def test_compiles_without_a_graph_break():
    layer = Layer(5)
    pair, _, mask = example()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    results = []
    for function in (layer, compiled):
        leaf = pair.clone().requires_grad_()
        out = function(leaf, mask)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaf)))
    for eager, found in zip(*results, strict=True):
        assert (eager - found).abs().max() <= 50 * 2.0**-24 * eager.abs().max()


def test_exports_with_a_dynamic_size():
    layer = Layer(5)
    pair, _, mask = example()
    size = torch.export.Dim("size", min=2, max=64)
    program = torch.export.export(
        layer, (pair, mask), dynamic_shapes=({1: size, 2: size}, {1: size, 2: size})
    )
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("triangle_contraction" in name for name in names) == 2
    pair, _, mask = example(size=9)
    assert torch.equal(program.module()(pair, mask), layer(pair, mask))


def test_autocast_to_bfloat16_keeps_float32_sums():
    a, b, mask = example()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = triangle_contraction(a, b, mask, True)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, triangle_contraction(a.bfloat16(), b.bfloat16(), mask, True))


def test_autocast_to_float16_runs_in_float32():
    a, b, mask = example()
    with torch.autocast("cpu", dtype=torch.float16):
        out = triangle_contraction(a.half(), b, mask, True)
    assert out.dtype == torch.float32
    assert torch.equal(out, triangle_contraction(a.half().float(), b, mask, True))


def test_autocast_leaves_float64_alone_and_gradients_in_their_dtype():
    a, b, mask = example(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert triangle_contraction(a, b, mask, True).dtype == torch.float64
    a, b, mask = example()
    a.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = triangle_contraction(a, b, mask, True)
    out.sum().backward()
    assert a.grad.dtype == torch.float32 and (a.grad != 0).any()


def test_inference_mode():
    a, b, mask = example()
    with torch.inference_mode():
        out = triangle_contraction(a, b, mask, True)
    assert out.is_inference() and torch.equal(out.clone(), triangle_contraction(a, b, mask, True))


def test_library_info_states_the_build():
    info = library_info()
    assert info["torch"].split(".")[:2] == torch.__version__.split(".")[:2]
    assert info["cpu_instruction_set"] in ("avx512", "avx2", "generic")
    if info["cuda_built"]:
        # The CUDA half opens without a GPU or a driver.
        assert info["cuda_loaded"], info["cuda_error"]
        assert info["cuda_architectures"] == ["sm_80", "sm_90a"]
    else:
        assert not info["cuda_loaded"] and info["cuda_architectures"] == []
