"""`atmos-openmm generate`: a number of valid frames by the learned propagator."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._judge import judge_options, make_validator
from ._molecule import bind, molecule_options, read_molecule
from ._options import option, shared_option
from ._sampling import conclude, output_folder, run_options, showing_frames
from ._system import make_for, system_options

if TYPE_CHECKING:
    from ..sampling.generation import Generation
    from ..systems.inputs import Molecule


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
@system_options
@judge_options
@shared_option("platform", help="OpenMM platform for energies.")
@option("--device", default="cpu", help="Where the network runs: cpu, cuda, cuda:1.")
@shared_option(
    "threads", help="Threads of the network on the CPU; more than 1 pays for large molecules only."
)
def command(output: Path, **options: Any) -> None:
    """Let the model draw frames of the molecule until --valid of them are valid.

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
    valid = options["valid"]
    draws = options["max_draws"] or 20 * valid
    with output_folder(output), _create(output, options) as generation:
        with showing_frames(output, generation) as show:
            summary = generation.generate(valid, maxDraws=draws, progress=show)
    closing = "Frames are the model's, given that they are valid."
    conclude(summary, generation, output, closing, "--max-draws, --accept relaxed, --window")


def _create(output: Path, options: dict[str, Any]) -> Generation:
    """Everything from the input file to the generation."""
    from ..sampling.generation import Generation

    molecule = read_molecule(options)
    propagator = bind(molecule, options, options["device"])
    solute = _solute(molecule, propagator.atomIndices)
    system = make_for(solute, options, hydrogen_mass=None, frames=True).system
    validator = make_validator(solute, system, options)
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


def _solute(molecule: Molecule, atoms: Sequence[int]) -> Molecule:
    """The part of a molecule that is generated, which is what is judged."""
    from ..systems.selection import subset_topology

    if len(atoms) == molecule.topology.getNumAtoms():
        return molecule
    if molecule.parameters is not None:
        raise click.UsageError(
            f"{molecule.parameters.label} has {molecule.topology.getNumAtoms()} atoms, of which "
            f"{len(atoms)} are generated and judged by themselves. Give files of these atoms "
            "alone, or a structure with --forcefield."
        )
    topology = subset_topology(molecule.topology, atoms)
    names = {residue.name for residue in topology.residues()}
    return replace(
        molecule,
        topology=topology,
        positions_nm=molecule.positions_nm[list(atoms)],
        molecules={name: mol for name, mol in molecule.molecules.items() if name in names},
    )
