"""Random molecules as the reference's feature dictionaries, and the same ones as ModelFeatures.

A molecule has several copies of one chain, a chain of another entity, and a ligand whose tokens are
one atom each. It looks like nothing that exists, so that every feature differs from the others and
takes values that real inputs seldom have (charges, unknown reference positions, rare elements).
"""

from __future__ import annotations

from typing import Any

import torch
from protenix_reference import reference
from torch import Tensor
from torch.nn import functional as F

from atmos_openmm.model.config import ModelConfig, full
from atmos_openmm.model.model_features import ModelFeatures, batch_features

MOST_ATOMS = 14
COPIES = 4


def _chains(tokens: int, ligand: int) -> list[int]:
    """Tokens of each chain: four copies of one, one of its own, and the ligand."""
    polymer = tokens - ligand
    copy = max(1, polymer // (COPIES + 1))
    rest = polymer - COPIES * copy
    if rest < 1:
        raise ValueError(f"{tokens} tokens are too few: at least {COPIES + 1 + ligand} are needed.")
    return [copy] * COPIES + [rest, ligand]


def _atoms_per_token(tokens: int, atoms: int, ligand: int, draw: torch.Generator) -> Tensor:
    """Atoms of each token, 1 to 14, one for those of the ligand (the last)."""
    polymer = tokens - ligand
    spare = atoms - tokens
    room = (MOST_ATOMS - 1) * polymer
    if not 0 <= spare <= room:
        raise ValueError(f"{tokens} tokens have {tokens} to {tokens + room} atoms, not {atoms}.")
    slots = torch.arange(polymer).repeat_interleave(MOST_ATOMS - 1)
    taken = slots[torch.randperm(room, generator=draw)[:spare]]
    counts = torch.ones(tokens, dtype=torch.int64)
    return counts.index_add(0, taken, torch.ones_like(taken))


def draw_molecule(
    tokens: int,
    atoms: int,
    seed: int = 0,
    *,
    ligand: int = 4,
    msa_rows: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """The reference's input features of a random molecule. Needs no reference.

    Parameters
    ----------
    tokens, atoms : int
        Sizes; at least nine tokens, each of at most 14 atoms.
    ligand : int
        Tokens of the ligand, one atom each.
    msa_rows : int
        Rows of the alignment; without any, the dictionary has no alignment.
    dtype : torch.dtype
        Of all that is not an index. The numbers are the same in every precision.
    """
    draw = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    lengths = torch.tensor(_chains(tokens, ligand))
    chain = torch.arange(len(lengths)).repeat_interleave(lengths)
    place = torch.cat([torch.arange(int(n)) for n in lengths])
    is_ligand = chain == len(lengths) - 1
    # Every other residue number is skipped, and a gap wider than the 32 that are told apart.
    residue = torch.where(place > 1, 2 * place + 40, place + 1)
    restype = integers(0, 31, tokens)
    restype[is_ligand] = 20
    counts = _atoms_per_token(tokens, atoms, ligand, draw)
    atom_to_token = torch.arange(tokens).repeat_interleave(counts)
    space = torch.where(is_ligand, int(tokens - ligand), torch.arange(tokens))

    bonds = torch.zeros(tokens, tokens)
    first = tokens - ligand
    for i in range(first, tokens - 1):
        bonds[i, i + 1] = bonds[i + 1, i] = 1.0
    bonds[0, first] = bonds[first, 0] = 1.0

    features: dict[str, Any] = {
        "restype": F.one_hot(restype, 32).float(),
        "profile": torch.softmax(2.0 * normal(tokens, 32), dim=-1),
        "deletion_mean": torch.rand(tokens, generator=draw),
        "token_index": torch.arange(tokens),
        "residue_index": torch.where(is_ligand, 1, residue),
        "asym_id": chain,
        "entity_id": (chain - COPIES + 1).clamp(min=0),
        "sym_id": torch.where(chain < COPIES, chain, 0),
        "token_bonds": bonds,
        "ref_pos": 2.0 * normal(atoms, 3),
        "ref_charge": integers(-1, 2, atoms).float(),
        "ref_mask": (torch.rand(atoms, generator=draw) > 0.1).float(),
        "ref_element": F.one_hot(integers(0, 118, atoms), 128).float(),
        "ref_atom_name_chars": F.one_hot(integers(0, 64, atoms, 4), 64).float(),
        "ref_space_uid": space[atom_to_token],
        "atom_to_token_idx": atom_to_token,
    }
    if msa_rows:
        features["msa"] = integers(0, 32, msa_rows, tokens)
        features["has_deletion"] = integers(0, 2, msa_rows, tokens).float()
        features["deletion_value"] = torch.rand(msa_rows, tokens, generator=draw)
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in features.items()}


def random_molecule(
    tokens: int,
    atoms: int,
    seed: int = 0,
    *,
    ligand: int = 4,
    msa_rows: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """:func:`draw_molecule` with what the reference derives of it, by its own functions."""
    ref = reference()
    features = draw_molecule(tokens, atoms, seed, ligand=ligand, msa_rows=msa_rows, dtype=dtype)
    features = ref.protenix.update_input_feature_dict(dict(features))
    features = ref.embedders.RelativePositionEncoding.generate_relp(_RelativeLimits, features)
    features["relp"] = features["relp"].to(dtype)
    return features


class _RelativeLimits:
    """What `generate_relp` reads of its module."""

    r_max, s_max = 32, 2


def plain_features(features: dict[str, Any]) -> dict[str, Tensor]:
    """The fields of `MoleculeFeatures.tensors()` of a molecule of :func:`draw_molecule`.

    The graph, which the reference does not have, is a chain of bonds through each token.
    """
    token = features["atom_to_token_idx"]
    first = torch.nonzero(token[1:] == token[:-1]).flatten()
    atoms = len(token)
    return {
        "atom_indices": torch.arange(atoms),
        "restype": features["restype"].argmax(-1),
        "residue_index": features["residue_index"],
        "asym_id": features["asym_id"],
        "entity_id": features["entity_id"],
        "sym_id": features["sym_id"],
        "token_bonds": features["token_bonds"].float(),
        "atom_to_token": token,
        "ref_pos": features["ref_pos"].float(),
        "ref_charge": features["ref_charge"].float(),
        "ref_mask": features["ref_mask"].float(),
        "ref_element": features["ref_element"].argmax(-1) + 1,
        "ref_atom_name_chars": features["ref_atom_name_chars"].argmax(-1),
        "ref_space_uid": features["ref_space_uid"],
        "bonds": torch.stack([first, first + 1], dim=1),
        "bond_order": torch.ones(len(first)),
        "chiral_centers": torch.zeros(0, 4, dtype=torch.int64),
        "chiral_signs": torch.zeros(0),
        "label_centers": torch.zeros(0, 4, dtype=torch.int64),
        "label_signs": torch.zeros(0),
        "profile": features["profile"],
        "deletion_mean": features["deletion_mean"],
    } | {k: features[k] for k in ("msa", "has_deletion", "deletion_value") if k in features}


def to_model_features(
    molecules: dict[str, Any] | list[dict[str, Any]], config: ModelConfig | None = None
) -> ModelFeatures:
    """The network's static inputs of one molecule or of a batch of them, in their precision."""
    if isinstance(molecules, dict):
        molecules = [molecules]
    dtype = molecules[0]["ref_pos"].dtype
    plain = [plain_features(molecule) for molecule in molecules]
    static = batch_features(plain, full() if config is None else config)
    return ModelFeatures(*(t.to(dtype) if t.is_floating_point() else t for t in static))
