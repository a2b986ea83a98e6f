"""Molecules with torsions and networks with a torsion head, for the tests of both."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import torch
from model_support import TINY, network, peptide

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.model_features import ModelFeatures, model_features
from atmos_openmm.model.torsion_features import TorsionFeatures, features_of_torsions
from atmos_openmm.model.torsion_head import TorsionMixture
from atmos_openmm.systems.torsions import Torsions, torsions_of

WITH_HEAD = dataclasses.replace(TINY, torsion_components=5)


@lru_cache
def head_network(seed: int = 0) -> AtmosModel:
    """A network with a torsion head, all of whose parameters are random."""
    return network(WITH_HEAD, seed)


@lru_cache
def molecule(sequence: str) -> tuple[ModelFeatures, Torsions, TorsionFeatures]:
    """The network's inputs of a peptide, and its torsions."""
    features = peptide(sequence)[0]
    torsions = torsions_of(features)
    inputs = features_of_torsions(torsions, features.atom_indices)
    return model_features(features.tensors(), WITH_HEAD), torsions, inputs


def mixture_of(
    model, features: ModelFeatures, inputs: TorsionFeatures, lags_ps=(1000.0,)
) -> TorsionMixture:
    """What a network's head says at some lags and 300 K."""
    lag = torch.tensor(lags_ps)
    with torch.no_grad():
        context = model.context(features)
        found = model.torsion_mixture(lag, torch.full_like(lag, 300.0), context, features, inputs)
    return TorsionMixture(*found)
