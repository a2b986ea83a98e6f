"""What a method's runs of one molecule say, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atmos_openmm.evaluation.divergence import jensen_shannon_divergence, torsion_histogram
from atmos_openmm.evaluation.transitions import count_transitions

from .metrics import (
    Array,
    angle_samples,
    cloud_wasserstein,
    effective_samples,
    energy_wasserstein,
    free_energy_error,
    populations,
    resample,
    settled,
)
from .reference_data import CLOUD, SMALLEST_POPULATION, Reference, Shape
from .runs import Run

TOLERANCE_KCAL = 0.1
KJ_PER_KCAL = 4.184
TIMES = 60
PARTS = (0.125, 0.25, 0.5, 1.0)
BINS = 18
FEWEST_TRANSITIONS = 5


def run_figures(run: Run, reference: Reference) -> dict[str, Any]:
    """Figures of a single run."""
    shape = reference.shape
    angles = shape.torsions.measure(run.positions)
    errors = _errors_in_time(run, angles, reference)
    found: dict[str, Any] = {
        "method": run.method,
        "seed": run.seed,
        "seconds": float(run.seconds[-1]),
        "wall_seconds": float(run.wall[-1]),
        "evaluations": int(run.evaluations[-1]),
        "frames": len(run.positions),
        "notes": run.notes,
        "basin_error_kcal": float(errors[-1, 1]),
        "settled_seconds": settled(
            run.seconds[errors[:, 0].astype(int)], errors[:, 1], TOLERANCE_KCAL
        ),
        "settled_evaluations": settled(
            run.evaluations[errors[:, 0].astype(int)], errors[:, 1], TOLERANCE_KCAL
        ),
        "error_in_time": [
            (float(run.seconds[int(k)]), int(run.evaluations[int(k)]), float(e)) for k, e in errors
        ],
        "distances": [_distances(run, angles, reference, part) for part in PARTS],
    }
    return found


def _used(run: Run, last: int) -> slice:
    """Frames up to `last` without burn-in, whose length is a share of the time so far."""
    first = int(np.searchsorted(run.seconds, run.burn_in * run.seconds[last]))
    return slice(min(first, last), last + 1)


def _errors_in_time(run: Run, angles: Array, reference: Reference) -> Array:
    """Frame number and largest error of any basin, kcal/mol, at growing times [TIMES, 2]."""
    times = np.geomspace(run.seconds[-1] / 100, run.seconds[-1], TIMES)
    lasts = np.searchsorted(run.seconds, times, side="right") - 1
    lasts = np.unique(lasts.clip(min=0))
    kT = reference.shape.molecule.kT / KJ_PER_KCAL
    worst = np.zeros(len(lasts))
    for basins in reference.shape.basins:
        truth, _ = reference.population(basins)
        counted = truth > SMALLEST_POPULATION
        labels = basins.assign(angles)
        for row, last in enumerate(lasts):
            used = _used(run, int(last))
            logs = run.log_weights[used]
            found = populations(labels[used], np.exp(logs - logs.max()), len(truth))
            error = free_energy_error(found[counted], truth[counted], kT)
            worst[row] = max(worst[row], error)
    return np.column_stack([lasts, worst])


def _distances(run: Run, angles: Array, reference: Reference, part: float) -> dict[str, float]:
    """Wasserstein distances and JSD after a part of the run's time."""
    last = int(np.searchsorted(run.seconds, part * run.seconds[-1], side="right")) - 1
    used = _used(run, max(last, 0))
    chosen = resample(run.log_weights[used], CLOUD, run.seed)
    found = clouds(run.positions[used][chosen], reference.cloud(0), reference)
    index = resample(run.log_weights[used], 20 * CLOUD, run.seed)
    found["jsd"] = _divergence(angles[used][index], reference.pooled, reference.shape)
    return {"evaluations": int(run.evaluations[last]), **found}


def clouds(first: Any, second: Any, reference: Reference) -> dict[str, float]:
    """Energy, torus and TICA Wasserstein-2 of two clouds of frames of equal size."""
    shape = reference.shape
    found = {
        "energy_w2": energy_wasserstein(shape.energies(first), shape.energies(second)),
        "torus_w2": cloud_wasserstein(shape.backbone(first), shape.backbone(second), torus=True),
    }
    if reference.tica is not None:
        a, b = (reference.tica.transform(shape.features(frames)) for frames in (first, second))
        found["tica_w2"] = cloud_wasserstein(a, b)
    return found


def _divergence(angles: Array, truth: Array, shape: Shape) -> float:
    """Mean over residues with phi and psi of the JSD of their histograms, 18 x 18 bins, in nats."""
    pairs = [b.torsions for b in shape.basins if len(b.torsions) == 2]
    return float(
        np.mean(
            [
                jensen_shannon_divergence(
                    *(torsion_histogram(x[:, phi], x[:, psi], BINS) for x in (angles, truth))
                )
                for phi, psi in pairs
            ]
        )
    )


