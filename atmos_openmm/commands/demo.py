"""`atmos-openmm demo`: alanine dipeptide, exact, explored and by plain MD, with a report."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ..core.progress import say
from ._demo_page import VALIDATOR_ITERATIONS, write_page
from ._demo_runs import SEQUENCE, TEMPERATURE_K, three_runs
from ._options import FILE, option, shared_option

MODEL = "capped-amino-acids"
# Of the time that is asked for: each of the three runs gets this share.
RUN_SHARE = 0.26
# Validation takes less on an idle machine; this is where it stops.
VALIDATION_SHARE = 0.12


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
@shared_option("seed", type=int, default=1, help="Seed of the runs.")
@shared_option("model", default=MODEL, help="Bundled model's name or .atmos file.")
def command(output: Path, minutes: float, seed: int, model: str) -> None:
    """Sample alanine dipeptide in three ways for the same time, beside a long reference.

    An exact run (moves of torsions from a bundled torsion head's density, tested by Metropolis), an
    exploring one (the model's jumps, filtered by energy) and plain MD, all with amber14 and the
    GBn2 implicit solvent at 300 K, 4 fs steps and one thread, in turns. Frames that the exploring
    run generated are then checked against the force field. The result is a folder with report.html
    (self-contained), the plots as PNG files and the tables as CSV files.
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

    from ..evaluation.known_ensemble import KnownEnsemble
    from ..propagator import AtmosPropagator
    from ..systems.forcefield import create_system
    from ..systems.peptides import build_peptide

    reference = KnownEnsemble.bundled(SEQUENCE)
    topology, positions_nm = build_peptide(SEQUENCE, seed=1)
    system = create_system(topology, remove_com_motion=False)
    propagator = AtmosPropagator(model, topology, positions=positions_nm * unit.nanometer)
    output.mkdir(parents=True, exist_ok=True)
    runs = three_runs(
        topology, system, positions_nm, propagator, output, RUN_SHARE * seconds, seed, say
    )
    verdicts = _validate(
        topology,
        system,
        runs.hybrid.proposals,
        runs.turns.md_energies_kj_per_mol,
        VALIDATION_SHARE * seconds,
        output,
        say,
    )
    say("Drawing the plots and writing the page", True)
    page = write_page(output, topology, propagator, runs, reference, verdicts, seed, model)
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
