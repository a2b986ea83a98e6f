"""Draws of molecules that the tests of the losses share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from atmos_openmm.model.config import ModelConfig
from atmos_openmm.model.features import ModelFeatures, model_features
from atmos_openmm.systems.features import MoleculeFeatures
from atmos_openmm.training.batch import Batch
from atmos_openmm.training.settings import LossSettings, StageSettings

ALL_TERMS = LossSettings(
    denoising=1.0, first_estimate=0.25, smooth_lddt=0.7, bond=0.4, distogram=0.03, ligand=3.0
)
"""Every term of the loss, none with the weight of another."""


def centre_atoms(features: MoleculeFeatures) -> Tensor:
    """Each token's representative atom: CB, else CA, else the first heavy one."""
    names = np.array(features.atom_names)
    heavy = features.ref_element > 1
    chosen = []
    for token in range(len(features.restype)):
        atoms = np.flatnonzero((features.atom_to_token == token) & heavy)
        order = {"CB": 0, "CA": 1}
        chosen.append(min(atoms, key=lambda a: (order.get(names[a], 2), a)))
    return torch.tensor(np.array(chosen))


def batch_of(
    features: MoleculeFeatures,
    config: ModelConfig,
    positions: Tensor,
    *,
    history: bool = True,
    lag_ps: float | Tensor = 20.0,
    resolved: Tensor | None = None,
    ligand: Tensor | None = None,
) -> Batch:
    """A draw with the given frames [frames, B, A, 3] in angstrom, in their precision."""
    dtype = positions.dtype
    static = model_features(features.tensors(), config)
    static = ModelFeatures(*(t.to(dtype) if t.is_floating_point() else t for t in static))
    jumps = len(positions) - 1 if history else 1
    like = positions.new_ones(jumps, positions.shape[1])
    ones = positions.new_ones(positions.shape[2])
    return Batch(
        "case",
        static,
        positions,
        ones if resolved is None else resolved.to(dtype),
        like * lag_ps,
        like * 300.0,
        torch.zeros_like(ones) if ligand is None else ligand.to(dtype),
        torch.as_tensor(features.bonds),
        centre_atoms(features),
    )


def stage_of(losses: LossSettings | None = None, **changes: object) -> StageSettings:
    """A stage of two noise levels a frame."""
    given = {"name": "case", "steps": 1, "levels": 2} | changes
    return StageSettings(losses=ALL_TERMS if losses is None else losses, **given)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
