"""Sections of a validation page that show the frames: the worst in 3-D, strain, torsions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from ..validation.defects import INVALID, RELAXED, VALID
from . import plots, style, validation_plots
from .frame_survey import BINS, CLASSES, BackboneMaps, FrameSurvey
from .page import Part, Picture, Table, Text
from .structure_viewer import MoleculeView, ViewedFrame, view_frames

if TYPE_CHECKING:
    from ..validation.verdict import FrameVerdict

#: The trajectory of a frame, and the verdict on it.
WorstFrame: TypeAlias = "tuple[str, FrameVerdict]"

__all__ = [
    "VERDICT_FLAGS",
    "WorstFrame",
    "choose_frames",
    "frame_names",
    "number",
    "ramachandran",
    "reason_text",
    "residue_strain",
    "worst_frames",
]

#: Frames in the 3-D view.
NUM_VIEWED = 5

#: Rows of the table of strained residues.
NUM_STRAINED = 10

#: Thermal standard deviations: beyond the first a term is an outlier, beyond the second a reason.
STRAIN_LIMITS = (6.0, 10.0)

VERDICT_FLAGS = {VALID: "good", RELAXED: "", INVALID: "bad"}

_NO_FRAMES = "The frames were not given, so that there is nothing to show."


def choose_frames(worst: Sequence[WorstFrame], most: int = NUM_VIEWED) -> list[WorstFrame]:
    """Frames to be seen: the worst of each reason, then the worst ones, in the order they came in.

    Those without finite coordinates are left out.
    """
    worst = [(source, verdict) for source, verdict in worst if verdict.reason != "nonfinite"]
    first: dict[tuple[str, str], int] = {}
    for number, (_, verdict) in enumerate(worst):
        first.setdefault((verdict.verdict, verdict.reason), number)
    leading = list(first.values())
    rest = [k for k in range(len(worst)) if k not in leading]
    return [worst[k] for k in sorted([*leading, *rest][:most])]


def worst_frames(
    worst: Sequence[WorstFrame],
    view: MoleculeView,
    survey: FrameSurvey | None,
    native_nm: NDArray[Any] | None,
) -> list[Part]:
    """The view and the table of the worst frames; `native_nm` [P, 3] is of all atoms."""
    chosen = choose_frames(worst)
    parts: list[Part] = []
    if survey is None:
        parts.append(Text((_NO_FRAMES,)))
    else:
        kept = survey.positions_nm
        shown = [(source, v) for source, v in chosen if (source, v.frame) in kept]
        if shown:
            parts.append(_view(shown, view, survey, native_nm))
        missing = [(source, v) for source, v in chosen if (source, v.frame) not in kept]
        lost = _frame_names([*missing, *(one for one in worst if one[1].reason == "nonfinite")])
        if lost:
            text = f"Without finite coordinates, so not to be shown: frame {', '.join(lost)}."
            parts.append(Text((text,)))
        if view.shown.left_out:
            text = f"Not shown: {view.shown.left_out}, apart from what a reason names."
            parts.append(Text((text,)))
    parts.append(_table(worst))
    return parts


def _table(worst: Sequence[WorstFrame]) -> Table:
    columns = ("frame", "energy (kJ/mol)", "largest force", "verdict", "why")
    rows = tuple(
        (
            name,
            number(v.energies.constrained_kj_per_mol),
            v.energies.largest_force_atom or "-",
            _verdict_name(v),
            v.detail or "nothing was found; its energy is among the highest",
        )
        for name, (_, v) in zip(_frame_names(worst), worst, strict=True)
    )
    flags = tuple(VERDICT_FLAGS[v.verdict] for _, v in worst)
    caption = "Invalid frames before others, then by energy after constraints."
    return Table(columns, rows, frozenset({columns[1]}), flags, caption)


def _frame_names(frames: Sequence[WorstFrame]) -> list[str]:
    return frame_names([(source, verdict.frame) for source, verdict in frames])


def frame_names(keys: Sequence[tuple[str, int]]) -> list[str]:
    """Numbers of frames, after the file's name where they are of several."""
    several = len({source for source, _ in keys}) > 1
    return [
        f"{Path(source).name}\N{NO-BREAK SPACE}{k}" if several else str(k) for source, k in keys
    ]


def _verdict_name(verdict: FrameVerdict) -> str:
    return verdict.verdict if verdict.verdict == VALID else f"{verdict.verdict}: {verdict.reason}"


def reason_text(verdict: FrameVerdict) -> str:
    """The reason in full. Where it was found after relaxation, also what is to be seen before."""
    if not verdict.detail:
        return "Nothing was found; its energy is among the highest."
    seen = "; ".join(d.detail for d in verdict.geometry.defects if d.detail not in verdict.detail)
    if not verdict.detail.endswith("(after relaxation)") or not seen:
        return verdict.detail
    return f"{verdict.detail}. Before it, as shown: {seen}"