def method_figures(runs: Sequence[Run], reference: Reference) -> dict[str, Any]:
    """Effective samples a second and for 100,000 evaluations, of all seeds of a method.

    The clock is that of the whole runs, set-up and burn-in included.
    """
    torsions = reference.shape.torsions
    slices = [_used(run, len(run.seconds) - 1) for run in runs]
    length = min(s.stop - s.start for s in slices)
    positions = [run.positions[s][-length:] for run, s in zip(runs, slices, strict=True)]
    angles = np.array([torsions.measure(x) for x in positions])
    logs = np.array([r.log_weights[s][-length:] for r, s in zip(runs, slices, strict=True)])
    seconds = float(np.mean([run.seconds[-1] for run in runs]))
    evaluations = float(np.mean([run.evaluations[-1] for run in runs]))
    samples = {
        name: angle_samples(angles[..., k], logs, reference.pooled[:, k])
        for k, name in enumerate(torsions.names)
    }
    return {
        "seeds": [run.seed for run in runs],
        "ess_per_second": {name: n / seconds for name, n in samples.items()},
        "ess_per_1e5_evaluations": {name: 1e5 * n / evaluations for name, n in samples.items()},
        "ms_per_evaluation": 1e3 * seconds / evaluations,
        "positive_phi": {
            torsions.names[basins.torsions[0]]: _positive_phi(
                angles[..., basins.torsions[0]], logs, seconds, reference, basins.torsions[0]
            )
            for basins in reference.shape.basins
            if len(basins.torsions) == 2
        },
    }


def _positive_phi(
    phi: Array, logs: Array, seconds: float, reference: Reference, torsion: int
) -> dict[str, Any]:
    """Share of phi > 0, transitions and effective samples; a bound where hardly any was seen.

    Two states between which a chain goes N times give N / (4 p (1 - p)) samples; N + 3 bounds
    what was too rare to be seen.
    """
    share = float((reference.pooled[:, torsion] > 0).mean())
    transitions = int(count_transitions(list(phi)).total)
    weights = np.exp(logs - logs.max())
    found = {
        "reference": share,
        "share": float((weights * (phi > 0)).sum() / weights.sum()),
        "transitions_per_second": transitions / (seconds * len(phi)),
    }
    bound = not (transitions >= FEWEST_TRANSITIONS)
    if share in (0.0, 1.0):
        return {**found, "ess_per_second": None, "is_bound": True}
    if bound:
        samples = (transitions + 3) / (4 * share * (1 - share)) / len(phi)
    else:
        samples = effective_samples((phi > 0).astype(float), logs, share, share * (1 - share))
    return {**found, "ess_per_second": samples / seconds, "is_bound": bound}


def reference_figures(reference: Reference) -> dict[str, Any]:
    """What the reference is and how well it is known."""
    kT = reference.shape.molecule.kT / KJ_PER_KCAL
    basins = {}
    worst = 0.0
    for division in reference.shape.basins:
        share, error = reference.population(division)
        counted = share > SMALLEST_POPULATION
        worst = max(worst, float((kT * error[counted] / share[counted]).max()))
        basins[division.name] = {
            name: (round(float(p), 5), round(float(e), 5))
            for name, p, e in zip(division.names, share, error, strict=True)
        }
    rates = reference.md_samples_per_ns()
    names = reference.shape.torsions.names
    dynamics = reference.dynamics
    found = {
        "processor_seconds": reference.seconds,
        "ladders": len(reference.ladders),
        "frames": len(reference.pooled),
        "cis_share": reference.cis,
        "basins": basins,
        "largest_error_kcal": worst,
        "floor": clouds(reference.cloud(1), reference.cloud(0), reference),
        "md_ns": 0.0 if dynamics is None else dynamics.shape[0] * dynamics.shape[1] / 1000,
    }
    if rates is not None and dynamics is not None:
        found["md_samples_per_ns"] = dict(zip(names, map(float, rates), strict=True))
        found["md_positive_phi"] = {}
        for division in reference.shape.basins:
            if len(division.torsions) != 2:
                continue
            phi = np.array(
                [reference.shape.torsions.measure(t)[:, division.torsions[0]] for t in dynamics]
            )
            share = float((reference.pooled[:, division.torsions[0]] > 0).mean())
            events = int(count_transitions(list(phi)).total)
            per_ns = events / found["md_ns"]
            samples = per_ns / (4 * share * (1 - share)) if 0 < share < 1 else None
            found["md_positive_phi"][names[division.torsions[0]]] = {
                "transitions_per_ns": per_ns,
                "transitions": events,
                "samples_per_ns": samples,
            }
    return found
