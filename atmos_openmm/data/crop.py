"""Parts of molecules that are too large to train on whole.

Crops by sequence and by space as AlphaFold-Multimer makes them (Evans et al., bioRxiv
2021.10.04.463034, algorithms 1 and 2) and AlphaFold 3 mixes them (supplement 2.7). A crop is a
function of its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures

__all__ = [
    "CROP_WEIGHTS",
    "choose_crop",
    "contiguous_crop",
    "crop_features",
    "spatial_crop",
    "token_centres",
]

IntArray = NDArray[np.int64]

CROP_WEIGHTS = {"contiguous": 0.2, "spatial": 0.4, "interface": 0.4}
"""How often each kind of crop is taken for PDB structures (AlphaFold 3, supplement, table 4)."""
INTERFACE_NM = 1.5
"""Tokens of two chains are in contact when their centres are nearer than this."""
TIE_NM = 1e-4
"""Added per token, so that tokens at one distance (symmetric copies) have an order."""


def contiguous_crop(features: MoleculeFeatures, tokens: int, seed: int | Sequence[int]) -> IntArray:
    """Choose a stretch of each of some chains.

    Parameters
    ----------
    features : MoleculeFeatures
    tokens : int
        Size of the crop; a smaller molecule is taken whole.
    seed : int or sequence of int

    Returns
    -------
    ndarray of int64, increasing
        min(tokens, N) tokens.

    Raises
    ------
    ValueError
        `tokens` below 1.
    """
    _check_size(tokens)
    rng = np.random.default_rng(seed)
    chains = [np.flatnonzero(features.asym_id == c) for c in np.unique(features.asym_id)]
    left, room = features.num_tokens, tokens
    chosen = []
    for k in rng.permutation(len(chains)):
        chain = chains[k]
        left -= len(chain)
        most = min(room, len(chain))
        least = min(len(chain), max(0, room - left))
        size = int(rng.integers(least, most + 1))
        start = int(rng.integers(0, len(chain) - size + 1))
        chosen.append(chain[start : start + size])
        room -= size
    return np.sort(np.concatenate(chosen))


def spatial_crop(
    features: MoleculeFeatures,
    positions_nm: ArrayLike,
    tokens: int,
    seed: int | Sequence[int],
    *,
    interface: bool = False,
    resolved: ArrayLike | None = None,
) -> IntArray:
    """Choose the tokens nearest to one that is drawn.

    Parameters
    ----------
    features : MoleculeFeatures
    positions_nm : array, shape (A, 3)
        One frame, model atoms.
    tokens : int
        Size of the crop; a smaller molecule is taken whole.
    seed : int or sequence of int
    interface : bool
        Draw the token among those in contact with another chain, where there are any.
    resolved : array of bool, shape (A,), optional
        Atoms that were seen: tokens without one at their centre come last and are never drawn.

    Returns
    -------
    ndarray of int64, increasing
        min(tokens, N) tokens.

    Raises
    ------
    ValueError
        `tokens` below 1, positions of another shape, or no token with a centre.
    """
    _check_size(tokens)
    x = np.asarray(positions_nm, np.float64)
    if x.shape != (features.num_atoms, 3):
        raise ValueError(
            f"positions_nm has the shape {x.shape}; expected one frame, ({features.num_atoms}, 3)."
        )
    centre = token_centres(features)
    known = np.ones(len(centre), bool) if resolved is None else np.asarray(resolved, bool)[centre]
    if not known.any():
        raise ValueError("No token has a centre that was seen; nothing to crop around.")
    rng = np.random.default_rng(seed)
    places = x[centre]
    candidates = np.flatnonzero(known)
    if interface:
        touching = _in_contact(places, features.asym_id, known)
        candidates = touching if len(touching) else candidates
    middle = int(candidates[rng.integers(len(candidates))])
    distance = np.linalg.norm(places - places[middle], axis=1) + TIE_NM * np.arange(len(places))
    distance[~known] = np.inf
    nearest = np.argsort(distance, kind="stable")[:tokens]
    return np.sort(nearest).astype(np.int64)


def choose_crop(
    features: MoleculeFeatures,
    positions_nm: ArrayLike,
    tokens: int,
    seed: Sequence[int],
    *,
    resolved: ArrayLike | None = None,
) -> IntArray:
    """Draw a kind of crop by `CROP_WEIGHTS`, then the crop.

    Raises
    ------
    ValueError
        See `spatial_crop`.
    """
    share = np.array(list(CROP_WEIGHTS.values()))
    # A stream of its own, so that the kind and the place are independent.
    number = np.random.default_rng([*seed, 0]).choice(len(share), p=share / share.sum())
    kind = list(CROP_WEIGHTS)[number]
    place = [*seed, 1]
    if kind == "contiguous":
        return contiguous_crop(features, tokens, place)
    return spatial_crop(
        features, positions_nm, tokens, place, interface=kind == "interface", resolved=resolved
    )


def token_centres(features: MoleculeFeatures) -> IntArray:
    """The atom that stands for each token: the alpha carbon, else the first heavy atom, [N]."""
    centres = np.full(features.num_tokens, -1, np.int64)
    rank = np.full(features.num_tokens, 3)
    for atom, token in enumerate(features.atom_to_token.tolist()):
        worth = 2 if features.ref_element[atom] == 1 else 1
        if features.atom_names[atom] == "CA" and features.ref_element[atom] == 6:
            worth = 0
        if worth < rank[token]:
            centres[token], rank[token] = atom, worth
    return centres


def crop_features(features: MoleculeFeatures, tokens: ArrayLike) -> MoleculeFeatures:
    """The features of some tokens.

    Parameters
    ----------
    features : MoleculeFeatures
    tokens : array of int
        Increasing.

    Returns
    -------
    MoleculeFeatures
        Atoms, bonds and stereocentres that lie wholly within the crop. Residue, chain and entity
        numbers are those of the whole molecule; `atom_indices` still counts in the Topology, so
        that frames are taken as for the whole molecule.

    Raises
    ------
    ValueError
        Tokens that are not there, or not increasing.
    """
    chosen = np.asarray(tokens, np.int64)
    if not len(chosen) or np.any(np.diff(chosen) <= 0):
        raise ValueError("tokens must be increasing numbers, at least one.")
    if chosen[0] < 0 or chosen[-1] >= features.num_tokens:
        raise ValueError(f"tokens go to {chosen[-1]}; the molecule has {features.num_tokens}.")
    new_token = np.full(features.num_tokens, -1, np.int64)
    new_token[chosen] = np.arange(len(chosen))
    atoms = np.flatnonzero(new_token[features.atom_to_token] >= 0)
    new_atom = np.full(features.num_atoms, -1, np.int64)
    new_atom[atoms] = np.arange(len(atoms))

    changed: dict[str, Any] = {
        "token_bonds": features.token_bonds[np.ix_(chosen, chosen)],
        "atom_to_token": new_token[features.atom_to_token[atoms]],
        "ref_space_uid": np.unique(features.ref_space_uid[atoms], return_inverse=True)[1].reshape(
            -1
        ),
        "residue_names": tuple(features.residue_names[k] for k in chosen),
        "atom_names": tuple(features.atom_names[k] for k in atoms),
        "label_order": _cropped_order(features.label_order, new_atom, atoms),
    }
    for index, value in (
        ("bonds", "bond_order"),
        ("chiral_centers", "chiral_signs"),
        ("label_centers", "label_signs"),
    ):
        old = getattr(features, index)
        whole = (new_atom[old] >= 0).all(axis=1)
        changed[index] = new_atom[old[whole]]
        changed[value] = getattr(features, value)[whole]
    for name in ("restype", "residue_index", "asym_id", "entity_id", "sym_id"):
        changed[name] = getattr(features, name)[chosen]
    for name in (
        "atom_indices",
        "ref_pos",
        "ref_charge",
        "ref_mask",
        "ref_element",
        "ref_atom_name_chars",
    ):
        changed[name] = getattr(features, name)[atoms]
    missing = {f.name for f in fields(features)} - changed.keys()
    assert not missing, missing  # a new field needs a rule here
    return type(features)(**changed)


def _cropped_order(order: tuple[int, ...], new_atom: IntArray, atoms: IntArray) -> tuple[int, ...]:
    """A permutation of like atoms within the crop; cycles that are cut are left out."""
    if not order:
        return ()
    made = list(range(len(atoms)))
    for start in atoms.tolist():
        cycle = [start]
        while order[cycle[-1]] != start:
            cycle.append(order[cycle[-1]])
        if all(new_atom[a] >= 0 for a in cycle):
            made[int(new_atom[start])] = int(new_atom[order[start]])
    return tuple(made)


def _in_contact(
    places: NDArray[np.float64], chains: IntArray, known: NDArray[np.bool_]
) -> IntArray:
    from scipy.spatial import cKDTree

    index = np.flatnonzero(known)
    pairs = cKDTree(places[index]).query_pairs(INTERFACE_NM, output_type="ndarray")
    across = chains[index[pairs[:, 0]]] != chains[index[pairs[:, 1]]]
    return np.unique(index[pairs[across]])


def _check_size(tokens: int) -> None:
    if tokens < 1:
        raise ValueError(f"A crop of {tokens} tokens is none; expected at least 1.")
