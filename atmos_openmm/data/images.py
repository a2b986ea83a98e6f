"""Molecules that frames show in another image of a periodic box which the file does not hold.

No molecule crosses half a box between two frames: one that moves so far as a whole, beside the
largest molecule, was wrapped. So was one that moves less far and straight back.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from ..trajectories.topology import SoluteTopology
from .faults import Fault

__all__ = ["MoleculeJumps"]

FARTHEST_NM = 2.0
"""What a molecule moves between frames at most, with `PER_ROOT_NS` for the time between them: a
small molecule in water diffuses 2.4 nm in 1 ns."""
PER_ROOT_NS = 4.0
RETURNING_NM = 1.5
"""A jump at least so long, and one back, are images."""
ALIKE = 0.3
"""How far a jump back ends from its start, in parts of its length."""
RIGID = 0.5
"""Atoms of a molecule that was wrapped move alike, within this part of its jump."""
MOST_LISTED = 5


class MoleculeJumps:
    """Follows the molecules of a sample through its frames.

    Parameters
    ----------
    topology : openmm.app.Topology
    spacing_ps : float
        Time between frames.
    """

    def __init__(self, topology: Any, spacing_ps: float) -> None:
        count = topology.getNumAtoms()
        self._molecules = SoluteTopology(topology, np.arange(count)).molecules
        self._residues = [atom.residue for atom in topology.atoms()]
        self._limit_nm = FARTHEST_NM + PER_ROOT_NS * float(np.sqrt(spacing_ps / 1000.0))
        self._first: NDArray[Any] | None = None
        self._last: NDArray[Any] | None = None
        self._steps: list[NDArray[np.float64]] = []

    def see(self, frames: NDArray[Any]) -> None:
        """Look at the frames [F, A, 3] that come next, in nm."""
        if len(self._molecules) < 2 or len(self._molecules[0]) < 3:
            return
        anchor = self._molecules[0]
        if self._first is None:
            self._first = frames[0]
        # Beside the largest molecule, in whatever way the frames are turned.
        placed = superpose(frames, self._first, anchor) if self._sound(frames) else frames
        joined = placed if self._last is None else np.concatenate([self._last[None], placed])
        self._last = placed[-1]
        with np.errstate(invalid="ignore"):  # of frames that are not finite
            moves = np.diff(joined, axis=0)
        for move in moves:
            steps = np.zeros((len(self._molecules), 3))
            for k, atoms in enumerate(self._molecules[1:], start=1):
                step = move[atoms].mean(axis=0)
                spread = np.sqrt(((move[atoms] - step) ** 2).sum(axis=-1).mean())
                if spread < RIGID * np.linalg.norm(step):
                    steps[k] = step
            self._steps.append(steps)

    def _sound(self, frames: NDArray[Any]) -> bool:
        """Whether frames can be superposed; those that are not finite are another fault."""
        first = self._first
        return bool(first is not None and np.isfinite(first).all() and np.isfinite(frames).all())

    def faults(self, fault: partial[Fault]) -> Iterator[Fault]:
        """Which molecules are elsewhere, and in which frames."""
        found = [
            (molecule, jumps)
            for molecule in range(1, len(self._molecules))
            if (jumps := self._jumps(molecule))
        ]
        if not found:
            return
        molecule, jumps = found[0]
        first, length = next(iter(jumps.items()))
        others = f" (so do {len(found) - 1} other molecules)" if len(found) > 1 else ""
        away = self._away(molecule, jumps)
        listed = ", ".join(map(str, away[:MOST_LISTED])) + (", ..." * (len(away) > MOST_LISTED))
        back = "" if away and away[-1] == len(self._steps) else ", and comes back"
        yield fault(
            "image",
            f"{self._name(molecule)} moves as a whole by {length:.1f} nm from frame {first} to "
            f"{first + 1}{back}{others}: it is written in another image of the periodic box in "
            f"{len(away)} frames ({listed}). This is no unbinding: bring the molecules of each "
            "frame together, by the box of the simulation.",
        )

    def _jumps(self, molecule: int) -> dict[int, float]:
        """Lengths of a molecule's jumps, by the frame that each goes from."""
        steps = np.array([step[molecule] for step in self._steps])
        lengths = np.linalg.norm(steps, axis=-1)
        far = set(np.flatnonzero(lengths > self._limit_nm).tolist())
        some = np.flatnonzero(lengths > RETURNING_NM).tolist()
        for k, one in enumerate(some):
            for other in some[k + 1 :]:
                if np.linalg.norm(steps[one] + steps[other]) < ALIKE * lengths[one]:
                    far |= {one, other}
                    break
        return {k: float(lengths[k]) for k in sorted(far)}

    def _away(self, molecule: int, jumps: dict[int, float]) -> list[int]:
        """Frames in which a molecule is not in the image of the first frame."""
        offset, away = np.zeros(3), []
        for frame in range(1, len(self._steps) + 1):
            if frame - 1 in jumps:
                offset = offset + self._steps[frame - 1][molecule]
                if np.linalg.norm(offset) < ALIKE * jumps[frame - 1]:
                    offset = np.zeros(3)
            if offset.any():
                away.append(frame)
        return away

    def _name(self, molecule: int) -> str:
        """A molecule by its residues."""
        atoms = self._molecules[molecule]
        first, last = self._residues[int(atoms[0])], self._residues[int(atoms[-1])]
        if first is last:
            return f"{first.name} {first.id} of chain {first.chain.id}"
        return f"{first.name} {first.id} to {last.name} {last.id} of chain {first.chain.id}"
