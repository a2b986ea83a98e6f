"""Which of several like atoms carries which label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .chemistry import ResidueChemistry, cis_sign, triple_product_sign

IntArray = npt.NDArray[np.int64]


def labelled_order(
    chemistry: ResidueChemistry,
    alike: tuple[int, ...] | None = None,
    planar: tuple[int, ...] | None = None,
) -> IntArray:
    """Return which atom of the conformer each atom is, for like atoms labelled in a given hand.

    Which of a methylene's hydrogens is called HB2 is a matter of labels, yet a molecule keeps it
    for ever. By default every tetrahedral centre has the sign -1 of its triple product, which for
    methylenes (inner neighbour, outer neighbour, hydrogen of the lower number), VAL CB and LEU CG
    is the wwPDB's naming (Markley et al., J. Biomol. NMR 12, 1, 1998); for methyls, whose naming
    has no hand, it is this package's choice. In flat groups the lower number is cis to the
    backbone's side.

    Parameters
    ----------
    chemistry : ResidueChemistry
        the residue
    alike : tuple of int, optional
        wanted sign for each entry of `chemistry.alike`; 0 keeps the convention
    planar : tuple of int, optional
        for each entry of `chemistry.planar`: 1 for cis, -1 for trans, 0 for the convention

    Returns
    -------
    int64 [L]
        `chemistry.conformer[order]` is the conformer so labelled
    """
    order = np.arange(len(chemistry.conformer))
    for k, (r, m, c, end, swap) in enumerate(chemistry.planar):
        want = (planar[k] if planar is not None else 0) or 1
        if cis_sign(*chemistry.conformer[order[[r, m, c, end]]]) != want:
            _exchange(order, swap)
    for k, (c, a, b, d, swap) in enumerate(chemistry.alike):
        want = (alike[k] if alike is not None else 0) or -1
        if triple_product_sign(*chemistry.conformer[order[[c, a, b, d]]]) != want:
            _exchange(order, swap)
    return order


def _exchange(order: IntArray, swap: tuple[tuple[int, int], ...]) -> None:
    """Exchange pairs of atoms in place."""
    for i, j in swap:
        order[[i, j]] = order[[j, i]]
