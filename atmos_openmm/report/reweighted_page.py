"""The page of a reweighted ensemble: basins before and after, what was missing or invented."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import write_atomically
from ..core.progress import duration
from ..sampling.basins import find_basins
from ..sampling.reweighted import BasinChange, Reweighted
from . import style
from .exact_page import acceptance_bars, acceptance_caption, residue_maps
from .page import Fact, Picture, Section, Table, Text, render_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["change_bars", "write_reweighted_page"]

MOST_MAPS = 6
MOST_BASINS = 40


def write_reweighted_page(
    folder: str | os.PathLike[str],
    result: Reweighted,
    names: Sequence[str],
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
) -> Path:
    """Write `report.html` and its plots as PNG files.

    Parameters
    ----------
    folder : str or Path
    result : Reweighted
    names : sequence of T str
        Torsions.
    before, after : array [F, T]
        Those of the generator's frames and of the run's that were averaged, radians.

    Raises
    ------
    OSError
    ImportError
        matplotlib is not installed.
    """
    folder = Path(folder)
    pictures = _pictures(result, names, before, after)
    for name, picture in pictures.items():
        write_atomically(folder / name, picture.png)
    warnings = [Text((text,), strong="Warning:") for text in result.after.warnings]
    notes = [Text((text,)) for text in result.notes]
    shown = [picture for name, picture in pictures.items() if name != "acceptance.png"]
    page = folder / "report.html"
    text = render_page(
        "What an ensemble's populations should be",
        f"{result.frames}, beside a short exact run that started from them at "
        f"{result.after.temperature_k:g} K.",
        _facts(result),
        [
            Section("Populations before and after", [*warnings, *shown, _table(result.changes)]),
            Section("Moves", [pictures["acceptance.png"]]),
            Section("How to read this page", [Text((each,)) for each in _EXPLANATIONS]),
            Section("What was found and chosen", notes),
        ],
        "Made by atmos-openmm. This file holds everything it shows and loads nothing from the "
        "network.",
    )
    write_atomically(page, text.encode())
    return page


def change_bars(changes: Sequence[BasinChange]) -> Figure:
    """Populations of basins before and after, with standard errors, one line a basin."""
    with style.page_figure(0.3 * len(changes) + 1.1) as (figure, (ax,)):
        sides = (
            ("frames", "before", style.MD_COLOR, -0.14),
            ("exact run", "after", style.HYBRID_COLOR, 0.14),
        )
        for label, side, color, shift in sides:
            shares = [100 * getattr(each, side) for each in changes]
            errors = [100 * getattr(each, f"{side}_error") for each in changes]
            ax.errorbar(
                shares,
                np.arange(len(changes)) + shift,
                xerr=np.nan_to_num(errors),
                fmt="o",
                markersize=4,
                color=color,
                capsize=2.5,
                label=label,
            )
        names = [f"{each.torsion}  {each.basin}" for each in changes]
        ax.set(yticks=range(len(names)), yticklabels=names, xlabel="population (%)")
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(True)
        style.legend_above(figure, ax)
    return figure


_EXPLANATIONS = (
    "The exact run's frames are samples of Boltzmann's distribution of the System, each of weight "
    "1. The given frames are where its walkers start and what its moves of torsions are like; they "
    "decide how fast it is, not what it finds. No frame is weighted: weights need the generator's "
    "own density, and are carried by few frames.",
    "Missing: the run has at least 1 % where the frames have less than a tenth of that. Invented: "
    "the frames have at least 1 % where the run has less than a tenth of that. Differs: by more "
    "than three standard errors. Not known: walkers do not agree there yet (R-hat); run on.",
    "A basin that neither the frames nor moves nor dynamics reached is missing from both columns. "
    "Bonds, rings, hands, cis and trans forms are those of the starts.",
    "Errors of the given frames are those of one series in their order.",
)


def _facts(result: Reweighted) -> list[Fact]:
    facts = []
    for verdict, note in (
        ("missing", "populated by the run, not by the frames"),
        ("invented", "populated by the frames, not by the run"),
        ("differs", "by more than three standard errors"),
        ("not known", "the run cannot tell yet"),
    ):
        found = [f"{each.torsion} {each.basin}" for each in result.of(verdict)]
        few = ", ".join(found[:4]) + (" ..." if len(found) > 4 else "")
        facts.append(Fact(f"Basins: {verdict}", str(len(found)), few or note))
    setup = result.after.setup_seconds
    facts.append(
        Fact("Exact run", duration(result.after.seconds), f"and {duration(setup)} of adaptation")
    )
    return facts


def _pictures(
    result: Reweighted,
    names: Sequence[str],
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
) -> dict[str, Picture]:
    pictures = {}
    residues: list[Any] = [
        (division.name.removesuffix(" phi, psi"), *division.torsions)
        for division in find_basins(names)
        if len(division.torsions) == 2
    ][:MOST_MAPS]
    if residues:
        for name, angles, whose in (
            ("maps_before.png", before, "the given frames"),
            ("maps_after.png", after, "the exact run's frames"),
        ):
            pictures[name] = Picture(
                style.png_bytes(residue_maps(angles, residues)),
                f"Maps of phi and psi of {whose}.",
                f"φ and ψ of {whose}.",
            )
    if result.changes:
        pictures["changes.png"] = Picture(
            style.png_bytes(change_bars(result.changes[:MOST_BASINS])),
            "Populations of basins in the given frames and in the exact run, with error bars.",
            "Populations with standard errors.",
        )
    pictures["acceptance.png"] = Picture(
        style.png_bytes(acceptance_bars(result.after.moves)),
        "Bars of the accepted share of each kind of move.",
        acceptance_caption(result.after.moves),
    )
    return pictures


def _table(changes: Sequence[BasinChange]) -> Table:
    columns = ("basin", "frames", "±", "exact run", "± ", "verdict")
    rows = tuple(
        (
            f"{each.torsion}  {each.basin}",
            *(
                "-" if math.isnan(number) else f"{number:.4f}"
                for number in (each.before, each.before_error, each.after, each.after_error)
            ),
            each.verdict,
        )
        for each in changes
    )
    flags = tuple("bad" if each.verdict in ("missing", "invented") else "" for each in changes)
    return Table(columns, rows, frozenset(columns[1:5]), flags, "Basins.", tall=len(rows) > 30)
