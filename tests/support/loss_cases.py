"""Draws of molecules that the tests of the losses share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_support import TINY, TINY_CARTESIAN, peptide
from torch import Tensor

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig
from atmos_openmm.model.model_features import ModelFeatures, model_features
from atmos_openmm.systems.features import MoleculeFeatures
from atmos_openmm.training.batch import Batch
from atmos_openmm.training.latent_rollout import (
    Latent,
    context_backward,
    context_leaves,
    encode_context,
    no_history,
    segment_losses,
    segments,
)
from atmos_openmm.training.training_settings import LossSettings, StageSettings

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


BOTH = pytest.mark.parametrize("config", [TINY, TINY_CARTESIAN], ids=["invariant", "cartesian"])
JUMPS, ROLLOUTS = 3, 2
STAGE = stage_of()


def rollout_frames(count: int = JUMPS + 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Frames [count, B, A, 3] in angstrom, centred."""
    _, x = peptide()
    jitter = 0.2 * torch.randn(count, ROLLOUTS, x.shape[1], 3, generator=generator(3))
    frames = x.unsqueeze(0) + jitter
    return (frames - frames.mean(2, keepdim=True)).to(dtype)


def dynamics(config: ModelConfig, dtype: torch.dtype = torch.float64) -> Batch:
    lag = torch.tensor([[5.0, 50.0], [100.0, 2.0], [20.0, 400.0]], dtype=dtype)
    return batch_of(peptide()[0], config, rollout_frames(dtype=dtype), lag_ps=lag)


def rollout(
    model: AtmosModel, batch: Batch, truncate: int, *, frozen: bool = False, stage=STAGE, seed=0
) -> tuple[dict[str, float], Latent]:
    """Go through a rollout, adding gradients to the parameters; sums over segments."""
    context = encode_context(model, batch, frozen, generator(seed))
    leaves = context_leaves(context)
    latent, total = no_history(model, batch), {}
    for first, last in segments(batch.jumps, truncate):
        losses, latent = segment_losses(
            model, leaves, batch, latent, first, last, stage, generator(seed)
        )
        losses["loss"].backward()
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + float(value.detach())
    context_backward(context, leaves)
    return total, latent


def gradients(model: AtmosModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
