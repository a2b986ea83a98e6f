"""The page of an exact run: populations with errors, maps, acceptance, agreement of walkers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import write_atomically
from ..core.progress import duration
from ..core.settings import read_settings
from ..jump.torsion_moves import SERIES
from ..sampling.averages import LARGEST_R_HAT, Averages, BasinAverage
from ..sampling.basins import find_basins
from ..sampling.exact_averages import averages_of
from ..sampling.exact_storage import ExactRows, read_exact_run
from . import plots, style
from .page import Fact, Picture, Section, Table, Text, render_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["acceptance_bars", "population_bars", "residue_maps", "write_exact_page"]

MAP_BINS = 60
MOST_MAPS = 9
MOST_BASINS = 40
#: Frames beyond this many are thinned for the maps, which they do not change.
_MAP_FRAMES = 200_000


def write_exact_page(folder: str | os.PathLike[str], averages: Averages | None = None) -> Path:
    """Write `report.html` and its plots as PNG files into the folder of an exact run.

    Parameters
    ----------
    folder : str or Path
    averages : Averages, optional
        Of the run, if they are known.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StorageError
        The folder is not that of an exact run.
    ImportError
        matplotlib is not installed.
    """
    folder = Path(folder)
    rows, settings = read_exact_run(folder), read_settings(folder)
    averages = averages_of(folder) if averages is None else averages
    pictures = _pictures(rows, settings, averages)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture.png)
    page = folder / "report.html"
    write_atomically(page, _page(settings, averages, pictures).encode())
    return page


def residue_maps(
    angles: NDArray[np.floating[Any]], residues: Sequence[tuple[str, int, int]]
) -> Figure:
    """Maps of phi and psi, one a residue, on one colour scale.

    Parameters
    ----------
    angles : array [F, T]
        Radians.
    residues : sequence of (str, int, int)
        Name, and the numbers of phi and psi.
    """
    columns = max(2, min(3, len(residues)))
    lines = math.ceil(len(residues) / columns)
    height = lines * (0.85 * style.WIDTH_INCHES / columns) * 0.9 + 0.3
    shares = [
        plots.phi_psi_shares(angles[:, phi], angles[:, psi], MAP_BINS) for _, phi, psi in residues
    ]
    return plots.phi_psi_maps([name for name, _, _ in residues], MAP_BINS, shares, columns, height)


def population_bars(basins: Sequence[BasinAverage]) -> Figure:
    """Populations with their standard errors, one line a basin."""
    with style.page_figure(0.24 * len(basins) + 0.8) as (figure, (ax,)):
        y = np.arange(len(basins))
        shares = 100 * np.array([basin.population for basin in basins])
        errors = 100 * np.nan_to_num([basin.error for basin in basins])
        agreed = [not basin.r_hat > LARGEST_R_HAT for basin in basins]
        colors = [style.HYBRID_COLOR if good else style.REJECTED_COLOR for good in agreed]
        ax.barh(y, shares, color=colors, height=0.7, alpha=0.75, linewidth=0)
        ax.errorbar(
            shares, y, xerr=errors, fmt="none", ecolor=style.INK_COLOR, elinewidth=1.2, capsize=2.5
        )
        names = [f"{basin.torsion}  {basin.basin}" for basin in basins]
        ax.set(yticks=y, yticklabels=names, xlabel="population (%)", xlim=(0, None))
        ax.set_ylim(len(basins) - 0.4, -0.6)
        ax.grid(True, axis="x")
    return figure


def acceptance_bars(moves: Mapping[str, tuple[int, int]]) -> Figure:
    """Accepted share of each kind of move."""
    tried = {kind: counts for kind, counts in moves.items() if counts[0]}
    if not tried:
        return style.message_figure("No moves yet.")
    with style.page_figure(0.3 * len(tried) + 0.8) as (figure, (ax,)):
        y = np.arange(len(tried))
        shares = [100 * accepted / proposed for proposed, accepted in tried.values()]
        ax.barh(y, shares, color=style.ACCEPTED_COLOR, height=0.7, alpha=0.8)
        for place, share, (proposed, _) in zip(y, shares, tried.values(), strict=True):
            ax.annotate(
                f"{share:.1f} % of {proposed:,}",
                (share, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        ax.set(yticks=y, yticklabels=list(tried), xlabel="accepted (%)")
        ax.set(xlim=(0, 1.25 * max(*shares, 1)))
        ax.invert_yaxis()
        ax.grid(True, axis="x")
    return figure


def acceptance_caption(moves: Mapping[str, tuple[int, int]]) -> str:
    """What the bars of `acceptance_bars` are."""
    if SERIES not in moves:
        return "Accepted moves by kind. Each move costs one energy evaluation."
    return (
        "Accepted series of trials, each tested with one energy evaluation, and by kind the trials "
        "that they are made of, which a fast approximation of the energy tests."
    )


def _pictures(
    rows: ExactRows, settings: Mapping[str, Any], averages: Averages
) -> dict[str, Picture]:
    """The plots by file name."""
    pictures = {}
    angles = rows.torsions()[:, averages.discarded :]
    angles = angles.reshape(-1, angles.shape[-1])
    residues = [
        (division.name.removesuffix(" phi, psi"), *division.torsions)
        for division in find_basins(settings["torsions"])
        if len(division.torsions) == 2
    ]
    if len(angles) and residues:
        thin = max(1, len(angles) // _MAP_FRAMES)
        shown: list[Any] = residues[:MOST_MAPS]
        more = f" The first {MOST_MAPS} of {len(residues)}." if len(residues) > MOST_MAPS else ""
        pictures["ramachandran.png"] = Picture(
            style.png_bytes(residue_maps(angles[::thin], shown)),
            "Maps of phi and psi, one a residue.",
            f"φ and ψ of all frames that were averaged, each of weight 1.{more}",
        )
    if averages.basins:
        pictures["populations.png"] = Picture(
            style.png_bytes(population_bars(averages.basins[:MOST_BASINS])),
            "Bars of the populations of basins with error bars.",
            "Populations of basins with their standard errors. Walkers do not agree on those in "
            f"pink (R-hat above {LARGEST_R_HAT}). Numbers are in the table below.",
        )
    pictures["acceptance.png"] = Picture(
        style.png_bytes(acceptance_bars(averages.moves)),
        "Bars of the accepted share of each kind of move.",
        acceptance_caption(averages.moves),
    )
    return pictures


def _page(settings: Mapping[str, Any], averages: Averages, pictures: Mapping[str, Picture]) -> str:
    warnings = [Text((text,), strong="Warning:") for text in averages.warnings]
    shown = [pictures[name] for name in ("populations.png", "ramachandran.png") if name in pictures]
    sections = [
        Section("Populations", [*warnings, *shown, _basin_table(averages)]),
        Section("How well each torsion was sampled", [_torsion_table(averages)]),
        Section("Moves", [pictures["acceptance.png"]]),
        Section("How to read this page", [Text((text,)) for text in _EXPLANATIONS]),
        Section("Settings", [_settings_table(settings)]),
    ]
    lead = (
        f"{averages.walkers} walker(s) with {averages.frames:,} frames each at "
        f"{averages.temperature_k:g} K, by moves of torsions that are tested by Metropolis."
    )
    return render_page(
        f"Averages of {settings.get('molecule', 'a molecule')}",
        lead,
        _facts(averages),
        sections,
        "Made by atmos-openmm. This file holds everything it shows and loads nothing from the "
        "network.",
    )


_EXPLANATIONS = (
    "All frames are samples of Boltzmann's distribution of the System, each of weight 1: torsions "
    "are drawn from an explicit density and tested by the exact Metropolis criterion, and the "
    "dynamics in between keeps the distribution. The density decides how fast the run is, not what "
    "it finds.",
    "Errors are standard errors: the larger one of that of batch means and that of the statistical "
    "inefficiency. They hold where the run has seen every basin many times. Effective samples "
    "count independent ones in all walkers together.",
    "R-hat (rank-normalised, split; Vehtari and others, 2021) compares the walkers and their "
    f"halves: where it is above {LARGEST_R_HAT} they do not agree yet. It means something when the "
    "walkers start in different basins.",
)


def _facts(averages: Averages) -> list[Fact]:
    proposed, accepted = averages.tested
    known = [t for t in averages.torsions if not math.isnan(t.effective_samples)]
    setup = averages.setup_seconds
    facts = [
        Fact(
            "Wall-clock time",
            duration(averages.seconds),
            f"and {duration(setup)} of adaptation before it" if setup else "",
        ),
        Fact(
            "Series accepted" if SERIES in averages.moves else "Moves accepted",
            f"{100 * accepted / proposed:.1f} %" if proposed else "none",
            f"{accepted:,} of {proposed:,}",
        ),
    ]
    if known:
        worst = min(known, key=lambda each: each.effective_samples)
        facts.append(
            Fact(
                "Effective samples of the slowest torsion",
                f"{worst.effective_samples:,.0f}",
                f"{worst.torsion}; {worst.samples_per_s:.3g} a second",
            )
        )
        apart = max(known, key=lambda each: each.r_hat)
        facts.append(
            Fact("Largest R-hat", f"{apart.r_hat:.3f}", f"{apart.torsion}; 1 where walkers agree")
        )
    return facts


def _basin_table(averages: Averages) -> Table:
    columns = tuple(
        "basin,population,±,ΔG (kJ/mol),± ,samples,a second,R-hat,entries,walkers".split(",")
    )
    rows = tuple(
        (
            f"{basin.torsion}  {basin.basin}",
            f"{basin.population:.4f}",
            _number(basin.error, ".4f"),
            _number(basin.free_energy_kj_per_mol, ".2f"),
            _number(basin.free_energy_error_kj_per_mol, ".2f"),
            _number(basin.effective_samples, ",.0f"),
            _number(basin.samples_per_s, ".3g"),
            _number(basin.r_hat, ".3f"),
            f"{basin.entries:,}",
            f"{len(basin.walkers)} of {averages.walkers}",
        )
        for basin in averages.basins
    )
    return Table(columns, rows, frozenset(columns[1:]), caption="Basins of each torsion.")


def _torsion_table(averages: Averages) -> Table:
    columns = ("torsion", "frames a sample", "samples", "a second", "R-hat")
    rows = tuple(
        (
            each.torsion,
            _number(each.inefficiency_frames, ".1f"),
            _number(each.effective_samples, ",.0f"),
            _number(each.samples_per_s, ".3g"),
            _number(each.r_hat, ".3f"),
        )
        for each in averages.torsions
    )
    flags = tuple("bad" if each.r_hat > LARGEST_R_HAT else "" for each in averages.torsions)
    caption = "By the worse one of cosine and sine."
    return Table(columns, rows, frozenset(columns[1:]), flags, caption, tall=len(rows) > 20)


def _settings_table(settings: Mapping[str, Any]) -> Table:
    hidden = ("torsions", "start_sha256", "system_sha256", "density_sha256")
    shown = {name: value for name, value in settings.items() if name not in hidden}
    return Table(("name", "value"), tuple((name, str(value)) for name, value in shown.items()))


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"
