"""What frames are of: files of any program to a molecule and its System, by shared options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.constants import HYDROGEN_MASS_DALTON
from ..systems.system_options import (
    CONSTRAINTS,
    DEFAULT_FORCEFIELD,
    IMPLICIT_SOLVENTS,
    NONBONDED_METHODS,
    SystemOptions,
)
from ._options import option, options, shared_option

if TYPE_CHECKING:
    import openmm

    from ..systems.forcefield import MadeSystem
    from ..systems.inputs import Molecule

__all__ = [
    "chosen_options",
    "create_system",
    "ligand_option",
    "make_for",
    "need_coordinates",
    "print_choices",
    "read_files",
    "read_inputs",
    "read_structure",
    "read_system",
    "read_topology",
    "split_ligands",
    "system_options",
]

_NAMES = {
    "forcefield": "--forcefield",
    "nonbonded": "--nonbonded",
    "cutoff": "--cutoff",
    "constraints": "--constraints",
    "hydrogen_mass": "--hydrogen-mass",
    "implicit": "--implicit",
    "ligand_forcefield": "--ligand-forcefield",
    "ligand_charges": "--ligand-charges",
}
"""Options that decide how a System is made, by their arguments."""

#: --ligand FILE[:TITLE] or NAME=SMILES.
ligand_option = shared_option("ligand")

#: --system and all that decides how a System is made of a force field or of files' parameters.
system_options = options(
    shared_option("system", help="The System as OpenMM XML, made already."),
    shared_option(
        "forcefield",
        metavar="XML",
        help="OpenMM force field file; give the option again for each. Default: "
        f"{' and '.join(DEFAULT_FORCEFIELD)}, where the files bring no parameters.",
    ),
    option(
        "--nonbonded",
        type=click.Choice(NONBONDED_METHODS, case_sensitive=False),
        help="Default: PME in a periodic box, else NoCutoff.",
    ),
    option("--cutoff", type=float, metavar="NM", help="Nonbonded cutoff; by default 1 nm."),
    option(
        "--constraints",
        type=click.Choice(CONSTRAINTS, case_sensitive=False),
        help="What is constrained beside rigid water; HBonds by default.",
    ),
    option(
        "--hydrogen-mass",
        type=float,
        help="Mass of hydrogens, dalton; 0 leaves that of the parameters. Default: "
        f"{HYDROGEN_MASS_DALTON:g} where there is dynamics.",
    ),
    option(
        "--implicit",
        type=click.Choice(IMPLICIT_SOLVENTS, case_sensitive=False),
        help="Implicit solvent; by default that of the force field files, and none with AMBER, "
        "GROMACS or CHARMM files.",
    ),
    option(
        "--ligand-forcefield",
        metavar="NAME",
        help="What ligands get parameters from that the force field does not know: "
        "openff-2.2.1 (default), gaff-2.11 and others.",
    ),
    option(
        "--ligand-charges",
        type=click.Choice(("nagl", "am1bcc")),
        help="How such ligands get charges; nagl by default.",
    ),
)


def read_files(paths: Sequence[Path], ligands: Sequence[str] = ()) -> Molecule:
    """Read a molecule from the files of a command and its --ligand; print notes on stderr.

    Raises
    ------
    ValueError
        See `systems.inputs.read_molecule`.
    """
    from ..systems.inputs import read_input

    files, records, molecules = split_ligands(ligands)
    molecule = read_input([*paths, *files], records=records or None, molecules=molecules)
    for note in molecule.notes:
        click.echo(note, err=True)
    return molecule


def split_ligands(ligands: Sequence[str]) -> tuple[list[Path], list[str], dict[str, str]]:
    """What --ligand says: SDF files, titles of records in them, and SMILES by residue name."""
    files: dict[Path, None] = {}
    records: list[str] = []
    molecules: dict[str, str] = {}
    for text in ligands:
        named = re.fullmatch(r"(\w{1,5})=(.+)", text)
        path, colon, title = text.rpartition(":")
        if Path(text).exists() or not (named or colon):
            files[Path(text)] = None
        elif named:
            molecules[named[1]] = named[2]
        else:
            files[Path(path)] = None
            records.append(title)
    return list(files), records, molecules


def chosen_options(
    given: Mapping[str, Any],
    hydrogen_mass: float | None = HYDROGEN_MASS_DALTON,
    rigid_water: bool | None = None,
) -> SystemOptions:
    """The options of `system_options` as the library takes them.

    Parameters
    ----------
    given : mapping
        A command's arguments.
    hydrogen_mass : float, optional
        Where --hydrogen-mass is not given.
    rigid_water : bool, optional
        See `SystemOptions`.
    """
    mass = given["hydrogen_mass"]
    return SystemOptions(
        forcefield=tuple(given["forcefield"]) or DEFAULT_FORCEFIELD,
        nonbonded=given["nonbonded"],
        cutoff_nm=given["cutoff"],
        constraints=given["constraints"] or "HBonds",
        hydrogen_mass_dalton=hydrogen_mass if mass is None else mass,
        implicit=given["implicit"],
        ligand_forcefield=given["ligand_forcefield"],
        ligand_charges=given["ligand_charges"],
        rigid_water=rigid_water,
    )


def read_inputs(
    paths: Sequence[Path],
    given: Mapping[str, Any],
    *,
    hydrogen_mass: float | None = HYDROGEN_MASS_DALTON,
    rigid_water: bool | None = None,
    coordinates: bool = True,
) -> tuple[Molecule, MadeSystem]:
    """Read the files that a command was given, make the System, and print what was chosen.

    Parameters
    ----------
    paths : sequence of Path
        See `systems.inputs.read_molecule`.
    given : mapping
        The command's arguments, among them those of `system_options` and `ligands`.
    hydrogen_mass, rigid_water
        See `chosen_options`.
    coordinates : bool
        Whether they have to be among the files.

    Raises
    ------
    click.UsageError
        Options contradict each other or the files.
    ValueError
        A file cannot be read, or the force field does not fit the molecule.
    """
    system = given["system_xml"]
    molecule = read_files([*paths, *([system] if system else [])], given["ligands"])
    if coordinates:
        need_coordinates(molecule, paths)
    return molecule, make_for(molecule, given, hydrogen_mass=hydrogen_mass, rigid_water=rigid_water)


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

    With `frames` a box is no hindrance to an implicit solvent: frames of single molecules often
    carry one. There is no cutoff then, unless a method with one is chosen.
    """
    from ..systems.errors import ForceFieldError
    from ..systems.forcefield import make_system
    from ..systems.system_file import GivenSystem

    if molecule.parameters is not None:
        # A System that is made already has no say in any of these, even at their defaults.
        made = isinstance(molecule.parameters, GivenSystem)
        names = _NAMES if made else ("forcefield", "ligand_forcefield", "ligand_charges")
        asked = [_NAMES[name] for name in names if given[name] not in (None, ())]
        if asked:
            raise click.UsageError(
                f"{', '.join(asked)} cannot go with {molecule.parameters.label}, which brings "
                f"{'the System' if made else 'the parameters'}. Leave out one or the other."
            )
    if isinstance(molecule.parameters, GivenSystem):
        chosen = SystemOptions()
    else:
        chosen = chosen_options(given, hydrogen_mass, rigid_water)
        if frames and chosen.nonbonded is None and chosen.has_implicit_solvent:
            chosen = replace(chosen, nonbonded="NoCutoff")
    try:
        made_system = make_system(molecule, chosen)
    except ForceFieldError as error:
        raise ForceFieldError(
            f"{error} Options: --forcefield, --system, {', '.join(list(_NAMES.values())[1:])}."
        ) from error
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


