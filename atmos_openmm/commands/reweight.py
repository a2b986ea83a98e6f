"""`atmos-openmm reweight`: what the populations of anyone's ensemble should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.progress import ProgressLine
from ._options import FILE, option, shared_option
from ._sampling import conclude, output_folder, run_options
from ._system import ligand_option, make_for, molecule_of_frames, system_options
from ._terminal import stopping_on_signals

if TYPE_CHECKING:
    from ..sampling.reweight import Reweighting
    from ..sampling.reweighted import Reweighted
    from ..systems.inputs import Molecule


@click.command("reweight")
@click.argument("frames", type=FILE)
@shared_option(
    "topology",
    "topologies",
    multiple=True,
    help="PDB or mmCIF file of the same atoms in the same order, with hydrogens and the right "
    "handedness; the topology of AMBER, GROMACS or CHARMM, and its parameters and coordinates with "
    "the option again; or a trajectory file of this package, whose System is taken. Not needed "
    "where FRAMES is one.",
)
@ligand_option
@system_options
@run_options("run", "everything random", 4)
@option("--cycles", type=click.IntRange(1), default=5000, help="Cycles of each walker in total.")
@option(
    "--adapt",
    type=click.IntRange(0),
    default=1000,
    help="Cycles of each walker before the run that counts, to whose frames the density is fitted.",
)
@option("--stride", type=click.IntRange(1), default=1, help="Read every so many frames.")
@option("--interval", type=click.IntRange(1), default=25, help="MD steps between moves.")
@option(
    "--moves",
    type=click.IntRange(1),
    help="Moves between stretches of MD; by default 1 of several trials, or 10.",
)
@shared_option("trials")
@option(
    "--dynamics",
    type=click.Choice(["langevin", "hmc"]),
    default="langevin",
    help="What happens between moves; hmc tests each stretch as well.",
)
@option("--methyls", is_flag=True, help="Turn methyls and their like as well.")
@shared_option("temperature", default=300.0, help="K.")
@shared_option("timestep")
@shared_option("platform", help="OpenMM platform; the fastest by default.", default=None)
@shared_option(
    "threads", help="Threads of the CPU platform; 1 by default for small systems.", default=None
)
@option("--page/--no-page", "page", default=True, help="Whether to write report.html.")
def command(frames: Path, output: Path, **options: Any) -> None:
    """Correct the populations of FRAMES, an ensemble of any generator, by a short exact run.

    Frames of different basins become the starts of walkers, and all frames together the density
    that moves of torsions are drawn from. Each move is tested by Metropolis, so that the run's
    frames are samples of Boltzmann's distribution, whatever the generator got wrong. The command
    prints populations before and after with their errors, and which basins were missing or
    invented; the folder gets reweighted.json, report.html, and the run itself.

    The same command again goes on where it was stopped or killed; with more --cycles it makes the
    run longer.

    \b
    atmos-openmm reweight samples.xtc --topology start.pdb -o corrected
    """
    if not frames.exists():
        raise FileNotFoundError(f"There is no trajectory {frames}.")
    molecule = molecule_of_frames(frames, options["topologies"], options)
    show = ProgressLine()
    with output_folder(output), _open(frames, molecule, output, options, show) as work:
        with stopping_on_signals(work.sampler, "this cycle"):
            result = work.run(options["cycles"], progress=show)
        show.finish()
        if options["page"]:
            _write_page(output, work, result)
        closing = "Averages over the frames in its folder 'run' are Boltzmann's."
        conclude(result, work.sampler, output, closing, "--cycles")


def _open(
    frames: Path,
    molecule: Molecule,
    output: Path,
    options: dict[str, Any],
    show: ProgressLine,
) -> Reweighting:
    from ..sampling.reweight import Reweighting

    made = make_for(molecule, options, frames=True)
    return Reweighting(
        frames,
        molecule.topology,
        made.system,
        output,
        positions=molecule.positions_nm if len(molecule.positions_nm) else None,
        molecules=molecule.molecules or None,
        stride=options["stride"],
        temperature=options["temperature"],
        walkers=options["walkers"],
        adapt=options["adapt"],
        stepSize=options["timestep_fs"] / 1000.0,
        jumpInterval=options["interval"],
        moves=options["moves"],
        trials=options["trials"],
        dynamics=options["dynamics"],
        methyls=options["methyls"],
        seed=options["seed"],
        platform=options["platform"],
        threads=options["threads"],
        trajectoryFormat=options["trajectory_format"],
        commitSeconds=options["commit"],
        preparing=show,
        notes={"system": made.choices},
    )


def _write_page(output: Path, work: Reweighting, result: Reweighted) -> None:
    from ..core.files import explained
    from ..report.reweighted_page import write_reweighted_page
    from ..sampling.exact_storage import read_exact_run
    from ..sampling.reweight import RUN_FOLDER

    after = read_exact_run(output / RUN_FOLDER).torsions()[:, result.after.discarded :]
    with explained(output, "The run itself is safe."):
        try:
            path = write_reweighted_page(
                output, result, work.torsions.names, work.angles, after.reshape(-1, after.shape[-1])
            )
        except ImportError as error:
            click.echo(f"No report: {error}", err=True)
        else:
            click.echo(f"Report: {path}", err=True)
