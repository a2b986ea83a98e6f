"""The page, the plots and the tables of `atmos-openmm demo`."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._demo_runs import (
    EXACT_INTERVAL,
    JUMP_INTERVAL,
    RELAXATION,
    SEQUENCE,
    STEP_PS,
    TEMPERATURE_K,
    WALKERS,
    ThreeRuns,
)

if TYPE_CHECKING:
    from ..evaluation.known_ensemble import KnownEnsemble
    from ..report.ensembles_page import BesideReference

VALIDATOR_ITERATIONS = 100


def write_page(
    output: Path,
    topology: Any,
    propagator: Any,
    runs: ThreeRuns,
    reference: KnownEnsemble,
    verdicts: list[Any],
    seed: int,
    model: str,
) -> Path:
    """Write everything; returns the path of the page."""
    from ..evaluation.atoms import AtomTable
    from ..evaluation.torsions import find_torsions
    from ..jump.proposal import REASONS
    from ..report import style
    from ..report.hybrid_page import Comparison, write_comparison
    from ..report.plots import TorsionSeries

    hybrid, turns = runs.hybrid, runs.turns
    torsions = find_torsions(AtomTable.from_openmm(topology))
    residue = torsions.residues[0]
    phi, psi = (angles[:, 0] for angles in torsions.phi_psi(hybrid.positions_nm))
    md_phi, md_psi = (angles[:, 0] for angles in torsions.phi_psi(turns.md_positions_nm))
    proposals = hybrid.proposals
    reasons = Counter(REASONS[code] for code in proposals["reason"])
    cycles = len(turns.cycle_seconds)
    cost_seconds = turns.hybrid_seconds - cycles * JUMP_INTERVAL * turns.seconds_per_md_step
    count = len(proposals["reason"])
    filtered = TorsionSeries(
        "Filter", phi, psi, hybrid.seconds, style.MODEL_COLOR, hybrid.jump_seconds
    )
    md = TorsionSeries("Plain MD", md_phi, md_psi, turns.md_frame_seconds, style.MD_COLOR)
    _write_series(output / "torsions.csv", runs, filtered, md)
    comparison = Comparison(
        title="Alanine dipeptide: exact, explored, and by plain MD",
        lead="An exact run and an exploring one with the bundled model beside plain molecular "
        "dynamics of the same wall-clock time, one thread each, in turns, and a long reference.",
        residue=residue,
        hybrid=filtered,
        md=md,
        hybrid_seconds=turns.hybrid_seconds,
        md_seconds=turns.md_seconds,
        md_energies=turns.md_energies_kj_per_mol,
        raw_energies=proposals["energy_raw_kj_per_mol"],
        relaxed_energies=proposals["energy_after_kj_per_mol"],
        window=runs.energy_limit if np.isfinite(runs.energy_limit) else None,
        reasons=reasons,
        rmsd_nm=np.array([verdict.relaxation.rmsd_all_nm for verdict in verdicts]),
        verdicts=_verdict_table(proposals, verdicts),
        verdict_note=_verdict_note(len(verdicts), count),
        settings=_settings(propagator, model, seed, runs),
        versions=_versions(),
        jump_cost_steps=cost_seconds / count / turns.seconds_per_md_step if count else float("nan"),
        beside=_beside(runs, reference, filtered, md),
    )
    return write_comparison(output, comparison)


def _beside(runs: ThreeRuns, reference: KnownEnsemble, *series: Any) -> BesideReference:
    """The three runs and the reference."""
    from ..report import style
    from ..report.ensembles_page import BesideReference, SampledRun

    exact = SampledRun("Exact", style.HYBRID_COLOR, runs.exact.angles, runs.exact.seconds)
    others = [
        SampledRun(
            run.name,
            run.color,
            np.stack([run.phi, run.psi], axis=-1)[None],
            run.wall_seconds,
            is_boltzmann=run.name != "Filter",
        )
        for run in series
    ]
    note = (
        f"Reading the model and asking its torsion head took {runs.density_seconds:.1f} s of "
        "the exact run's time. Minimising and equilibrating the starts is in no run's time."
    )
    return BesideReference(reference, (exact, *others), note)


def _write_series(path: Path, runs: ThreeRuns, filtered: Any, md: Any) -> None:
    """Phi and psi of all frames, each with the time of its run's clock."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "walker", "wall_clock_s", "phi_degrees", "psi_degrees"])
        rows = [
            ("exact", walker, runs.exact.seconds, *angles.T)
            for walker, angles in enumerate(runs.exact.angles)
        ]
        for name, run in (("hybrid", filtered), ("md", md)):
            rows.append((name, 0, run.wall_seconds, run.phi, run.psi))
        for name, walker, seconds, phi, psi in rows:
            for row in zip(seconds, np.degrees(phi), np.degrees(psi), strict=True):
                writer.writerow([name, walker, *(f"{value:.4f}" for value in row)])


