"""From the torsion head's mixtures to a density that needs no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..density import BlockDensity, TorsionDensity
from .model_features import ModelFeatures
from .torsion_features import NumberedTorsions, TorsionFeatures, features_of_torsions
from .torsion_head import TorsionMixture

__all__ = ["head_density", "to_density"]


def head_density(
    network: nn.Module,
    features: ModelFeatures,
    torsions: NumberedTorsions,
    atom_indices: NDArray[np.int64],
    lag_ps: float,
    temperature_kelvin: float,
) -> TorsionDensity:
    """The density of a molecule's torsions that a network with a torsion head gives.

    The network runs once; nothing of it is needed afterwards.

    Parameters
    ----------
    network : AtmosModel, eager or scripted
        With a torsion head.
    features : ModelFeatures
        Of one molecule.
    torsions, atom_indices
        See :func:`features_of_torsions`.
    lag_ps, temperature_kelvin : float
    """
    model: Any = network
    inputs = features_of_torsions(torsions, atom_indices)
    if not torsions.names:
        return TorsionDensity((), (), (), ())
    with torch.no_grad():
        mixture = model.torsion_mixture(
            torch.tensor([lag_ps], dtype=torch.float32),
            torch.tensor([temperature_kelvin], dtype=torch.float32),
            model.context(features),
            features,
            inputs,
        )
    return to_density(TorsionMixture(*mixture), inputs, torsions)


def to_density(
    mixture: TorsionMixture, inputs: TorsionFeatures, torsions: NumberedTorsions
) -> TorsionDensity:
    """Put the mixtures of one molecule (B = 1) into the form that moves take."""
    means, factors, sequential, conditional = (part[0].double().numpy() for part in mixture)
    blocks = []
    for k, size in enumerate(torsions.block_sizes):
        lower = factors[k, :, :size, :size]
        covariances = lower @ lower.transpose(0, 2, 1)
        gates = np.flatnonzero(inputs.gate_mask[0, k].numpy())
        columns = np.concatenate([[0], *([1 + 2 * g, 2 + 2 * g] for g in gates)]).astype(int)
        blocks.append(
            BlockDensity(
                means[k, :, :size],
                covariances[:-1],
                inputs.gates[0, k].numpy()[gates],
                sequential[k][:, columns],
                conditional[k][:, columns],
                covariances[-1],
            )
        )
    return TorsionDensity(
        tuple(torsions.names), tuple(torsions.block_sizes), tuple(torsions.previous), tuple(blocks)
    )
