"""What the losses see of one draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..model.model_features import ModelFeatures
from ..model.torsion_features import TorsionFeatures, no_torsions


class Batch(NamedTuple):
    """B rollouts of L jumps of one molecule, or of a crop of it: A atoms, N tokens.

    A rollout starts from its first frame, which is encoded. Structures without time have no such
    frame: one jump from the latent of zeros ("no history") with a lag without memory leads to
    them, so that static and moving frames train the same path through T_theta to D_theta.

    Attributes
    ----------
    name : str
        Of the molecule, for messages.
    features : ModelFeatures
        Of one molecule, without padding.
    positions : Tensor [L + 1, B, A, 3], or [1, B, A, 3] for structures without time (L = 1)
        Frames, angstrom, each centred on the atoms that were seen.
    resolved : Tensor [A]
        1 for atoms that were seen; the coordinates of the others are placeholders.
    lag_ps, temperature_kelvin : Tensor [L, B]
    ligand : Tensor [A]
        1 for atoms of ligands, 0 for those of polymers.
    bonds : Tensor [M, 2] int64
    centres : Tensor [N] int64
        Each token's representative atom (CB; CA of glycine; the first heavy atom).
    torsions : TorsionFeatures
        Of the molecule; none where the torsion head is not trained.
    """

    name: str
    features: ModelFeatures
    positions: Tensor
    resolved: Tensor
    lag_ps: Tensor
    temperature_kelvin: Tensor
    ligand: Tensor
    bonds: Tensor
    centres: Tensor
    torsions: TorsionFeatures = no_torsions()

    @property
    def jumps(self) -> int:
        """Jumps of a rollout, L."""
        return self.lag_ps.shape[0]

    @property
    def has_history(self) -> bool:
        """Whether the first frame is one to start from."""
        return self.positions.shape[0] > self.jumps

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, those of the features first and of the torsions last."""
        return [*self.features, *self[2:-1], *self.torsions]  # type: ignore[list-item]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to every tensor, in the order of `tensors`."""
        return self.of_tensors(self.name, [change(tensor) for tensor in self.tensors])

    @staticmethod
    def of_tensors(name: str, tensors: Sequence[Tensor]) -> Batch:
        """Return the batch whose `tensors` these are."""
        first, last = len(ModelFeatures._fields), len(tensors) - len(TorsionFeatures._fields)
        features = ModelFeatures(*tensors[:first])
        fields: list[Any] = [*tensors[first:last], TorsionFeatures(*tensors[last:])]
        return Batch(name, features, *fields)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self.mapped(partial(Tensor.to, device=device, non_blocking=non_blocking))
