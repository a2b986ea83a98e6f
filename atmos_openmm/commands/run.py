"""`atmos-openmm run`: hybrid sampling of a structure or a sequence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.progress import ProgressLine
from ._exact import exact_arguments, exact_options, refuse_exact_options, write_averages
from ._molecule import bind, molecule_options, read_molecule
from ._options import option, shared_option
from ._sampling import conclude, output_folder, run_options
from ._system import make_for, system_options
from ._terminal import Integers, stopping_on_signals

if TYPE_CHECKING:
    from ..sampling.hybrid import HybridSampler


@click.command("run")
@molecule_options
@run_options("run", "everything random", None, " By default 1, or 4 with --acceptance metropolis.")
@option(
    "--cycles",
    type=click.IntRange(0),
    help="Cycles of each walker in total (without --valid-frames 1000, or 10000 with --acceptance "
    "metropolis).",
)
@option(
    "--valid-frames",
    type=click.IntRange(1),
    help="Go on until there are this many valid generated frames in total.",
)
@option(
    "--max-cycles",
    type=click.IntRange(1),
    default=100_000,
    help="With --valid-frames: the cycles after which to give up.",
)
@option(
    "--interval",
    type=click.IntRange(1),
    help="MD steps between jumps; by default 250; with --acceptance metropolis 25, or 10 for "
    "series of trials between Langevin dynamics.",
)
@option(
    "--report",
    type=click.IntRange(1),
    help="MD steps between trajectory frames; the interval by default.",
)
@shared_option("lag", help="Time that a jump skips, ps; the model's longest by default.")
@shared_option("temperature", default=300.0, help="K.")
@option("--friction", type=float, default=1.0, help="1/ps.")
@shared_option("timestep")
@option(
    "--acceptance",
    type=click.Choice(["filter", "none", "metropolis"]),
    default="filter",
    help="filter (exploration): learned jumps, screened, and inside the energy window of the run's "
    "own MD. none (exploration): screened. metropolis (averages): moves of torsions with an exact "
    "test, populations with errors.",
)
@exact_options
@shared_option("window", help="Width of the energy window, in standard deviations above the mean.")
@option(
    "--window-samples",
    type=click.IntRange(2),
    default=20,
    help="MD energies that the window has to know before the first jump.",
)
@option(
    "--relax",
    type=Integers(),
    default="",
    show_default=False,
    metavar="N,N,...",
    help="Minimiser iterations of each relaxation stage, e.g. 10,20. None by default.",
)
@system_options
@shared_option("platform", help="OpenMM platform; the fastest by default.", default=None)
@shared_option(
    "threads", help="Threads of the CPU platform; 1 by default for small systems.", default=None
)
@option("--no-minimize", is_flag=True, help="Start from the structure as it is.")
@option(
    "--equilibrate",
    type=click.IntRange(0),
    default=2500,
    help="Steps of plain MD before the first cycle; they are not written.",
)
@option(
    "--positions/--no-positions",
    "store_positions",
    default=None,
    help="Whether the record keeps the positions of each proposal (default: for solutes "
    "of up to 500 atoms).",
)
def command(output: Path, **options: Any) -> None:
    """Sample the molecule of FILES by jumps and short MD in turn.

    FILES are a PDB or mmCIF file with hydrogens; AMBER's prmtop or parm7 with inpcrd, rst7 or nc;
    GROMACS's top with gro; or CHARMM's psf with parameter files (prm, rtf, str) and crd. In place
    of the last, PDB and mmCIF files may give the coordinates.

    Every cycle of a walker is one learned jump, checked against geometry and force field, and
    --interval steps of Langevin dynamics. The folder gets topology.pdb, a trajectory for each
    walker, proposals.npy, segments.npy and frames.npy with a row for every proposal, MD segment and
    frame, and run.json. Such a run explores: its populations are the model's.

    With --acceptance metropolis a jump is a number of moves that draw torsions from an explicit
    density. All frames are samples of Boltzmann's distribution. The command ends with populations
    and their errors, and writes averages.json, averages.csv and a page, report.html.

    The same command again goes on where it was stopped or killed. With more --cycles it makes the
    run longer. Ctrl-C ends it after the current cycle.

    \b
    atmos-openmm run --sequence ACE-VAL-NME -o valine --cycles 2000 --walkers 2 --relax 20
    atmos-openmm run peptide.pdb -o frames --valid-frames 500
    atmos-openmm run complex.prmtop complex.rst7 -o amber --implicit obc2 --solute 0-300
    atmos-openmm run --sequence ACE-VAL-NME -o averages --acceptance metropolis
    """
    if options["cycles"] is not None and options["valid_frames"] is not None:
        raise click.UsageError(
            "Give --cycles, or --valid-frames with --max-cycles as its limit, not both."
        )
    from ..sampling.exact_progress import ExactSummary
    from ..sampling.progress import RunSummary

    exact = options["acceptance"] == "metropolis"
    if exact and options["valid_frames"] is not None:
        raise click.UsageError(
            "--valid-frames is for runs that explore: all frames of --acceptance metropolis are "
            "samples. Give --cycles."
        )
    valid_frames = options["valid_frames"]
    cycles = options["cycles"]
    if cycles is None and not valid_frames:
        cycles = 10_000 if exact else 1000
    show = ProgressLine()
    with output_folder(output), _create_sampler(output, options, show) as sampler:
        if sampler.cycle:
            click.echo(f"Going on in {output} after cycle {sampler.cycle}.", err=True)
        with stopping_on_signals(sampler, "this cycle"):
            summary = sampler.run(
                cycles, valid_frames=valid_frames, max_cycles=options["max_cycles"], progress=show
            )
        show.finish()
        if isinstance(summary, RunSummary) and valid_frames is not None and summary.generated:
            path = sampler.writeValidFrames(valid_frames)
            click.echo(f"Valid frames: {path}", err=True)
        if isinstance(summary, ExactSummary):
            write_averages(summary, output, options["page"])
    closing = "The acceptance is a filter: populations are biased."
    if exact:
        closing = "Every frame has weight 1: averages over frames are Boltzmann's."
    conclude(summary, sampler, output, closing, "--max-cycles, --relax 10,20, --window")


def _create_sampler(output: Path, options: dict[str, Any], show: ProgressLine) -> HybridSampler:
    """Everything from the input file to the sampler."""
    from ..sampling.hybrid import HybridSampler
    from ..sampling.platforms import choose_platform

    molecule = read_molecule(options)
    exact = options["acceptance"] == "metropolis"
    if exact:
        propagator, moves = exact_arguments(molecule, options, show)
    else:
        refuse_exact_options(options)
        propagator, moves = bind(molecule, options), {}
    choose_platform(options["platform"])  # before anything slow
    made = make_for(molecule, options, rigid_water=True)
    return HybridSampler(
        molecule.topology,
        made.system,
        molecule.positions_nm,
        propagator,
        output,
        temperature=options["temperature"],
        frictionCoeff=options["friction"],
        stepSize=options["timestep_fs"] / 1000.0,
        walkers=options["walkers"] or (4 if exact else 1),
        jumpInterval=options["interval"],
        reportInterval=options["report"],
        lag=options["lag"] if exact else None,
        acceptance=options["acceptance"],
        energyWindow=options["window"],
        windowSamples=options["window_samples"],
        relaxation=options["relax"],
        seed=options["seed"],
        platform=options["platform"],
        threads=options["threads"],
        trajectoryFormat=options["trajectory_format"],
        minimize=not options["no_minimize"],
        equilibrationSteps=options["equilibrate"],
        storePositions=options["store_positions"],
        commitSeconds=options["commit"],
        settings={"molecule": molecule.name, "forcefield": made.sources},
        notes={"command": " ".join(sys.argv), "system": made.choices},
        **moves,
    )
