"""`atmos-openmm demo`: alanine dipeptide by learned jumps beside plain MD, with a report."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..core.progress import say
from ._options import FILE, option, shared_option

MODEL = "capped-amino-acids"
SEQUENCE = "ACE-ALA-NME"
TEMPERATURE_K = 300.0
STEP_PS = 0.004
JUMP_INTERVAL = 100
FRAME_STEPS = 50
RELAXATION = (20,)
# Of the time that is asked for: each of the two runs gets this share.
RUN_SHARE = 0.36
# Validation takes less on an idle machine; this is where it stops.
VALIDATION_SHARE = 0.3
VALIDATOR_ITERATIONS = 100


@click.command("demo")
@option(
    "--output",
    type=FILE,
    default=Path("atmos-demo"),
    help="Folder for page, plots and tables; must be new or empty.",
)
@option(
    "--minutes",
    type=click.FloatRange(0.1, 60),
    default=3.5,
    help="Wall-clock time of everything, roughly.",
)
@shared_option("seed", type=int, default=1, help="Seed of both runs.")
@shared_option("model", default=MODEL, help="Bundled model's name or .atmos file.")
def command(output: Path, minutes: float, seed: int, model: str) -> None:
    """Sample alanine dipeptide with the bundled model, and plain MD for the same time beside it.

    Both use amber14 with the GBn2 implicit solvent at 300 K, 4 fs steps and one thread, in turns.
    Every frame that the model generated is then checked against the force field. The result is a
    folder with report.html (self-contained), the plots as PNG files and the tables as CSV files.
    """
    page = run_demo(output, 60 * minutes, seed, model, say)
    click.echo(f"Open {page}")


def run_demo(
    output: Path, seconds: float, seed: int, model: str, say: Callable[[str, bool], None]
) -> Path:
    """Run the demonstration; returns the path of the page.

    Parameters
    ----------
    output : Path
        Folder, new or empty.
    seconds : float
        Wall-clock time of everything, roughly.
    seed : int
    model : str
        Bundled model's name or path.
    say : function
        Called with each line of progress, and whether the line stays.

    Raises
    ------
    ValueError
        If the folder holds something.
    OSError
        If it cannot be written.
    """
    began = time.monotonic()
    _check_free(output)
    say("Loading the model and the force field", True)
    from openmm import unit

    from ..evaluation.side_by_side import plain_md_context, read_hybrid_frames, run_in_turns
    from ..propagator import AtmosPropagator
    from ..sampling.hybrid import HybridSampler
    from ..systems.forcefield import create_system
    from ..systems.peptides import build_peptide

    topology, positions_nm = build_peptide(SEQUENCE, seed=1)
    system = create_system(topology, remove_com_motion=False)
    propagator = AtmosPropagator(model, topology, positions=positions_nm * unit.nanometer)
    output.mkdir(parents=True, exist_ok=True)
    with HybridSampler(
        topology,
        system,
        positions_nm * unit.nanometer,
        propagator,
        output / "hybrid",
        temperature=TEMPERATURE_K,
        stepSize=STEP_PS,
        jumpInterval=JUMP_INTERVAL,
        reportInterval=FRAME_STEPS,
        relaxation=RELAXATION,
        seed=seed,
        platform="CPU",
        threads=1,
    ) as sampler:
        md = plain_md_context(sampler, seed=seed)
        run_seconds = RUN_SHARE * seconds
        say(f"Hybrid run and plain MD in turns, {run_seconds:.0f} s each, one thread", True)

        def progress(clock: float, state: Any) -> None:
            done = f"{state.reasons['accepted']} of {state.proposed} proposals accepted"
            if not state.proposed:
                done = "learning the energy window"
            say(f"  {clock:5.0f} of {run_seconds:.0f} s   {state.cycle} cycles   {done}", False)

        turns = run_in_turns(
            sampler, md, seconds=run_seconds, frame_steps=FRAME_STEPS, progress=progress
        )
        limit = sampler.walkers[0].energy_limit
    hybrid = read_hybrid_frames(output / "hybrid", turns, topology)
    report = _validate(
        topology,
        system,
        hybrid.proposals,
        turns.md_energies_kj_per_mol,
        VALIDATION_SHARE * seconds,
        output,
        say,
    )
    say("Drawing the plots and writing the page", True)
    page = _write(output, topology, propagator, hybrid, turns, report, limit, seed, model)
    say(f"Finished in {time.monotonic() - began:.0f} s.", True)
    return page


def _check_free(output: Path) -> None:
    """Refuse a folder that holds something, so that nothing is overwritten."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; give --output the name of a folder")
    if output.exists() and any(output.iterdir()):
        raise ValueError(
            f"the folder {output} is not empty; give --output another name, or remove "
            "the folder if it holds an earlier demo"
        )


