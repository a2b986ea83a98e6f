"""`atmos-openmm generate`: a number of valid frames by the learned propagator."""

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
from ._system import create_system, read_system
from ._terminal import stopping_on_signals
from .validate import judge_options, make_validator

if TYPE_CHECKING:
    from ..sampling.generation import Generation


@click.command("generate")
@molecule_options
@run_options("generation", "the noise")
@option(
    "--valid",
    type=click.IntRange(1),
    required=True,
    help="Valid frames in all walkers together; each makes the same share.",
)
@option(
    "--max-draws",
    type=click.IntRange(1),
    help="The most frames that are drawn for them. Default: 20 for each valid one.",
)
@option(
    "--accept",
    type=click.Choice(["valid", "relaxed"]),
    default="valid",
    help="valid: frames that are valid as they are. relaxed: also those that are after the "
    "relaxation, which are written relaxed.",
)
@option(
    "--max-attempts",
    type=click.IntRange(1),
    default=20,
    help="Draws in a row from the same frame before the walker goes back to its start.",
)
@shared_option("lag", help="Time between frames, ps; the model's longest by default.")
@shared_option("temperature", default=300.0, help="Of the model and of the energies, K.")
@shared_option(
    "forcefield",
    metavar="XML",
    help="OpenMM force field file that energies are computed by; repeat for several. Default: "
    f"{' and '.join(DEFAULT_FORCEFIELD)}.",
)
@shared_option("system", help="The System of the frames' atoms as OpenMM XML, instead.")
@judge_options
@shared_option("platform", help="OpenMM platform for energies.")
@option("--device", default="cpu", help="Where the network runs: cpu, cuda, cuda:1.")
@shared_option(
    "threads", help="Threads of the network on the CPU; more than 1 pays for large molecules only."
)
def command(output: Path, **options: Any) -> None:
    """Let the model draw frames of STRUCTURE until --valid of them are valid.

    Each frame comes from the last valid one and from the model's latent state. It is screened, then
    judged as `atmos-openmm validate` judges: by its energy beside a reference and by its geometry.
    The folder gets the valid frames (trajectory_NNNN, topology.pdb) and frames.csv with a row for
    every frame drawn, its verdict, reason and energy.

    The exit status is 0 when the frames are there, 1 when --max-draws was used up before. The same
    command again goes on where it was stopped or killed; with more --max-draws it goes further.

    \b
    atmos-openmm generate --sequence ACE-VAL-NME -o valine --valid 100 --reference md.dcd
    atmos-openmm generate protein.pdb -o frames --valid 1000 --max-draws 50000 --accept relaxed
    """
    if options["system_xml"] is not None and options["forcefield"]:
        raise click.UsageError("Give either --system or --forcefield.")
    valid = options["valid"]
    draws = options["max_draws"] or 20 * valid
    with output_folder(output), _create(output, options) as generation:
        if generation.frame:
            click.echo(f"Going on in {output} after frame {generation.frame}.", err=True)
        show = ProgressLine()
        with stopping_on_signals(generation, "this frame"):
            try:
                summary = generation.generate(valid, maxDraws=draws, progress=show)
            except RuntimeError as error:
                raise click.ClickException(
                    f"{error} What was generated before is in {output}."
                ) from error
            finally:
                show.finish()
    closing = "Frames are the model's, given that they are valid."
    conclude(summary, generation, output, closing, "--max-draws, --accept relaxed, --window")


def _create(output: Path, options: dict[str, Any]) -> Generation:
    """Everything from the input file to the generation."""
    from ..sampling.generation import Generation
    from ..systems.selection import subset_topology

    molecule = read_molecule(options)
    propagator = bind(molecule, options, options["device"])
    solute = subset_topology(molecule.topology, propagator.atomIndices)
    if options["system_xml"] is not None:
        system = read_system(options["system_xml"])
    else:
        system = create_system(solute, options["forcefield"] or DEFAULT_FORCEFIELD)
    ligands = {
        name: mol
        for name, mol in molecule.molecules.items()
        if name in {residue.name for residue in solute.residues()}
    }
    validator = make_validator(solute, system, ligands, None, options)
    return Generation(
        molecule.topology,
        molecule.positions_nm,
        propagator,
        output,
        validator,
        accept=options["accept"],
        maxAttempts=options["max_attempts"],
        walkers=options["walkers"],
        seed=options["seed"],
        trajectoryFormat=options["trajectory_format"],
        threads=options["threads"],
        commitSeconds=options["commit"],
        settings={"molecule": molecule.name},
        notes={"command": " ".join(sys.argv)},
    )
