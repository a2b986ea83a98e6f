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
    return ["Energy by force (frames that are valid as they are)", *_aligned(rows)]


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
    lines = [f"{summary['source']}: {frames} frames", "", *_verdicts(summary)]
    lines += ["", "Energies", *_energies(summary, relaxed, reference)]
    if summary["verdicts"][VALID]:
        lines += ["", *_forces(summary)]
    if reference is not None:
        lines += ["", *_reference(summary, energy_window)]
    findings = [[f"frames with {k}", str(n)] for k, n in summary["frames_with"].items()]
    rmsd = summary["median_rmsd_heavy_nm"]
    if rmsd is not None:
        findings.append(["median heavy-atom RMSD, raw to relaxed (nm)", _number(rmsd, 4)])
    lines += ["", "Findings", *_aligned(findings)]
    lines += ["", f"Worst {len(worst)} of {frames} frames", *_worst(worst)]
    lines += [f"Note: {remark}" for remark in summary["remarks"]]
    return "\n".join(lines)
