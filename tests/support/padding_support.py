"""Batches of molecules of different size, with large numbers wherever no molecule is."""

from __future__ import annotations

import torch
from parity_support import Draw
from torch import Tensor

from atmos_openmm.model.context import Context
from atmos_openmm.model.model_features import ModelFeatures
from atmos_openmm.model.windows import key_mask, query_mask

GARBAGE = 1e4


def outer(*masks: Tensor) -> Tensor:
    """Whether all of several masks [B, n] hold, over the axes of each of them."""
    out = masks[0] > 0
    for mask in masks[1:]:
        out = out.unsqueeze(-1) & (mask > 0).reshape(len(mask), *[1] * (out.dim() - 1), -1)
    return out


def polluted(value: Tensor, held: Tensor, draw: Draw) -> Tensor:
    """A tensor with large numbers where `held`, the mask of its leading axes, is false."""
    held = held.reshape(*held.shape, *[1] * (value.dim() - held.dim()))
    return torch.where(held, value, GARBAGE * draw(*value.shape))


def polluted_features(features: ModelFeatures, draw: Draw) -> ModelFeatures:
    """Static inputs with anything that is allowed in the padding: large numbers, other classes."""
    atoms, tokens = features.atom_mask, features.token_mask
    num_atoms, num_tokens = atoms.shape[1], tokens.shape[1]
    pairs = outer(tokens, tokens)
    windows = (query_mask(features).unsqueeze(-1) * key_mask(features)) > 0
    rows = outer(features.msa_mask, tokens)
    numbers = {
        "ref_pos": atoms > 0,
        "ref_charge": atoms > 0,
        "ref_mask": atoms > 0,
        "graph_atom": atoms > 0,
        "profile": tokens > 0,
        "deletion_mean": tokens > 0,
        "frame_mask": tokens > 0,
        "token_bonds": pairs,
        "graph_token_pair": pairs,
        "graph_pair": windows,
        "msa_deletion": rows,
    }
    classes = {
        "ref_element": (atoms > 0, 1, 119),
        "ref_atom_name_chars": (atoms > 0, 0, 64),
        "ref_space_uid": (atoms > 0, 0, num_tokens),
        "atom_to_token": (atoms > 0, 0, num_tokens),
        "restype": (tokens > 0, 0, 32),
        "residue_index": (tokens > 0, -50, 50),
        "token_index": (tokens > 0, -50, 50),
        "asym_id": (tokens > 0, 0, 3),
        "entity_id": (tokens > 0, 0, 3),
        "sym_id": (tokens > 0, 0, 3),
        "frame_atoms": (tokens > 0, 0, num_atoms),
        "msa": (rows, 0, 32),
        "chiral_centers": (features.chiral_signs != 0, 0, num_atoms),
        "label_centers": (features.label_mask > 0, 0, num_atoms),
    }
    changed = {}
    for name, held in numbers.items():
        value = getattr(features, name)
        if value.numel():
            changed[name] = polluted(value, held, draw)
    for name, (held, low, high) in classes.items():
        value = getattr(features, name)
        held = held.reshape(*held.shape, *[1] * (value.dim() - held.dim()))
        drawn = torch.randint(low, high, value.shape, generator=draw.generator)
        changed[name] = torch.where(held, value, drawn)
    return features._replace(**changed)


def polluted_context(context: Context, features: ModelFeatures, draw: Draw) -> Context:
    """Static embeddings with large numbers in the padding."""
    atoms, tokens = features.atom_mask > 0, features.token_mask > 0
    windows = (query_mask(features).unsqueeze(-1) * key_mask(features)) > 0
    return Context(
        polluted(context.s_inputs, tokens, draw),
        polluted(context.s, tokens, draw),
        polluted(context.z, outer(tokens, tokens), draw),
        polluted(context.c, atoms, draw),
        polluted(context.p, windows, draw),
    )


def joined(values: list[Tensor], axes: int, draw: Draw) -> Tensor:
    """Stack tensors [1, n, ...] whose first `axes` axes differ in length, large numbers between."""
    longest = max(value.shape[1] for value in values)
    shape = [len(values), *[longest] * axes, *values[0].shape[1 + axes :]]
    out = GARBAGE * draw(*shape)
    for row, value in zip(out, values, strict=True):
        row[tuple(slice(0, n) for n in value.shape[1 : 1 + axes])] = value[0]
    return out


def part(value: Tensor, row: int, size: int, axes: int = 1) -> Tensor:
    """A molecule's own part of a batch's tensor [B, n, ...]: [1, size, ...]."""
    return value[row : row + 1][(slice(None), *[slice(0, size)] * axes)]
