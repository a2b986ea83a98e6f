"""`atmos-openmm run`: hybrid sampling of a structure or a sequence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.progress import ProgressLine
from ..systems.forcefield import DEFAULT_FORCEFIELD
from ._molecule import bind, molecule_options, read_molecule
from ._options import option, shared_option
from ._sampling import conclude, output_folder, run_options
from ._terminal import Integers, stopping_on_signals

if TYPE_CHECKING:
    from ..sampling.hybrid import HybridSampler


@click.command("run")
@molecule_options
@run_options("run", "everything random")
@option(
    "--cycles",
    type=click.IntRange(0),
    help="Cycles of each walker in total (1000 without --valid-frames).",
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
@option("--interval", type=click.IntRange(1), default=250, help="MD steps between jumps.")
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
    type=click.Choice(["filter", "none"]),
    default="filter",
    help="filter: screened, and inside the energy window of the run's own MD. none: screened.",
)
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
@shared_option(
    "forcefield",
    default=DEFAULT_FORCEFIELD,
    help="OpenMM force field file; give the option again for each.",
)
@option(
    "--hydrogen-mass",
    type=float,
    default=1.5,
    help="Mass of hydrogens, dalton; 0 leaves the force field's.",
)
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
    """Sample STRUCTURE (a PDB or mmCIF file with hydrogens) by learned jumps and short MD in turn.

    Every cycle of a walker is one jump, checked against geometry and force field, and --interval
    steps of Langevin dynamics. The folder gets topology.pdb, a trajectory for each walker,
    proposals.npy, segments.npy and frames.npy with a row for every proposal, MD segment and frame,
    and run.json.

    The same command again goes on where it was stopped or killed. With more --cycles it makes the
    run longer. Ctrl-C ends it after the current cycle.

    \b
    atmos-openmm run --sequence ACE-VAL-NME -o valine --cycles 2000 --walkers 2 --relax 20
    atmos-openmm run peptide.pdb -o frames --valid-frames 500
    """
    if options["cycles"] is not None and options["valid_frames"] is not None:
        raise click.UsageError(
            "Give --cycles, or --valid-frames with --max-cycles as its limit, not both."
        )
    valid_frames = options["valid_frames"]
    cycles = options["cycles"] if valid_frames or options["cycles"] is not None else 1000
    with output_folder(output), _create_sampler(output, options) as sampler:
        if sampler.cycle:
            click.echo(f"Going on in {output} after cycle {sampler.cycle}.", err=True)
        show = ProgressLine()
        with stopping_on_signals(sampler, "this cycle"):
            summary = sampler.run(
                cycles, valid_frames=valid_frames, max_cycles=options["max_cycles"], progress=show
            )
        show.finish()
        if valid_frames is not None and summary.generated:
            path = sampler.writeValidFrames(valid_frames)
            click.echo(f"Valid frames: {path}", err=True)
    closing = "The acceptance is a filter: populations are biased."
    conclude(summary, sampler, output, closing, "--max-cycles, --relax 10,20, --window")


def _create_sampler(output: Path, options: dict[str, Any]) -> HybridSampler:
    """Everything from the input file to the sampler."""
    from ..sampling.hybrid import HybridSampler
    from ..systems.forcefield import ForceFieldError, create_system

    molecule = read_molecule(options)
    propagator = bind(molecule, options)
    mass = options["hydrogen_mass"]
    try:
        system = create_system(
            molecule.topology,
            options["forcefield"],
            rigid_water=True,
            hydrogen_mass_dalton=mass if mass > 0 else None,
        )
    except ForceFieldError as error:
        raise ValueError(f"{error} Force field files are named by --forcefield.") from error
    return HybridSampler(
        molecule.topology,
        system,
        molecule.positions_nm,
        propagator,
        output,
        temperature=options["temperature"],
        frictionCoeff=options["friction"],
        stepSize=options["timestep_fs"] / 1000.0,
        walkers=options["walkers"],
        jumpInterval=options["interval"],
        reportInterval=options["report"],
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
        settings={"molecule": molecule.name, "forcefield": list(options["forcefield"])},
        notes={"command": " ".join(sys.argv)},
    )
