"""The tables of the benchmark, in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median and range; what never happened is a dash."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return "-"
    text = f"{statistics.median(known):.{digits}g}"
    if len(known) > 1:
        text += f" ({min(known):.{digits}g} to {max(known):.{digits}g})"
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)}"


def print_table(name: str, found: Mapping[str, Any]) -> None:
    """One row a method."""
    reference = found["reference"]
    floor = ", ".join(f"{key} {value:.2f}" for key, value in reference["floor"].items())
    print(
        f"\n### {name}\n\nReference: {reference['ladders']} ladders, {reference['frames']} frames, "
        f"{reference['processor_seconds']:.0f} s; largest error of a counted basin "
        f"{reference['largest_error_kcal']:.3f} kcal/mol; between its halves {floor}; plain "
        f"dynamics {reference['md_ns']:.0f} ns; cis {reference['cis_share']:.4f}.\n"
    )
    print(
        "| method | settled (s) | error at the end (kcal/mol) | ESS/s, torsions | ESS/s, phi > 0 "
        "| phi transitions/s | energy, torus, TICA W2 | JSD | evaluations | ms each | set-up (s) |"
    )
    print("|" + "---|" * 11)
    for method, one in found["methods"].items():
        runs = one["runs"]
        last = [run["distances"][-1] for run in runs]
        distances = ", ".join(
            spread([row[key] for row in last], 2).split(" ")[0]
            for key in ("energy_w2", "torus_w2", "tica_w2")
            if key in last[0]
        )
        cells = [
            method,
            spread([run["settled_seconds"] for run in runs]),
            spread([run["basin_error_kcal"] for run in runs]),
            spread(list(one["ess_per_second"].values())),
            ", ".join(_rate(phi) for phi in one["positive_phi"].values()),
            spread([phi["transitions_per_second"] for phi in one["positive_phi"].values()]),
            distances,
            spread([row["jsd"] for row in last], 2).split(" ")[0],
            spread([run["evaluations"] for run in runs]).split(" ")[0],
            f"{one['ms_per_evaluation']:.2f}",
            spread([run["notes"]["set_up_seconds"] for run in runs]).split(" ")[0],
        ]
        print("| " + " | ".join(cells) + " |")


def _rate(phi: Mapping[str, Any]) -> str:
    if phi["ess_per_second"] is None:
        return "-"
    return f"{'< ' if phi['is_bound'] else ''}{phi['ess_per_second']:.3g}"


def ratios(found: Mapping[str, Any], method: str, other: str) -> dict[str, float]:
    """ESS a second of a method over that of another, of each torsion."""
    first, second = (found["methods"][m]["ess_per_second"] for m in (method, other))
    return {name: first[name] / second[name] for name in first}


def md_ratios(found: Mapping[str, Any], method: str, ns_per_second: float) -> dict[str, float]:
    """The same over long plain dynamics, at the speed of the benchmark's MD."""
    long = found["reference"].get("md_samples_per_ns", {})
    first = found["methods"][method]["ess_per_second"]
    return {name: first[name] / (rate * ns_per_second) for name, rate in long.items()}


def print_ratios(molecules: Mapping[str, Mapping[str, Any]]) -> None:
    """Of each exact method over MD, exchange and OPES: least and median torsion, phi > 0."""
    print("\n### Ratios of effective samples a second\n")
    print(
        "| molecule | method | over MD, least torsion / median | over long MD | MD, phi > 0 "
        "| over exchange | over OPES |\n|---|---|---|---|---|---|---|"
    )
    for name, found in molecules.items():
        for method in (m for m in found["methods"] if m.startswith("exact")):
            cells = [name, method, _pair(found, method, "md")]
            cells += [_long(found, name, method), _positive(found, method)]
            cells += [_pair(found, method, other) for other in ("exchange", "opes")]
            print("| " + " | ".join(cells) + " |")


def _pair(found: Mapping[str, Any], method: str, other: str) -> str:
    if other not in found["methods"]:
        return "-"
    values = ratios(found, method, other).values()
    return f"{min(values):.3g} / {statistics.median(values):.3g}"


def _ns_per_second(found: Mapping[str, Any], name: str) -> float:
    from .molecules import molecule

    return molecule(name).step_ps / found["methods"]["md"]["ms_per_evaluation"]


def _long(found: Mapping[str, Any], name: str, method: str) -> str:
    if "md" not in found["methods"] or "md_samples_per_ns" not in found["reference"]:
        return "-"
    values = md_ratios(found, method, _ns_per_second(found, name)).values()
    return f"{min(values):.3g} / {statistics.median(values):.3g}"


def _positive(found: Mapping[str, Any], method: str) -> str:
    """phi > 0, all residues; MD's own rate is a bound where it hardly crosses."""
    if "md" not in found["methods"]:
        return "-"
    cells = []
    for torsion, mine in found["methods"][method]["positive_phi"].items():
        md = found["methods"]["md"]["positive_phi"][torsion]
        if not mine["ess_per_second"] or not md["ess_per_second"]:
            cells.append("-")
            continue
        sign = "> " if md["is_bound"] else ""
        sign = "? " if mine["is_bound"] else sign
        cells.append(f"{sign}{mine['ess_per_second'] / md['ess_per_second']:.3g}")
    return ", ".join(cells)
