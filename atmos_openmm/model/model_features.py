"""Static inputs of the network: plain features of molecules, padded to a batch.

The names and shapes of the plain features are in ``docs/architecture.md``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .config import ModelConfig
from .graph import (
    ATOM_FEATURES,
    PAIR_FEATURES,
    TOKEN_PAIR_FEATURES,
    atom_features,
    atom_pair_features,
    token_pair_features,
)

RESIDUE_TYPES = 32
"""Protenix's residue classes; also the classes of an alignment's columns."""

BACKBONE_NAMES = ("N", "CA", "C")
"""Atoms that span the local frame of an amino acid."""


class ModelFeatures(NamedTuple):
    """Static tensors of B molecules: A atoms, N tokens, T windows of Q queries and K keys.

    Shorter molecules are padded; what the padding holds changes nothing.

    Attributes
    ----------
    atom_mask : Tensor [B, A]
        1 for atoms, 0 for padding.
    token_mask : Tensor [B, N]
        1 for tokens, 0 for padding.
    restype : Tensor [B, N] int64
        Protenix's residue class.
    profile : Tensor [B, N, 32]
        Residue frequencies of the alignment; of the sequence itself where there is none.
    deletion_mean : Tensor [B, N]
        Mean number of deletions in the alignment.
    residue_index, token_index, asym_id, entity_id, sym_id : Tensor [B, N] int64
    token_bonds : Tensor [B, N, N]
        1 for bonds between tokens that are no polymer bonds.
    ref_pos : Tensor [B, A, 3]
        Reference conformers, angstrom.
    ref_charge, ref_mask : Tensor [B, A]
    ref_element : Tensor [B, A] int64
        Atomic number.
    ref_atom_name_chars : Tensor [B, A, 4] int64
        ``ord(c) - 32`` of the name's characters.
    ref_space_uid : Tensor [B, A] int64
        Which reference conformer an atom belongs to.
    atom_to_token : Tensor [B, A] int64
    frame_atoms : Tensor [B, N, 3] int64
        Atoms of each token's local frame.
    frame_mask : Tensor [B, N]
        1 for tokens that have a frame (three atoms at least).
    msa : Tensor [B, M, N] int64
        Residue classes of the aligned sequences; M = 0 without an alignment.
    msa_deletion : Tensor [B, M, N, 2]
        Whether deletions precede, and how many (scaled).
    msa_mask : Tensor [B, M]
    query_index : Tensor [T, Q] int64
        Atom of each query slot (clamped in the padding).
    key_index : Tensor [T, K] int64
        Atom of each key slot (clamped outside the molecule).
    window_bias : Tensor [B, T, 1, K]
        0 where the key slot holds an atom, -1e10 elsewhere.
    graph_atom : Tensor [B, A, ATOM_FEATURES]
    graph_pair : Tensor [B, T, Q, K, PAIR_FEATURES]
    graph_token_pair : Tensor [B, N, N, TOKEN_PAIR_FEATURES]
        Features of the molecular graph (:mod:`.graph`), empty where they are not asked for.
    chiral_centers : Tensor [B, C, 4] int64
        Centre and three neighbours.
    chiral_signs : Tensor [B, C]
        Sign of the triple product in the right-handed molecule; 0 in the padding.
    label_centers : Tensor [B, P, 4] int64
        Centres that only the labels of like atoms make chiral (methylenes, methyls).
    label_mask : Tensor [B, P]
    """

    atom_mask: Tensor
    token_mask: Tensor
    restype: Tensor
    profile: Tensor
    deletion_mean: Tensor
    residue_index: Tensor
    token_index: Tensor
    asym_id: Tensor
    entity_id: Tensor
    sym_id: Tensor
    token_bonds: Tensor
    ref_pos: Tensor
    ref_charge: Tensor
    ref_mask: Tensor
    ref_element: Tensor
    ref_atom_name_chars: Tensor
    ref_space_uid: Tensor
    atom_to_token: Tensor
    frame_atoms: Tensor
    frame_mask: Tensor
    msa: Tensor
    msa_deletion: Tensor
    msa_mask: Tensor
    query_index: Tensor
    key_index: Tensor
    window_bias: Tensor
    graph_atom: Tensor
    graph_pair: Tensor
    graph_token_pair: Tensor
    chiral_centers: Tensor
    chiral_signs: Tensor
    label_centers: Tensor
    label_mask: Tensor


def local_windows(num_atoms: int, n_queries: int, n_keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query index [T, Q], key index [T, K] and whether a key slot is inside [T, K].

    Windows follow AF3's Algorithm 7: windows of ``n_queries`` atoms, each seeing ``n_keys``
    atoms centred on it. A molecule of at most ``n_queries`` atoms is one dense window.
    """
    if num_atoms <= n_queries:
        index = torch.arange(num_atoms).unsqueeze(0)
        return index, index, torch.ones(1, num_atoms, dtype=torch.bool)
    trunks = (num_atoms + n_queries - 1) // n_queries
    start = torch.arange(trunks).unsqueeze(1) * n_queries
    query = start + torch.arange(n_queries)
    key = start + (n_queries - n_keys) // 2 + torch.arange(n_keys)
    inside = (key >= 0) & (key < num_atoms)
    return query.clamp(max=num_atoms - 1), key.clamp(0, num_atoms - 1), inside


