"""Exact runs: moves of torsions, tested by Metropolis, that keep Boltzmann's distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jump.torsion_moves import TorsionMoves
from .exact_adaptation import adapt_density
from .exact_averages import averages_of
from .exact_progress import ExactProgress, ExactSummary
from .exact_starts import make_starts
from .exact_storage import (
    EXACT_RUN,
    ExactFolder,
    density_digest,
    read_density_record,
)
from .exact_walker import ExactWalker, create_exact_walkers
from .hot_replicas import WalkerLadder
from .hybrid_settings import Moves
from .hybrid_state import HybridState
from .run_mode import Advance, RunMode, Sampled

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..systems.torsions import Torsions

NO_VALID_FRAMES = (
    "An exact run has no valid generated frames: all of its frames are samples of Boltzmann's "
    "distribution, each of weight 1. Ask for a number of cycles."
)


class ExactRun(RunMode):
    """Walkers that turn torsions with acceptance "metropolis".

    Parameters
    ----------
    sampled : Sampled
    moves : Moves
        Of the plan.
    torsions : Torsions
        What is turned.
    density : TorsionDensity
        What new torsions are drawn from.
    source : str
        Where the density comes from, for the reader.
    told : function, optional
        Called with an ExactProgress while the density is adapted.

    Raises
    ------
    ValueError
        There is nothing to turn, or the density is one of another molecule.
    """

    folder: ExactFolder

    def __init__(
        self,
        sampled: Sampled,
        moves: Moves,
        torsions: Torsions,
        density: TorsionDensity,
        source: str,
        told: Callable[[ExactProgress], None] | None = None,
    ) -> None:
        # It knows what moves need, and says what is wrong.
        TorsionMoves(torsions, density, moves.shares)
        self._sampled = sampled
        self._moves = moves
        self._torsions = torsions
        self._given = density
        self._source = source
        self._told = told
        self.walkers: list[ExactWalker] = []
        self.ladders: list[WalkerLadder] = []

    def make_folder(
        self, path: str | Path, settings: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> ExactFolder:
        sampled = {
            "kind": EXACT_RUN,
            "torsions": list(self._torsions.names),
            "density": self._source,
            "density_sha256": density_digest(self._given),
        }
        left = {"left_to_dynamics": list(self._torsions.notes)}
        self.folder = ExactFolder(path, {**settings, **sampled}, {**notes, **left})
        return self.folder

    def take_up(self) -> HybridState:
        sampled = self._sampled
        state = self.folder.open_tables(
            sampled.topology,
            len(sampled.starts_nm),
            sampled.frame_interval_ps,
            len(self._torsions),
        )
        if state is None:
            return self._start()
        if not self.walkers:
            self._create(self.folder.read_density())
        for walker, saved in zip(self.walkers, state.walkers, strict=True):
            walker.restore(saved)
        hot = len(self._moves.hot_k)
        for index, (ladder, counters) in enumerate(zip(self.ladders, state.ladders, strict=True)):
            ladder.restore(state.replicas[index * hot : (index + 1) * hot], counters)
        return state

    def _create(self, density: TorsionDensity) -> None:
        sampled, moves, torsions = self._sampled, self._moves, self._torsions
        self.walkers = create_exact_walkers(sampled, moves, torsions, density)
        if moves.hot_k:
            self.ladders = [
                WalkerLadder(walker, sampled, moves, torsions, density) for walker in self.walkers
            ]

    def _start(self) -> HybridState:
        """Write the topology, make the walkers of a new run ready, adapt the density; commit."""
        sampled, moves = self._sampled, self._moves
        self.folder.write_system(sampled.topology, sampled.starts_nm[0], sampled.system)
        walkers = create_exact_walkers(sampled, moves, self._torsions, self._given)
        drawn = self._given if moves.starts == "density" else None
        record: dict[str, Any] = {"source": self._source}
        record["starts"] = make_starts(walkers, sampled, self._torsions, drawn)
        given_apart = bool(np.ptp(sampled.starts_nm, axis=0).any())
        record["same_start"] = not given_apart and "drawn" not in record["starts"]
        density = self._given
        if moves.adapt:
            density, record["adaptation"] = adapt_density(
                walkers, sampled, moves, self._torsions, density, self._tell_adaptation
            )
        self._create(density)
        for walker, ready in zip(self.walkers, walkers, strict=True):
            walker.follow(ready)
        for ladder in self.ladders:
            ladder.start()
        self.folder.write_density(density, self._given, record)
        # Committed at once: what comes after goes on from here, also after a kill.
        self.write(0, 0.0)
        return self._state(0, 0.0)

    def _tell_adaptation(self, cycle: int, cycles: int, elapsed_s: float) -> None:
        if self._told is not None:
            self._told(
                ExactProgress(
                    cycle=cycle,
                    cycles=cycles,
                    walkers=len(self._sampled.starts_nm),
                    proposed=0,
                    accepted=0,
                    elapsed_s=elapsed_s,
                    new_cycles=cycle,
                    cycle_md_ps=self._cycle_md_ps,
                    stage="adapting",
                )
            )

    @property
    def _cycle_md_ps(self) -> float:
        return self._moves.interval * self._sampled.plan.dynamics.step_ps

    def run_cycle(self, cycle: int) -> None:
        for walker in self.walkers:
            walker.run_cycle(cycle)
        for ladder in self.ladders:
            ladder.run_cycle(cycle)

    def has_news(self) -> bool:
        return any(walker.move_rows for walker in self.walkers)

    def write(self, cycle: int, walltime_s: float) -> None:
        new = [walker.new_rows() for walker in self.walkers]
        tables = {}
        for name, parts in zip(("moves", "frames"), zip(*new, strict=True), strict=True):
            rows = np.concatenate(parts)
            order = np.argsort(rows["cycle"], kind="stable")
            tables[name] = rows[order]
        state = self._state(cycle, walltime_s)
        self.folder.commit([walker.frames for walker in self.walkers], tables, state)
        for walker in self.walkers:
            walker.forget()

    def _state(self, cycle: int, walltime_s: float) -> HybridState:
        walkers = tuple(walker.state() for walker in self.walkers)
        replicas = [r.context.createCheckpoint() for each in self.ladders for r in each.replicas]
        counters = tuple(ladder.exchanges.counters() for ladder in self.ladders)
        return HybridState(cycle, walltime_s, 0, Counter(), walkers, tuple(replicas), counters)

    def _exchanges(self) -> dict[str, tuple[int, int]]:
        """Exchanges of all ladders, tried and accepted, by pair of temperatures."""
        if not self.ladders:
            return {}
        kelvin = [self._sampled.plan.dynamics.temperature_k, *self._moves.hot_k]
        tried = np.sum([ladder.exchanges.tried for ladder in self.ladders], axis=0)
        accepted = np.sum([ladder.exchanges.accepted for ladder in self.ladders], axis=0)
        names = [f"{cold:g}-{hot:g} K" for cold, hot in pairwise(kelvin)]
        return dict(zip(names, zip(tried.tolist(), accepted.tolist(), strict=True), strict=True))

    def reached(self, wanted: int) -> bool:
        return False

    def last_cycle(
        self, cycles: int | None, valid_frames: int | None, max_cycles: int | None
    ) -> int:
        if valid_frames is not None:
            raise ValueError(NO_VALID_FRAMES)
        return self._sampled.plan.last_cycle(cycles, valid_frames, max_cycles)

    def progress(self, advance: Advance) -> ExactProgress:
        counts = [walker.tests() for walker in self.walkers]
        return ExactProgress(
            cycle=advance.cycle,
            cycles=advance.limit,
            walkers=len(self.walkers),
            proposed=sum(proposed for proposed, _ in counts),
            accepted=sum(accepted for _, accepted in counts),
            elapsed_s=advance.elapsed_s,
            new_cycles=advance.new_cycles,
            cycle_md_ps=self._cycle_md_ps,
        )

    def summary(self, advance: Advance, walltime_s: float, stopped: bool) -> ExactSummary:
        complete = advance.cycle >= advance.limit
        return ExactSummary(
            cycles=advance.cycle,
            walkers=len(self.walkers),
            frames=sum(walker.frame_count for walker in self.walkers),
            md_ps=advance.cycle * self._cycle_md_ps * len(self.walkers),
            walltime_s=walltime_s,
            averages=averages_of(self.folder.path),
            density=read_density_record(self.folder.path),
            complete=complete,
            exchanges=self._exchanges(),
            round_trips=sum(ladder.exchanges.round_trips for ladder in self.ladders),
            message="" if complete else advance.stopped_text(),
        )
