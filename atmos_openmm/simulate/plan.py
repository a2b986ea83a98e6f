"""The plan of a run: stretches of one mode, cut into chunks of blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .simulation_settings import SimulationSettings

__all__ = ["Chunk", "RunPlan"]

# In 1 ps a molecule of 100 dalton at 520 K diffuses by 0.3 nm along an axis (kT / (m friction)),
# a fifth of the room that `packing` leaves between copies.
RECENTRE_PS = 1.0


@dataclass(frozen=True)
class Chunk:
    """What is run and committed at a time.

    Attributes
    ----------
    mode : str
        ``dynamics`` or ``exchange``.
    phase : str
        ``hot``, ``burn-in`` or ``stored``.
    first_block : int
        Number of its first block within the phase.
    blocks : int
    """

    mode: str
    phase: str
    first_block: int
    blocks: int


@dataclass(frozen=True)
class RunPlan:
    """How a run proceeds, a function of its settings.

    Copies go back to their sites after each block, so that a block is short however far apart the
    frames are.

    Attributes
    ----------
    block_ps : float
        Length of a block.
    frame_blocks, exchange_blocks : int
        Blocks between frames, and between attempts to exchange.
    chunks : tuple of Chunk
    """

    block_ps: float
    frame_blocks: int
    exchange_blocks: int
    chunks: tuple[Chunk, ...]

    @staticmethod
    def of(settings: SimulationSettings) -> RunPlan:
        """The plan of a run with these settings."""
        exchanging = settings.mode != "dynamics"
        block = settings.interval_ps
        if exchanging:
            block = min(block, settings.exchange_interval_ps)
        block /= math.ceil(block / RECENTRE_PS - 1e-9)
        return RunPlan(
            block,
            round(settings.interval_ps / block),
            round(settings.exchange_interval_ps / block) if exchanging else 1,
            tuple(_chunks(settings, block)),
        )

    def blocks_before(self, number: int) -> int:
        """Blocks of the first `number` chunks."""
        return sum(chunk.blocks for chunk in self.chunks[:number])

    def begins_mode(self, number: int) -> bool:
        """Whether a chunk is the first of its mode, which starts from fresh copies."""
        return number == 0 or self.chunks[number - 1].mode != self.chunks[number].mode


def _chunks(settings: SimulationSettings, block_ps: float) -> Iterator[Chunk]:
    size = max(1, round(settings.chunk_ps / block_ps))
    for mode in ("dynamics", "exchange"):
        if settings.mode not in (mode, "both"):
            continue
        hot_ps = settings.hot_ps if mode == "exchange" else 0.0
        for phase, length_ps in (
            ("hot", hot_ps),
            ("burn-in", settings.burn_in_ps),
            ("stored", settings.length_ps),
        ):
            blocks = round(length_ps / block_ps)
            for first in range(0, blocks, size):
                yield Chunk(mode, phase, first, min(size, blocks - first))
