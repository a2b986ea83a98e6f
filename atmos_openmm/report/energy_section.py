"""The section of a validation page on energies: of frames, forces and pairs, beside MD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..validation.defects import VALID
from . import plots, style, validation_plots
from .frame_sections import number
from .page import Part, Picture, Table, Text

if TYPE_CHECKING:
    from ..validation.summary import ValidationReport

__all__ = ["energies"]

_NO_REFERENCE = (
    "No molecular dynamics was given to compare with. The window of each frame is then the energy "
    "after its own relaxation and what heat adds to it."
)

_PARTS = {
    "coulomb": "Coulomb",
    "lennard_jones": "Lennard-Jones",
    "solvation": "solvation",
    "total": "total",
}


def energies(
    report: ValidationReport,
    summary: Mapping[str, Any],
    numbers: NDArray[Any],
    marked: Sequence[int],
) -> list[Part]:
    """Distributions, the course along the trajectory, and tables.

    Parameters
    ----------
    report : ValidationReport
    summary : mapping
        Its summary; forces, interactions and a second potential are shown where it has them.
    numbers : int array [F]
        Of the frames.
    marked : sequence of int
        Frames whose number is written into the plot.
    """
    constrained, reference = report.constrained_energies_kj_per_mol, report.reference
    limit, band, md = None, None, np.empty(0)
    if reference is not None:
        limit = reference.window_limit(report.energy_window)
        band = reference.mean_kj_per_mol, reference.sd_kj_per_mol
        md = reference.energies_kj_per_mol
    names = ("frames, after constraints", "frames, relaxed")
    histograms = plots.proposal_energies(
        md, constrained, report.relaxed_energies_kj_per_mol, limit, names
    )
    trace = validation_plots.energy_trace(numbers, constrained, marked, band, limit)
    parts: list[Part] = [
        Picture(
            style.png_bytes(histograms),
            "Histograms of the potential energies of MD, of the frames, and of the relaxed frames.",
            "Relaxation takes thermal energy away: relaxed frames of a good ensemble lie below "
            "molecular dynamics.",
        ),
        Picture(
            style.png_bytes(trace),
            "Potential energy of each frame after constraints.",
            "Numbers mark the frames that are shown above." if marked else "",
        ),
        Text((_NO_REFERENCE,)) if reference is None else _distances(report),
    ]
    parts += _pairs(summary)
    parts += _forces(report, summary)
    second = summary.get("second")
    if second:
        parts.append(
            Text(
                (
                    f"Mean {number(second['mean'])} kJ/mol, sd {number(second['sd'])}; correlation "
                    f"with the energies above {number(second.get('correlation'), 3)}, sd of the "
                    f"difference {number(second.get('difference_sd'))} kJ/mol.",
                ),
                strong=f"In {second['name']}:",
            )
        )
    return parts


def _distances(report: ValidationReport) -> Table:
    distance, control = report.compare(), report.control()
    names = {
        "Wasserstein-1 (kJ/mol)": ("wasserstein_kj_per_mol", 2),
        "Wasserstein-1 (kT)": ("wasserstein_kt", 2),
        "Jensen-Shannon (bits)": ("jensen_shannon_bits", 3),
        f"share at or below mean + {report.energy_window:g} sd": ("fraction_in_window", 3),
    }
    rows = tuple(
        (
            name,
            number(getattr(distance, key), digits),
            "-" if control is None else number(getattr(control, key), digits),
        )
        for name, (key, digits) in names.items()
    )
    columns = ("energies after constraints", "frames", "reference's halves")
    caption = (
        "Distances to the reference, and of its first half to its second: below that no distance "
        "means anything."
    )
    return Table(columns, rows, frozenset(columns[1:]), caption=caption)


def _pairs(summary: Mapping[str, Any]) -> list[Part]:
    found = summary.get("interactions") or {}
    spreads: dict[tuple[str, ...], Any] = {
        (pair, _PARTS.get(part, part)): spread
        for pair, parts in found.items()
        for part, spread in parts.items()
    }
    if not spreads:
        return []
    caption = "Interaction energies of pairs of groups (kJ/mol), over all frames that have one."
    return [_beside_md(("between", "part"), spreads, caption)]


def _forces(report: ValidationReport, summary: Mapping[str, Any]) -> list[Part]:
    if summary.get("forces"):
        spreads: dict[tuple[str, ...], Any] = {
            (name,): spread for name, spread in summary["forces"].items()
        }
        caption = "Energy by force (kJ/mol), over all frames that have one."
        return [_beside_md(("force",), spreads, caption)]
    if not report.verdicts[VALID]:
        return []
    columns = ("force", "mean (kJ/mol)")
    means = summary["force_means_kj_per_mol"]
    rows = tuple((name, number(value)) for name, value in means.items())
    caption = "Energy by force, over the frames that are valid as they are."
    return [Table(columns, rows, frozenset(columns[1:]), caption=caption)]


def _beside_md(
    names: tuple[str, ...],
    spreads: Mapping[tuple[str, ...], Mapping[str, float | None]],
    caption: str,
) -> Table:
    """Means and standard deviations, beside those of MD where they are known."""
    known = any(spread["reference_mean"] is not None for spread in spreads.values())
    columns = (*names, "frames, mean", "sd", *(("MD, mean", "sd of MD") if known else ()))
    keys = ("mean", "sd", "reference_mean", "reference_sd")[: len(columns) - len(names)]
    rows = tuple(
        (*name, *(number(spread[key]) for key in keys)) for name, spread in spreads.items()
    )
    return Table(columns, rows, frozenset(columns[len(names) :]), caption=caption)
