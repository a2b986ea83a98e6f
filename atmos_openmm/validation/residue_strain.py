"""How strained each residue is over the frames of a trajectory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .spreads import Spreads
from .verdict import FrameVerdict

__all__ = ["ResidueStrain"]


class ResidueStrain:
    """The worst bond or angle of each residue, and in how many frames there is an outlier.

    Parameters
    ----------
    labels : tuple of str
        Of the solute's residues.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._frames = np.zeros(len(labels), dtype=np.int64)
        self._worst: dict[int, tuple[float, str]] = {}

    def add(self, verdict: FrameVerdict) -> None:
        """Take one more frame into account."""
        for residue, found in verdict.worst_widths.items():
            self._frames[residue] += 1
            self._take(residue, found)

    def merge(self, other: ResidueStrain) -> None:
        """Take all frames of another one into account."""
        self._frames += other._frames
        for residue, found in other._worst.items():
            self._take(residue, found)

    def _take(self, residue: int, found: tuple[float, str]) -> None:
        if abs(found[0]) > abs(self._worst.get(residue, (0.0, ""))[0]):
            self._worst[residue] = found

    def rows(self, spreads: Spreads, reference: Spreads | None) -> list[dict[str, Any]]:
        """A row a residue; see `ValidationReport.summary`."""
        rows = []
        for k, label in enumerate(self._labels):
            spread = spreads.beside(reference, "residue", str(k))
            mean, middle, sd = (spread[n] for n in ("mean", "reference_mean", "reference_sd"))
            excess = None
            if mean is not None and middle is not None and sd:
                excess = (mean - middle) / sd
            sigma, term = self._worst.get(k, (None, None))
            rows.append(
                {
                    "residue": label,
                    **spread,
                    "excess_sds": excess,
                    "worst_sigma": sigma,
                    "worst_term": term,
                    "strained_frames": int(self._frames[k]),
                }
            )
        return rows
