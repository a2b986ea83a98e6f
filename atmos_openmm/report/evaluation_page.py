"""The page of an evaluation: tables of all panels, curves and maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import write_atomically
from ..evaluation.evaluate import GENERATOR, Evaluation, PanelResult, PanelRow
from ..evaluation.formats import cell, csv_text, json_text, metric_name
from . import evaluation_plots as plots
from . import style
from .page import Fact, Picture, Section, Table, Text, render_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_evaluation"]

#: Rows that are drawn: more lines cannot be told apart.
MOST_ROWS = 6


@dataclass(frozen=True)
class Plot:
    """A plot of an array that rows of some panel have.

    Attributes
    ----------
    key : str
        Of the array.
    alternative, caption : str
    draw : callable
        Of the rows' curves, their arrays, the rows themselves, and the arrays they share.
    file : str
        In the file's name, where it is not the key.
    most : int
        Rows that are drawn.
    applies : callable
        Whether rows and the arrays they share can be drawn.
    """

    key: str
    alternative: str
    caption: str
    draw: Callable[[list[plots.Curve], list[Any], list[PanelRow], Mapping[str, Any]], Figure]
    file: str = ""
    most: int = MOST_ROWS
    applies: Callable[[list[PanelRow], Mapping[str, Any]], bool] = lambda rows, axes: True


def _profile(key: str, labels: str, ylabel: str, caption: str) -> Plot:
    return Plot(
        key,
        f"{ylabel} of each row along {labels.replace('_', ' ')}.",
        caption,
        lambda curves, values, _, axes: plots.profile_curves(
            curves, values, axes[labels].tolist(), ylabel
        ),
        applies=lambda _, axes: labels in axes,
    )


def _map(key: str, names: tuple[str, str], caption: str) -> Plot:
    return Plot(
        key,
        f"Maps of {names[0]} and {names[1]}, one a row.",
        caption,
        lambda curves, points, *_: plots.point_maps(curves, points, names),
        most=plots.MOST_MAPS,
    )


def _histogram(key: str, xlabel: str, caption: str) -> Plot:
    return Plot(
        key,
        f"Distributions of the {xlabel}.",
        caption,
        lambda curves, values, *_: plots.value_histograms(curves, values, xlabel),
        applies=lambda rows, _: bool(np.ptp(rows[0].arrays[key]) > 0),
    )


_ALONG_ROLLOUT = {
    "rollout_valid": "CA valid (%)",
    "rollout_w2": "MD PCA W2 (Å)",
    "rollout_rmsf_r": "RMSF r",
    "rollout_rmsd": "RMSD to the native (Å)",
}

#: What is drawn of a panel, in this order, where its rows have the array.
PLOTS = (
    _profile("rmsf_angstrom", "residues", "RMSF (Å)", "Backbone fluctuations of each residue."),
    _profile("ligand_rmsf_angstrom", "ligand_atoms", "RMSF (Å)",
             "Fluctuations of the ligand's atoms."),
    _profile("torsion_jsd", "torsions", "JSD", "Jensen-Shannon distance of each torsion."),
    _map("tica", ("TICA-0", "TICA-1"), "The reference's slowest two components."),
    _map("tica_distances", ("TICA-0", "TICA-1"), "The slowest components of CA distances."),
    _map("pca_angstrom", ("PC 1 (Å)", "PC 2 (Å)"), "The reference's first principal components."),
    Plot(
        "contact_share",
        "Contact maps, the reference above the diagonal.",
        "Share of frames in which alpha carbons are nearer than 8 Å; above the diagonal the "
        "reference, below it the row.",
        lambda curves, shares, _, axes: plots.contact_maps(
            curves, shares, axes["residues"].tolist()
        ),
        file="contacts",
        most=plots.MOST_MAPS + 1,
    ),
    Plot(
        "ligand_contact_share",
        "Maps of contacts between residues and ligand atoms.",
        "Share of frames in which heavy atoms are nearer than 4.5 Å.",
        lambda curves, shares, _, axes: plots.ligand_maps(
            curves, shares, axes["ligand_residues"].tolist(), axes["ligand_atoms"].tolist()
        ),
        file="ligand_contacts",
        most=plots.MOST_MAPS,
    ),
    Plot(
        "autocorrelation_backbone",
        "Autocorrelation of backbone torsions against time.",
        "Mean over phi and psi of the normalised autocorrelation.",
        lambda curves, values, rows, _: plots.time_curves(
            curves,
            [lags[1:] for lags in _arrays(rows, "lag_ps")],
            [[value[1:] for value in values]],
            ("Autocorrelation of backbone torsions",),
            "time (ps)",
            logarithmic=True,
        ),
        file="decorrelation",
    ),
    Plot(
        "rollout_frame",
        "Metrics of windows along the rollout.",
        "Each point is a window of frames; a generator that degrades leaves the reference's range "
        "on the right.",
        lambda curves, frames, rows, _: plots.time_curves(
            curves,
            frames,
            [_arrays(rows, key) for key in _ALONG_ROLLOUT],
            tuple(_ALONG_ROLLOUT.values()),
            "frame",
        ),
        file="rollout",
    ),
    _histogram("energy_kj_per_mol", "potential energy (kJ/mol)",
               "Energies of the frames as they are."),
    _histogram("displacement_angstrom",
               "distance of the ligand's centroid from its native place (Å)",
               "How far the ligand goes."),
)  # fmt: skip


def write_evaluation(evaluation: Evaluation, folder: str | Path, command: str = "") -> Path:
    """Write `report.html`, `metrics.csv`, `evaluation.json` and a PNG file of each plot.

    Parameters
    ----------
    evaluation : Evaluation
    folder : path
        Made where it is missing.
    command : str
        Shown at the foot of the page.

    Returns
    -------
    Path
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections = [_section(result, folder) for result in evaluation.panels]
    notes = list(evaluation.notes) + [
        f"Left out: {name}: {reason}." for name, reason in evaluation.skipped.items()
    ]
    sections.append(Section("How this was measured", [Text(tuple(notes))]))
    page = render_page(
        f"Evaluation of {evaluation.molecule}" if evaluation.molecule else "Evaluation",
        "Generated ensembles beside molecular dynamics. The oracle is molecular dynamics too: what "
        "it scores is what a perfect generator could expect from so many frames.",
        _facts(evaluation),
        sections,
        command,
    )
    write_atomically(folder / "metrics.csv", csv_text(evaluation).encode())
    write_atomically(folder / "evaluation.json", json_text(evaluation).encode())
    write_atomically(folder / "report.html", page.encode())
    return folder / "report.html"


