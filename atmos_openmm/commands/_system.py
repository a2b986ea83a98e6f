"""What frames are of: files of any program to a molecule and its System, by shared options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.constants import HYDROGEN_MASS_DALTON
from ..systems.system_options import SystemOptions
from ._system_options import (
    SYSTEM_ARGUMENTS,
    chosen_options,
    ligand_option,
    refuse_with,
    split_ligands,
    system_options,
)

if TYPE_CHECKING:
    import openmm

    from ..systems.forcefield import MadeSystem
    from ..systems.inputs import Molecule

__all__ = [
    "SYSTEM_ARGUMENTS",
    "chosen_options",
    "ligand_option",
    "make_for",
    "molecule_of_frames",
    "molecule_with_system",
    "need_coordinates",
    "print_choices",
    "read_files",
    "refuse_with",
    "read_system",
    "split_ligands",
    "system_options",
    "with_system",
]


def read_files(paths: Sequence[Path], ligands: Sequence[str] = ()) -> Molecule:
    """Read a molecule from the files of a command and its --ligand; print notes on stderr.

    Raises
    ------
    ValueError
        See `systems.inputs.read_molecule`.
    """
    from ..systems.inputs import read_input

    files, molecules = split_ligands(ligands)
    molecule = read_input([*paths, *files], molecules=molecules)
    for note in molecule.notes:
        click.echo(note, err=True)
    return molecule


def molecule_of_frames(
    frames: Path, topologies: Sequence[Path], given: Mapping[str, Any]
) -> Molecule:
    """Read what the frames of a trajectory are of, for `make_for(..., frames=True)`.

    Parameters
    ----------
    frames : Path
        The trajectory.
    topologies : sequence of Path
        What --topology names: a structure, a topology with its parameters, or a trajectory file of
        this package; nothing where the trajectory itself is one.
    given : mapping
        The command's arguments, among them those of `system_options` and `ligands`.

    Raises
    ------
    click.UsageError
        A topology is needed.
    ValueError
        A file cannot be read, or a System is of other atoms.
    """
    from ..trajectories.layout import TrajectoryFile, is_own_layout

    source = topologies[0] if topologies else frames
    if not source.exists():
        raise FileNotFoundError(f"There is no file {source}.")
    if not is_own_layout(source):
        if topologies:
            return with_system(read_files(topologies, given["ligands"]), given["system_xml"])
        needed = "--ligand needs --topology" if given["ligands"] else "Give --topology"
        raise click.UsageError(
            f"{frames} does not say what its atoms are. {needed}: a PDB or mmCIF file of them, or "
            "the topology of AMBER, GROMACS or CHARMM."
        )
    if given["ligands"]:
        raise click.UsageError("--ligand needs --topology with the structure that it is in.")
    with TrajectoryFile(source) as file:
        topology, inside, label = file.topology, file.system, source.name
    if given["system_xml"]:
        inside, label = read_system(given["system_xml"]), given["system_xml"].name
    return molecule_with_system(topology, None if given["forcefield"] else inside, label)


def with_system(molecule: Molecule, path: Path | None) -> Molecule:
    """A molecule with the System that --system names, where it names one."""
    from ..systems.inputs import molecule_with_system_file

    if path is None:
        return molecule
    if molecule.parameters is not None:
        raise click.UsageError(
            f"--system cannot go with {molecule.parameters.label}, which brings the parameters. "
            "Leave out one or the other."
        )
    return molecule_with_system_file(molecule, path)


def molecule_with_system(topology: Any, system: openmm.System | None, label: str) -> Molecule:
    """A molecule without coordinates, and the System that there is for it.

    Raises
    ------
    ForceFieldError
        (a ValueError) The System is of other atoms.
    """
    import numpy as np

    from ..systems.inputs import Molecule
    from ..systems.system_file import GivenSystem, check_system_fits

    parameters = None
    if system is not None:
        check_system_fits(system, topology, label)
        parameters = GivenSystem(system, label)
    return Molecule(topology, np.zeros((0, 3)), {}, label, parameters=parameters)


def need_coordinates(molecule: Molecule, paths: Sequence[Path]) -> None:
    """Refuse a topology that came without coordinates."""
    if not len(molecule.positions_nm):
        raise click.UsageError(
            f"{', '.join(path.name for path in paths)}: there are no coordinates; give a file with "
            "them as well (inpcrd, rst7, nc, gro, crd, PDB or mmCIF)."
        )


def make_for(
    molecule: Molecule,
    given: Mapping[str, Any],
    *,
    hydrogen_mass: float | None = HYDROGEN_MASS_DALTON,
    rigid_water: bool | None = None,
    frames: bool = False,
) -> MadeSystem:
    """Make the System of a molecule that was read, and print what was chosen on stderr.

    With `frames` a box is no hindrance to an implicit solvent, see `SystemOptions.for_frames`.
    """
    from ..systems.errors import ForceFieldError
    from ..systems.forcefield import make_system
    from ..systems.system_file import GivenSystem

    if molecule.parameters is not None:
        made = isinstance(molecule.parameters, GivenSystem)
        refuse_with(molecule.parameters.label, given, made=made)
    if isinstance(molecule.parameters, GivenSystem):
        chosen = SystemOptions()
    else:
        chosen = chosen_options(given, hydrogen_mass, rigid_water)
        if frames:
            chosen = chosen.for_frames(molecule.parameters)
    try:
        made_system = make_system(molecule, chosen)
    except ForceFieldError as error:
        flags = ", ".join(("--system", *SYSTEM_ARGUMENTS.values()))
        raise ForceFieldError(f"{error} Options: {flags}.") from error
    print_choices(made_system)
    return made_system


def print_choices(made: MadeSystem) -> None:
    """Print what was chosen for a System, on stderr."""
    for line in made.lines():
        click.echo(line, err=True)


def read_system(path: Path) -> openmm.System:
    """Read a System from OpenMM's XML, see `systems.system_file.read_system_file`."""
    from ..systems.system_file import read_system_file

    return read_system_file(path)