def _validate(
    topology: Any,
    system: Any,
    proposals: Mapping[str, Any],
    md_energies: Any,
    seconds: float,
    output: Path,
    say: Callable[[str, bool], None],
) -> list[Any]:
    """Verdicts on the raw generated frames, in order, as many as the time allows."""
    from ..jump.proposal import REASONS
    from ..validation import EnergyValidator
    from ..validation.reference import EnergyReference

    validator = EnergyValidator(
        topology,
        system,
        temperature=TEMPERATURE_K,
        platform="CPU",
        reference=EnergyReference(md_energies, "plain MD of the same run"),
        relaxationIterations=VALIDATOR_ITERATIONS,
    )
    frames = proposals["positions_raw_nm"]
    say(f"Checking the {len(frames)} generated frames, raw, against the force field", True)
    verdicts: list[Any] = []
    began = last = time.monotonic()
    path = output / "generated_frames.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = None
        for number, frame in enumerate(frames):
            now = time.monotonic()
            if now - began > seconds:
                break
            verdict = validator.validate(frame)
            verdicts.append(verdict)
            row = {
                "attempt": int(proposals["attempt"][number]),
                "outcome_in_run": REASONS[proposals["reason"][number]],
                **verdict.row(validator.omegaLabels),
            }
            del row["frame"], row["time_ps"]
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow(row)
            if now - last > 2:
                last = now
                say(f"  {number + 1} of {len(frames)}", False)
    return verdicts


def _write(
    output: Path,
    topology: Any,
    propagator: Any,
    hybrid: Any,
    turns: Any,
    verdicts: list[Any],
    limit: float,
    seed: int,
    model: str,
) -> Path:
    """The page, the plots and the tables."""
    from ..evaluation.atoms import AtomTable
    from ..evaluation.torsions import find_torsions
    from ..jump.proposal import REASONS
    from ..report import style
    from ..report.hybrid_page import Comparison, write_comparison
    from ..report.plots import TorsionSeries

    torsions = find_torsions(AtomTable.from_openmm(topology))
    residue = torsions.residues[0]
    phi, psi = (angles[:, 0] for angles in torsions.phi_psi(hybrid.positions_nm))
    md_phi, md_psi = (angles[:, 0] for angles in torsions.phi_psi(turns.md_positions_nm))
    proposals = hybrid.proposals
    reasons = Counter(REASONS[code] for code in proposals["reason"])
    cycles = len(turns.cycle_seconds)
    cost_seconds = turns.hybrid_seconds - cycles * JUMP_INTERVAL * turns.seconds_per_md_step
    count = len(proposals["reason"])
    _write_series(
        output / "torsions.csv",
        ("hybrid", hybrid.seconds, phi, psi),
        ("md", turns.md_frame_seconds, md_phi, md_psi),
    )
    comparison = Comparison(
        title="Alanine dipeptide: learned jumps and plain MD",
        lead="Hybrid sampling with the bundled model beside plain molecular dynamics of the same "
        "wall-clock time, one thread each, in turns.",
        residue=residue,
        hybrid=TorsionSeries(
            "Hybrid", phi, psi, hybrid.seconds, style.HYBRID_COLOR, hybrid.jump_seconds
        ),
        md=TorsionSeries("Plain MD", md_phi, md_psi, turns.md_frame_seconds, style.MD_COLOR),
        hybrid_seconds=turns.hybrid_seconds,
        md_seconds=turns.md_seconds,
        md_energies=turns.md_energies_kj_per_mol,
        raw_energies=proposals["energy_raw_kj_per_mol"],
        relaxed_energies=proposals["energy_after_kj_per_mol"],
        window=limit if np.isfinite(limit) else None,
        reasons=reasons,
        rmsd_nm=np.array([verdict.relaxation.rmsd_all_nm for verdict in verdicts]),
        verdicts=_verdict_table(proposals, verdicts),
        verdict_note=_verdict_note(len(verdicts), count),
        settings=_settings(propagator, model, seed, turns),
        versions=_versions(),
        jump_cost_steps=cost_seconds / count / turns.seconds_per_md_step if count else float("nan"),
    )
    return write_comparison(output, comparison)


def _write_series(path: Path, *runs: tuple[str, Any, Any, Any]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "wall_clock_s", "phi_degrees", "psi_degrees"])
        for name, seconds, phi, psi in runs:
            for row in zip(seconds, np.degrees(phi), np.degrees(psi), strict=True):
                writer.writerow([name, *(f"{value:.4f}" for value in row)])


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


def _settings(propagator: Any, model: str, seed: int, turns: Any) -> dict[str, str]:
    info = propagator.info()
    return {
        "molecule": SEQUENCE,
        "force field": "amber14-all with implicit/gbn2, no cutoff, bonds to hydrogen constrained, "
        "hydrogen mass 1.5 dalton",
        "dynamics": f"LangevinMiddle, {TEMPERATURE_K:.0f} K, 1/ps, {1000 * STEP_PS:.0f} fs",
        "platform": "CPU, one thread; torch, one thread",
        "model": model,
        "trained on": str(info["capabilities"].get("trained_on", "not stated")),
        "lag of a jump": f"{info['lag_ps']:g} ps",
        "MD steps between jumps": str(JUMP_INTERVAL),
        "acceptance": "filter, window of 6 standard deviations above the mean of the run's own MD",
        "relaxation stages": ", ".join(f"{n} minimiser iterations" for n in RELAXATION),
        "MD steps in the hybrid run": f"{len(turns.cycle_seconds) * JUMP_INTERVAL:,}",
        "MD steps in the plain run": f"{turns.md_steps:,}",
        "processor time of the two runs": f"{turns.hybrid_cpu_seconds:.0f} s and "
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
