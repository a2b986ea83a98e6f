"""What a run says about itself: the progress line, and the table at its end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..core.progress import duration
from ..jump.proposal import REASONS
from .layout import failures, nanoseconds, ns_per_day, seconds_left, share, table
from .tables import Rows, reasons_of


@dataclass(frozen=True)
class Progress:
    """A run after a round of one cycle for every walker.

    Attributes
    ----------
    cycle, cycles : int
        cycles completed by each walker, and when the run ends at the latest
    walkers : int
        number of walkers
    reasons : Counter
        proposals by verdict, in this process and before
    generated, wanted : int
        valid generated frames, and how many were asked for (0: no number was asked for)
    elapsed_s : float
        wall-clock time of this process in the run's loop
    new_cycles : int
        cycles made by this process
    cycle_md_ps : float
        MD time of a cycle
    lag_ps : float
        time that one accepted jump skips
    """

    cycle: int
    cycles: int
    walkers: int
    reasons: Counter[str]
    generated: int
    wanted: int
    elapsed_s: float
    new_cycles: int
    cycle_md_ps: float
    lag_ps: float

    @property
    def proposed(self) -> int:
        """Number of proposals."""
        return sum(self.reasons.values())

    @property
    def acceptance(self) -> float:
        """Accepted share of the proposals; NaN before the first."""
        return self.reasons["accepted"] / self.proposed if self.proposed else math.nan

    @property
    def ns_per_day(self) -> float:
        """Molecular dynamics of all walkers together, in ns per day of wall-clock time."""
        return ns_per_day(self.new_cycles * self.walkers * self.cycle_md_ps, self.elapsed_s)

    @property
    def remaining_s(self) -> float:
        """Estimated time to the end; NaN while nothing is known."""
        left = float(self.cycles - self.cycle)
        if self.wanted and self.cycle:
            if self.generated == 0:
                return math.nan
            cycles_a_frame = self.cycle / self.generated
            left = min(left, max(0, self.wanted - self.generated) * cycles_a_frame)
        return seconds_left(left, self.new_cycles, self.elapsed_s)

    def line(self) -> str:
        """One line for the terminal."""
        parts = [f"cycle {self.cycle}/{self.cycles}"]
        if self.wanted:
            parts.append(f"valid frames {self.generated}/{self.wanted}")
        if self.proposed:
            parts.append(f"accepted {100 * self.acceptance:.0f} % of {self.proposed}")
            rejected = failures(self.reasons)
            if rejected:
                parts.append(f"rejected: {rejected}")
        else:
            parts.append("no proposal yet (learning the energy window)")
        parts.append(f"MD {_short(self.ns_per_day)} ns/day")
        parts.append(f"ETA {duration(self.remaining_s)}")
        return "  ".join(parts)


@dataclass(frozen=True)
class RunSummary:
    """What a run has come to.

    Attributes
    ----------
    cycles, walkers : int
        cycles completed by each walker; number of walkers
    frames, valid_frames, generated : int
        trajectory frames; those that pass screen and window; those of them that end a cycle opened
        by an accepted jump
    reasons : Counter
        proposals by verdict
    stages : Counter
        accepted proposals by number of relaxation stages
    md_ps, learned_ps : float
        MD time and time skipped by accepted jumps, all walkers together
    walltime_s : float
        of all processes that worked on the run
    energies_kj_per_mol : dict
        median potential energies of proposals: "before", "raw", "after" (accepted ones)
    rmsd_nm : float
        median RMSD from the raw to the accepted frame; NaN where nothing was accepted
    complete : bool
        whether what was asked for was reached
    message : str
        where it was not: why
    """

    cycles: int
    walkers: int
    frames: int
    valid_frames: int
    generated: int
    reasons: Counter[str]
    stages: Counter[int]
    md_ps: float
    learned_ps: float
    walltime_s: float
    energies_kj_per_mol: dict[str, float]
    rmsd_nm: float
    complete: bool = True
    message: str = ""

    def __str__(self) -> str:
        proposed = sum(self.reasons.values())
        rows = [
            ("walkers x cycles", f"{self.walkers} x {self.cycles}"),
            ("molecular dynamics", nanoseconds(self.md_ps)),
            ("learned time", nanoseconds(self.learned_ps)),
            ("wall-clock time", duration(self.walltime_s)),
            ("frames written", f"{self.frames} ({self.valid_frames} valid)"),
            ("valid generated frames", f"{self.generated}"),
            ("proposals", f"{proposed}"),
        ]
        for name in REASONS:
            count = self.reasons[name]
            if count:
                rows.append(share(name, count, proposed))
        for stage, count in sorted(self.stages.items()):
            label = "accepted without relaxation" if stage == 0 else f"accepted after stage {stage}"
            rows.append((label, f"{count}"))
        for name, value in self.energies_kj_per_mol.items():
            if math.isfinite(value):
                rows.append((f"median energy {name}", f"{value:.1f} kJ/mol"))
        if math.isfinite(self.rmsd_nm):
            rows.append(("median RMSD raw to accepted", f"{self.rmsd_nm:.4f} nm"))
        return table(rows, self.message)


def summarize(
    rows: Rows,
    *,
    cycles: int,
    walkers: int,
    step_ps: float,
    lag_ps: float,
    walltime_s: float,
    complete: bool = True,
    message: str = "",
) -> RunSummary:
    """Count what the tables of a run hold."""
    proposals, frames = rows.proposals, rows.frames
    accepted = proposals["reason"] == REASONS.index("accepted")
    energies = {
        "before": proposals["energy_before_kj_per_mol"],
        "raw": proposals["energy_raw_kj_per_mol"],
        "after": proposals["energy_after_kj_per_mol"][accepted],
    }
    return RunSummary(
        cycles=cycles,
        walkers=walkers,
        frames=len(frames["frame"]),
        valid_frames=int((frames["verdict"] == REASONS.index("accepted")).sum()),
        generated=int(frames["generated"].sum()),
        reasons=reasons_of(proposals["reason"]),
        stages=Counter(int(stage) for stage in proposals["stage"][accepted]),
        md_ps=float(rows.segments["steps"].sum()) * step_ps,
        learned_ps=float(accepted.sum()) * lag_ps,
        walltime_s=walltime_s,
        energies_kj_per_mol={name: _median(values) for name, values in energies.items()},
        rmsd_nm=_median(proposals["rmsd_raw_to_after_nm"][accepted]),
        complete=complete,
        message=message,
    )


def why_too_few(generated: int, wanted: int, limit: int, reasons: Counter[str]) -> str:
    """Why there are fewer valid frames than were asked for, after so many cycles."""
    proposed = sum(reasons.values())
    text = f"Only {generated} of {wanted} valid frames after {limit} cycles: "
    if proposed == 0:
        return text + (
            "nothing was proposed yet, because the energy window was still being learned. "
            "Allow more cycles."
        )
    text += f"{reasons['accepted']} of {proposed} proposals were accepted"
    rejected = failures(reasons)
    if rejected:
        text += f" (rejected: {rejected})"
    lost = reasons["accepted"] - generated
    if lost:
        text += f", and {lost} accepted frames were no longer valid after the dynamics"
    text += ". Allow more cycles"
    if reasons["energy"]:
        text += ", relax proposals or widen the energy window"
    return text + "."


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
