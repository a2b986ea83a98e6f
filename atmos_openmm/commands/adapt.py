"""`atmos-openmm adapt`: fine-tune a model on one's own molecular dynamics."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ..core.progress import ProgressLine
from ._options import FILE, option, shared_option
from ._system import (
    SYSTEM_ARGUMENTS,
    chosen_options,
    ligand_option,
    read_system,
    refuse_with,
    split_ligands,
    system_options,
)


@click.command("adapt")
@click.argument("files", nargs=-1, required=True, type=FILE)
@shared_option(
    "output",
    help="Folder for adapted.atmos, adaptation.json, report.html and what is needed to "
    "go on after a kill.",
)
@shared_option("model")
@shared_option(
    "topology",
    help="PDB or mmCIF file of the atoms of FILES in their order, or AMBER's or GROMACS's topology "
    "of them. Not needed for this package's files and mdCATH's.",
)
@shared_option(
    "temperature",
    help="Kelvin: at which FILES were made, where they do not say so; of files with "
    "several temperatures the one to take.",
)
@shared_option(
    "spacing",
    help="Time between frames in ps: needed for DCD, XYZ, PDB and AMBER's text files, which have "
    "none that can be trusted, and where files say it wrong.",
)
@ligand_option
@system_options
@option(
    "--minutes",
    type=float,
    default=5.0,
    help="Time for training; judging takes a minute or two on top.",
)
@option("--steps", type=click.IntRange(1), help="Training steps, instead of --minutes.")
@option("--learning-rate", type=float, default=3e-4, help="Peak of the rate.")
@option(
    "--held-out",
    type=float,
    default=0.25,
    help="Share of each trajectory, its end, that training never reads.",
)
@option(
    "--without-memory",
    type=float,
    help="Share of the draws that take frames as draws from their temperature, between "
    "which long lags have no memory. [0.5 for models with such lags, else 0]",
)
@shared_option(
    "lag",
    "lags",
    multiple=True,
    help="Lag at which proposals are judged, ps; repeat for several. [one of the data's, "
    "and the model's longest]",
)
@option(
    "--proposals", type=click.IntRange(10), default=100, help="Proposals that judge, at each lag."
)
@option(
    "--rollout-frames",
    type=click.IntRange(20),
    default=240,
    help="Frames of the rollouts that judge.",
)
@shared_option("platform")
@shared_option("seed", default=1, help="Of everything random.")
@shared_option("threads", help="CPU threads of torch.")
def command(
    files: tuple[Path, ...],
    output: Path,
    model: str,
    topology: Path | None,
    temperature: float | None,
    spacing_ps: float | None,
    ligands: tuple[str, ...],
    lags: tuple[float, ...],
    threads: int,
    **options: Any,
) -> int:
    """Fine-tune a model on FILES, molecular dynamics of one molecule, and say whether it helped.

    FILES are trajectories of `atmos-openmm simulate` or in any format that MDTraj reads. The end
    of each is held out: training never reads it, and it judges the model before and after. The
    text and adaptation.json say whether adapting helped; the exit status is 0 either way.
    Energies are those of --system or --forcefield, else of the parameters in --topology or the
    System in FILES. With none of them proposals are judged by geometry alone.

    The same command again goes on where it was stopped or killed. The adapted model has forgotten
    some of what it knew of other molecules: keep the original for them.

    \b
    atmos-openmm adapt md.h5 -o mine
    atmos-openmm adapt run.xtc --topology run.pdb --temperature 300 -o mine --minutes 10
    atmos-openmm run --sequence ACE-CYS-NME --model mine/adapted.atmos -o hybrid
    """
    from ..core.files import check_writable
    from ..core.text import aligned

    check_writable(output)
    import torch

    from ..adapting.adapt import AdaptSettings, adapt
    from ..adapting.data import read_dynamics
    from ..propagator import load_named_model
    from ..report.adaptation_page import adaptation_table, write_adaptation
    from ._options import naming_options
    from ._terminal import stopping_on_signals

    given = {name: options.pop(name) for name in (*SYSTEM_ARGUMENTS, "system_xml")}
    settings = AdaptSettings(lags_ps=tuple(lags), **options)
    loaded = load_named_model(model)
    torch.set_num_threads(threads)
    if given["system_xml"] is not None:
        refuse_with(given["system_xml"].name, given, made=True)
    sdfs, smiles = split_ligands(ligands)
    with naming_options(topology="--topology", temperature="--temperature", spacing="--spacing"):
        dynamics = read_dynamics(
            files,
            output,
            topology=topology,
            temperature=temperature,
            spacing_ps=spacing_ps,
            ligands=sdfs,
            smiles=smiles,
            forcefield=given["forcefield"],
            system=None if given["system_xml"] is None else read_system(given["system_xml"]),
            options=chosen_options(given),
        )
    line = ProgressLine(terminal_interval_s=0.2, log_interval_s=math.inf)
    adaptation = adapt(
        dynamics,
        loaded,
        output,
        settings,
        report=line.keep,
        progress=line,
        running=lambda trainer: stopping_on_signals(trainer, "this step"),
    )
    line.finish()
    if adaptation is None:
        return 130
    command_line = "atmos-openmm " + shlex.join(sys.argv[1:])
    page = write_adaptation(adaptation, output, command_line)
    rows = adaptation_table(adaptation.numbers)
    click.echo("")
    for numbers, row in zip(aligned([row[:-1] for row in rows]), rows, strict=True):
        click.echo(f"{numbers}  {row[-1]}")
    click.echo("\n* decides. ± is a standard error on held-out frames.")
    for note in adaptation.notes:
        if note.startswith(("before: ", "after: ")):
            click.echo(note)
    click.echo(f"\n{adaptation.sentence}")
    click.echo(f"Model: {adaptation.model}\nReport: {page}")
    return 0