def model_features(features: dict[str, Tensor], config: ModelConfig) -> ModelFeatures:
    """Derive the network's static inputs from the plain features of one molecule.

    Parameters
    ----------
    features : dict[str, Tensor]
        The fields of ``MoleculeFeatures.tensors()`` (``docs/architecture.md``), and, where there
        is an alignment, ``profile`` [N, 32], ``deletion_mean`` [N], ``msa`` [M, N],
        ``has_deletion`` and ``deletion_value`` [M, N].
    config : ModelConfig
        The network's configuration: sizes of the windows, and whether it reads the graph.

    Raises
    ------
    ValueError
        If an atom has no token or a bond names an atom that is not there.
    """
    return batch_features([features], config)


def batch_features(molecules: Sequence[dict[str, Tensor]], config: ModelConfig) -> ModelFeatures:
    """Derive static inputs of several molecules, padded to the largest.

    Parameters and errors are those of :func:`model_features`.
    """
    if not molecules:
        raise ValueError("No molecules were given; expected one or more.")
    graph = config.coordinates == "invariant"
    parts = [_one_molecule(molecule, graph) for molecule in molecules]
    joined = {name: _pad([part[name] for part in parts]) for name in parts[0]}
    num_atoms = joined["atom_mask"].shape[1]
    query, key, inside = local_windows(num_atoms, config.n_queries, config.n_keys)
    held = inside & (joined["atom_mask"][:, key] > 0)
    joined["window_bias"] = torch.where(held, 0.0, -1e10).unsqueeze(2)
    if graph:
        joined["graph_pair"] = joined["graph_pair"][:, query.unsqueeze(2), key.unsqueeze(1)]
    else:
        joined["graph_pair"] = torch.zeros(len(parts), 0, 0, 0, PAIR_FEATURES)
    return ModelFeatures(**joined, query_index=query, key_index=key)


