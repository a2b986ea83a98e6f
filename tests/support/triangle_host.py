"""Hosts that know a saved module and the operator library, and nothing else of this package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

FRESH_PROCESS = """
import sys, warnings, torch
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
torch.ops.load_library(sys.argv[1])
assert not any(name.startswith("atmos_openmm") for name in sys.modules)
module = torch.jit.load(sys.argv[2])
given = torch.jit.load(sys.argv[3])
z = given.z.detach().requires_grad_()
out = module(z, given.mask)
out.square().sum().backward()
gradients = [p.grad for p in module.parameters() if p.grad is not None]
torch.save([out.detach(), z.grad, *gradients], sys.argv[4])
"""


class Given(torch.nn.Module):
    """Tensors in a form that C++ reads too: the input that gets a gradient, and another one."""

    def __init__(self, z: torch.Tensor, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("z", z)
        self.register_buffer("mask", mask)


def compile_host(folder: Path) -> Path:
    """Compile triangle_host.cpp against the installed torch."""
    torch_folder = Path(torch.__file__).parent
    program = folder / "host"
    command = ["c++", "-std=c++20", "-O0"]
    command += [f"-isystem{torch_folder}/include"]
    command += [f"-isystem{torch_folder}/include/torch/csrc/api/include"]
    command += [str(Path(__file__).with_name("triangle_host.cpp"))]
    command += [f"-L{torch_folder}/lib", f"-Wl,-rpath,{torch_folder}/lib"]
    command += ["-Wl,--no-as-needed", "-ltorch_cpu", "-lc10", "-ldl", "-o", str(program)]
    subprocess.run(command, check=True)
    return program