def _facts(evaluation: Evaluation) -> list[Fact]:
    """For each generator, how many metrics are as in MD."""
    counts: dict[str, dict[str, int]] = {}
    for result in evaluation.panels:
        for row in result.rows:
            if row.role == GENERATOR:
                told = counts.setdefault(row.name, {})
                for metric in result.panel.metrics:
                    verdict = result.verdict(row, metric)
                    told[verdict] = told.get(verdict, 0) + 1
    facts = []
    for name, told in counts.items():
        worse, known = told.get("worse than MD", 0), sum(n for v, n in told.items() if v)
        facts.append(
            Fact(
                name,
                f"{known - worse} of {known} metrics",
                "no worse than the MD oracle within two combined standard errors",
            )
        )
    return facts


def _section(result: PanelResult, folder: Path) -> Section:
    parts: list[Text | Picture | Table] = [_table(result), _meanings(result)]
    for plot in PLOTS:
        every = [row for row in result.rows if plot.key in row.arrays]
        rows = every[: plot.most]
        if not rows or not plot.applies(rows, result.axes):
            continue
        figure = plot.draw(_styles(result, rows), _arrays(rows, plot.key), rows, result.axes)
        png = style.png_bytes(figure)
        write_atomically(folder / f"{result.name}_{plot.file or plot.key}.png", png)
        left = ", ".join(row.name for row in every[plot.most :])
        caption = plot.caption + (f" Not drawn: {left}." if left else "")
        parts.append(Picture(png, plot.alternative, caption))
    if result.notes:
        parts.append(Text(result.notes))
    return Section(f"{result.panel.title}", parts)


def _table(result: PanelResult) -> Table:
    generators = [row for row in result.rows if row.role == GENERATOR]
    heads = ("Metric", *(row.name for row in result.rows))
    verdicts = tuple(f"{row.name}: verdict" for row in generators)
    lines, flags = [], []
    for metric in result.panel.metrics:
        told = [result.verdict(row, metric) or "-" for row in generators]
        lines.append((metric_name(metric), *(cell(row, metric) for row in result.rows), *told))
        flags.append("bad" if "worse than MD" in told else "")
    return Table(
        (*heads, *verdicts),
        tuple(lines),
        frozenset(heads[1:]),
        tuple(flags),
        f"Source: {result.panel.source}. ↓ lower is better, ↑ higher, = nearer to the reference's "
        "own value, which is in the first column. ± is a standard error. Compare with the oracle "
        "in the second column.",
    )


def _meanings(result: PanelResult) -> Table:
    """What each metric is, in a table of its own: long text beside numbers makes tall rows."""
    rows = tuple((metric.name, metric.meaning) for metric in result.panel.metrics)
    return Table(("Metric", "What it is"), rows)


def _arrays(rows: Sequence[PanelRow], key: str) -> list[Any]:
    return [row.arrays[key] for row in rows]


def _styles(result: PanelResult, rows: Sequence[PanelRow]) -> list[plots.Curve]:
    """Styles of some rows, the same in every plot of the panel."""
    every = plots.row_styles([(row.name, row.role) for row in result.rows])
    return [every[next(k for k, r in enumerate(result.rows) if r is row)] for row in rows]
