"""The page of a validation: verdicts, energies, strain, torsions, and the worst frames in 3-D."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import write_atomically
from ..trajectories.frames import Frame
from ..trajectories.layout import TrajectoryFile, is_own_layout
from ..trajectories.reader import open_frames
from ..validation.defects import INVALID, RELAXED, VALID
from . import style, validation_plots
from .energy_section import energies
from .frame_sections import (
    VERDICT_FLAGS,
    WorstFrame,
    choose_frames,
    frame_names,
    number,
    ramachandran,
    reason_text,
    residue_strain,
    worst_frames,
)
from .frame_survey import BackboneMaps, FrameSurvey, StrainMeter
from .page import Fact, Part, Picture, Section, Table, Text, render_page
from .structure_viewer import MoleculeView

if TYPE_CHECKING:
    from ..validation.summary import ValidationReport

__all__ = ["write_validation_page"]

#: At most so many frames of a reference trajectory are read for its torsions, evenly spread.
MAX_REFERENCE_FRAMES = 2000

#: What a frame fails where its verdict has this reason.
MEANINGS = {
    "accepted": "nothing was found",
    "nonfinite": "a coordinate is not a number, infinite or far beyond any molecule",
    "bonds": "a bond is more than 0.05 nm from its length",
    "chirality": "a centre has the wrong hand; no minimiser mends that",
    "cis_trans": "a peptide bond or another double bond is of the wrong class",
    "rings": "a bond runs through a ring",
    "constraints": "a constrained distance is more than 0.05 nm off",
    "clash": "atoms of the solute overlap",
    "environment": "an atom of the solute overlaps with water, an ion or another fixed part",
    "strain": "a bond or an angle is further from equilibrium than heat explains",
    "planarity": "a group that chemistry keeps flat is not",
    "pucker": "a ring is puckered more, or less, than rings are",
    "energy": "the potential energy is above the window, or not finite",
    "relaxation": "the minimiser gave up",
}


def write_validation_page(
    report: ValidationReport,
    path: str | os.PathLike[str],
    topology: Any,
    frames: Any = None,
    *,
    system: Any = None,
    native_nm: Any = None,
    reference_frames: Any = None,
    temperature_K: float = 300.0,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    command: str = "",
) -> Path:
    """Write a validation as one HTML file that holds everything it shows.

    Parameters
    ----------
    report : ValidationReport
    path : path
        Of the page.
    topology : openmm.app.Topology
    frames : path, mdtraj.Trajectory, array [F, P, 3] or list of these, optional
        What was judged; it is read once more, in constant memory. Without it the page has no
        torsions, no strain and no structures, and says so.
    system : openmm.System, optional
        For the strain of residues.
    native_nm : array [P, 3], optional
        Shown below the worst frames, which are superposed on it.
    reference_frames : path, mdtraj.Trajectory, array, optional
        Molecular dynamics, for its torsions.
    temperature_K : float
        Of the thermal widths, and of the reference.
    start, stop, stride : int
        The frames that were judged.
    command : str
        Shown at the foot of the page.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        The file cannot be written.
    ValueError
        The frames cannot be read, or are not of this Topology.
    """
    summary = report.summary()
    worst = _with_sources(report, summary)
    view = MoleculeView(topology, [reason_text(verdict) for _, verdict in worst])
    survey, reference = None, None
    if frames is not None:
        meter = None if system is None else StrainMeter(view.shown, system, temperature_K)
        kept = {(source, verdict.frame) for source, verdict in choose_frames(worst)}
        survey = FrameSurvey(view.shown, meter, kept)
        for trajectory in frames if isinstance(frames, (list, tuple)) else [frames]:
            reader = open_frames(trajectory, topology)
            survey.add(reader.frames(start, stop, stride), reader.name)
    if reference_frames is not None:
        reference = _torsions(reference_frames, topology, view, temperature_K)
    native = None if native_nm is None else np.asarray(native_nm, dtype=np.float64)
    # Several trajectories are drawn one after the other, where the numbers of frames tell nothing.
    several = bool(summary.get("files"))
    numbers = np.arange(report.num_frames) * (1 if several else stride) + (0 if several else start)
    marked = [] if several else [verdict.frame for _, verdict in choose_frames(worst)]
    sections = [
        Section("Verdicts and reasons", _verdicts(report, summary)),
        Section("The worst frames", worst_frames(worst, view, survey, native)),
        Section("Energies against molecular dynamics", energies(report, summary, numbers, marked)),
        Section("Strain of each residue", residue_strain(view, survey, summary)),
        Section("Ramachandran", ramachandran(survey, reference)),
        Section("How this was measured", [Text(_method(report, summary, survey))]),
    ]
    page = render_page(
        f"Validation of {Path(report.source).name}",
        "Every frame judged by its force field and its geometry"
        + (", as it is and after a short relaxation." if report.relaxed else "."),
        _facts(report, view, survey),
        sections,
        "Made by atmos-openmm. This file holds everything it shows and loads nothing from the "
        f"network. {command}".strip(),
    )
    path = Path(path)
    write_atomically(path, page.encode())
    return path


def _with_sources(report: ValidationReport, summary: Mapping[str, Any]) -> list[WorstFrame]:
    """The worst frames, each with its trajectory: a report of several tells it in its summary."""
    rows = summary.get("worst_frames") or [{"source": report.source}] * len(report.worst)
    return [(row["source"], verdict) for row, verdict in zip(rows, report.worst, strict=True)]


def _torsions(
    trajectory: Any, topology: Any, view: MoleculeView, temperature_K: float
) -> BackboneMaps:
    """Of molecular dynamics, at the temperature where a file of this package has several."""
    survey = FrameSurvey(view.shown)
    if isinstance(trajectory, (str, os.PathLike)) and is_own_layout(Path(trajectory)):
        with TrajectoryFile(Path(trajectory)) as file:
            chosen = [
                t for t in file.trajectories if abs(t.temperature_kelvin - temperature_K) <= 1
            ]
            stride = max(1, -(-sum(len(t) for t in chosen) // MAX_REFERENCE_FRAMES))
            survey.add(
                Frame(k, float("nan"), np.asarray(t.positions(k), dtype=np.float64), None)
                for t in chosen
                for k in range(0, len(t), stride)
            )
    else:
        reader = open_frames(trajectory, topology)
        stride = max(1, -(-(reader.num_frames or 1) // MAX_REFERENCE_FRAMES))
        survey.add(reader.frames(stride=stride))
    return survey.maps


def _facts(report: ValidationReport, view: MoleculeView, survey: FrameSurvey | None) -> list[Fact]:
    total, counts = max(1, report.num_frames), report.verdicts
    facts = [
        Fact(
            "Frames valid as they are",
            f"{counts[VALID]:,} of {report.num_frames:,}",
            f"{100 * counts[VALID] / total:.1f} %; {counts[RELAXED]:,} more after relaxation, "
            f"{counts[INVALID]:,} invalid",
        )
    ]
    bad = [(n, verdict, reason) for (verdict, reason), n in report.reasons.items()
           if verdict != VALID]  # fmt: skip
    if bad:
        n, verdict, reason = max(bad)
        facts.append(
            Fact(
                "Most frequent reason",
                reason,
                f"{n:,} of the frames {verdict}; {MEANINGS.get(reason, '')}",
            )
        )
    comparison, reference = report.compare(), report.reference
    energies_kj_per_mol = report.constrained_energies_kj_per_mol
    if comparison is not None and reference is not None and np.isfinite(energies_kj_per_mol).any():
        shift = np.nanmedian(energies_kj_per_mol) - reference.mean_kj_per_mol
        facts.append(
            Fact(
                "Energies in the window of MD",
                f"{100 * comparison.fraction_in_window:.1f} %",
                f"the median is {number(shift / reference.sd_kj_per_mol)} standard deviations of "
                "MD from its mean",
            )
        )
    if survey is not None and survey.strain_largest is not None and survey.num_frames:
        k = int(np.argmax(survey.strain_largest))
        facts.append(
            Fact(
                "Largest strain",
                f"{number(survey.strain_largest[k])} σ",
                f"{view.labels[k]} in frame {frame_names(survey.strain_frame)[k]}",
            )
        )
    return facts


def _verdicts(report: ValidationReport, summary: Mapping[str, Any]) -> list[Part]:
    reasons = sorted(report.reasons.items(), key=lambda item: -item[1])
    rows = tuple(
        (verdict, reason, f"{n:,}", f"{100 * n / report.num_frames:.1f}", MEANINGS.get(reason, ""))
        for (verdict, reason), n in reasons
    )
    flags = tuple(VERDICT_FLAGS[verdict] for (verdict, _), _ in reasons)
    found = ", ".join(f"{name} in {n:,}" for name, n in summary["frames_with"].items() if n)
    return [
        _picture(
            validation_plots.verdict_bars(report.reasons),
            "Bars of the number of frames by verdict and reason.",
        ),
        Table(
            ("verdict", "reason", "frames", "%", "what it means"),
            rows,
            frozenset({"frames", "%"}),
            flags,
            "The first test that fails gives the reason. For frames that are valid after "
            "relaxation it is the one that failed before.",
        ),
        Text((f"Frames with findings, also of other reasons: {found or 'none'}.",)),
    ]


def _method(
    report: ValidationReport, summary: Mapping[str, Any], survey: FrameSurvey | None
) -> tuple[str, ...]:
    texts = [
        f"Judged: {report.num_frames:,} frames of {report.source}.",
        *(f"Note: {remark}." for remark in summary["remarks"]),
    ]
    if report.reference is not None:
        count = len(report.reference.energies_kj_per_mol)
        texts.append(f"Reference: {count:,} energies from {report.reference.source}.")
    if survey is not None and survey.num_frames < report.num_frames:
        lost = report.num_frames - survey.num_frames
        texts.append(f"{lost:,} frames without finite coordinates have no torsions and no strain.")
    texts.append(
        "Energies are those after the constraints are applied, unless it is said that they are of "
        "relaxed frames."
    )
    return tuple(texts)


def _picture(figure: Any, alternative: str, caption: str = "") -> Picture:
    return Picture(style.png_bytes(figure), alternative, caption)
