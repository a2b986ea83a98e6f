"""Molecules and networks that the tests of the model share."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import torch

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig
from atmos_openmm.model.model_features import ModelFeatures, model_features
from atmos_openmm.model.model_file import Capabilities
from atmos_openmm.systems.features import MoleculeFeatures, features_from_topology
from atmos_openmm.systems.peptides import build_peptide

TINY = ModelConfig(
    c_s=16,
    c_z=8,
    c_atom=16,
    c_atompair=8,
    c_token=16,
    c_noise=8,
    heads_s=2,
    heads_z=2,
    heads_atom=2,
    heads_token=2,
    context_atom_blocks=1,
    frame_blocks=1,
    transition_blocks=1,
    encoder_blocks=1,
    token_blocks=1,
    decoder_blocks=1,
    radial_basis=14,
)

TINY_CARTESIAN = dataclasses.replace(
    TINY,
    coordinates="cartesian",
    c_m=8,
    msa_blocks=1,
    cycles=2,
    n_queries=32,
    n_keys=64,
    sigma_data=16.0,
)


@lru_cache
def peptide(sequence: str = "ACE-ALA-NME") -> tuple[MoleculeFeatures, torch.Tensor]:
    """Features of a peptide and its coordinates [1, A, 3] in angstrom, centred."""
    topology, positions_nm = build_peptide(sequence)
    features = features_from_topology(topology, positions=positions_nm)
    x = 10.0 * (positions_nm - positions_nm.mean(axis=0))
    return features, torch.tensor(x, dtype=torch.float32).unsqueeze(0)


def network(config: ModelConfig = TINY, seed: int = 0) -> AtmosModel:
    """A network whose every parameter is random: fresh ones hide errors behind zeros."""
    torch.manual_seed(seed)
    model = AtmosModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan_in = parameter.shape[-1]
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif not name.endswith("linear_center.weight"):
                parameter.copy_(torch.randn_like(parameter) / fan_in**0.5)
    return model.eval()


def declaration(**changes) -> Capabilities:
    """What the file of a model with random weights declares: all atoms of alanine dipeptide."""
    values = {
        "name": "tiny",
        "atoms": "all",
        "elements": [1, 6, 7, 8],
        "residues": ["ACE", "ALA", "NME"],
        "max_tokens": 3,
        "max_atoms": 30,
        "lag_range_ps": (1.0, 100.0),
        "temperature_range_kelvin": (280.0, 400.0),
        "denoising_steps": 12,
        "trained_on": "nothing: random weights",
        "licence": "MIT",
        "config": TINY.to_dict(),
    }
    return Capabilities(**(values | changes))


def static_inputs(
    features: MoleculeFeatures | dict, n_queries: int = 64, n_keys: int = 128
) -> ModelFeatures:
    """The network's static inputs in double precision, so that symmetries hold to rounding."""
    tensors = features if isinstance(features, dict) else features.tensors()
    config = dataclasses.replace(TINY, n_queries=n_queries, n_keys=n_keys)
    static = model_features(tensors, config)
    return ModelFeatures(*(t.double() if t.is_floating_point() else t for t in static))


def permuted(features: MoleculeFeatures, order: np.ndarray) -> MoleculeFeatures:
    """The same molecule with its atoms listed in another order: new atom k is old order[k]."""
    new = np.empty_like(order)
    new[order] = np.arange(len(order))
    per_atom = {
        name: getattr(features, name)[order]
        for name in (
            "atom_indices",
            "atom_to_token",
            "ref_pos",
            "ref_charge",
            "ref_mask",
            "ref_element",
            "ref_atom_name_chars",
            "ref_space_uid",
        )
    }
    return dataclasses.replace(
        features,
        **per_atom,
        bonds=np.sort(new[features.bonds], axis=1),
        chiral_centers=new[features.chiral_centers],
        label_centers=new[features.label_centers],
        atom_names=tuple(features.atom_names[i] for i in order),
    )


def rotation(seed: int) -> torch.Tensor:
    """A random proper rotation matrix [3, 3]."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.sign(torch.diagonal(r))
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


def jump_inputs(model, num_atoms: int, tokens: int, batch: int = 1, seed: int = 1):
    """Zero state, noise, lag and temperature for a jump of `batch` walkers."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    noise = torch.randn(batch, model.noise_size(num_atoms), generator=generator)
    return (
        torch.zeros(batch, tokens, model.c_s, dtype=dtype),
        torch.zeros(batch, tokens, tokens, model.c_z, dtype=dtype),
        noise.to(dtype),
        torch.full((batch,), 20.0, dtype=dtype),
        torch.full((batch,), 310.0, dtype=dtype),
    )
