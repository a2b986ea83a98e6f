"""The options that decide how a System is made, as all commands have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

__all__ = [
    "SYSTEM_ARGUMENTS",
    "chosen_options",
    "ligand_option",
    "refuse_with",
    "split_ligands",
    "system_options",
]

SYSTEM_ARGUMENTS = {
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


def split_ligands(ligands: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """What --ligand says: SDF files, each with a record after a colon, and SMILES by name."""
    files: dict[Path, None] = {}
    molecules: dict[str, str] = {}
    for text in ligands:
        named = re.fullmatch(r"(\w{1,5})=(.+)", text)
        if named and not Path(text).exists():
            molecules[named[1]] = named[2]
        else:
            files[Path(text)] = None
    return list(files), molecules


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


def refuse_with(label: str, given: Mapping[str, Any], *, made: bool) -> None:
    """Refuse options, even at their defaults, of which what is given has no need.

    Parameters
    ----------
    label : str
        The file that brings the parameters, or the System.
    given : mapping
        The command's arguments.
    made : bool
        Whether it is a System that is made already.
    """
    names = SYSTEM_ARGUMENTS if made else ("forcefield", "ligand_forcefield", "ligand_charges")
    asked = [SYSTEM_ARGUMENTS[name] for name in names if given[name] not in (None, ())]
    if asked:
        raise click.UsageError(
            f"{', '.join(asked)} cannot go with {label}, which brings "
            f"{'the System' if made else 'the parameters'}. Leave out one or the other."
        )