def _verdict_table(proposals: Mapping[str, Any], verdicts: list[Any]) -> Any:
    from ..jump.proposal import REASONS
    from ..report.page import Table

    columns = (
        "proposal",
        "verdict",
        "in the run",
        "raw",
        "constrained",
        "relaxed",
        "max force",
        "on atom",
        "RMSD",
        "why not valid as it is",
    )
    rows = []
    for number, verdict in enumerate(verdicts):
        rows.append(
            (
                str(int(proposals["attempt"][number])),
                verdict.verdict,
                REASONS[proposals["reason"][number]],
                _number(verdict.energies.raw_kj_per_mol),
                _number(verdict.energies.constrained_kj_per_mol),
                _number(verdict.energies.relaxed_kj_per_mol),
                _number(verdict.energies.largest_force_kj_per_mol_nm, 0),
                verdict.energies.largest_force_atom,
                _number(verdict.relaxation.rmsd_all_nm, 4),
                verdict.detail,
            )
        )
    return Table(
        columns,
        tuple(rows),
        frozenset(columns) - {"verdict", "in the run", "on atom", columns[-1]},
        tuple("good" if verdict.isValid else "bad" for verdict in verdicts),
        "Each generated frame as the network made it. Potential energies (kJ/mol) raw, "
        "after constraints, and after the validator's minimisation; the largest force "
        "(kJ/mol/nm) on the raw frame; the RMSD (nm) from raw to relaxed. All columns, "
        "energies by force among them, are in generated_frames.csv.",
        tall=True,
    )


def _number(value: float, digits: int = 1) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:,.{digits}f}" if abs(value) < 1e7 else f"{value:.2e}"


def _verdict_note(done: int, count: int) -> str:
    which = (
        "Every generated frame was validated, those that the run rejected included."
        if done == count
        else f"The first {done:,} of {count:,} generated frames were validated, those that the run "
        "rejected included; the time did not suffice for more."
    )
    return (
        f"{which} The validator works on the raw frame, apart from the run: energies by "
        "force, largest force, overlaps, bonds, angles, handedness, peptide bonds, and a "
        f"minimisation of at most {VALIDATOR_ITERATIONS} iterations. The "
        "energy is compared with that of the plain MD. A broken bond or a wrong hand makes a "
        "frame invalid whatever its energy."
    )


def _settings(propagator: Any, model: str, seed: int, runs: ThreeRuns) -> dict[str, str]:
    from ..model.bundled import TORSION_MODEL
    from ..surrogate import SERIES_TRIALS

    info, turns = propagator.info(), runs.turns
    proposed, accepted = runs.exact_moves
    return {
        "molecule": SEQUENCE,
        "force field": "amber14-all with implicit/gbn2, no cutoff, bonds to hydrogen constrained, "
        "hydrogen mass 1.5 dalton",
        "dynamics": f"LangevinMiddle, {TEMPERATURE_K:.0f} K, 1/ps, {1000 * STEP_PS:.0f} fs",
        "platform": "CPU, one thread; torch, one thread",
        "model": model,
        "trained on": str(info["capabilities"].get("trained_on", "not stated")),
        "lag of a jump": f"{info['lag_ps']:g} ps",
        "exact run": f"{WALKERS} walkers, a series of {SERIES_TRIALS} trials every "
        f"{EXACT_INTERVAL} steps; {accepted:,} of {proposed:,} series accepted",
        "density of the exact run": f"torsion head of {TORSION_MODEL}; "
        f"{100 * runs.density.uniform_weight:g} % uniform; not adapted",
        "MD steps in the exact run": f"{runs.exact.angles.shape[1] * WALKERS * EXACT_INTERVAL:,}",
        "MD steps between jumps of the filtered run": str(JUMP_INTERVAL),
        "acceptance of the filtered run": "filter, window of 6 standard deviations "
        "above the mean of the run's own MD",
        "relaxation stages": ", ".join(f"{n} minimiser iterations" for n in RELAXATION),
        "MD steps in the filtered run": f"{len(turns.cycle_seconds) * JUMP_INTERVAL:,}",
        "MD steps in the plain run": f"{turns.md_steps:,}",
        "processor time of filtered run and MD": f"{turns.hybrid_cpu_seconds:.0f} s and "
        f"{turns.md_cpu_seconds:.0f} s",
        "seed": str(seed),
    }


def _versions() -> dict[str, str]:
    from importlib import metadata

    versions = {"python": sys.version.split()[0]}
    for name in ("atmos-openmm", "openmm", "torch", "numpy", "rdkit", "mdtraj", "matplotlib"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "source tree"
    return versions
