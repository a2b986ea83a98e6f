"""`atmos-openmm rollout`: a trajectory of the learned propagator alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._molecule import bind, molecule_options, read_molecule
from ._options import option, shared_option
from ._sampling import conclude, output_folder, run_options, showing_frames

if TYPE_CHECKING:
    from ..sampling.rollout import Rollout


@click.command("rollout")
@molecule_options
@run_options("rollout", "the noise")
@option("--frames", type=click.IntRange(0), default=1000, help="Frames of each walker in total.")
@shared_option("lag", help="Time between frames, ps; the model's longest by default.")
@shared_option("temperature", default=300.0, help="Asked of the model, K.")
@option(
    "--on-invalid",
    type=click.Choice(["retry", "keep", "stop"]),
    default="retry",
    help="What becomes of a frame that fails the screen. retry: it is drawn again from "
    "the last valid frame. keep: it is written and gone on from. stop: the rollout ends. "
    "Each has a row in frames.csv, with the reason.",
)
@option(
    "--max-attempts",
    type=click.IntRange(1),
    default=20,
    help="With retry: how often a frame is drawn before the rollout ends.",
)
@option("--device", default="cpu", help="Where the network runs: cpu, cuda, cuda:1.")
@shared_option(
    "threads", help="Threads of the network on the CPU; more than 1 pays for large molecules only."
)
def command(output: Path, **options: Any) -> None:
    """Let the model generate a trajectory of the molecule of FILES by itself.

    FILES are those that `atmos-openmm run` takes: a PDB or mmCIF file, or topology and coordinates
    of AMBER, GROMACS or CHARMM.

    Each frame comes from the one before and from the model's latent state, one lag later; there is
    no molecular dynamics between them and no force field. The folder gets topology.pdb, a
    trajectory for each walker, frames.csv with a row for every frame and every attempt that failed
    the screen, and run.json. Energies are judged by `atmos-openmm validate`.

    The same command again goes on where it was stopped or killed, with the same frames as if it
    had not been. With more --frames it makes the trajectory longer. Ctrl-C ends it after the
    current frame.

    \b
    atmos-openmm rollout --sequence ACE-VAL-NME -o valine --frames 500 --walkers 4
    atmos-openmm rollout protein.pdb -o frames --model mine.atmos --lag 1000 --device cuda
    """
    with output_folder(output), _create_rollout(output, options) as rollout:
        with showing_frames(output, rollout) as show:
            summary = rollout.run(options["frames"], progress=show)
    closing = "Populations are the model's."
    conclude(summary, rollout, output, closing, "--on-invalid keep, --max-attempts")


def _create_rollout(output: Path, options: dict[str, Any]) -> Rollout:
    """Everything from the input file to the rollout."""
    from ..sampling.rollout import Rollout

    molecule = read_molecule(options)
    propagator = bind(molecule, options, options["device"])
    return Rollout(
        molecule.topology,
        molecule.positions_nm,
        propagator,
        output,
        walkers=options["walkers"],
        seed=options["seed"],
        onInvalid=options["on_invalid"],
        maxAttempts=options["max_attempts"],
        trajectoryFormat=options["trajectory_format"],
        threads=options["threads"],
        commitSeconds=options["commit"],
        settings={"molecule": molecule.name},
        notes={"command": " ".join(sys.argv)},
    )
