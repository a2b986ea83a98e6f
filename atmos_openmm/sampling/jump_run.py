"""Hybrid runs that explore: learned jumps that are screened or filtered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .hybrid_state import HybridState
from .moving_walker import thermostat_seed
from .progress import Progress, RunSummary, summarize, why_too_few
from .run_mode import Advance, RunMode, Sampled
from .start import check_hand, make_ready
from .storage import HybridFolder, read_run
from .tables import TABLES, packed_records
from .walker import Walker, create_walkers

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator
    from .hybrid_settings import Jumps


class JumpRun(RunMode):
    """Walkers that jump with a propagator, with acceptance "filter" or "none".

    Parameters
    ----------
    sampled : Sampled
    propagator : AtmosPropagator
    jumps : Jumps
        Of the plan.
    """

    def __init__(self, sampled: Sampled, propagator: AtmosPropagator, jumps: Jumps) -> None:
        self._sampled = sampled
        self._propagator = propagator
        self._jumps = jumps
        self.walkers: list[Walker] = create_walkers(sampled, propagator, jumps)
        self._beginning: HybridState | None = None
        self._generated = 0
        self._reasons: Counter[str] = Counter()

    def make_folder(
        self, path: str | Path, settings: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> HybridFolder:
        model: dict[str, Any] = {
            "model": self._propagator.modelName,
            "model_sha256": self._propagator.fingerprint(),
            "solute_atoms": len(self._propagator.atomIndices),
        }
        moved = self._propagator.movedIndices
        if len(moved) < len(self._propagator.atomIndices):
            model["moved_atoms"] = moved
        self.folder = HybridFolder(path, {**settings, **model}, notes)
        return self.folder

    def take_up(self) -> HybridState:
        state = self.folder.open(
            self._sampled.topology,
            len(self.walkers),
            self._sampled.frame_interval_ps,
            self._sampled.plan.stored_atoms,
        )
        if state is None:
            if self._beginning is None:
                self._beginning = self._start()
            state = self._beginning
        for walker, saved in zip(self.walkers, state.walkers, strict=True):
            walker.restore(saved)
        self._generated = state.generated
        self._reasons = Counter(state.reasons)
        return state

    def _start(self) -> HybridState:
        """Write the topology, and make the walkers of a new run ready; where they are then."""
        sampled = self._sampled
        self.folder.write_system(sampled.topology, sampled.starts_nm[0], sampled.system)
        screen = self._propagator.getScreen(sampled.system)
        for walker in self.walkers:
            make_ready(
                walker.context,
                sampled.plan.dynamics,
                thermostat_seed(sampled.plan.seed, walker.index),
                sampled.topology,
                sampled.properties,
            )
            check_hand(self._propagator, screen, walker)
        return HybridState(0, 0.0, 0, Counter(), tuple(walker.state() for walker in self.walkers))

    def run_cycle(self, cycle: int) -> None:
        for walker in self.walkers:
            reason, valid = walker.run_cycle(cycle)
            if reason is not None:
                self._reasons[reason] += 1
            self._generated += valid

    def has_news(self) -> bool:
        return any(walker.rows["segments"] for walker in self.walkers)

    def write(self, cycle: int, walltime_s: float) -> None:
        walkers = tuple(walker.state() for walker in self.walkers)
        reasons = Counter(self._reasons)
        state = HybridState(cycle, walltime_s, self._generated, reasons, walkers)
        tables = {name: self._new_rows(name) for name in TABLES}
        self.folder.commit([walker.frames for walker in self.walkers], tables, state)
        for walker in self.walkers:
            walker.forget()

    def _new_rows(self, name: str) -> NDArray[Any]:
        """What is new in a table, in the order in which a run without commits would have it."""
        records = [record for walker in self.walkers for record in walker.rows[name]]
        records.sort(key=lambda record: (record["cycle"], record["walker"]))
        return packed_records(name, records, self._sampled.plan.stored_atoms)

    def reached(self, wanted: int) -> bool:
        return wanted > 0 and self._generated >= wanted

    def last_cycle(
        self, cycles: int | None, valid_frames: int | None, max_cycles: int | None
    ) -> int:
        return self._sampled.plan.last_cycle(cycles, valid_frames, max_cycles)

    def progress(self, advance: Advance) -> Progress:
        return Progress(
            cycle=advance.cycle,
            cycles=advance.limit,
            walkers=len(self.walkers),
            reasons=Counter(self._reasons),
            generated=self._generated,
            wanted=advance.wanted,
            elapsed_s=advance.elapsed_s,
            new_cycles=advance.new_cycles,
            cycle_md_ps=self._jumps.interval * self._sampled.plan.dynamics.step_ps,
            lag_ps=self._jumps.lag_ps,
        )

    def summary(self, advance: Advance, walltime_s: float, stopped: bool) -> RunSummary:
        """Count everything, and say why something was not reached."""
        complete = advance.cycle >= advance.limit
        if advance.wanted:
            complete = self._generated >= advance.wanted
        message = ""
        if not complete and stopped:
            message = advance.stopped_text()
        elif not complete:
            message = why_too_few(self._generated, advance.wanted, advance.limit, self._reasons)
        return summarize(
            read_run(self.folder.path, positions=False),
            cycles=advance.cycle,
            walkers=len(self.walkers),
            step_ps=self._sampled.plan.dynamics.step_ps,
            lag_ps=self._jumps.lag_ps,
            walltime_s=walltime_s,
            complete=complete,
            message=message,
        )