def _one_molecule(features: dict[str, Tensor], graph: bool) -> dict[str, Tensor]:
    """Return every per-molecule field without padding; atom pairs are dense [A, A]."""
    element = features["ref_element"].long()
    restype = features["restype"].long()
    num_atoms, num_tokens = int(element.shape[0]), int(restype.shape[0])
    bonds = features["bonds"].long().reshape(-1, 2)
    atom_to_token = features["atom_to_token"].long()
    if bonds.numel() and (int(bonds.min()) < 0 or int(bonds.max()) >= num_atoms):
        raise ValueError(f"A bond names an atom outside 0..{num_atoms - 1}.")
    if int(atom_to_token.min()) < 0 or int(atom_to_token.max()) >= num_tokens:
        raise ValueError(f"An atom names a token outside 0..{num_tokens - 1}.")
    one_hot = torch.nn.functional.one_hot(restype, RESIDUE_TYPES).float()
    msa = features["msa"].long() if "msa" in features else restype.new_zeros(0, num_tokens)
    deletion = (
        torch.stack([features["has_deletion"], features["deletion_value"]], dim=-1).float()
        if "msa" in features
        else torch.zeros(0, num_tokens, 2)
    )
    centers = features["chiral_centers"].long().reshape(-1, 4)
    labels = features["label_centers"].long().reshape(-1, 4)
    frame_atoms, frame_mask = _token_frames(features, num_tokens)
    return {
        "atom_mask": torch.ones(num_atoms),
        "token_mask": torch.ones(num_tokens),
        "restype": restype,
        "profile": features["profile"].float() if "profile" in features else one_hot,
        "deletion_mean": (
            features["deletion_mean"].float()
            if "deletion_mean" in features
            else torch.zeros(num_tokens)
        ),
        "residue_index": features["residue_index"].long(),
        "token_index": torch.arange(num_tokens),
        "asym_id": features["asym_id"].long(),
        "entity_id": features["entity_id"].long(),
        "sym_id": features["sym_id"].long(),
        "token_bonds": features["token_bonds"].float(),
        "ref_pos": features["ref_pos"].float(),
        "ref_charge": features["ref_charge"].float(),
        "ref_mask": features["ref_mask"].float(),
        "ref_element": element,
        "ref_atom_name_chars": features["ref_atom_name_chars"].long(),
        "ref_space_uid": features["ref_space_uid"].long(),
        "atom_to_token": atom_to_token,
        "frame_atoms": frame_atoms,
        "frame_mask": frame_mask,
        "msa": msa,
        "msa_deletion": deletion,
        "msa_mask": torch.ones(msa.shape[0]),
        "graph_atom": atom_features(features) if graph else torch.zeros(num_atoms, ATOM_FEATURES),
        "graph_pair": (atom_pair_features(features) if graph else torch.zeros(0, 0, PAIR_FEATURES)),
        "graph_token_pair": (
            token_pair_features(features) if graph else torch.zeros(0, 0, TOKEN_PAIR_FEATURES)
        ),
        "chiral_centers": centers,
        "chiral_signs": features["chiral_signs"].float().reshape(-1),
        "label_centers": labels,
        "label_mask": torch.ones(len(labels)),
    }


def _token_frames(features: dict[str, Tensor], num_tokens: int) -> tuple[Tensor, Tensor]:
    """Return three atoms a token [N, 3] for its local frame, and which tokens have one [N].

    They are N, CA and C where a token has them, else its first three heavy atoms.
    """
    chars = features["ref_atom_name_chars"].long()
    heavy = features["ref_element"].long() > 1
    token = features["atom_to_token"].long()
    atoms = torch.zeros(num_tokens, 3, dtype=torch.int64)
    mask = torch.zeros(num_tokens)
    named = torch.full((num_tokens, 3), -1, dtype=torch.int64)
    for column, name in enumerate(BACKBONE_NAMES):
        codes = torch.tensor([ord(c) - 32 for c in name.ljust(4)])
        found = torch.nonzero((chars == codes).all(1) & heavy).flatten()
        named[token[found], column] = found
    order = torch.nonzero(heavy).flatten()
    for n in range(num_tokens):
        chosen = named[n]
        if int(chosen.min()) < 0:
            chosen = order[token[order] == n][:3]
        if len(chosen) == 3:
            atoms[n] = chosen
            mask[n] = 1.0
    return atoms, mask


def _pad(tensors: list[Tensor]) -> Tensor:
    """Stack tensors of one rank, each axis padded with zeros to the longest."""
    shape = [max(t.shape[axis] for t in tensors) for axis in range(tensors[0].dim())]
    out = tensors[0].new_zeros([len(tensors), *shape])
    for row, tensor in zip(out, tensors, strict=True):
        row[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return out
