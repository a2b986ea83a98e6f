"""A heavy-atom propagator behind the contract of a bound module of all atoms."""

import torch
from torch import Tensor, nn

from .hydrogen_placer import HydrogenPlacer


class HeavyAtomPropagator(nn.Module):
    """A bound module of heavy atoms that gives its frames their hydrogens.

    It follows the contract of a bound module (``docs/architecture.md``) for all atoms of the
    molecule: the heavy ones go through the module that it wraps, and the hydrogens are placed on
    the frame that comes back. State and noise are those of the wrapped module.

    Parameters
    ----------
    heavy_module : nn.Module
        Bound module of the heavy atoms, scripted.
    placer : HydrogenPlacer
        Of the same molecule.
    """

    def __init__(self, heavy_module: nn.Module, placer: HydrogenPlacer) -> None:
        super().__init__()
        self.heavy_module = heavy_module
        self.placer = placer

    @torch.jit.export
    def num_atoms(self) -> int:
        """Atoms of the molecule, hydrogens included, A."""
        return self.placer.atoms

    @torch.jit.export
    def state_size(self) -> int:
        """Numbers in the flattened latent, S."""
        return self.heavy_module.state_size()

    @torch.jit.export
    def noise_size(self) -> int:
        """Normal random numbers a jump takes, K."""
        return self.heavy_module.noise_size()

    @torch.jit.export
    def propagate(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One jump of B walkers; shapes as in the contract, positions of all atoms."""
        heavy = positions.index_select(1, self.placer.heavy)
        # The contract centres what goes into a module on its own atoms.
        centre = heavy.mean(dim=1, keepdim=True)
        moved, state, log_ratio = self.heavy_module.propagate(
            heavy - centre, state, noise, lag, temperature
        )
        return self.placer(moved + centre, positions), state, log_ratio

    def forward(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.propagate(positions, state, noise, lag, temperature)


def with_hydrogens(heavy_module: nn.Module, plan: dict[str, Tensor]) -> torch.jit.ScriptModule:
    """Make a bound module of all atoms from one of heavy atoms.

    Parameters
    ----------
    heavy_module : nn.Module
        Bound module of the heavy atoms, scripted.
    plan : dict of str to Tensor
        ``HydrogenPlan.tensors()`` of the molecule.

    Raises
    ------
    ValueError
        Where module and plan differ in the number of heavy atoms.
    """
    expected, found = plan["heavy"].shape[0], int(heavy_module.num_atoms())
    if found != expected:
        raise ValueError(
            f"The module was bound to {found} atoms, but the molecule has {expected} heavy ones."
        )
    return torch.jit.script(HeavyAtomPropagator(heavy_module, HydrogenPlacer(plan)).eval())
