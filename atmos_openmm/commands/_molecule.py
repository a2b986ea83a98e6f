"""What commands that move a molecule share: the options that name it and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._options import FILE, option, options, shared_option
from ._system import ligand_option, need_coordinates, read_files, with_system
from ._terminal import Atoms

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator
    from ..systems.inputs import Molecule

#: FILES, --sequence, --ligand, --model and --solute.
molecule_options = options(
    click.argument("files", nargs=-1, type=FILE),
    option("--sequence", help="Build this peptide instead of reading files: ACE-ALA-NME."),
    ligand_option,
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
    from ..systems.inputs import build_sequence

    files, sequence = options["files"], options["sequence"]
    if (not files) == (sequence is None):
        raise click.UsageError("Give either files of a molecule or --sequence.")
    if sequence is not None:
        if options["ligands"]:
            raise click.UsageError("--ligand goes with a structure file, not with --sequence.")
        if options.get("system_xml"):
            raise click.UsageError("--system goes with a structure file, not with --sequence.")
        return build_sequence(sequence)
    molecule = with_system(read_files(files, options["ligands"]), options.get("system_xml"))
    need_coordinates(molecule, files)
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
