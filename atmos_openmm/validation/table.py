"""The report on a trajectory as text that fits a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.text import aligned
from .defects import INVALID, RELAXED, VALID
from .reference import EnergyReference
from .verdict import FrameVerdict

__all__ = ["format_report"]

WIDTH = 100

#: So many residues are listed, and these are far enough from the reference to be.
MOST_RESIDUES = 5
NOTABLE_EXCESS_SDS = 2.0


def _number(value: float | None, digits: int = 1) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 1e7 else f"{value:.2e}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    return aligned(rows, "  ")


def _verdicts(summary: dict[str, Any]) -> list[str]:
    total = max(1, summary["num_frames"])
    rows = []

    def count(name: str, frames: int) -> None:
        rows.append([name, str(frames), f"{100 * frames / total:.1f} %"])

    for verdict in (VALID, RELAXED, INVALID):
        count(verdict, summary["verdicts"][verdict])
        if verdict != VALID:
            start = f"{verdict}: "
            reasons = [
                (n, reason.removeprefix(start))
                for reason, n in summary["reasons"].items()
                if reason.startswith(start)
            ]
            for n, reason in sorted(reasons, reverse=True):
                count(f"    {reason}", n)
    return _aligned(rows)


def _energies(
    summary: dict[str, Any], relaxed: bool, reference: EnergyReference | None
) -> list[str]:
    rows = [["kJ/mol", "median", "least", "largest"]]
    for name, spread in summary["energy_kj_per_mol"].items():
        if relaxed or name != "after relaxation":
            rows.append([name, *(_number(spread[k]) for k in ("median", "least", "largest"))])
    if reference is not None:
        energies = sorted(reference.energies_kj_per_mol)
        middle = energies[len(energies) // 2]
        rows.append(["reference", _number(middle), _number(energies[0]), _number(energies[-1])])
    return _aligned(rows)


def _reference(summary: dict[str, Any], energy_window: float) -> list[str]:
    about, distance, control = summary["reference"], summary["distance"], summary["control"]
    lines = [
        f"Against the reference {about['source']} ({about['num_energies']} energies, mean "
        f"{_number(about['mean_kj_per_mol'])}, sd {_number(about['sd_kj_per_mol'])} kJ/mol)"
    ]
    rows = [["", "frames", "reference's halves"]]
    for title, key, digits in (
        ("Wasserstein-1, kJ/mol", "wasserstein_kj_per_mol", 2),
        ("Wasserstein-1, kT", "wasserstein_kt", 2),
        ("Jensen-Shannon, bits", "jensen_shannon_bits", 3),
        (f"at or below mean + {energy_window:g} sd", "fraction_in_window", 3),
    ):
        other = "-" if control is None else _number(control[key], digits)
        rows.append([title, _number(distance[key], digits), other])
    return lines + _aligned(rows)


def _forces(summary: dict[str, Any]) -> list[str]:
    means = summary["force_means_kj_per_mol"]
    rows = [["kJ/mol", "mean"], *([name, _number(value)] for name, value in means.items())]
    if any(spread["reference_mean"] is not None for spread in summary["forces"].values()):
        rows[0].append("reference")
        for row, spread in zip(rows[1:], summary["forces"].values(), strict=True):
            row.append(_number(spread["reference_mean"]))
    return ["Energy by force (frames that are valid as they are)", *_aligned(rows)]


def _spread_rows(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    rows = [["kJ/mol", "mean", "sd"]]
    with_reference = any(spread["reference_mean"] is not None for _, spread in entries)
    if with_reference:
        rows[0] += ["reference", "its sd"]
    for name, spread in entries:
        keys = ["mean", "sd", *(["reference_mean", "reference_sd"] if with_reference else [])]
        rows.append([name, *(_number(spread[key]) for key in keys)])
    return _aligned(rows)


def _interactions(summary: dict[str, Any]) -> list[str]:
    entries = [
        (f"{pair}, {part.replace('_', '-')}", spread)
        for pair, parts in summary["interactions"].items()
        for part, spread in parts.items()
    ]
    return ["", "Interaction energies", *_spread_rows(entries)] if entries else []


def _second(summary: dict[str, Any]) -> list[str]:
    second = summary["second"]
    if second is None:
        return []
    about = f"Energy in {second['name']}"
    if second["correlation"] is not None:
        about += (
            f" (correlation {second['correlation']:.3f}; the difference of the two has an sd of "
            f"{_number(second['difference_sd'])} kJ/mol)"
        )
    return ["", about, *_spread_rows([("as the frames are", second)])]


def _residues(summary: dict[str, Any]) -> list[str]:
    """The residues whose bonded energy is highest above the reference, or that have outliers."""

    def badness(row: dict[str, Any]) -> tuple[float, float]:
        return row["strained_frames"], row["excess_sds"] or 0.0

    chosen = [
        row
        for row in summary["residues"]
        if row["strained_frames"] or (row["excess_sds"] or 0) > NOTABLE_EXCESS_SDS
    ]
    if not chosen:
        return []
    chosen = sorted(chosen, key=badness, reverse=True)[:MOST_RESIDUES]
    rows = [["residue", "bonded, kJ/mol", "excess, sd", "frames", "worst, sigma"]]
    rows += [
        [
            row["residue"],
            _number(row["mean"]),
            _number(row["excess_sds"]),
            str(row["strained_frames"]),
            _number(row["worst_sigma"]),
        ]
        for row in chosen
    ]
    return ["", "Most strained residues (frames with an outlier)", *_aligned(rows)]


def _files(summary: dict[str, Any]) -> list[str]:
    rows = [["trajectory", "frames", VALID, "relaxed", INVALID]]
    for one in summary.get("files", []):
        counts = (one["verdicts"][name] for name in (VALID, RELAXED, INVALID))
        rows.append([one["source"], str(one["num_frames"]), *map(str, counts)])
    return ["", *_aligned(rows)] if len(rows) > 1 else []


def _worst(verdicts: Sequence[FrameVerdict]) -> list[str]:
    rows = [["frame", "energy", "largest force", "at", "verdict"]]
    for v in verdicts:
        rows.append(
            [
                str(v.frame),
                _number(v.energies.constrained_kj_per_mol),
                _number(v.energies.largest_force_kj_per_mol_nm, 0),
                v.energies.largest_force_atom or "-",
                v.verdict if v.verdict == VALID else f"{v.verdict}: {v.reason}",
            ]
        )
    table = _aligned(rows)
    lines = [table[0]]
    for line, v in zip(table[1:], verdicts, strict=True):
        lines.append(line)
        if v.detail:
            text = v.detail if len(v.detail) <= WIDTH - 6 else v.detail[: WIDTH - 9] + "..."
            lines.append("      " + text)
    return lines


def format_report(
    summary: dict[str, Any],
    worst: Sequence[FrameVerdict],
    *,
    relaxed: bool,
    energy_window: float,
    reference: EnergyReference | None,
) -> str:
    """Write a report: verdicts and reasons, energies, distances, findings, the worst frames.

    Parameters
    ----------
    summary : dict
        Of `ValidationReport.summary`.
    worst : sequence of FrameVerdict
    relaxed : bool
        Whether frames were relaxed.
    energy_window : float
        Width in standard deviations.
    reference : EnergyReference or None

    Returns
    -------
    str
        Several lines, without a newline at the end.
    """
    frames = summary["num_frames"]
    lines = [f"{summary['source']}: {frames} frames", *_files(summary), "", *_verdicts(summary)]
    lines += ["", "Energies", *_energies(summary, relaxed, reference)]
    if summary["verdicts"][VALID]:
        lines += ["", *_forces(summary)]
    if reference is not None:
        lines += ["", *_reference(summary, energy_window)]
    lines += _interactions(summary) + _second(summary) + _residues(summary)
    findings = [[f"frames with {k}", str(n)] for k, n in summary["frames_with"].items()]
    rmsd = summary["median_rmsd_heavy_nm"]
    if rmsd is not None:
        findings.append(["median heavy-atom RMSD, raw to relaxed (nm)", _number(rmsd, 4)])
    lines += ["", "Findings", *_aligned(findings)]
    lines += ["", f"Worst {len(worst)} of {frames} frames", *_worst(worst)]
    lines += [f"Note: {remark}" for remark in summary["remarks"]]
    return "\n".join(lines)
