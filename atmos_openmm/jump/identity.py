"""The smallest bound module, to try the integrator with, and the archive of a module."""

from __future__ import annotations

import io

import torch

from .module_call import without_jit_warnings


class Identity(torch.nn.Module):
    """A module that gives back the frame it is given; it has neither state nor noise.

    Parameters
    ----------
    num_atoms : int
        the number of atoms of the frame
    """

    def __init__(self, num_atoms: int) -> None:
        super().__init__()
        self.atoms = num_atoms

    @torch.jit.export
    def num_atoms(self) -> int:
        return self.atoms

    @torch.jit.export
    def state_size(self) -> int:
        return 0

    @torch.jit.export
    def noise_size(self) -> int:
        return 0

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return positions, state, torch.zeros(positions.shape[0])


def module_bytes(module: torch.nn.Module) -> bytes:
    """Get the TorchScript archive of a module, as `AtmosIntegrator.setModule()` takes it."""
    buffer = io.BytesIO()
    with without_jit_warnings():
        torch.jit.save(torch.jit.script(module.eval()), buffer)
    return buffer.getvalue()
