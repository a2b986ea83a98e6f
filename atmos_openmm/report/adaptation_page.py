"""The page of an adaptation: the verdict, numbers before and after, torsions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..adapting.before_after import BETTER, WORSE, Number, number
from ..adapting.folder import plain
from ..core.files import write_atomically
from . import style
from .page import Fact, Picture, Section, Table, Text, render_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..adapting.adapt import Adaptation

__all__ = ["adaptation_table", "torsion_histograms", "write_adaptation"]

FORMAT, VERSION = "atmos-openmm-adaptation", 1
MOST_TORSIONS = 12
BINS = 36
ARROWS = {"low": "↓", "high": "↑", "zero": "→ 0"}
COLORS = {
    "MD, held out": style.MD_COLOR,
    "before": style.NEUTRAL_COLOR,
    "after": style.HYBRID_COLOR,
}
PLOT = "torsions.png"


def write_adaptation(adaptation: Adaptation, folder: str | Path, command: str = "") -> Path:
    """Write `adaptation.json`, `report.html` and the plot of torsions.

    Returns
    -------
    Path
        The page.
    """
    folder = Path(folder)
    pictures = []
    judge = adaptation.judge
    if judge.torsions is not None:
        angles = {name: judge.angles(e) for name, e in adaptation.ensembles.items()}
        png = style.png_bytes(
            torsion_histograms(
                {k: v for k, v in angles.items() if v is not None}, judge.torsions.names
            )
        )
        write_atomically(folder / PLOT, png)
        lag = judge.settings.lags_ps[-1]
        pictures.append(
            Picture(
                png,
                "Histograms of each torsion in held-out dynamics and in rollouts before and after.",
                f"Torsions of held-out molecular dynamics and of rollouts of each model (lag "
                f"{lag:g} ps, {judge.temperature_kelvin:g} K, frames that pass the screen).",
            )
        )
    write_atomically(folder / "adaptation.json", _json(adaptation, command).encode())
    page = _page(adaptation, pictures, command)
    write_atomically(folder / "report.html", page.encode())
    return folder / "report.html"


def adaptation_table(numbers: Sequence[Number]) -> list[tuple[str, ...]]:
    """Rows of name, before, after, training part of the dynamics, verdict; the head first."""
    rows: list[tuple[str, ...]] = [("number", "before", "after", "MD itself", "verdict")]
    for n in numbers:
        star = " *" if n.quantity.deciding else ""
        rows.append(
            (
                f"{n.quantity.name} {ARROWS[n.quantity.goal]}{star}",
                cell(n.before),
                cell(n.after),
                cell(n.oracle),
                n.verdict or "-",
            )
        )
    return rows


def cell(value: tuple[float, float]) -> str:
    """A value with its standard error."""
    if not np.isfinite(value[0]) or not np.isfinite(value[1]):
        return number(value[0]) if not np.isnan(value[0]) else "-"
    return f"{number(value[0])} ± {number(value[1])}"


def torsion_histograms(angles: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Figure:
    """Distributions of torsions [F, T] in radians, a panel each, one line an ensemble."""
    shown = min(len(names), MOST_TORSIONS)
    columns = min(shown, 4)
    rows = -(-shown // columns)
    with style.page_figure(1.75 * rows + 0.5, rows, columns, sharex=True) as (figure, axes):
        edges = np.linspace(-180, 180, BINS + 1)
        for k, ax in enumerate(axes):
            if k >= shown:
                ax.set_visible(False)
                continue
            for name, values in angles.items():
                folded = (np.degrees(values[:, k]) + 180) % 360 - 180
                share = 100 * np.histogram(folded, edges)[0] / len(folded)
                ax.stairs(
                    share,
                    edges,
                    color=COLORS.get(name, style.ACCEPTED_COLOR),
                    linewidth=1.5,
                    fill=name == "MD, held out",
                    alpha=0.45 if name == "MD, held out" else 1.0,
                    label=name,
                )
            ax.set(title=names[k], xlim=(-180, 180), xticks=[-180, -90, 0, 90, 180])
            ax.xaxis.set_major_formatter("{x:.0f}°")
            ax.grid(True, axis="y")
        for ax in axes[::columns]:
            ax.set_ylabel("share (%)")
        style.legend_above(figure, axes[0])
    return figure


def _page(adaptation: Adaptation, pictures: Sequence[Picture], command: str) -> str:
    numbers, split, tuned = adaptation.numbers, adaptation.split, adaptation.tuned
    head, *rows = adaptation_table(numbers)
    flags = tuple({BETTER: "good", WORSE: "bad"}.get(n.verdict, "") for n in numbers)
    table = Table(
        head,
        tuple(rows),
        frozenset(head[1:4]),
        flags,
        "* decides. ± is a standard error (block bootstrap over held-out time). MD itself: the "
        "training part of the molecular dynamics in the place of a model, the best that can be "
        "expected. Before and after have the same starts and noise; differences within two "
        "standard errors of the difference are none.",
    )
    facts = [
        Fact(
            "Verdict", "It helped" if adaptation.helped else "It did not help", adaptation.sentence
        ),
        Fact(
            "Trained",
            f"{tuned.steps} steps, {tuned.seconds:.0f} s",
            f"the weights of step {tuned.step} were best on the validation part",
        ),
        Fact(
            "Frames",
            f"{split.count('training')} trained on, {split.count('held_out')} held out",
            f"{split.count('validation')} for early stopping; {sum(split.gaps)} between the "
            "parts are not used",
        ),
    ]
    meanings = Table(
        ("Number", "What it is"),
        tuple((n.quantity.name, n.quantity.meaning) for n in numbers),
    )
    sections = [Section("Before and after", [table, meanings])]
    if pictures:
        sections.append(Section("Torsions", list(pictures)))
    sections.append(
        Section(
            "How this was measured",
            [
                Text(
                    (
                        "Each trajectory was cut along its time: training, a gap, a validation "
                        "part for early stopping, a gap, and the held-out part, which nothing but "
                        "these numbers has read. It helped where at least one of the deciding "
                        "numbers became better and none worse.",
                        *adaptation.notes,
                    )
                )
            ],
        )
    )
    return render_page(
        f"{adaptation.base}, adapted to {adaptation.name}",
        adaptation.sentence,
        facts,
        sections,
        command,
    )


def _json(adaptation: Adaptation, command: str) -> str:
    def pair(value: tuple[float, float]) -> dict[str, Any]:
        return {"value": plain(value[0]), "standard_error": plain(value[1])}

    split, tuned = adaptation.split, adaptation.tuned
    document = {
        "format": FORMAT,
        "version": VERSION,
        "molecule": adaptation.name,
        "base": adaptation.base,
        "model": adaptation.model.name,
        "weights_sha256": adaptation.declared.weights_sha256,
        "helped": adaptation.helped,
        "sentence": adaptation.sentence,
        "numbers": [
            {
                "key": n.quantity.key,
                "name": n.quantity.name,
                "goal": n.quantity.goal,
                "deciding": n.quantity.deciding,
                "meaning": n.quantity.meaning,
                "before": pair(n.before),
                "after": pair(n.after),
                "molecular_dynamics": pair(n.oracle),
                "difference_standard_error": plain(n.difference_error),
                "verdict": n.verdict,
            }
            for n in adaptation.numbers
        ],
        "frames": {
            part: [list(p) for p in getattr(split, part)]
            for part in ("training", "validation", "held_out")
        }
        | {"trajectories": list(split.runs)},
        "training": {
            "steps": tuned.steps,
            "step": tuned.step,
            "seconds": round(tuned.seconds, 1),
            "validation_loss": plain(tuned.best),
        },
        "judged": asdict(adaptation.judge.settings)
        | {"temperature_K": adaptation.judge.temperature_kelvin},
        "notes": list(adaptation.notes),
        "command": command,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
