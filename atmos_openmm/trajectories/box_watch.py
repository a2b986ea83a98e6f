"""Boxes that are none, or that contradict what frames are taken for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoxWatch", "is_box", "is_placeholder", "same_shape"]

SAME_SHAPE = 0.05
"""The shortest lattice vectors of boxes of one shape differ by less, in units of the cube root of
the volume; a barostat changes them by less, too."""
NEIGHBOURS = 14
"""Lattice vectors to the neighbours that bound a cell, which tell its shape."""
SHORTEST_EDGE_NM = 0.5
"""Edges below this stand for no box in structures that need one by their format."""

_STEPS = np.array([n for n in product(range(-2, 3), repeat=3) if any(n)], dtype=np.float64)


def is_box(box_nm: NDArray[np.float64] | None) -> bool:
    """Whether vectors [3, 3] span a volume; files of frames without a box may hold zeros."""
    if box_nm is None or not np.isfinite(box_nm).all():
        return False
    return bool(abs(np.linalg.det(box_nm)) > 1e-9)


def is_placeholder(box_nm: NDArray[np.float64]) -> bool:
    """Whether a box is too small for any simulation."""
    return bool(np.linalg.norm(box_nm, axis=1).min() < SHORTEST_EDGE_NM)


@dataclass
class BoxWatch:
    """Looks at the boxes of frames as they pass, and says what contradicts the expected one.

    Attributes
    ----------
    expected_nm : array [3, 3] or None
        The box that frames should be in, but for its size; None where there is none to compare.
    owner : str
        What that is the box of: "the structure".
    without : str
        What is done with frames without a box.
    """

    expected_nm: NDArray[np.float64] | None
    owner: str
    without: str
    _seen: int = 0
    _missing: list[int] = field(default_factory=list)
    _other: list[tuple[int, NDArray[np.float64]]] = field(default_factory=list)

    def see(self, index: int, box_nm: NDArray[np.float64] | None) -> None:
        """Look at the box of a frame."""
        self._seen += 1
        if self.expected_nm is None:
            return
        if box_nm is None:
            self._missing.append(index)
        elif not same_shape(box_nm, self.expected_nm):
            self._other.append((index, box_nm))

    def remarks(self, name: str) -> list[str]:
        """What was found in the trajectory of a name, a sentence each."""
        found = []
        if self._missing:
            found.append(
                f"{name}: {len(self._missing)} of {self._seen} frames have no periodic box (none, "
                f"or zeros; the first is frame {self._missing[0]}): {self.without}"
            )
        if self._other and self.expected_nm is not None:
            index, box = self._other[0]
            found.append(
                f"{name}: the box of {len(self._other)} of {self._seen} frames has another shape "
                f"than that of {self.owner}: {_words(box)} in frame {index}, "
                f"{_words(self.expected_nm)} there"
            )
        return found


def same_shape(one_nm: NDArray[np.float64], other_nm: NDArray[np.float64]) -> bool:
    """Whether boxes differ in their size alone, whatever vectors [3, 3] span the lattice."""
    return bool(np.abs(_shape(one_nm) - _shape(other_nm)).max() < SAME_SHAPE)


def _shape(box_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of the shortest lattice vectors, whatever vectors span the lattice, and its size."""
    lengths = np.sort(np.linalg.norm(_STEPS @ box_nm, axis=1))[:NEIGHBOURS]
    return np.asarray(lengths / abs(np.linalg.det(box_nm)) ** (1 / 3))


def _words(box_nm: NDArray[np.float64]) -> str:
    edges = np.linalg.norm(box_nm, axis=1)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = [box_nm[i] @ box_nm[j] / (edges[i] * edges[j]) for i, j in pairs]
    lengths = " x ".join(f"{edge:.3f}" for edge in edges)
    angles = ", ".join(f"{angle:.0f}" for angle in np.degrees(np.arccos(cosines)))
    return f"{lengths} nm with angles of {angles} degrees"
