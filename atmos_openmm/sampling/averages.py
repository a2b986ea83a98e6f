"""Averages of an exact run, with their errors, and whether the walkers agree on them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import statistics
from ..core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from ..core.files import write_atomically
from ..core.text import aligned, listed
from ..jump.torsion_moves import SERIES
from .basins import MARGIN_DEGREES, Basins, count_entries, find_basins

__all__ = ["Averages", "BasinAverage", "TorsionAverage", "compute_averages"]

FORMAT = "atmos-openmm-averages"
VERSION = 1
JSON_FILE = "averages.json"
CSV_FILE = "averages.csv"

#: R-hat above which walkers do not agree, and effective samples below which nobody knows.
LARGEST_R_HAT = 1.05
FEWEST_SAMPLES = 50
#: Basins that are seen less often are no reason for a warning.
SMALLEST_POPULATION = 0.001


@dataclass(frozen=True)
class BasinAverage:
    """What a run says about one basin.

    Attributes
    ----------
    torsion, basin : str
        What is divided, such as "ALA2 phi, psi"; the basin, such as "phi>0".
    population, error : float
        Share of the frames, and its standard error: the larger one of the next two.
    error_from_batches, error_from_correlation : float
        From batch means, and from the statistical inefficiency.
    free_energy_kj_per_mol, free_energy_error_kj_per_mol : float
        -RT ln of the population over that of the most populated basin of the same torsion.
    effective_samples, samples_per_s : float
        In all walkers together; a second of wall-clock time of the run.
    r_hat : float
        Of the walkers and their halves; near 1 where they agree.
    entries : int
        How often a walker came into the basin from another one.
    walkers : tuple of int
        Those that were in it.
    """

    torsion: str
    basin: str
    population: float
    error: float
    error_from_batches: float
    error_from_correlation: float
    free_energy_kj_per_mol: float
    free_energy_error_kj_per_mol: float
    effective_samples: float
    samples_per_s: float
    r_hat: float
    entries: int
    walkers: tuple[int, ...]


@dataclass(frozen=True)
class TorsionAverage:
    """How well a run sampled one torsion, by the worse one of its cosine and its sine.

    Attributes
    ----------
    torsion : str
    inefficiency_frames : float
        Successive frames that are worth one independent one.
    effective_samples, samples_per_s, r_hat : float
        As of a basin.
    """

    torsion: str
    inefficiency_frames: float
    effective_samples: float
    samples_per_s: float
    r_hat: float


@dataclass(frozen=True)
class Averages:
    """Averages of an exact run; prints as a table.

    Attributes
    ----------
    temperature_k : float
    walkers, frames : int
        Number of walkers, and frames of each that were averaged.
    discarded : int
        Frames at the beginning of each walker that were left out.
    seconds : float
        Wall-clock time of the run, for all walkers and all frames.
    basins : tuple of BasinAverage
    torsions : tuple of TorsionAverage
    moves : dict of str to (int, int)
        Proposed and accepted moves by kind; where moves are series, trials by kind, and `series`.
    trajectories : (int, int)
        Proposed and accepted HMC trajectories; zeros without HMC.
    setup_seconds : float
        Wall-clock time of an adaptation before the run.
    warnings : tuple of str
        Why some of this should not be trusted.
    """

    temperature_k: float
    walkers: int
    frames: int
    discarded: int
    seconds: float
    basins: tuple[BasinAverage, ...]
    torsions: tuple[TorsionAverage, ...]
    moves: dict[str, tuple[int, int]] = field(default_factory=dict)
    trajectories: tuple[int, int] = (0, 0)
    setup_seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def tested(self) -> tuple[int, int]:
        """Moves or series that were tested with the energy, and those of them that passed."""
        if SERIES in self.moves:
            return self.moves[SERIES]
        pairs = self.moves.values()
        return sum(proposed for proposed, _ in pairs), sum(accepted for _, accepted in pairs)

    def __str__(self) -> str:
        parts = [_basin_lines(self.basins)] if self.basins else [["no torsions to average"]]
        parts += [_torsion_lines(self.torsions)] if self.torsions else []
        parts += [[f"WARNING: {text}" for text in self.warnings]] if self.warnings else []
        return "\n\n".join("\n".join(lines) for lines in parts)

    def plain(self) -> dict[str, Any]:
        """As averages.json keeps it: JSON values, None for what is not known or not finite."""
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return {name: _finite(value) for name, value in values.items()}

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write `averages.json` and `averages.csv`, a row for a basin; the paths of both.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        text = io.StringIO()
        rows = [asdict(basin) for basin in self.basins]
        writer = csv.DictWriter(text, list(BasinAverage.__annotations__), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            walkers = " ".join(map(str, row["walkers"]))
            writer.writerow({**row, "walkers": walkers})
        paths = Path(folder) / JSON_FILE, Path(folder) / CSV_FILE
        write_atomically(paths[0], json.dumps(self.plain(), indent=2, allow_nan=False).encode())
        write_atomically(paths[1], text.getvalue().encode())
        return paths


def compute_averages(
    angles: NDArray[np.floating[Any]],
    names: Sequence[str],
    temperature_k: float,
    seconds: float,
    *,
    discard: float = 0.1,
    moves: Mapping[str, tuple[int, int]] | None = None,
    trajectories: tuple[int, int] = (0, 0),
    setup_seconds: float = 0.0,
    same_start: bool = False,
) -> Averages:
    """Populations of basins, their errors, and how far walkers agree, from torsions of frames.

    Parameters
    ----------
    angles : array [W, F, T]
        Torsions of each walker's frames, radians, equally spaced.
    names : sequence of T str
    temperature_k, seconds : float
        Of the run; wall-clock time for all walkers together.
    discard : float
        Share of the frames of each walker, from the first on, that are left out: the walkers start
        where somebody put them.
    moves, trajectories, setup_seconds
        Of `Averages`.
    same_start : bool
        Whether all walkers started from one conformation, so that their agreement says little.

    Raises
    ------
    ValueError
        `discard` is not a share, or the angles are not finite or of another shape.
    """
    if not 0 <= discard < 1:
        raise ValueError(f"discard is {discard}; it is a share of the frames, from 0 to below 1.")
    angles = np.asarray(angles)
    if angles.ndim != 3 or angles.shape[2] != len(names):
        raise ValueError(
            f"angles have the shape {list(angles.shape)}; expected [walkers, frames, {len(names)}]."
        )
    discarded = int(discard * angles.shape[1])
    kept = np.asarray(angles[:, discarded:], dtype=np.float64)
    if not np.isfinite(kept).all():
        raise ValueError("The torsions of some frames are not finite; look for coincident atoms.")
    basins = tuple(
        average
        for division in (find_basins(names) if kept.shape[1] else ())
        for average in _basin_averages(division, kept, temperature_k, seconds)
    )
    torsions = tuple(
        _torsion_average(name, kept[:, :, number], seconds)
        for number, name in enumerate(names if kept.shape[1] else ())
    )
    return Averages(
        temperature_k,
        len(kept),
        kept.shape[1],
        discarded,
        seconds,
        basins,
        torsions,
        dict(moves or {}),
        trajectories,
        setup_seconds,
        _warnings(basins, torsions, len(kept), same_start),
    )


def _basin_averages(
    division: Basins, angles: NDArray[np.float64], temperature_k: float, seconds: float
) -> list[BasinAverage]:
    """All basins of one division."""
    labels = division.assign(angles)
    entered = sum(
        count_entries(series, len(division.names))
        for series in division.assign(angles, MARGIN_DEGREES)
    )
    inside = [(labels == code).astype(np.float64) for code in range(len(division.names))]
    populations = [float(chains.mean()) for chains in inside]
    most = int(np.argmax(populations))
    thermal = GAS_CONSTANT_KJ_PER_MOL_K * temperature_k
    result = []
    for code, name in enumerate(division.names):
        chains, population = inside[code], populations[code]
        error, batches, correlation = _errors(chains)
        free_energy, free_energy_error = math.inf, math.nan
        if population > 0:
            free_energy = -thermal * math.log(population / populations[most]) + 0.0
            # The error of ln(p / p') is that of the mean of x / p - x' / p'.
            ratio = chains / population - inside[most] / populations[most]
            free_energy_error = 0.0 if code == most else thermal * _errors(ratio)[0]
        samples = statistics.effective_sample_size(chains)
        result.append(
            BasinAverage(
                division.name,
                name,
                population,
                error,
                batches,
                correlation,
                free_energy,
                free_energy_error,
                samples,
                _rate(samples, seconds),
                statistics.split_r_hat(chains),
                int(np.asarray(entered)[code]),
                tuple(np.flatnonzero(chains.any(axis=1)).tolist()),
            )
        )
    return result


def _errors(chains: NDArray[np.float64]) -> tuple[float, float, float]:
    """The larger error of the mean, that of batch means, and that of the inefficiency.

    NaN where nothing varies: that a basin was never left, or never seen, is no knowledge.
    """
    if (chains == chains[0, 0]).all():
        return math.nan, math.nan, math.nan
    batches = statistics.batch_means_error(chains)
    correlation = statistics.standard_error(chains)
    known = [error for error in (batches, correlation) if not math.isnan(error)]
    return max(known, default=math.nan), batches, correlation


def _torsion_average(name: str, angles: NDArray[np.float64], seconds: float) -> TorsionAverage:
    sides = (np.cos(angles), np.sin(angles))
    samples = min(statistics.effective_sample_size(side) for side in sides)
    return TorsionAverage(
        name,
        angles.size / samples,
        samples,
        _rate(samples, seconds),
        max(statistics.split_r_hat(side) for side in sides),
    )


def _rate(samples: float, seconds: float) -> float:
    return samples / seconds if seconds > 0 else math.nan


def _warnings(
    basins: Sequence[BasinAverage],
    torsions: Sequence[TorsionAverage],
    walkers: int,
    same_start: bool,
) -> tuple[str, ...]:
    """Why some averages should not be trusted."""
    found = []
    if walkers == 1:
        found.append(
            "there is one walker only, so that nothing tells whether the result depends on the "
            "start. Use several walkers."
        )
    elif same_start:
        found.append(
            "all walkers started from one conformation, so that their agreement says little."
        )
    seen = [basin for basin in basins if basin.population >= SMALLEST_POPULATION]
    alone = [
        f"{basin.torsion} {basin.basin} (walker {basin.walkers[0]})"
        for basin in seen
        if walkers > 1 and len(basin.walkers) == 1
    ]
    unseen = [f"{basin.torsion} {basin.basin}" for basin in basins if basin.population == 0]
    if unseen:
        found.append(
            f"no walker was ever in: {listed(unseen)}. Their population of 0 has no error; it may "
            "be small, or they were not found."
        )
    if alone:
        found.append(f"visited by one walker only: {listed(alone)}. Run on.")
    apart = [
        f"{each.torsion} ({each.r_hat:.2f})" for each in torsions if each.r_hat > LARGEST_R_HAT
    ] + [
        f"{basin.torsion} {basin.basin} ({basin.r_hat:.2f})"
        for basin in seen
        if basin.r_hat > LARGEST_R_HAT
    ]
    if apart:
        found.append(
            f"walkers or their halves do not agree (R-hat above {LARGEST_R_HAT}): "
            f"{listed(apart)}. Run on; errors of these are too small."
        )
    few = [
        f"{each.torsion} ({each.effective_samples:.0f})"
        for each in torsions
        if each.effective_samples < FEWEST_SAMPLES
    ]
    if few:
        found.append(
            f"fewer than {FEWEST_SAMPLES} effective samples: {listed(few)}. Run on; their errors "
            "are rough."
        )
    if any(math.isnan(each.effective_samples) for each in torsions):
        found.append("there are too few frames to tell how good the averages are. Run on.")
    return tuple(found)


def _basin_lines(basins: Sequence[BasinAverage]) -> list[str]:
    head = ["basin", "population", "+-", "dG kJ/mol", "+-", "samples", "a second", "R-hat"]
    rows = [[*head, "entries", "walkers"]]
    for basin in basins:
        rows.append(
            [
                f"{basin.torsion}  {basin.basin}",
                f"{basin.population:.4f}",
                _text(basin.error, ".4f"),
                _text(basin.free_energy_kj_per_mol, ".2f"),
                _text(basin.free_energy_error_kj_per_mol, ".2f"),
                _text(basin.effective_samples, ".0f"),
                _text(basin.samples_per_s, ".3g"),
                _text(basin.r_hat, ".3f"),
                str(basin.entries),
                str(len(basin.walkers)),
            ]
        )
    return aligned(rows)


def _torsion_lines(torsions: Sequence[TorsionAverage]) -> list[str]:
    rows = [["torsion", "frames a sample", "samples", "a second", "R-hat"]]
    for each in torsions:
        rows.append(
            [
                each.torsion,
                _text(each.inefficiency_frames, ".1f"),
                _text(each.effective_samples, ".0f"),
                _text(each.samples_per_s, ".3g"),
                _text(each.r_hat, ".3f"),
            ]
        )
    return aligned(rows)


def _text(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
