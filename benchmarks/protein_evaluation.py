"""Measure a model of one protein against the half of the trajectory that it never saw.

    python benchmarks/protein_evaluation.py mdcath_dataset_2hbaA00.h5 --rollout rollout \\
        --model ntl9.atmos --out evaluation --json results.json

The reference is the first half of the trajectory, the oracle the second half. Beside the rollout
are generators that are bad on purpose: a frozen frame (the oracle's first), noise (the native
structure, every coordinate displaced by 3 angstrom) and the oracle's frames in random order. All
rows have as many frames as the rollout. Printed is a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from atmos_openmm.evaluation.ensemble import Ensemble
from atmos_openmm.evaluation.evaluate import Evaluation, PanelRow, evaluate, split_reference
from atmos_openmm.evaluation.formats import metric_name, number
from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.evaluation.panel import Metric, Settings
from atmos_openmm.model.model_file import load_model
from atmos_openmm.report.evaluation_page import write_evaluation

PANELS = ("mdcath", "validity", "dynamics", "rollout", "str2str", "peptide")
NOISE_NM = 0.3
SEED = 5


def bad_generators(oracle: Ensemble, native_nm: np.ndarray) -> list[Ensemble]:
    """Frozen, noisy and shuffled versions of an ensemble of one trajectory."""
    random = np.random.default_rng(SEED)
    frames = oracle.positions_nm[oracle.frames]
    noise = native_nm + NOISE_NM * random.standard_normal(frames.shape)
    positions = {
        "frozen": np.repeat(frames[:1], len(frames), axis=0),
        "noise": noise.astype(np.float32),
        "shuffled": frames[random.permutation(len(frames))],
    }
    return [
        Ensemble(name, oracle.atoms, x, (), oracle.spacing_ps, oracle.topology)
        for name, x in positions.items()
    ]


def markdown(evaluation: Evaluation) -> Iterable[str]:
    """A table of all panels: a line a metric, a column a row of the evaluation."""
    names = [row.name for row in evaluation.panels[0].rows]
    yield "| panel | metric | " + " | ".join(names) + " |"
    yield "|" + "---|" * (len(names) + 2)
    for result in evaluation.panels:
        for metric in result.panel.metrics:
            values = " | ".join(_cell(row, metric) for row in result.rows)
            yield f"| {result.name} | {metric_name(metric)} | {values} |"


def _cell(row: PanelRow, metric: Metric) -> str:
    value, error = row.values[metric.key], row.errors.get(metric.key, math.nan)
    if math.isnan(value):
        return "none"
    return number(value) if math.isnan(error) else f"{number(value)} ± {number(error)}"


def as_json(evaluation: Evaluation) -> dict:
    """Values, standard errors and verdicts by panel, metric and row; null where there is none."""
    found: dict = {}
    for result in evaluation.panels:
        for metric in result.panel.metrics:
            for row in result.rows:
                numbers = (row.values[metric.key], row.errors.get(metric.key, math.nan))
                value, error = (None if math.isnan(n) else float(f"{n:.5g}") for n in numbers)
                entry = {"value": value, "standard_error": error}
                if verdict := result.verdict(row, metric):
                    entry["verdict"] = verdict
                found.setdefault(result.name, {}).setdefault(metric.key, {})[row.name] = entry
    return found


def main() -> None:
    """Read, measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="mdCATH file with one trajectory")
    parser.add_argument("--rollout", type=Path, required=True, help="folder of a rollout")
    parser.add_argument("--model", type=Path, help="its model file, to say how it was trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    whole = read_ensemble([arguments.source], name="MD")
    native = np.asarray(whole.native_nm, np.float64)
    reference, oracle, note = split_reference(whole.ensemble)
    rollout = read_ensemble([arguments.rollout], name="model").ensemble
    evaluation = evaluate(
        reference,
        [rollout, *bad_generators(oracle, native)],
        settings=Settings(native),
        panels=PANELS,
        oracles=[oracle],
        molecule=arguments.source.stem,
    )
    write_evaluation(evaluation, arguments.out)
    print("\n".join(markdown(evaluation)))
    print("\n".join([note, *evaluation.notes]))
    if arguments.json is not None:
        found = {
            "molecule": evaluation.molecule,
            "generated_frames": len(rollout.frames),
            "notes": [note, *evaluation.notes],
            "panels": as_json(evaluation),
        }
        if arguments.model is not None:
            extra = load_model(arguments.model).capabilities.extra
            kept = ("training_step", "training_seconds", "held_out_loss", "sampler", "settings")
            found["model"] = {key: extra[key] for key in kept}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
