"""The page of a validation: verdicts, energies, strain, torsions, and the worst frames in 3-D."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import write_atomically
from ..core.geometry import superpose
from ..trajectories.reader import open_frames
from ..validation.defects import INVALID, RELAXED, VALID
from . import plots, style, validation_plots
from .frame_survey import BINS, CLASSES, BackboneMaps, FrameSurvey, ResidueStrain
from .page import Fact, Part, Picture, Section, Table, Text, render_page
from .structure_viewer import MoleculeView, ViewedFrame, view_frames

if TYPE_CHECKING:
    from ..validation.summary import ValidationReport
    from ..validation.verdict import FrameVerdict

__all__ = ["write_validation_page"]

#: Frames in the 3-D view.
NUM_VIEWED = 5

#: At most so many frames of a reference trajectory are read for its torsions, evenly spread.
MAX_REFERENCE_FRAMES = 2000

#: Rows of the table of strained residues.
NUM_STRAINED = 10

#: Thermal standard deviations: an outlier is counted, a defect is a reason.
STRAIN_LIMITS = (6.0, 10.0)

_FLAGS = {VALID: "good", RELAXED: "", INVALID: "bad"}

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
    "energy": "the potential energy is above the window, or not finite",
    "relaxation": "the minimiser gave up",
}


@dataclass(frozen=True)
class _Subject:
    """What the page is about; see `write_validation_page`."""

    report: ValidationReport
    topology: Any
    frames: Any
    system: Any
    native_nm: Any
    reference_frames: Any
    temperature_K: float
    selection: tuple[int, int | None, int]


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
    frames : path, mdtraj.Trajectory, array [F, P, 3], optional
        The trajectory that was judged; it is read once more, in constant memory. Without it the
        page has no torsions, no strain and no structures, and says so.
    system : openmm.System, optional
        For the strain of residues.
    native_nm : array [P, 3], optional
        Shown below the worst frames, which are superposed on it.
    reference_frames : path, mdtraj.Trajectory, array, optional
        Molecular dynamics, for its torsions.
    temperature_K : float
        Of the thermal widths.
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
    subject = _Subject(
        report,
        topology,
        frames,
        system,
        None if native_nm is None else np.asarray(native_nm, dtype=np.float64),
        reference_frames,
        temperature_K,
        (start, stop, stride),
    )
    viewed = choose_frames(report.worst)
    view = MoleculeView(topology, [verdict.detail for verdict in viewed])
    survey = _survey(subject, view, [verdict.frame for verdict in viewed])
    sections = [
        Section("Verdicts and reasons", _verdicts(report)),
        Section("Energies against molecular dynamics", _energies(subject)),
        Section("The worst frames", _worst(subject, view, survey, viewed)),
        Section("Strain of each residue", _strain(view, survey)),
        Section("Ramachandran", _ramachandran(subject, view, survey)),
        Section("How this was measured", [Text(_method(subject, survey))]),
    ]
    page = render_page(
        f"Validation of {Path(report.source).name}",
        "Every frame judged by its force field and its geometry, as it is and after a short "
        "relaxation."
        if report.relaxed
        else "Every frame judged by its force field and geometry.",
        _facts(report, view, survey),
        sections,
        f"{command} Made by atmos-openmm. This file holds everything it shows and loads nothing "
        "from the network.".strip(),
    )
    path = Path(path)
    write_atomically(path, page.encode())
    return path


def choose_frames(worst: Sequence[FrameVerdict], most: int = NUM_VIEWED) -> list[FrameVerdict]:
    """The worst frame of each reason first, then the worst ones; in the order they came in."""
    first: dict[tuple[str, str], FrameVerdict] = {}
    for verdict in worst:
        first.setdefault((verdict.verdict, verdict.reason), verdict)
    chosen = [*first.values(), *(v for v in worst if v not in first.values())][:most]
    return [verdict for verdict in worst if any(verdict is one for one in chosen)]


def _survey(subject: _Subject, view: MoleculeView, kept: Sequence[int]) -> FrameSurvey | None:
    if subject.frames is None:
        return None
    meter = None
    if subject.system is not None:
        meter = ResidueStrain(view.shown, subject.system, subject.temperature_K)
    start, stop, stride = subject.selection
    reader = open_frames(subject.frames, subject.topology)
    return FrameSurvey.of(reader.frames(start, stop, stride), view.shown, meter, set(kept))


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
                "Most frequent reason", reason, f"{n:,} of the frames {verdict}; {MEANINGS[reason]}"
            )
        )
    comparison, control = report.compare(), report.control()
    if comparison is not None:
        halves = "" if control is None else f"; the reference's halves {control.wasserstein_kt:.2f}"
        facts.append(
            Fact(
                "Distance of the energies from MD",
                f"{_number(comparison.wasserstein_kt, 2)} kT",
                f"Wasserstein-1, all frames with a finite energy{halves}",
            )
        )
    if survey is not None and survey.strain_largest is not None and survey.num_frames:
        k = int(np.argmax(survey.strain_largest))
        facts.append(
            Fact(
                "Largest strain",
                f"{_number(survey.strain_largest[k])} σ",
                f"{view.labels[k]} in frame {survey.strain_frame[k]}",
            )
        )
    return facts


def _verdicts(report: ValidationReport) -> list[Part]:
    reasons = sorted(report.reasons.items(), key=lambda item: -item[1])
    rows = tuple(
        (verdict, reason, f"{n:,}", f"{100 * n / report.num_frames:.1f}", MEANINGS[reason])
        for (verdict, reason), n in reasons
    )
    flags = tuple(_FLAGS[verdict] for (verdict, _), _ in reasons)
    found = ", ".join(
        f"{name} in {n:,}" for name, n in report.summary()["frames_with"].items() if n
    )
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


def _energies(subject: _Subject) -> list[Part]:
    report = subject.report
    constrained = report.constrained_energies_kj_per_mol
    reference = report.reference
    start, _, stride = subject.selection
    numbers = start + stride * np.arange(len(constrained))
    limit = None if reference is None else reference.window_limit(report.energy_window)
    parts: list[Part] = [
        _picture(
            plots.proposal_energies(
                np.empty(0) if reference is None else reference.energies_kj_per_mol,
                constrained,
                report.relaxed_energies_kj_per_mol,
                limit,
                ("frames, after constraints", "frames, relaxed"),
            ),
            "Histograms of the potential energies of MD, of the frames, and of the relaxed frames.",
            "Relaxation takes thermal energy away: relaxed frames of a good ensemble lie below "
            "molecular dynamics.",
        ),
        _picture(
            validation_plots.energy_trace(
                numbers,
                constrained,
                [verdict.frame for verdict in choose_frames(report.worst)],
                None if reference is None else (reference.mean_kj_per_mol, reference.sd_kj_per_mol),
                limit,
            ),
            "Potential energy of each frame after constraints.",
            "Numbers mark the frames that are shown below.",
        ),
    ]
    if reference is None:
        parts.append(
            Text(
                (
                    "No molecular dynamics was given to compare with. The window of each frame is "
                    "then the energy after its own relaxation and what heat adds to it.",
                )
            )
        )
    else:
        parts.append(_distances(report))
    means = report.summary()["force_means_kj_per_mol"]
    if report.verdicts[VALID]:
        parts.append(
            Table(
                ("force", "mean (kJ/mol)"),
                tuple((name, _number(value)) for name, value in means.items()),
                frozenset({"mean (kJ/mol)"}),
                caption="Energy by force, over the frames that are valid as they are.",
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
            _number(getattr(distance, key), digits),
            "-" if control is None else _number(getattr(control, key), digits),
        )
        for name, (key, digits) in names.items()
    )
    columns = ("energies after constraints", "frames", "reference's halves")
    return Table(
        columns,
        rows,
        frozenset(columns[1:]),
        caption="Distances to the reference, and of its first half to its second: below that no "
        "distance means anything.",
    )


def _worst(
    subject: _Subject,
    view: MoleculeView,
    survey: FrameSurvey | None,
    viewed: Sequence[FrameVerdict],
) -> list[Part]:
    parts: list[Part] = []
    shown = [v for v in viewed if survey is not None and v.frame in survey.positions_nm]
    if survey is None:
        parts.append(Text(("The frames were not given, so that no structure can be shown.",)))
    elif shown:
        parts.append(_view(subject, view, survey, shown))
    lost = [v.frame for v in viewed if survey is not None and v.frame not in survey.positions_nm]
    if lost:
        parts.append(
            Text((f"Not shown in 3-D, having no finite coordinates: frames {_listed(lost)}.",))
        )
    if view.shown.left_out:
        parts.append(
            Text(
                (
                    f"Not shown: {view.shown.left_out}; molecules of water and ions that a reason "
                    "names are.",
                )
            )  # fmt: skip
        )
    worst = subject.report.worst
    columns = ("frame", "energy (kJ/mol)", "largest force", "verdict", "why")
    rows = tuple(
        (
            str(v.frame),
            _number(v.energies.constrained_kj_per_mol),
            v.energies.largest_force_atom or "-",
            v.verdict if v.verdict == VALID else f"{v.verdict}: {v.reason}",
            v.detail or "nothing was found; its energy is among the highest",
        )
        for v in worst
    )
    flags = tuple(_FLAGS[v.verdict] for v in worst)
    caption = "Invalid frames before others, then by energy after constraints."
    parts.append(Table(columns, rows, frozenset({columns[1]}), flags, caption))
    return parts


def _view(
    subject: _Subject, view: MoleculeView, survey: FrameSurvey, shown: Sequence[FrameVerdict]
) -> Part:
    native = None
    if subject.native_nm is not None:
        native = subject.native_nm[view.shown.atoms]
    target = native if native is not None else survey.positions_nm[shown[0].frame]
    # What has flown away must not turn the rest: the backbone of the protein decides.
    names = [a.name for a in view.shown.topology.atoms()]
    fit = np.array([k for k, name in enumerate(names) if name in ("N", "CA", "C")], dtype=np.int64)
    frames = [
        ViewedFrame(
            f"Frame {v.frame}",
            v.verdict if v.verdict == VALID else f"{v.verdict}: {v.reason}",
            v.detail or "Nothing was found; its energy is among the highest.",
            superpose(survey.positions_nm[v.frame], target, fit if len(fit) > 3 else None),
            _FLAGS[v.verdict],
            view.places(v.detail),
            survey.strain.get(v.frame),
        )
        for v in shown
    ]
    return view_frames(view, frames, native, STRAIN_LIMITS[0])


def _strain(view: MoleculeView, survey: FrameSurvey | None) -> list[Part]:
    if survey is None or survey.strain_largest is None or survey.strain_mean is None:
        return [
            Text(("The frames and the System are needed for this; one of them was not given.",))
        ]
    order = np.argsort(-survey.strain_largest)[:NUM_STRAINED]
    columns = ("residue", "largest (σ)", "in frame", "mean (σ)")
    rows = tuple(
        (
            view.labels[k],
            _number(survey.strain_largest[k]),
            str(survey.strain_frame[k]),
            _number(survey.strain_mean[k]),
        )
        for k in order
    )
    flags = tuple("bad" if survey.strain_largest[k] > STRAIN_LIMITS[1] else "" for k in order)
    return [
        _picture(
            validation_plots.strain_profile(
                view.labels, survey.strain_mean, survey.strain_largest, STRAIN_LIMITS
            ),
            "Mean and largest strain along the residues.",
            "The strain of a residue is that of its bond, angle or constraint furthest from "
            "equilibrium, in thermal standard deviations sqrt(kT/k); molecular dynamics has 2 to 4.",
        ),
        Table(columns, rows, frozenset(columns[1:]), flags, "The most strained residues."),
    ]


def _ramachandran(subject: _Subject, view: MoleculeView, survey: FrameSurvey | None) -> list[Part]:
    if survey is None:
        return [Text(("The frames were not given, so that there are no torsions.",))]
    if not survey.maps.counts:
        return [Text(("No residue has both phi and psi.",))]
    maps: dict[str, BackboneMaps] = {"frames": survey.maps}
    if subject.reference_frames is not None:
        reader = open_frames(subject.reference_frames, subject.topology)
        stride = max(1, -(-(reader.num_frames or 1) // MAX_REFERENCE_FRAMES))
        maps["MD"] = FrameSurvey.of(reader.frames(stride=stride), view.shown).maps
    kinds = [name for name in CLASSES if name in survey.maps.counts]
    titles = [f"{kind}, {row}" if len(maps) > 1 else kind for kind in kinds for row in maps]
    shares = [maps[row].shares(kind) for kind in kinds for row in maps]
    columns = 2 if len(maps) > 1 or len(titles) == 2 else len(titles)
    height = (3.7 if columns == 2 else 3.1 if columns == 3 else 4.6) * -(-len(titles) // columns)
    figure = plots.phi_psi_maps(titles, BINS, shares, max(columns, 1), height)
    parts: list[Part] = [
        _picture(
            figure,
            "Maps of phi and psi, by class of residue.",
            "φ and ψ of all frames. φ > 0 (right of the dashed line) is rare except in glycine.",
        )
    ]
    parts.append(_positive_phi(maps, kinds))
    if subject.reference_frames is None:
        parts.append(Text(("No trajectory of molecular dynamics was given to compare with.",)))
    return parts


def _positive_phi(maps: Mapping[str, BackboneMaps], kinds: Sequence[str]) -> Table:
    columns = ("residues", *(f"φ > 0, {row} (%)" for row in maps), "torsion pairs")
    rows = tuple(
        (
            kind,
            *(f"{each.shares(kind)[BINS // 2 :].sum():.2f}" for each in maps.values()),
            f"{int(maps['frames'].counts[kind].sum()):,}",
        )
        for kind in kinds
    )
    return Table(columns, rows, frozenset(columns[1:]))


def _method(subject: _Subject, survey: FrameSurvey | None) -> tuple[str, ...]:
    report = subject.report
    texts = [
        f"Judged: {report.num_frames:,} frames of {report.source}.",
        *(f"Remark: {remark}." for remark in report.remarks),
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


def _number(value: float | None, digits: int = 1) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:,.{digits}f}" if abs(value) < 1e7 else f"{value:.2e}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(n) for n in numbers)
