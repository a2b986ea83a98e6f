"""An evaluation as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from ..core.text import aligned
from .evaluate import GENERATOR, Evaluation, PanelResult, PanelRow
from .panel import Metric

__all__ = ["cell", "csv_text", "json_text", "text_table"]

_COLUMNS = (
    "molecule", "panel", "metric", "unit", "goal", "row", "role", "value", "standard_error",
    "frames", "trajectories", "spacing_ps", "verdict",
)  # fmt: skip


def number(value: float) -> str:
    """A value with three to four significant digits."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def cell(row: PanelRow, metric: Metric) -> str:
    """A value with its standard error."""
    value, error = row.values[metric.key], row.errors.get(metric.key, float("nan"))
    if math.isnan(value) or math.isnan(error):
        return number(value)
    return f"{number(value)} ± {number(error)}"


def metric_name(metric: Metric) -> str:
    """Name with unit and an arrow that tells the goal."""
    arrow = {"low": "↓", "high": "↑", "reference": "="}[metric.goal]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.name}{unit} {arrow}"


def text_table(result: PanelResult) -> str:
    """A panel's table for a terminal: a line a metric, a column a row of the panel."""
    lines = [["", *(row.name for row in result.rows)]]
    lines += [
        [metric_name(metric), *(cell(row, metric) for row in result.rows)]
        for metric in result.panel.metrics
    ]
    head = f"{result.panel.title} ({result.panel.source})"
    return "\n".join([head, *aligned(lines), *(f"  {note}" for note in result.notes)])


def csv_text(evaluation: Evaluation) -> str:
    """One line a panel, metric and row; empty where there is no value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in evaluation.panels:
        for metric in result.panel.metrics:
            for row in result.rows:
                value = row.values[metric.key]
                error = row.errors.get(metric.key, float("nan"))
                writer.writerow(
                    [evaluation.molecule, result.name, metric.key, metric.unit, metric.goal,
                     row.name, row.role, _plain(value), _plain(error), row.frames,
                     row.trajectories, "" if row.spacing_ps is None else f"{row.spacing_ps:g}",
                     result.verdict(row, metric)]
                )  # fmt: skip
    return buffer.getvalue()


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def json_text(evaluation: Evaluation) -> str:
    """Everything: values, errors, curves, notes. Numbers that are not finite are null or text."""
    panels = []
    for result in evaluation.panels:
        panels.append(
            {
                "name": result.name,
                "title": result.panel.title,
                "source": result.panel.source,
                "seconds": round(result.seconds, 3),
                "notes": list(result.notes),
                "metrics": [
                    {**asdict(m), "catches": sorted(m.catches)} for m in result.panel.metrics
                ],
                "axes": _json(result.axes),
                "rows": [
                    {
                        "name": row.name,
                        "role": row.role,
                        "frames": row.frames,
                        "trajectories": row.trajectories,
                        "spacing_ps": row.spacing_ps,
                        "values": _json(row.values),
                        "errors": _json(row.errors),
                        "verdicts": {m.key: result.verdict(row, m) for m in result.panel.metrics}
                        if row.role == GENERATOR
                        else {},
                        "arrays": _json(row.arrays),
                    }
                    for row in result.rows
                ],
            }
        )
    document = {
        "format": "atmos-openmm-evaluation",
        "version": 1,
        "molecule": evaluation.molecule,
        "notes": list(evaluation.notes),
        "skipped": evaluation.skipped,
        "panels": panels,
    }
    return json.dumps(document, allow_nan=False) + "\n"


def _json(value: Any) -> Any:
    """Plain JSON values, floats with seven digits; NaN is null, infinities are text."""
    if isinstance(value, np.ndarray):
        return [_json(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return float(f"{value:.7g}")
    return value
