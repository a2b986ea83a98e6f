"""Local attention windows over atoms, and the ways between atoms, tokens and windows.

Windows follow AF3's Algorithm 7: windows of Q query atoms, each seeing K key atoms centred on
it. Which atom sits in which slot depends on the number of atoms alone, so a batch shares the
index tensors; which slots hold an atom differs between its molecules and is in the mask.

The batch of the static features is 1 (walkers of one molecule share them) or that of the
activations.
"""

import torch
from torch import Tensor

from .model_features import ModelFeatures


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """Pick rows of each molecule: x [B, R, c], index [1 or B, M] int64 -> [B, M, c]."""
    if index.shape[0] == 1:
        return x.index_select(1, index.flatten())
    offset = x.shape[1] * torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return x.flatten(0, 1).index_select(0, (index + offset).flatten()).unflatten(0, index.shape)


def add_rows(out: Tensor, index: Tensor, x: Tensor) -> Tensor:
    """Add rows to rows of each molecule: out [B, R, c], index [1 or B, M], x [B, M, c]."""
    if index.shape[0] == 1:
        return out.index_add(1, index.flatten(), x)
    offset = out.shape[1] * torch.arange(out.shape[0], device=x.device).unsqueeze(1)
    flat = out.flatten(0, 1).index_add(0, (index + offset).flatten(), x.flatten(0, 1))
    return flat.unflatten(0, out.shape[:2])


def to_queries(x: Tensor, features: ModelFeatures) -> Tensor:
    """Arrange atoms in query windows: [B, A, c] -> [B, T, Q, c]."""
    n_t, n_q = features.query_index.shape
    return x.index_select(1, features.query_index.flatten()).unflatten(1, [n_t, n_q])


def to_keys(x: Tensor, features: ModelFeatures) -> Tensor:
    """Arrange atoms in key windows: [B, A, c] -> [B, T, K, c]."""
    n_t, n_k = features.key_index.shape
    return x.index_select(1, features.key_index.flatten()).unflatten(1, [n_t, n_k])


def from_queries(x: Tensor, num_atoms: int) -> Tensor:
    """Return windows to atoms: [B, T, Q, c] -> [B, A, c]."""
    return x.flatten(1, 2)[:, :num_atoms]


def key_mask(features: ModelFeatures) -> Tensor:
    """Return 1 where a key slot holds an atom [1 or B, T, 1, K]."""
    return (features.window_bias == 0.0).to(features.window_bias.dtype)


def query_mask(features: ModelFeatures) -> Tensor:
    """Return 1 where a query slot holds an atom [1 or B, T, Q]."""
    n_t, n_q = features.query_index.shape
    slot = torch.arange(n_t * n_q, device=features.query_index.device)
    within = (slot < features.atom_mask.shape[1]).to(features.atom_mask.dtype)
    held = features.atom_mask.index_select(1, features.query_index.flatten())
    return (held * within).unflatten(1, [n_t, n_q])


def atoms_to_tokens(a: Tensor, features: ModelFeatures) -> Tensor:
    """Return the mean over the atoms of each token: [B, A, c] -> [B, N, c]."""
    num_tokens = features.token_mask.shape[1]
    out = a.new_zeros([a.shape[0], num_tokens, a.shape[2]])
    mask = features.atom_mask.to(a.dtype).unsqueeze(-1)
    out = add_rows(out, features.atom_to_token, a * mask)
    count = a.new_zeros([mask.shape[0], num_tokens, 1])
    count = add_rows(count, features.atom_to_token, mask)
    return out / count.clamp(min=1.0)


def tokens_to_atoms(x: Tensor, features: ModelFeatures) -> Tensor:
    """Give each atom its token's vector: [B, N, c] -> [B, A, c]."""
    return gather_rows(x, features.atom_to_token)


def _window_tokens(features: ModelFeatures) -> tuple[Tensor, Tensor]:
    """Return the tokens of the query slots [F, T, Q] and of the key slots [F, T, K]."""
    n_t, n_q = features.query_index.shape
    n_k = features.key_index.shape[1]
    query = features.atom_to_token.index_select(1, features.query_index.flatten())
    key = features.atom_to_token.index_select(1, features.key_index.flatten())
    return query.unflatten(1, [n_t, n_q]), key.unflatten(1, [n_t, n_k])


def token_pairs_to_windows(z: Tensor, features: ModelFeatures) -> Tensor:
    """Give each atom pair its token pair's vector: [B, N, N, c] -> [B, T, Q, K, c]."""
    query, key = _window_tokens(features)
    index = query.unsqueeze(3) * z.shape[2] + key.unsqueeze(2)
    return gather_rows(z.flatten(1, 2), index.flatten(1)).unflatten(1, index.shape[1:])


def windows_to_token_pairs(p: Tensor, features: ModelFeatures) -> Tensor:
    """Return the mean over the atom pairs of each token pair: [B, T, Q, K, c] -> [B, N, N, c].

    Pairs that no window holds are zero.
    """
    num_tokens = features.token_mask.shape[1]
    query, key = _window_tokens(features)
    index = (query.unsqueeze(3) * num_tokens + key.unsqueeze(2)).flatten(1)
    valid = query_mask(features).unsqueeze(3) * key_mask(features)
    valid = valid.to(p.dtype).flatten(1).unsqueeze(-1)
    out = p.new_zeros([p.shape[0], num_tokens * num_tokens, p.shape[-1]])
    out = add_rows(out, index, p.flatten(1, 3) * valid)
    count = add_rows(p.new_zeros([valid.shape[0], num_tokens * num_tokens, 1]), index, valid)
    return (out / count.clamp(min=1.0)).unflatten(1, [num_tokens, num_tokens])


def centred(x: Tensor, features: ModelFeatures) -> Tensor:
    """Move frames [B, A, 3] so that the mean of their atoms is at the origin."""
    mask = features.atom_mask.to(x.dtype).unsqueeze(-1)
    mean = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1.0)
    return x - mean
