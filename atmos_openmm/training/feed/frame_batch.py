"""Frames of a molecule as the Batch that the losses see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ...model.head_density import features_of_torsions
from ...model.model_features import ModelFeatures
from ...model.torsion_features import TorsionFeatures, no_torsions
from ..batch import Batch

if TYPE_CHECKING:
    from ...systems.features import MoleculeFeatures

__all__ = ["batch_of_frames", "ligand_mask", "representative_atoms", "torsions_to_train"]

AMINO_ACIDS = 20
"""Classes below this are amino acids (`MoleculeFeatures.restype`)."""


def batch_of_frames(
    name: str,
    features: MoleculeFeatures,
    static: ModelFeatures,
    positions_nm: NDArray[np.floating],
    resolved: NDArray[np.bool_],
    lag_ps: NDArray[np.float64],
    temperature_kelvin: NDArray[np.float64],
    torsions: TorsionFeatures | None = None,
) -> Batch:
    """Put frames of a molecule, or of a crop of it, into a Batch.

    Parameters
    ----------
    name : str
        Of the molecule, for messages.
    features : MoleculeFeatures
        Of the molecule or its crop.
    static : ModelFeatures
        Those that the network sees.
    positions_nm : array [L + 1, B, A, 3], or [1, B, A, 3] for structures without time (L = 1)
        Of the features' atoms.
    resolved : bool [A]
        Which atoms were seen; each frame is centred on these.
    lag_ps, temperature_kelvin : array [L, B]
    torsions : TorsionFeatures, optional
        Where the torsion head is trained.
    """
    x = np.asarray(positions_nm, np.float64)
    x = 10.0 * (x - x[..., resolved, :].mean(axis=-2, keepdims=True))
    return Batch(
        name,
        static,
        _single(x),
        _single(resolved),
        _single(lag_ps),
        _single(temperature_kelvin),
        torch.from_numpy(ligand_mask(features)),
        torch.from_numpy(features.bonds.reshape(-1, 2).copy()),
        torch.from_numpy(representative_atoms(features)),
        no_torsions() if torsions is None else torsions,
    )


def torsions_to_train(features: MoleculeFeatures) -> TorsionFeatures:
    """The torsions of a molecule or a crop of it, as the torsion head sees them."""
    from ...systems.torsions import torsions_of

    return features_of_torsions(torsions_of(features), features.atom_indices)


def _single(values: NDArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def ligand_mask(features: MoleculeFeatures) -> NDArray[np.float32]:
    """Which atoms are a ligand's, [A]: those of chains without amino acids and caps.

    A modified residue inside a chain is part of the polymer, and so is a free amino acid.
    """
    from ...systems.residues import find_template

    polymer = {
        int(chain)
        for chain, restype, name in zip(
            features.asym_id, features.restype, features.residue_names, strict=True
        )
        if restype < AMINO_ACIDS or find_template(name) is not None
    }
    ligand = ~np.isin(features.asym_id, np.array(sorted(polymer), np.int64))
    return ligand[features.atom_to_token].astype(np.float32)


def representative_atoms(features: MoleculeFeatures) -> NDArray[np.int64]:
    """Each token's representative atom, [N]: CB, the CA of glycine, else the first heavy atom."""
    rank = np.where(features.ref_element == 1, 3, 2)
    for place, name in enumerate(("CB", "CA")):  # names as the wwPDB has them, a residue's alone
        codes = [ord(c) - 32 for c in name.ljust(4)]
        named = (features.ref_atom_name_chars == codes).all(axis=1)
        rank[named & (features.ref_element == 6)] = place
    order = np.lexsort((np.arange(features.num_atoms), rank, features.atom_to_token))
    tokens, first = np.unique(features.atom_to_token[order], return_index=True)
    assert len(tokens) == features.num_tokens  # a token has an atom
    return order[first].astype(np.int64)