def read_structure(path: Path) -> tuple[Any, Any]:
    """Topology and positions (nm) of the first model of a PDB or mmCIF file."""
    from ..systems.structure_files import read_structure_file

    file = read_structure_file(path)
    return file.topology, file.positions_nm


def read_topology(trajectory: Path, topology: Path | None) -> tuple[Any, Any, Any]:
    """Topology of a trajectory, and positions (nm) and System where the files have them.

    Parameters
    ----------
    trajectory : Path
    topology : Path or None
        A structure, or a trajectory file of this package; the trajectory itself by default.
    """
    from ..trajectories.layout import TrajectoryFile, is_own_layout

    source = trajectory if topology is None else topology
    if not source.exists():
        raise FileNotFoundError(f"There is no file {source}.")
    if is_own_layout(source):
        with TrajectoryFile(source) as file:
            return file.topology, None, file.system
    if topology is None:
        raise click.UsageError(
            f"{trajectory} does not say what its atoms are; give --topology FILE (PDB or mmCIF)."
        )
    return (*read_structure(topology), None)


def create_system(
    topology: Any, names: tuple[str, ...], hydrogen_mass_dalton: float | None = None
) -> openmm.System:
    """A System with bonds to hydrogen constrained, as most simulations have it.

    A box is no hindrance to an implicit solvent here: frames of single molecules often carry one.

    Raises
    ------
    ValueError
        The force field does not fit the molecule.
    """
    from ..systems import forcefield

    try:
        return forcefield.create_system(
            topology,
            names,
            nonbonded="NoCutoff" if forcefield.has_implicit_solvent(names) else None,
            cutoff_nm=1.0,
            hydrogen_mass_dalton=hydrogen_mass_dalton,
        )
    except forcefield.ForceFieldError as error:
        raise ValueError(
            f"{error} Choose another with --forcefield, or give the System with --system."
        ) from error
