"""`atmos-openmm evaluate`: generated ensembles beside molecular dynamics."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.progress import ProgressLine
from ._options import FILE, option, shared_option
from ._system import system_options

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation
    from ..evaluation.loading import Loaded

DEFAULT_PANELS = ("mdcath", "peptide", "validity", "ligand", "energy", "dynamics", "rollout")


@click.command("evaluate")
@click.argument("generated", nargs=-1, type=FILE)
@option(
    "--reference",
    "references",
    multiple=True,
    type=FILE,
    help="Molecular dynamics; repeat for replicas. Needed.",
)
@option(
    "--oracle",
    "oracle_files",
    multiple=True,
    type=FILE,
    help="An MD replica that is not part of the reference, as the row to compare with; repeated, "
    "all are one row. Default: the last replica of the reference, or the second half of the only "
    "one.",
)
@shared_option(
    "topology",
    help="PDB or mmCIF file of the reference's atoms in their order, or AMBER's or GROMACS's "
    "topology of them, whose parameters then give energies. Not needed for this package's files "
    "and mdCATH's.",
)
@option(
    "--generated-topology",
    type=FILE,
    help="The same for GENERATED, where it has other atoms (a backbone model, say).",
)
@option(
    "--other",
    "others",
    multiple=True,
    metavar="NAME=FILE[,TOPOLOGY]",
    help="Another generator's trajectory, as a row of its own; repeat for more.",
)
@shared_option(
    "native",
    help="Structure that frames are superposed on. Default: that of --topology; for "
    "mdCATH the first frame of the coldest run.",
)
@option(
    "--panel",
    "panels",
    multiple=True,
    metavar="NAME",
    help=f"Which panels; repeat for several. Default: {', '.join(DEFAULT_PANELS)}. "
    "'list' prints all with their metrics and thresholds.",
)
@shared_option(
    "temperature", help="Kelvin: which trajectories to take from files with several temperatures."
)
@shared_option(
    "spacing",
    help="Time between frames of the reference in ps, instead of what the files say. Without it "
    "DCD, XYZ, PDB and AMBER's text files have no dynamics.",
)
@option("--generated-spacing", type=float, help="The same for GENERATED and --other.")
@shared_option("lag", "lag_ps", default=100.0, help="Lag of TICA and Markov models in ps.")
@option(
    "--states",
    type=click.IntRange(min=2),
    default=10,
    help="Metastable states of Markov models, at most.",
)
@option("--ligand", metavar="RESIDUE", help="Residue name of the ligand.")
@system_options
@shared_option("platform")
@option(
    "--frames",
    type=click.IntRange(min=2),
    help="Frames of every row: longer ones are cut, shorter ones repeated from the start "
    "(TEMPO's rule with 400). Default: as many as the shortest has.",
)
@option(
    "--bootstrap",
    "resamples",
    type=click.IntRange(min=0),
    default=20,
    help="Draws of the block bootstrap for error bars; 0 for none.",
)
@option(
    "--out",
    type=FILE,
    default=Path("evaluation"),
    help="Folder for report.html, metrics.csv, evaluation.json and the plots.",
)
@option(
    "--collect",
    is_flag=True,
    help="GENERATED are evaluation.json files of several molecules: print the numbers "
    "that are of a set of molecules.",
)
def command(
    generated: tuple[Path, ...],
    references: tuple[Path, ...],
    oracle_files: tuple[Path, ...],
    topology: Path | None,
    generated_topology: Path | None,
    others: tuple[str, ...],
    native: Path | None,
    panels: tuple[str, ...],
    temperature: float | None,
    spacing_ps: float | None,
    generated_spacing: float | None,
    lag_ps: float,
    states: int,
    ligand: str | None,
    platform: str,
    frames: int | None,
    resamples: int,
    out: Path,
    collect: bool,
    **options: Any,
) -> int:
    """Measure GENERATED ensembles against molecular dynamics by the field's own metrics.

    GENERATED are trajectories in any format that mdtraj reads, folders of this package's runs, its
    trajectory files, mdCATH or MISATO files (FILE:ENTRY for one molecule or replica of several);
    all of them together are one generator, each file a replica. Without any, the oracle alone is
    measured.

    Every table has a row of MD that is not part of the reference: what it scores is what a perfect
    generator could expect from so many frames.

    \b
    atmos-openmm evaluate rollout/ --reference mdcath_dataset_2hbaA00.h5 --temperature 320
    atmos-openmm evaluate gen.xtc --topology native.pdb --reference r1.xtc --reference r2.xtc
    atmos-openmm evaluate --panel list
    """
    if panels == ("list",):
        _print_panels()
        return 0
    if collect:
        _print_collected(generated, panels)
        return 0
    if not references:
        raise click.UsageError("Give molecular dynamics to compare with: --reference FILE.")
    both = {p.resolve() for p in references} & {p.resolve() for p in oracle_files}
    if both:
        raise click.UsageError(f"{min(both)} is given as --reference and as --oracle.")
    from ..core.files import check_writable
    from ..evaluation.evaluate import evaluate
    from ..evaluation.native import read_native
    from ..evaluation.panel import Settings
    from ..evaluation.panels import find_panel
    from ..report.evaluation_page import write_evaluation

    for name in panels:
        find_panel(name)
    reference = _load(references, "MD", topology, spacing_ps, temperature)
    oracles = []
    if oracle_files:
        oracles.append(_load(oracle_files, "MD replica", topology, spacing_ps, temperature))
    rows = []
    if generated:
        own = generated_topology or topology
        rows.append(_load(generated, _name(generated), own, generated_spacing, temperature))
    rows += [_other(text, topology, generated_spacing, temperature) for text in others]
    without_time = _without_time((reference, *oracles), rows)
    if without_time and "dynamics" in panels:  # asked for, so not to be left out
        raise click.ClickException(without_time)
    native_nm, about_native = read_native(reference, native)
    settings = Settings(
        native_nm,
        lag_ps=lag_ps,
        macrostates=states,
        ligand=ligand,
        system=_system(reference, topology, options),
        platform=platform,
    )
    progress = ProgressLine(terminal_interval_s=0.0, log_interval_s=math.inf)
    check_writable(out)  # before the work, not after it
    evaluation = evaluate(
        reference.ensemble,
        [row.ensemble for row in rows],
        settings=settings,
        panels=panels or DEFAULT_PANELS,
        oracles=[oracle.ensemble for oracle in oracles],
        frames=frames,
        molecule=references[0].stem,
        resamples=resamples,
        progress=progress,
    )
    progress.finish()
    notes = [note for loaded in (reference, *oracles, *rows) for note in loaded.notes]
    notes += [note for note in (about_native, without_time) if note]
    _print_evaluation(evaluation, notes, without_system=settings.system is None)
    page = write_evaluation(evaluation, out, "atmos-openmm " + shlex.join(sys.argv[1:]))
    click.echo(f"\nReport: {page}")
    return 0


def _load(
    paths: Sequence[Path],
    name: str,
    topology: Path | None,
    spacing_ps: float | None,
    temperature: float | None,
) -> Loaded:
    from ..evaluation.loading import read_ensemble
    from ._options import naming_options

    topologies = "--topology, or --generated-topology for another generator's"
    with naming_options(topology=topologies, temperature="--temperature"):
        return read_ensemble(
            paths, name=name, topology=topology, spacing_ps=spacing_ps, temperature=temperature
        )


def _without_time(dynamics: Sequence[Loaded], generated: Sequence[Loaded]) -> str:
    """Which rows have no dynamics for want of a time between frames, and the options for it."""
    found = [
        f"{', '.join(names)} ({option} PS)"
        for rows, option in ((dynamics, "--spacing"), (generated, "--generated-spacing"))
        if (names := [row.ensemble.name for row in rows if row.lacks_spacing])
    ]
    if not found:
        return ""
    return f"The time between frames is needed for the dynamics of {' and '.join(found)}."


def _name(paths: Sequence[Path]) -> str:
    """What to call GENERATED: the file's name; its folder's, for a folder."""
    name = paths[0].resolve().name if paths[0].is_dir() else paths[0].stem
    return name if name.lower() not in ("md", "md replica") else f"{name} (generated)"


def _other(
    text: str, topology: Path | None, spacing_ps: float | None, temperature: float | None
) -> Loaded:
    """A row from NAME=FILE[,TOPOLOGY]."""
    name, equals, rest = text.partition("=")
    file, _, own = rest.partition(",")
    if not (name and equals and file):
        raise click.UsageError(f"--other {text!r}: write NAME=FILE or NAME=FILE,TOPOLOGY.")
    return _load([Path(file)], name, Path(own) if own else topology, spacing_ps, temperature)


def _system(reference: Loaded, topology: Path | None, options: dict[str, Any]) -> Any:
    """The System of the reference's atoms, by the options or by its own files; None for none."""
    from ..systems.parameter_files import topology_program
    from ._system import make_for, molecule_with_system, read_files, read_system

    atoms = reference.ensemble.topology
    system, label = reference.system, "the reference's own System"
    if options["system_xml"] is not None:
        system, label = read_system(options["system_xml"]), options["system_xml"].name
    molecule = molecule_with_system(atoms, None if options["forcefield"] else system, label)
    if topology is not None and topology_program(topology) and molecule.parameters is None:
        whole = read_files([topology])
        if whole.topology.getNumAtoms() == atoms.getNumAtoms():
            molecule = whole
    if molecule.parameters is None and not options["forcefield"]:
        return None
    given = {**options, "ligands": ()}
    return make_for(molecule, given, hydrogen_mass=None, frames=True).system


