"""`atmos-openmm validate`: every frame of a trajectory against its force field and geometry."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..core.files import naming
from ..core.progress import CountedProgress
from ..systems.forcefield import DEFAULT_FORCEFIELD
from ._options import FILE, option, shared_option
from ._system import create_system, read_structure, read_system, read_topology


@click.command("validate")
@click.argument("trajectory", type=FILE)
@shared_option(
    "topology",
    help="PDB or mmCIF file of the same atoms in the same order, with hydrogens; or a "
    "trajectory file of this package. Not needed where TRAJECTORY is one.",
)
@shared_option("system", help="The System as OpenMM XML, instead of --forcefield.")
@shared_option(
    "forcefield",
    metavar="XML",
    help="OpenMM force field file; repeat for several. Default: "
    f"{' and '.join(DEFAULT_FORCEFIELD)}, or the System inside a trajectory file "
    "of this package.",
)
@option(
    "--reference",
    type=FILE,
    help="Molecular dynamics of the same System to compare energies with: a trajectory, "
    "or energies in a .csv, .npz or .npy file.",
)
@shared_option(
    "native",
    help="Structure (PDB, mmCIF) that has the right handedness at every centre and the "
    "right class of every peptide bond. Default: L amino acids, trans.",
)
@shared_option("temperature", default=300.0, help="Temperature of the frames in kelvin.")
@shared_option(
    "window",
    help="Width of the energy window above the reference's mean, in its standard deviations.",
)
@option(
    "--relax",
    "iterations",
    type=click.IntRange(min=1),
    default=100,
    help="Iterations of the minimiser a frame, at most.",
)
@option("--no-relax", is_flag=True, help="Leave the relaxation out.")
@option(
    "--frames",
    metavar="N | A:B",
    help="Only the first N frames, or frames A up to but not including B.",
)
@option("--stride", type=click.IntRange(min=1), default=1, help="Every so many frames.")
@shared_option("platform", default="Reference", help="OpenMM platform.")
@option(
    "--out",
    type=FILE,
    help="CSV file, a row a frame. Default: TRAJECTORY's name with .validation.csv, in "
    "the current folder.",
)
@option("--json", "json_path", type=FILE, help="Write the summary to this file too.")
@option("--strict", is_flag=True, help="Exit with status 1 when a frame is invalid.")
def command(
    trajectory: Path,
    topology: Path | None,
    system_xml: Path | None,
    forcefield: tuple[str, ...],
    reference: Path | None,
    native: Path | None,
    temperature: float,
    window: float,
    iterations: int,
    no_relax: bool,
    frames: str | None,
    stride: int,
    platform: str,
    out: Path | None,
    json_path: Path | None,
    strict: bool,
) -> int:
    """Check every frame of TRAJECTORY, from this package or any other generator.

    For each frame: energy by force, the largest force and its atom, overlaps, bonds and angles far
    from equilibrium, handedness, omega angles, rings, and what a short relaxation does to energy
    and positions; from these a verdict and its reason. Writes a CSV file and prints a summary.

    \b
    atmos-openmm validate run.dcd --topology start.pdb --reference md.xtc
    atmos-openmm validate samples.xtc --topology start.pdb --forcefield amber14-all.xml --no-relax
    """
    from ..validation import EnergySumError, EnergyValidator

    if system_xml is not None and forcefield:
        raise click.UsageError("Give either --system or --forcefield.")
    start, stop = _frame_range(frames)
    out = Path(f"{trajectory.stem}.validation.csv") if out is None else out
    inputs = [p for p in (trajectory, topology, system_xml, reference, native) if p is not None]
    _check_output("--out", out, inputs)
    if json_path is not None:
        _check_output("--json", json_path, [*inputs, out])
    if not trajectory.exists():
        raise FileNotFoundError(f"There is no trajectory {trajectory}.")
    molecule, system = _molecule_and_system(trajectory, topology, system_xml, forcefield)
    validator = EnergyValidator(
        molecule,
        system,
        temperature=temperature,
        reference=reference,
        energyWindow=window,
        relaxationIterations=0 if no_relax else iterations,
        platform=platform,
        nativePositions=None if native is None else read_structure(native)[1],
    )
    progress = CountedProgress("frame")
    try:
        report = validator.validateTrajectory(
            trajectory,
            start=start,
            stop=stop,
            stride=stride,
            csv=out,
            keepFrames=False,
            progress=progress,
        )
    except EnergySumError as error:
        raise click.ClickException(str(error)) from error
    finally:
        progress.finish()
    click.echo(report.table())
    click.echo(f"\nAll frames: {out}")
    if json_path is not None:
        with naming(json_path):
            json_path.write_text(json.dumps(report.summary(), indent=1) + "\n")
    return 1 if strict and report.verdicts["invalid"] else 0


def _check_output(option: str, path: Path, others: Sequence[Path]) -> None:
    """See before the work that a file can be written, and that no other one is lost to it."""
    if path.resolve() in [other.resolve() for other in others]:
        raise click.UsageError(f"{option} {path} would overwrite the input or the other output.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.UsageError(
            f"{option} {path} cannot be written: it is a folder, or its folder is missing or "
            "cannot be written to."
        )


def _frame_range(text: str | None) -> tuple[int, int | None]:
    """The first frame and the one to stop before, of "N" or "A:B" (either may be left out)."""
    if text is None:
        return 0, None
    first, colon, last = text.rpartition(":")
    try:
        start = int(first) if first else 0
        stop = None if colon and not last else int(last)
    except ValueError:
        raise click.UsageError(f"--frames {text!r}: give a number, or A:B.") from None
    if start < 0 or (stop is not None and stop <= start):
        raise click.UsageError(f"--frames {text!r} is empty; frames are counted from 0.")
    return start, stop


def _molecule_and_system(
    trajectory: Path, topology: Path | None, system_xml: Path | None, forcefield: tuple[str, ...]
) -> tuple[Any, Any]:
    """Topology and System from the files and names given."""
    molecule, _, inside = read_topology(trajectory, topology)
    if system_xml is not None:
        return molecule, read_system(system_xml)
    if inside is not None and not forcefield:
        return molecule, inside
    return molecule, create_system(molecule, forcefield or DEFAULT_FORCEFIELD)
