"""Parts of molecules that a jump moves: which atoms, and by what they are put back in place.

A network reads whole molecules. Of its frame only the moved atoms are taken: each connected piece
of them is superposed on its old place by the atoms around its border, which stay where they are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import FeatureError

if TYPE_CHECKING:
    from .molecule_features import MoleculeFeatures

IntArray = npt.NDArray[np.int64]

NEAR_BORDER = 2
"""Anchors are unmoved heavy atoms up to this many bonds from a piece; more where they are few."""

FEWEST_ANCHORS = 3


@dataclass(frozen=True, eq=False)
class Fragment:
    """A connected piece of moved atoms. Numbers are those of the model's atoms.

    Attributes
    ----------
    atoms : int64 [K]
        What moves, ascending.
    anchors : int64 [L]
        Unmoved atoms by which a frame is superposed to place them, ascending.
    """

    atoms: IntArray
    anchors: IntArray


def find_fragments(features: MoleculeFeatures, moved: Collection[int]) -> tuple[Fragment, ...]:
    """Split the moved atoms of molecules into pieces, each with its anchors.

    A molecule that moves as a whole beside parts of others is placed by all unmoved atoms.

    Parameters
    ----------
    features : MoleculeFeatures
        Of whole molecules.
    moved : collection of int
        Topology indices of the atoms that move.

    Raises
    ------
    FeatureError
        Fewer than three unmoved heavy atoms are there to place a piece by.
    """
    mobile = np.isin(features.atom_indices, list(moved))
    near: list[list[int]] = [[] for _ in range(features.num_atoms)]
    for i, j in features.bonds.tolist():
        near[i].append(j)
        near[j].append(i)
    unmoved = np.flatnonzero(~mobile & (features.ref_element > 1)).tolist()
    found = []
    for piece in _pieces(mobile, near):
        anchors = _anchors(piece, mobile, near, features.ref_element) or unmoved
        if len(anchors) < FEWEST_ANCHORS:
            raise FeatureError(
                f"Of the molecule around {features.atom_label(piece[0])} only {len(anchors)} heavy "
                f"atoms stay in place; it takes {FEWEST_ANCHORS} to tell where the moved part "
                "belongs. Move the whole molecule, or less of it."
            )
        found.append(Fragment(np.array(piece, np.int64), np.array(anchors, np.int64)))
    return tuple(found)


def _pieces(mobile: npt.NDArray[np.bool_], near: list[list[int]]) -> list[list[int]]:
    """Connected components of the moved atoms, in the order of their first atoms."""
    left = set(np.flatnonzero(mobile).tolist())
    pieces = []
    while left:
        stack = [min(left)]
        piece = set(stack)
        while stack:
            new = {k for k in near[stack.pop()] if mobile[k]} - piece
            piece |= new
            stack += new
        left -= piece
        pieces.append(sorted(piece))
    return pieces


def _anchors(
    piece: list[int], mobile: npt.NDArray[np.bool_], near: list[list[int]], elements: Any
) -> list[int]:
    """Unmoved heavy atoms around a piece; none where its molecule moves as a whole."""
    reached, shell, anchors = set(piece), set(piece), set[int]()
    distance = 0
    while shell and (distance < NEAR_BORDER or len(anchors) < FEWEST_ANCHORS):
        shell = {k for s in shell for k in near[s] if not mobile[k]} - reached
        reached |= shell
        anchors |= {k for k in shell if elements[k] > 1}
        distance += 1
    return sorted(anchors)