def _print_evaluation(evaluation: Evaluation, notes: Sequence[str], without_system: bool) -> None:
    from ..evaluation.formats import text_table

    for note in notes:
        click.echo(note)
    for result in evaluation.panels:
        click.echo(f"\n{text_table(result)}")
    click.echo("")
    for name, reason in evaluation.skipped.items():
        hint = " (--system or --forcefield)" if name == "energy" and without_system else ""
        click.echo(f"Left out: {name}: {reason}{hint}.")
    for note in evaluation.notes:
        click.echo(note)


def _print_panels() -> None:
    from ..evaluation.formats import metric_name
    from ..evaluation.panels import PANELS

    for panel in PANELS.values():
        click.echo(f"{panel.name}: {panel.title}. Source: {panel.source}.")
        for metric in panel.metrics:
            click.echo(f"    {metric_name(metric)}: {metric.meaning}")
    click.echo("↓ lower is better, ↑ higher, = nearer to the reference's own value")


def _print_collected(files: Sequence[Path], panels: Sequence[str]) -> None:
    from ..evaluation.collect import collect, read_evaluation
    from ..evaluation.formats import number

    if not files:
        raise click.UsageError("Give the evaluation.json files to collect numbers from.")
    documents = [read_evaluation(path) for path in files]
    names = panels or sorted({p["name"] for d in documents for p in d["panels"]})
    for name in names:
        for row, numbers in collect(documents, name).items():
            click.echo(f"\n{name}: {row}, {numbers.pop('targets')} molecules")
            for key, (value, error) in numbers.items():
                click.echo(f"    {key}: {number(value)} ± {number(error)}")
