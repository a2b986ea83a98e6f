"""What commands that move a molecule share: the options that name it and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._options import FILE, option, options, shared_option
from ._terminal import Atoms

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator
    from ..systems.inputs import Molecule

#: STRUCTURE, --sequence, --ligand, --model and --solute.
molecule_options = options(
    click.argument("structure", required=False, type=FILE),
    option("--sequence", help="Build this peptide instead of reading a file: ACE-ALA-NME."),
    shared_option(
        "ligand",
        help="SDF file with a ligand's bond orders, charges and stereochemistry; give the option "
        "again for each. One that is not in the structure yet is added.",
    ),
    shared_option("model"),
    option(
        "--solute",
        type=Atoms(),
        metavar="ATOMS",
        help="Atoms that the model moves: indices from 0 (0-21,30), or a selection of MDTraj "
        "('protein and resSeq 10 to 20', 'sidechain and resid 3 7'). By default everything but "
        "water and ions.",
    ),
)


def read_molecule(options: dict[str, Any]) -> Molecule:
    """Read or build the molecule that the options name, and tell what was chosen on stderr."""
    from ..systems.inputs import build_sequence, read_structure

    structure, sequence = options["structure"], options["sequence"]
    if (structure is None) == (sequence is None):
        raise click.UsageError("Give either a structure file or --sequence.")
    if sequence is not None:
        if options["ligands"]:
            raise click.UsageError("--ligand goes with a structure file, not with --sequence.")
        return build_sequence(sequence)
    molecule = read_structure(structure, options["ligands"])
    for note in molecule.notes:
        click.echo(note, err=True)
    return molecule


def bind(molecule: Molecule, options: dict[str, Any], device: str = "cpu") -> AtmosPropagator:
    """Bind the model that the options name to the molecule."""
    from ..propagator import AtmosPropagator

    return AtmosPropagator(
        options["model"],
        molecule.topology,
        solute=options["solute"] or None,
        positions=molecule.positions_nm,
        molecules=molecule.molecules or None,
        lag=options["lag"],
        temperature=options["temperature"],
        device=device,
    )
