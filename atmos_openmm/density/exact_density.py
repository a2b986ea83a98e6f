"""The values and draws of an explicit density of all torsions, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..core.text import listed
from .block_density import BlockDensity, Draws, Gates
from .block_layout import block_slices, check_layout
from .wrapped_normal import FloatArray

__all__ = ["DEFAULT_UNIFORM_WEIGHT", "ExactDensity"]

DEFAULT_UNIFORM_WEIGHT = 0.02


@dataclass(frozen=True, eq=False)
class ExactDensity:
    """What `TorsionDensity` is once it has been made; its fields are described there."""

    names: tuple[str, ...]
    block_sizes: tuple[int, ...]
    previous: tuple[int, ...]
    blocks: tuple[BlockDensity, ...]
    uniform_weight: float = DEFAULT_UNIFORM_WEIGHT
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "block_sizes", tuple(int(n) for n in self.block_sizes))
        object.__setattr__(self, "previous", tuple(int(n) for n in self.previous))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "notes", tuple(str(note) for note in self.notes))
        check_layout(self.names, self.block_sizes, self.previous)
        if not 0.0 < self.uniform_weight <= 1.0:
            raise ValueError(
                f"uniform_weight is {self.uniform_weight}; it must be above 0, so that every place "
                "can be reached, and at most 1."
            )
        found = [block.size for block in self.blocks]
        if found != list(self.block_sizes):
            raise ValueError(f"The blocks have {found} torsions, expected {self.block_sizes}.")
        for number, block in enumerate(self.blocks):
            self._check_gates(number, block)

    def _check_gates(self, number: int, block: BlockDensity) -> None:
        own = self.block_slices[number]
        for g, torsion in enumerate(block.gate_torsions.tolist()):
            if torsion >= len(self.names) or own.start <= torsion < own.stop:
                raise ValueError(
                    f"Block {number} has a gate on torsion {torsion}, which must be one of "
                    f"0..{len(self.names) - 1} outside of {own.start}..{own.stop - 1}."
                )
            if torsion >= own.stop and block.sequential[:, 1 + 2 * g : 3 + 2 * g].any():
                raise ValueError(
                    f"The sequential gates of block {number} depend on torsion {torsion} of a "
                    "later block; only earlier blocks are known when it is drawn."
                )

    @cached_property
    def block_slices(self) -> tuple[slice, ...]:
        """Where the torsions of each block stand."""
        return block_slices(self.block_sizes)

    def check(self, names: Sequence[str]) -> None:
        """Check that the density is one of the molecule with these torsions.

        Raises
        ------
        ValueError
            With the differences, if it is not.
        """
        here, given = list(self.names), [str(name) for name in names]
        if here == given:
            return
        missing = [name for name in given if name not in set(here)]
        other = [name for name in here if name not in set(given)]
        parts = []
        if missing:
            parts.append(f"it lacks {listed(missing)}")
        if other:
            parts.append(f"it has {listed(other)}, which the molecule has not")
        if not parts:
            parts.append("their order differs")
        raise ValueError(
            f"The density is one of another molecule: {'; '.join(parts)}. Make one for this "
            "molecule."
        )

    def log_density(self, torsions: ArrayLike) -> FloatArray:
        """Log of the joint density, in 1/rad^T: blocks in turn, without local components.

        Parameters
        ----------
        torsions : array [F, T]
            In radians, any period.

        Returns
        -------
        float64 array [F]
        """
        return self.log_blocks(torsions, "sequential").sum(axis=1)

    def log_blocks(self, torsions: ArrayLike, gates: Gates = "conditional") -> FloatArray:
        """Logs of each block's density [F, B] given the other torsions of each frame [F, T].

        Local components are left out. Sequential ones sum to the joint log density.
        """
        t = self._frames(torsions)
        columns = [
            block.log_density(t, where, self.uniform_weight, gates)
            for block, where in zip(self.blocks, self.block_slices, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(t), 0))

    def log_block(
        self, block: int, to: ArrayLike, at: ArrayLike, gates: Gates = "sequential"
    ) -> float:
        """Log of the density with which a block's torsions are drawn.

        Parameters
        ----------
        block : int
        to : array [d]
            Torsions of the block, where the density is asked for.
        at : array [T]
            All torsions, for the gates and the centre of the local component.
        gates : str
            "sequential" or "conditional"
        """
        here = np.asarray(at, dtype=np.float64)
        return self.blocks[block].log_density_at(
            np.asarray(to, dtype=np.float64),
            here,
            self.block_slices[block],
            self.uniform_weight,
            gates,
        )

    def draw_block(
        self,
        block: int,
        free: Sequence[int],
        at: ArrayLike,
        draws: Draws,
        gates: Gates = "sequential",
    ) -> FloatArray:
        """Draw some torsions of a block given all others, exactly from the density.

        One uniform number picks the component, and the image of the given torsions, or the uniform
        part; then come the normals, or uniform numbers, of the free torsions in their order.

        Parameters
        ----------
        block : int
        free : sequence of int
            Which torsions of the block are drawn, counted within it, ascending.
        at : array [T]
            All torsions, for the given ones, the gates and the centre of the local component.
        draws : Draws
        gates : str
            "sequential" or "conditional"

        Returns
        -------
        float64 array [d]
            Torsions of the block in (-pi, pi]; those that are not free are as they were.
        """
        here = np.asarray(at, dtype=np.float64)
        return self.blocks[block].draw(
            free, here, self.block_slices[block], self.uniform_weight, draws, gates
        )

    def draw(self, count: int, seed: int = 0) -> FloatArray:
        """Draw independent torsions [count, T] from the joint density.

        Parameters
        ----------
        count : int
        seed : int
            Of numpy's generator; the same seed gives the same numbers.
        """
        generator = np.random.default_rng(seed)
        out = np.zeros((count, len(self.names)))
        for block, where in zip(self.blocks, self.block_slices, strict=True):
            out[:, where] = block.sample(out, self.uniform_weight, generator)
        return out

    def _frames(self, torsions: ArrayLike) -> FloatArray:
        t = np.asarray(torsions, dtype=np.float64)
        if t.ndim != 2 or t.shape[1] != len(self.names):
            raise ValueError(
                f"torsions have shape {list(t.shape)}; expected [frames, {len(self.names)}]."
            )
        return t
