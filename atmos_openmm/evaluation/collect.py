"""Numbers over many proteins, from the JSON files of single evaluations.

Some published numbers are of a set of targets, not of one: Pearson's r of the pairwise RMSD over
targets, the RMSF r of all residues of all targets pooled ("global"), the share of targets with a
similar first component. The rest are medians over targets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .rmsf import pearson

__all__ = ["collect", "read_evaluation"]

SIMILAR = 0.5
RESAMPLES = 200
_PROFILES = ("rmsf_angstrom", "heavy_rmsf_angstrom")


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """Read what `atmos-openmm evaluate` wrote.

    Raises
    ------
    FileNotFoundError
    ValueError
        If it is another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give evaluation.json of each molecule.")
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != "atmos-openmm-evaluation":
        raise ValueError(f"{path} was not written by `atmos-openmm evaluate`")
    return document


def collect(documents: Sequence[dict[str, Any]], panel: str) -> dict[str, dict[str, Any]]:
    """Numbers over targets for each row that all documents have.

    Parameters
    ----------
    documents : sequence of dict
        From `read_evaluation`, one a target.
    panel : str
        Name; documents without it are left out.

    Returns
    -------
    dict of str to dict
        Row -> number -> (value, standard error by bootstrap over targets). Oracles, whatever their
        names, are one row called ``MD replica``. ``targets`` is the number of targets.

    Raises
    ------
    ValueError
        If fewer than two documents have the panel, or no generator is in all of them.
    """
    found = [p for d in documents for p in d["panels"] if p["name"] == panel]
    if len(found) < 2:
        raise ValueError(
            f"{len(found)} of {len(documents)} evaluations have the panel {panel!r}; numbers over "
            "targets need two or more"
        )
    keys = [m["key"] for m in found[0]["metrics"]]
    tables = [_named(p["rows"]) for p in found]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    random = np.random.default_rng(137)
    draws = random.integers(0, len(found), (RESAMPLES, len(found)))
    result: dict[str, dict[str, Any]] = {}
    for name in names:
        if name == "reference":
            continue
        rows = [(table[name], table["reference"]) for table in tables]
        whole = _numbers(rows, keys)
        sampled = [_numbers([rows[k] for k in draw], keys) for draw in draws]
        result[name] = {
            key: (value, _spread([s[key] for s in sampled])) for key, value in whole.items()
        }
        result[name]["targets"] = len(rows)
    return result


def _named(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    named: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = {"reference": "reference", "oracle": "MD replica"}.get(row["role"], row["name"])
        named.setdefault(name, row)
    return named


def _numbers(
    rows: Sequence[tuple[dict[str, Any], dict[str, Any]]], keys: Sequence[str]
) -> dict[str, float]:
    numbers = {f"median {key}": _median([_value(own, key) for own, _ in rows]) for key in keys}
    if "pairwise_rmsd" in keys:
        numbers["pairwise_rmsd r over targets"] = pearson(
            np.array([_value(own, "pairwise_rmsd") for own, _ in rows]),
            np.array([_value(reference, "pairwise_rmsd") for _, reference in rows]),
        )
    if "pc_similarity" in keys:
        similar = [_value(own, "pc_similarity") > SIMILAR for own, _ in rows]
        numbers["% PC similarity > 0.5"] = 100 * float(np.mean(similar))
    for profile in _PROFILES:
        if all(profile in own["arrays"] and profile in ref["arrays"] for own, ref in rows):
            numbers["global RMSF r"] = pearson(
                np.concatenate([own["arrays"][profile] for own, _ in rows]),
                np.concatenate([ref["arrays"][profile] for _, ref in rows]),
            )
    return numbers


def _value(row: dict[str, Any], key: str) -> float:
    value = row["values"][key]
    return float("nan") if value is None else float(value)


def _median(values: Sequence[float]) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.median(known)) if known else float("nan")


def _spread(values: Sequence[float]) -> float:
    known = np.array([v for v in values if np.isfinite(v)])
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
