"""Lines about how far a run is and when it will end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.progress import Pace, duration
from .plan import RunPlan

__all__ = ["SimulationProgress"]


class SimulationProgress:
    """Tells how far a run is.

    Parameters
    ----------
    name : str
        The molecule.
    plan : RunPlan
    replicas : int
        Copies at all temperatures.
    committed : int
        Chunks that were there before.
    tell : callable, optional
        Called with a line of text and whether it is the last.
    """

    def __init__(
        self,
        name: str,
        plan: RunPlan,
        replicas: int,
        committed: int,
        tell: Callable[[str, bool], None] | None,
    ) -> None:
        self._name, self._plan, self._replicas = name, plan, replicas
        self._tell = tell or (lambda line, last: None)
        before = plan.blocks_before(committed)
        self._total = plan.blocks_before(len(plan.chunks))
        self._pace = Pace(self._total, before)
        if committed:
            self._tell(f"{name}: going on after {before * plan.block_ps:g} ps", False)

    def chunk_done(self, number: int) -> None:
        """Tell of a chunk that was committed."""
        pace, block_ps = self._pace, self._plan.block_ps
        pace.done = self._plan.blocks_before(number + 1)
        chunk = self._plan.chunks[number]
        ns_per_day = pace.per_second * block_ps * self._replicas * 86.4
        self._tell(
            f"{self._name}: {chunk.mode} {chunk.phase} {pace.done * block_ps:g} of "
            f"{self._total * block_ps:g} ps, {self._replicas} replicas, {ns_per_day:.0f} ns/day, "
            f"{duration(pace.remaining_s)} left",
            False,
        )

    def finished(self, out: Path) -> None:
        """Tell that the file is there."""
        self._tell(f"{self._name}: wrote {out}", True)
