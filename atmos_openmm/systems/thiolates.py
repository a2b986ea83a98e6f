"""Cysteines without HG: thiolates, or disulfides whose bond is missing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from .errors import MissingAtomsError, MissingBondsError
from .labels import residue_label
from .matching import Fit
from .residue_graph import ResidueGraph
from .residues import ANIONIC_NAMES

__all__ = ["LONGEST_DISULFIDE_NM", "check_thiolates"]

LONGEST_DISULFIDE_NM = 0.25
"""Between the 0.205 nm of a disulfide, bad ones included, and sulphurs that only touch (0.35)."""


def check_thiolates(
    graphs: Sequence[ResidueGraph], fits: Sequence[Fit], coordinates: Any | None
) -> None:
    """Warn of cysteines that are taken for thiolates because they have no HG.

    Raises
    ------
    MissingBondsError
        Two of them are as near to each other as only a disulfide is.
    MissingAtomsError
        There are several that are not named CYM, and no coordinates to tell what they are.
    """
    found = []
    for graph, fit in zip(graphs, fits, strict=True):
        if fit.template is None or fit.template.name != "CYS":
            continue
        k = fit.template.names.index("SG")
        if fit.charges[k] == -1:
            found.append((graph.residue, fit.atoms[k]))
    unnamed = [r for r, _ in found if r.name.strip().upper() not in ANIONIC_NAMES]
    names = ", ".join(residue_label(r, chain=True) for r in unnamed)
    if coordinates is None:
        if len(unnamed) > 1:
            raise MissingAtomsError(
                f"{names} lack hydrogens or a bond: SG has 0, expected 1. A disulfide needs the "
                f"S-S bond in the Topology ({_MAKE_BONDS}); a thiolate is named CYM."
            )
    else:
        for (one, i), (two, j) in combinations(found, 2):
            apart = float(np.linalg.norm(coordinates[i] - coordinates[j]))
            if apart <= LONGEST_DISULFIDE_NM:
                raise MissingBondsError(
                    f"The sulphurs of {residue_label(one, chain=True)} and "
                    f"{residue_label(two, chain=True)} are {apart:.3f} nm apart, and have no "
                    "hydrogen and no bond: a disulfide needs the S-S bond in the Topology; "
                    f"{_MAKE_BONDS}."
                )
    if unnamed:
        warnings.warn(
            f"{names}: there are hydrogens, but no HG and no disulfide; taken for a thiolate. Name "
            "it CYM where that is meant.",
            stacklevel=3,
        )


_MAKE_BONDS = "call topology.createDisulfideBonds(positions)"
