"""`atmos-openmm validate`: every frame of trajectories against force field and geometry."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.files import naming
from ..core.progress import CountedProgress
from ._judge import judge_options, make_validator, second_potential
from ._options import FILE, option, shared_option
from ._system import ligand_option, make_for, molecule_of_frames, system_options
from ._validation_page import page_option, write_page

if TYPE_CHECKING:
    from ..validation import EnergyValidator, ValidationReport

#: From so many atoms on, relaxing every frame takes seconds each.
_LARGE = 1000


@click.command("validate")
@click.argument("trajectories", metavar="TRAJECTORY...", type=FILE, nargs=-1, required=True)
@shared_option(
    "topology",
    "topologies",
    multiple=True,
    help="What the frames are of: a PDB or mmCIF file of the same atoms in the same order, with "
    "hydrogens; a topology of AMBER, GROMACS or CHARMM, with the option again for its parameter "
    "files; or a trajectory file of this package. Not needed where TRAJECTORY is one.",
)
@ligand_option
@system_options
@judge_options
@option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    help="Processes that judge frames; the result is that of one.",
)
@shared_option("temperature", default=300.0, help="Temperature of the frames in kelvin.")
@option(
    "--second-forcefield",
    metavar="XML",
    multiple=True,
    help="Another force field that energies are computed in beside the run's own; repeat for "
    "several files.",
)
@option("--second-system", type=FILE, help="The same, as a System in OpenMM XML.")
@option(
    "--second-potential",
    metavar="NAME",
    help="The same, by a machine-learned potential that openmm-ml knows, such as ani2x.",
)
@option(
    "--solvation",
    is_flag=True,
    help="Give interaction energies the part of an implicit solvent, E(AB) - E(A) - E(B); two more "
    "evaluations of it a frame.",
)
@option(
    "--frames",
    metavar="N | A:B",
    help="Only the first N frames, or frames A up to but not including B, of each trajectory.",
)
@option("--stride", type=click.IntRange(min=1), default=1, help="Every so many frames.")
@shared_option("platform", default="Reference", help="OpenMM platform.")
@option(
    "--out",
    type=FILE,
    help="CSV file, a row a frame; of several trajectories the folder of their files. Default: "
    "TRAJECTORY's name with .validation.csv, in the current folder.",
)
@option("--json", "json_path", type=FILE, help="Write the summary to this file too.")
@page_option
@option("--strict", is_flag=True, help="Exit with status 1 when a frame is invalid.")
def command(
    trajectories: tuple[Path, ...],
    out: Path | None,
    json_path: Path | None,
    page: Path | None,
    **given: Any,
) -> int:
    """Check every frame of each TRAJECTORY, from this package or any other generator.

    For each frame: energy by force and between protein, ligands and solvent, the largest force and
    its atom, overlaps, bonds and angles far from equilibrium, handedness, omega angles, flat groups
    and rings, and what a short relaxation does to energy and positions; from these a verdict and
    its reason. Writes a CSV file for each trajectory, and prints a summary of each and of all.

    \b
    atmos-openmm validate run.dcd --topology start.pdb --reference md.xtc
    atmos-openmm validate a.xtc b.xtc --topology start.pdb --workers 4 --no-relax
    """
    from ..validation import EnergySumError, WorkerError

    start, stop = _frame_range(given["frames"])
    for trajectory in trajectories:
        if not trajectory.exists():
            raise FileNotFoundError(f"There is no trajectory {trajectory}.")
    named = [given[key] for key in ("system_xml", "reference", "native", "second_system")]
    inputs = [*trajectories, *given["topologies"], *(path for path in named if path is not None)]
    tables = _tables(trajectories, out)
    for table in tables:
        _check_output("--out", table, inputs)
    if json_path is not None:
        _check_output("--json", json_path, [*inputs, *tables])
    if page is not None:
        _check_output("--page", page, [*inputs, *tables, *([json_path] if json_path else [])])
    progress = CountedProgress("frame")
    try:
        with _validator(trajectories[0], given) as validator:
            reports, every = validator.validateTrajectories(
                trajectories,
                start=start,
                stop=stop,
                stride=given["stride"],
                csv=tables,
                keepFrames=False,
                progress=progress,
            )
    except (EnergySumError, WorkerError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        progress.finish()
    if len(reports) == 1:
        every = reports[0]
    _show(reports, every, tables)
    if json_path is not None:
        with naming(json_path):
            json_path.write_text(json.dumps(every.summary(), indent=1) + "\n")
    if page is not None:
        settings = validator.settings
        write_page(
            page,
            every,
            settings.topology,
            settings.system,
            trajectories,
            native_nm=settings.native_nm,
            reference=given["reference"],
            temperature_K=settings.temperature_K,
            start=start,
            stop=stop,
            stride=given["stride"],
        )
    return 1 if given["strict"] and every.verdicts["invalid"] else 0


def _show(
    reports: Sequence[ValidationReport], every: ValidationReport, tables: Sequence[Path]
) -> None:
    for report, table in zip(reports, tables, strict=True):
        click.echo(report.table())
        click.echo(f"\nAll frames: {table}")
        if every is not report:
            click.echo()
    if len(reports) > 1:
        click.echo(every.table())


def _tables(trajectories: Sequence[Path], out: Path | None) -> list[Path]:
    """Where the CSV file of each trajectory goes."""
    if len(trajectories) == 1 and out is not None:
        return [out]
    folder = Path() if out is None else out
    if out is not None:
        if out.exists() and not out.is_dir():
            raise click.UsageError(
                f"--out {out} is a file; of several trajectories it names a folder."
            )
        with naming(out):
            out.mkdir(exist_ok=True)
    shared = Counter(trajectory.stem for trajectory in trajectories)
    names = []
    for trajectory in trajectories:
        name = trajectory.stem
        if shared[name] > 1:
            name = f"{trajectory.resolve().parent.name}_{name}"
        while f"{name}.validation.csv" in names:
            name += "_"
        names.append(f"{name}.validation.csv")
    return [folder / name for name in names]


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


def _validator(trajectory: Path, given: dict[str, Any]) -> EnergyValidator:
    """The validator that the options describe; `trajectory` may bring Topology and System."""
    molecule = molecule_of_frames(trajectory, given["topologies"], given)
    system = make_for(molecule, given, hydrogen_mass=None, frames=True).system
    relaxed = not given["no_relax"] and given["relax_when"] == "all"
    if relaxed and given["reference"] is not None and molecule.topology.getNumAtoms() >= _LARGE:
        click.echo(
            "Every frame is relaxed, which is slow for a molecule of this size; --relax-when "
            "needed gives the same verdicts.",
            err=True,
        )
    return make_validator(molecule, system, given, second_potential(molecule, given))