def _view(
    shown: Sequence[WorstFrame],
    view: MoleculeView,
    survey: FrameSurvey,
    native_nm: NDArray[Any] | None,
) -> Part:
    native = None if native_nm is None else native_nm[view.shown.atoms]
    keys = [(source, v.frame) for source, v in shown]
    target = survey.positions_nm[keys[0]] if native is None else native
    # What has flown away must not turn the rest: the backbone of the protein decides.
    names = [a.name for a in view.shown.topology.atoms()]
    fit = np.array([k for k, name in enumerate(names) if name in ("N", "CA", "C")], dtype=np.int64)
    frames = [
        ViewedFrame(
            f"Frame {name}",
            _verdict_name(v),
            reason_text(v),
            superpose(survey.positions_nm[key], target, fit if len(fit) > 3 else None),
            VERDICT_FLAGS[v.verdict],
            view.places(reason_text(v)),
            survey.strain.get(key),
        )
        for name, key, (_, v) in zip(_frame_names(shown), keys, shown, strict=True)
    ]
    return view_frames(view, frames, native, STRAIN_LIMITS[0])


def residue_strain(
    view: MoleculeView, survey: FrameSurvey | None, summary: Mapping[str, Any]
) -> list[Part]:
    """The profile along the residues and the table of the most strained ones.

    With ``residues`` in the summary of the validation the table names their worst terms and says
    how far their energies are above those of molecular dynamics.
    """
    if survey is None or survey.strain_largest is None or survey.strain_mean is None:
        return [Text(("This needs the frames and the System; one of them was not given.",))]
    told = {row["residue"]: row for row in summary.get("residues") or ()}
    order = np.argsort(-survey.strain_largest)[:NUM_STRAINED]
    names = frame_names(survey.strain_frame)
    columns = ["residue", "largest (σ)", "in frame", "mean (σ)"]
    rows = [
        [
            view.labels[k],
            number(survey.strain_largest[k]),
            names[k],
            number(survey.strain_mean[k]),
        ]
        for k in order
    ]
    numeric = frozenset(columns[1:])
    if told:
        columns += ["energy above MD (sd)", f"term beyond {STRAIN_LIMITS[0]:g} σ"]
        numeric |= {columns[4]}
        for row in rows:
            found = told.get(row[0], {})
            row += [number(found.get("excess_sds")), str(found.get("worst_term") or "-")]
    flags = tuple("bad" if survey.strain_largest[k] > STRAIN_LIMITS[1] else "" for k in order)
    figure = validation_plots.strain_profile(
        view.labels, survey.strain_mean, survey.strain_largest, STRAIN_LIMITS
    )
    caption = (
        "The strain of a residue is that of its bond, angle or constraint furthest from "
        "equilibrium, in thermal standard deviations sqrt(kT/k). Molecular dynamics has 2 to 4."
    )
    return [
        Picture(style.png_bytes(figure), "Mean and largest strain along the residues.", caption),
        Table(
            tuple(columns),
            tuple(tuple(row) for row in rows),
            numeric,
            flags,
            "The most strained residues.",
        ),
    ]


def ramachandran(survey: FrameSurvey | None, reference: BackboneMaps | None) -> list[Part]:
    """Maps of phi and psi of the frames, beside those of molecular dynamics where there are any."""
    if survey is None:
        return [Text((_NO_FRAMES,))]
    if not survey.maps.counts:
        return [Text(("No residue has both φ and ψ.",))]
    maps = {"frames": survey.maps}
    if reference is not None:
        maps["MD"] = reference
    kinds = [name for name in CLASSES if name in survey.maps.counts]
    titles = [f"{kind}, {row}" if reference else kind for kind in kinds for row in maps]
    shares = [maps[row].shares(kind) for kind in kinds for row in maps]
    columns = len(maps) if reference else len(titles)
    height = {1: 4.6, 2: 3.7, 3: 3.0}[columns] * (len(titles) // columns)
    figure = plots.phi_psi_maps(titles, BINS, shares, columns, height)
    caption = (
        "φ and ψ of all frames, by class of residue. φ > 0, right of the dashed line, is rare but "
        "in glycine."
    )
    parts: list[Part] = [
        Picture(style.png_bytes(figure), "Maps of φ and ψ, by class of residue.", caption),
        _positive_phi(maps, kinds),
    ]
    if reference is None:
        parts.append(Text(("No trajectory of molecular dynamics was given to compare with.",)))
    return parts


def _positive_phi(maps: Mapping[str, BackboneMaps], kinds: Sequence[str]) -> Table:
    columns = ("residues", "torsion pairs", *(f"φ > 0, {row} (%)" for row in maps))
    rows = tuple(
        (
            kind,
            f"{int(maps['frames'].counts[kind].sum()):,}",
            *(f"{each.shares(kind)[BINS // 2 :].sum():.2f}" for each in maps.values()),
        )
        for kind in kinds
    )
    return Table(columns, rows, frozenset(columns[1:]))


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "-"
    # Adding zero takes the sign off what is rounded to it.
    text = f"{round(value, digits) + 0.0:,.{digits}f}" if abs(value) < 1e7 else f"{value:.2e}"
    return text.replace("-", "\N{MINUS SIGN}")
