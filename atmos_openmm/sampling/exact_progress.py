"""What an exact run says about itself: the progress line, and what is printed at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.progress import duration
from ..jump.torsion_moves import SERIES
from .averages import Averages
from .layout import nanoseconds, ns_per_day, seconds_left, share, table


@dataclass(frozen=True)
class ExactProgress:
    """An exact run after a round of one cycle for every walker.

    Attributes
    ----------
    cycle, cycles : int
        cycles completed by each walker, and when the run ends
    walkers : int
        number of walkers
    proposed, accepted : int
        moves, in this process and before
    elapsed_s : float
        wall-clock time of this process in the run's loop
    new_cycles : int
        cycles made by this process
    cycle_md_ps : float
        MD time of a cycle
    stage : str
        what comes before the run that counts: "adapting"; empty in the run
    """

    cycle: int
    cycles: int
    walkers: int
    proposed: int
    accepted: int
    elapsed_s: float
    new_cycles: int
    cycle_md_ps: float
    stage: str = ""

    @property
    def ns_per_day(self) -> float:
        """Molecular dynamics of all walkers together, in ns per day of wall-clock time."""
        return ns_per_day(self.new_cycles * self.walkers * self.cycle_md_ps, self.elapsed_s)

    @property
    def remaining_s(self) -> float:
        """Estimated time to the end; NaN while nothing is known."""
        return seconds_left(float(self.cycles - self.cycle), self.new_cycles, self.elapsed_s)

    def line(self) -> str:
        """One line for the terminal."""
        parts = [f"{self.stage or 'cycle'} {self.cycle}/{self.cycles}"]
        if self.proposed:
            shown = 100 * self.accepted / self.proposed
            parts.append(f"accepted {shown:.0f} % of {self.proposed} moves")
        if self.cycle_md_ps:
            parts.append(f"MD {self.ns_per_day:.3g} ns/day")
        parts.append(f"ETA {duration(self.remaining_s)}")
        return "  ".join(parts)


@dataclass(frozen=True)
class ExactSummary:
    """What an exact run has come to; prints with its averages.

    Attributes
    ----------
    cycles, walkers : int
        cycles completed by each walker; number of walkers
    frames : int
        trajectory frames, each of weight 1
    md_ps : float
        MD time, all walkers together
    walltime_s : float
        of all processes that worked on the run
    averages : Averages
        populations with errors
    density : dict
        how the density came about
    exchanges : dict of str to (int, int)
        tried and accepted exchanges of replicas by pair of temperatures
    round_trips : int
        ways of configurations from a walker to the hottest replica and back
    complete : bool
        whether what was asked for was reached
    message : str
        where it was not: why
    """

    cycles: int
    walkers: int
    frames: int
    md_ps: float
    walltime_s: float
    averages: Averages
    density: dict[str, object] = field(default_factory=dict)
    exchanges: dict[str, tuple[int, int]] = field(default_factory=dict)
    round_trips: int = 0
    complete: bool = True
    message: str = ""

    def __str__(self) -> str:
        averages = self.averages
        proposed, accepted = averages.tested
        rows = [
            ("walkers x cycles", f"{self.walkers} x {self.cycles}"),
            ("molecular dynamics", nanoseconds(self.md_ps)),
            ("wall-clock time", duration(self.walltime_s)),
            ("frames written", f"{self.frames}, each of weight 1"),
            ("density", str(self.density.get("source", "given"))),
        ]
        if averages.setup_seconds:
            rows.append(("adaptation before it", duration(averages.setup_seconds)))
        rows.append(("series" if SERIES in averages.moves else "moves", f"{proposed}"))
        if proposed:
            rows.append(share("accepted", accepted, proposed))
        if SERIES in averages.moves:
            rows.append(("trials by kind, tested with the surrogate", ""))
        for kind, (tried, taken) in averages.moves.items():
            if kind == SERIES:
                continue
            rows.append((f"  {kind}", f"{taken} of {tried} ({100 * taken / tried:.1f} %)"))
        for pair, (tried, taken) in self.exchanges.items():
            rows.append((f"exchanges {pair}", f"{taken} of {tried}"))
        if self.exchanges:
            rows.append(("round trips through the ladder", f"{self.round_trips}"))
        if averages.trajectories[0]:
            rows.append(("HMC trajectories", f"{averages.trajectories[0]}"))
            rows.append(share("accepted", averages.trajectories[1], averages.trajectories[0]))
        left_out = f"The first {averages.discarded} frames of each walker are left out."
        return f"{table(rows, self.message)}\n\n{averages}\n\n{left_out}"
