"""What a generator said about a molecule's basins, and what an exact run from its frames says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.files import write_atomically
from ..core.text import aligned
from .averages import Averages, BasinAverage

__all__ = ["BasinChange", "Reweighted", "compare_basins"]

FORMAT = "atmos-openmm-reweighted"
VERSION = 1
JSON_FILE = "reweighted.json"

#: A basin counts as missing or invented where one side has at least this population and the other
#: less than this part of it.
LEAST_POPULATION = 0.01
PART = 0.1
#: Standard errors of a difference that is one.
ERRORS = 3.0


@dataclass(frozen=True)
class BasinChange:
    """One basin before and after.

    Attributes
    ----------
    torsion, basin : str
    before, before_error : float
        Population in the generator's frames, and its standard error (NaN where it is not known).
    after, after_error : float
        In the exact run.
    verdict : str
        "agrees"; "differs", by more than three standard errors; "missing" where the generator has
        less than a tenth of it; "invented" where it has ten times too much; "not known" where
        the run cannot tell.
    """

    torsion: str
    basin: str
    before: float
    before_error: float
    after: float
    after_error: float
    verdict: str


@dataclass(frozen=True)
class Reweighted:
    """The result of `reweight`; prints as a table.

    Attributes
    ----------
    frames : str
        Whose populations are compared.
    before, after : Averages
        Of the generator's frames, and of the exact run.
    changes : tuple of BasinChange
    complete : bool
        Whether the run has the cycles that were asked for.
    notes : tuple of str
        What was found and chosen on the way.
    """

    frames: str
    before: Averages
    after: Averages
    changes: tuple[BasinChange, ...]
    complete: bool = True
    notes: tuple[str, ...] = ()

    def of(self, verdict: str) -> tuple[BasinChange, ...]:
        """The basins of one verdict."""
        return tuple(change for change in self.changes if change.verdict == verdict)

    def __str__(self) -> str:
        rows = [["basin", "frames say", "+-", "run says", "+-", "verdict"]]
        for each in self.changes:
            numbers = (each.before, each.before_error, each.after, each.after_error)
            shown = ["-" if math.isnan(number) else f"{number:.4f}" for number in numbers]
            rows.append([f"{each.torsion}  {each.basin}", *shown, each.verdict])
        lines = aligned(rows)
        lines += [f"NOTE: {note}" for note in self.notes]
        lines += [f"WARNING: {warning}" for warning in self.after.warnings]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """As reweighted.json keeps it."""
        changes = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            for row in map(asdict, self.changes)
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "frames": self.frames,
            "complete": self.complete,
            "notes": list(self.notes),
            "basins": changes,
            "before": self.before.plain(),
            "after": self.after.plain(),
        }

    def write(self, folder: str | Path) -> Path:
        """Write `reweighted.json`; returns its path.

        Raises
        ------
        OSError
        """
        path = Path(folder) / JSON_FILE
        write_atomically(path, json.dumps(self.plain(), indent=2, allow_nan=False).encode())
        return path


def compare_basins(
    before: Sequence[BasinAverage],
    after: Sequence[BasinAverage],
    frames: int,
    largest_r_hat: float,
) -> tuple[BasinChange, ...]:
    """Basins that somebody's frames and an exact run have in common, with verdicts.

    Parameters
    ----------
    before, after : sequence of BasinAverage
        Of the same basins.
    frames : int
        How many there are of the first.
    largest_r_hat : float
        Of a basin on which the run's walkers agree.
    """
    return tuple(
        BasinChange(
            old.torsion,
            old.basin,
            old.population,
            old.error,
            new.population,
            new.error,
            _verdict(old, new, frames, largest_r_hat),
        )
        for old, new in zip(before, after, strict=True)
    )


def _verdict(old: BasinAverage, new: BasinAverage, frames: int, largest_r_hat: float) -> str:
    if math.isnan(new.population) or new.r_hat > largest_r_hat:
        return "not known"
    before, after = old.error, new.error
    if math.isnan(before):
        # Frames among which nothing varies: what as many would show if the run were right.
        before = math.sqrt(new.population * (1 - new.population) / frames)
    if math.isnan(after):
        after = 0.0
    if abs(old.population - new.population) <= ERRORS * math.hypot(before, after):
        return "agrees"
    if new.population >= LEAST_POPULATION and old.population < PART * new.population:
        return "missing"
    if old.population >= LEAST_POPULATION and new.population < PART * old.population:
        return "invented"
    return "differs"
