"""The page of an evaluation: tables of all panels, curves and maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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

Drawing = tuple[str, str, str, Callable[[], "Figure"]]


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
    for name, alternative, caption, draw in _drawings(result):
        png = style.png_bytes(draw())
        write_atomically(folder / f"{result.name}_{name}.png", png)
        parts.append(Picture(png, alternative, caption))
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


def _drawings(result: PanelResult) -> list[Drawing]:
    """What there is to draw of a panel: file name, alternative text, caption, function."""
    found: list[Drawing] = []
    axes = result.axes
    rows = [row for row in result.rows if row.arrays][:MOST_ROWS]
    if not rows:
        return found
    for key, labels, ylabel, caption in (
        ("rmsf_angstrom", "residues", "RMSF (Å)", "Backbone fluctuations of each residue."),
        ("ligand_rmsf_angstrom", "ligand_atoms", "RMSF (Å)", "Fluctuations of the ligand's atoms."),
        ("torsion_jsd", "torsions", "JSD", "Jensen-Shannon distance of each torsion."),
    ):
        chosen = _having(rows, key)
        if chosen and labels in axes:
            found.append(
                (key, f"{ylabel} of each row along {labels.replace('_', ' ')}.", caption,
                 partial(plots.profile_curves, _styles(result, chosen), _arrays(chosen, key),
                         axes[labels].tolist(), ylabel))
            )  # fmt: skip
    for key, names, caption in (
        ("tica", ("TICA-0", "TICA-1"), "The reference's slowest two components."),
        ("tica_distances", ("TICA-0", "TICA-1"), "The slowest components of CA distances."),
        ("pca_angstrom", ("PC 1 (Å)", "PC 2 (Å)"), "The reference's first principal components."),
    ):
        every = _having(rows, key)
        chosen = every[: plots.MOST_MAPS]
        if chosen:
            found.append(
                (
                    key,
                    f"Maps of {names[0]} and {names[1]}, one a row.",
                    caption + _not_drawn(every, chosen),
                    partial(plots.point_maps, _styles(result, chosen), _arrays(chosen, key), names),
                )
            )
    every = _having(rows, "contact_share")
    chosen = every[: plots.MOST_MAPS + 1]
    if chosen:
        found.append(
            (
                "contacts",
                "Contact maps, the reference above the diagonal.",
                "Share of frames in which alpha carbons are nearer than 8 Å; above the diagonal "
                "the reference, below it the row." + _not_drawn(every, chosen),
                partial(
                    plots.contact_maps,
                    _styles(result, chosen),
                    _arrays(chosen, "contact_share"),
                    axes["residues"].tolist(),
                ),
            )
        )
    found += _more_drawings(result, rows)
    return found


def _more_drawings(result: PanelResult, rows: Sequence[PanelRow]) -> list[Drawing]:
    found: list[Drawing] = []
    axes: Mapping[str, Any] = result.axes
    every = _having(rows, "ligand_contact_share")
    touching = every[: plots.MOST_MAPS]
    if touching:
        found.append(
            (
                "ligand_contacts",
                "Maps of contacts between residues and ligand atoms.",
                "Share of frames in which heavy atoms are nearer than 4.5 Å."
                + _not_drawn(every, touching),
                partial(
                    plots.ligand_maps,
                    _styles(result, touching),
                    _arrays(touching, "ligand_contact_share"),
                    axes["ligand_residues"].tolist(),
                    axes["ligand_atoms"].tolist(),
                ),
            )
        )
    timed = _having(rows, "autocorrelation_backbone")
    if timed:
        found.append(
            (
                "decorrelation",
                "Autocorrelation of backbone torsions against time.",
                "Mean over phi and psi of the normalised autocorrelation.",
                partial(
                    plots.time_curves,
                    _styles(result, timed),
                    [row.arrays["lag_ps"][1:] for row in timed],
                    [[row.arrays["autocorrelation_backbone"][1:] for row in timed]],
                    ("Autocorrelation of backbone torsions",),
                    "time (ps)",
                    logarithmic=True,
                ),
            )
        )
    long = _having(rows, "rollout_frame")
    if long:
        drawn = {
            "rollout_valid": "CA valid (%)",
            "rollout_w2": "MD PCA W2 (Å)",
            "rollout_rmsf_r": "RMSF r",
            "rollout_rmsd": "RMSD to the native (Å)",
        }
        found.append(
            ("rollout", "Metrics of windows along the rollout.",
             "Each point is a window of frames; a generator that degrades leaves the reference's "
             "range on the right.",
             partial(plots.time_curves, _styles(result, long), _arrays(long, "rollout_frame"),
                     [_arrays(long, key) for key in drawn], tuple(drawn.values()), "frame"))
        )  # fmt: skip
    return found + _histograms(result, rows)


def _histograms(result: PanelResult, rows: Sequence[PanelRow]) -> list[Drawing]:
    found: list[Drawing] = []
    for key, xlabel, caption in (
        ("energy_kj_per_mol", "potential energy (kJ/mol)", "Energies of the frames as they are."),
        (
            "displacement_angstrom",
            "distance of the ligand's centroid from its native place (Å)",
            "How far the ligand goes.",
        ),
    ):
        chosen = _having(rows, key)
        if chosen and np.ptp(chosen[0].arrays[key]) > 0:
            found.append(
                (
                    key,
                    f"Distributions of the {xlabel}.",
                    caption,
                    partial(
                        plots.value_histograms,
                        _styles(result, chosen),
                        _arrays(chosen, key),
                        xlabel,
                    ),
                )
            )
    return found


def _having(rows: Sequence[PanelRow], key: str) -> list[PanelRow]:
    return [row for row in rows if key in row.arrays]


def _not_drawn(every: Sequence[PanelRow], drawn: Sequence[PanelRow]) -> str:
    left = [row.name for row in every[len(drawn) :]]
    return f" Not drawn: {', '.join(left)}." if left else ""


def _arrays(rows: Sequence[PanelRow], key: str) -> list[Any]:
    return [row.arrays[key] for row in rows]


def _styles(result: PanelResult, rows: Sequence[PanelRow]) -> list[plots.Curve]:
    """Styles of some rows, the same in every plot of the panel."""
    every = plots.row_styles([(row.name, row.role) for row in result.rows])
    return [every[next(k for k, r in enumerate(result.rows) if r is row)] for row in rows]
