"""What the torsion head is told about a molecule's torsions, padded to a batch."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROLES = ("phi", "psi", "chi1", "chi2", "chi3", "chi4", "chi5", "other")
"""What a torsion is called in its residue; `other` are hydroxyls and torsions of ligands."""

GATES = 4
"""What a block's weights depend on: phi and psi of the block before, phi and psi of the next."""

WITHIN_REACH, CHAIN_REACH = 4, 2
RELATIONS = 2 * WITHIN_REACH + 1 + 2 * CHAIN_REACH + 1
"""Classes of pairs of torsions: places apart in a block, blocks apart in a chain, neither."""


class TorsionFeatures(NamedTuple):
    """Torsions of B molecules: T torsions in R blocks of at most D; shorter ones are padded.

    Attributes
    ----------
    atoms : Tensor [B, T, 4] int64
        Model atoms a, b, c, d.
    role : Tensor [B, T] int64
        Place in `ROLES`.
    mask : Tensor [B, T]
        1 for torsions, 0 for padding.
    relation : Tensor [B, T, T] int64
        Class of the pair, one of `RELATIONS`.
    members : Tensor [B, R, D] int64
        The torsions of each block.
    member_mask : Tensor [B, R, D]
    gates : Tensor [B, R, 4] int64
        The torsions outside of the block that its weights may depend on.
    gate_mask : Tensor [B, R, 4]
    gate_earlier : Tensor [B, R, 4]
        1 where the gate is a torsion of an earlier block.
    """

    atoms: Tensor
    role: Tensor
    mask: Tensor
    relation: Tensor
    members: Tensor
    member_mask: Tensor
    gates: Tensor
    gate_mask: Tensor
    gate_earlier: Tensor


class NumberedTorsions(Protocol):
    """What is asked of a molecule's torsions, such as those of `find_torsions`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def atoms(self) -> NDArray[np.int64]: ...

    @property
    def block_sizes(self) -> tuple[int, ...]: ...

    @property
    def previous(self) -> tuple[int, ...]: ...


def torsion_features(
    names: Sequence[str],
    atoms: NDArray[np.int64],
    block_sizes: Sequence[int],
    previous: Sequence[int],
) -> TorsionFeatures:
    """Derive the torsion head's inputs of one molecule (B = 1).

    Parameters
    ----------
    names : sequence of str
        Of the torsions, as `find_torsions` gives them: "LEU3 chi1".
    atoms : int64 array [T, 4]
        Model atoms of each torsion.
    block_sizes : sequence of int
        Torsions in each block.
    previous : sequence of int
        The block before each in its chain, or -1.
    """
    count, blocks, size = len(names), len(block_sizes), max(block_sizes, default=1)
    role = np.array([_role(name) for name in names], np.int64)
    starts = np.concatenate([[0], np.cumsum(block_sizes)]).astype(np.int64)
    block = np.repeat(np.arange(blocks), block_sizes)
    members = np.zeros((blocks, size), np.int64)
    member_mask = np.zeros((blocks, size), np.float32)
    gates = np.zeros((blocks, GATES), np.int64)
    gate_mask = np.zeros((blocks, GATES), np.float32)
    gate_earlier = np.zeros((blocks, GATES), np.float32)
    following = {p: k for k, p in enumerate(previous) if p >= 0}
    for k in range(blocks):
        own = np.arange(starts[k], starts[k + 1])
        members[k, : len(own)], member_mask[k, : len(own)] = own, 1.0
        for n, neighbour in enumerate((previous[k], following.get(k, -1))):
            for t in range(starts[neighbour], starts[neighbour + 1]) if neighbour >= 0 else ():
                if role[t] < 2:
                    column = 2 * n + role[t]
                    gates[k, column], gate_mask[k, column] = t, 1.0
                    gate_earlier[k, column] = neighbour < k
    relation = _relations(np.arange(count), block, _chain_places(previous))
    values = (
        np.asarray(atoms, np.int64).reshape(-1, 4),
        role,
        np.ones(count, np.float32),
        relation,
        members,
        member_mask,
        gates,
        gate_mask,
        gate_earlier,
    )
    return TorsionFeatures(*(torch.from_numpy(value).unsqueeze(0) for value in values))


def features_of_torsions(
    torsions: NumberedTorsions, atom_indices: NDArray[np.int64]
) -> TorsionFeatures:
    """What the torsion head is told of torsions.

    Parameters
    ----------
    torsions : NumberedTorsions
        Their atoms are particles of a System.
    atom_indices : int64 array [A]
        The particle of each model atom.

    Raises
    ------
    ValueError
        A torsion has an atom that the model does not carry.
    """
    place = {int(particle): k for k, particle in enumerate(atom_indices)}
    missing = [
        name
        for name, atoms in zip(torsions.names, torsions.atoms.tolist(), strict=True)
        if not place.keys() >= set(atoms)
    ]
    if missing:
        raise ValueError(
            f"The torsion {missing[0]} has an atom that the model does not carry; expected "
            "torsions of the molecule that the model is bound to."
        )
    atoms = np.array([[place[i] for i in row] for row in torsions.atoms.tolist()], np.int64)
    return torsion_features(torsions.names, atoms, torsions.block_sizes, torsions.previous)


def no_torsions() -> TorsionFeatures:
    """The features of a molecule without torsions."""
    return torsion_features((), np.zeros((0, 4), np.int64), (), ())


def measure_torsions(x: Tensor, atoms: Tensor) -> Tensor:
    """Return torsions of frames.

    Parameters
    ----------
    x : Tensor [B, A, 3]
    atoms : Tensor [T, 4] int64

    Returns
    -------
    Tensor [B, T]
        Radians, with the sign of IUPAC.
    """
    a, b, c, d = (x.index_select(1, column) for column in atoms.unbind(-1))
    first, axis, last = b - a, c - b, d - c
    left = torch.linalg.cross(first, axis, dim=-1)
    right = torch.linalg.cross(axis, last, dim=-1)
    length = torch.linalg.vector_norm(axis, dim=-1)
    return torch.atan2(length * (first * right).sum(-1), (left * right).sum(-1))


def _role(name: str) -> int:
    last = name.rsplit(" ", 1)[-1]
    return ROLES.index(last) if last in ROLES else len(ROLES) - 1


def _chain_places(previous: Sequence[int]) -> NDArray[np.int64]:
    """For each block its chain, and how many blocks stand before it there [R, 2]."""
    places = np.zeros((len(previous), 2), np.int64)
    for k, p in enumerate(previous):
        places[k] = (k, 0) if p < 0 else (places[p, 0], places[p, 1] + 1)
    return places


def _relations(
    torsion: NDArray[np.int64], block: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the class of each pair of torsions [T, T]."""
    chain, position = places[block].reshape(-1, 2).T
    apart = torsion[None] - torsion[:, None]
    within = np.clip(apart, -WITHIN_REACH, WITHIN_REACH) + WITHIN_REACH
    offset = position[None] - position[:, None]
    near = (chain[None] == chain[:, None]) & (np.abs(offset) <= CHAIN_REACH)
    shifted = np.where(offset < 0, offset, offset - 1) + CHAIN_REACH
    between = np.where(near, 2 * WITHIN_REACH + 1 + shifted, RELATIONS - 1)
    return np.where(block[None] == block[:, None], within, between).astype(np.int64)
