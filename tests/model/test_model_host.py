"""The exported network without this package: in a fresh process and in a C++ program."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from model_support import TINY, TINY_CARTESIAN, jump_inputs, network, peptide
from triangle_host import FRESH_PROCESS, Given, compile_host

from atmos_openmm.model.bound import BoundPropagator
from atmos_openmm.model.model_features import model_features
from atmos_openmm.model.sampler import SamplerSettings
from atmos_openmm.ops import library_path


class Jump(torch.nn.Module):
    """A bound network as a function of positions [1, A, 3] nm and noise [1, K]."""

    def __init__(self, bound: BoundPropagator) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, positions: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        state = positions.new_zeros([1, self.bound.state_size()])
        lag, temperature = positions.new_full([1], 20.0), positions.new_full([1], 310.0)
        frame, state, _ = self.bound.propagate(positions, state, noise, lag, temperature)
        return torch.cat([frame.flatten(), state.flatten()])


@pytest.fixture(scope="module", params=[TINY, TINY_CARTESIAN], ids=["invariant", "cartesian"])
def saved(request, tmp_path_factory):
    """A scripted network and its inputs in files, and what they must give."""
    folder = tmp_path_factory.mktemp("saved")
    features, x = peptide()
    model = network(request.param)
    model.set_sampler(SamplerSettings(steps=2, augment=request.param.coordinates == "cartesian"))
    static = model_features(features.tensors(), request.param)
    with torch.no_grad():
        context = model.context(static)
    jump = Jump(BoundPropagator(model, static, context)).eval()
    noise = jump_inputs(model, features.num_atoms, len(features.restype))[2]
    positions = x / 10.0
    torch.jit.script(jump).save(str(folder / "network.pt"))
    torch.jit.script(Given(positions, noise)).save(str(folder / "given.pt"))
    given = positions.clone().requires_grad_()
    out = jump(given, noise)
    out.square().sum().backward()
    gradients = [p.grad for p in jump.parameters() if p.grad is not None]
    # Frame encoder, state, transition and decoder have one; what is encoded once has none.
    parts = ("frame_encoder", "state_update", "transition", "diffusion")
    for part in parts:
        assert any(p.grad is not None for p in getattr(model, part).parameters()), part
    return folder, [out.detach(), given.grad, *gradients]


def assert_alike(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """The same operations in the same order: rounding at most, relative to each tensor."""
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        scale = float(two.abs().max())
        torch.testing.assert_close(one, two, atol=1e-4 * scale + 1e-30, rtol=0)


def test_a_saved_network_has_its_gradient_in_a_fresh_process(saved) -> None:
    folder, expected = saved
    files = [str(folder / name) for name in ("network.pt", "given.pt", "python.pt")]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, str(library_path()), *files], check=True)
    assert_alike(torch.load(files[2], weights_only=True), expected)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_a_saved_network_has_its_gradient_in_a_cpp_program(saved) -> None:
    folder, expected = saved
    program = compile_host(folder)
    files = [str(folder / name) for name in ("network.pt", "given.pt", "cpp.pt")]
    subprocess.run([str(program), str(library_path()), *files], check=True)
    found = torch.jit.load(files[2])
    assert_alike([value for _, value in sorted(found.named_buffers())], expected)
