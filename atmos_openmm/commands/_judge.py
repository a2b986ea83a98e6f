"""What commands that judge frames share: the options, and the validator that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ._options import FILE, option, options, shared_option
from ._system import chosen_options, read_system

if TYPE_CHECKING:
    import openmm

    from ..systems.inputs import Molecule
    from ..validation import EnergyValidator

__all__ = ["judge_options", "make_validator", "second_potential"]

#: What frames are judged by; also those of `generate`.
judge_options = options(
    option(
        "--reference",
        type=FILE,
        help="Molecular dynamics of the same System to compare energies with: a trajectory, "
        "or energies in a .csv, .npz or .npy file.",
    ),
    shared_option(
        "native",
        help="Structure (PDB, mmCIF) that has the right handedness at every centre and the "
        "right class of every peptide bond. Default: L amino acids, trans.",
    ),
    shared_option(
        "window",
        help="Width of the energy window above the reference's mean, in its standard deviations.",
    ),
    option(
        "--relax",
        "iterations",
        type=click.IntRange(min=1),
        default=100,
        help="Iterations of the minimiser a frame, at most.",
    ),
    option("--no-relax", is_flag=True, help="Leave the relaxation out."),
    option(
        "--relax-when",
        type=click.Choice(["all", "needed"]),
        default="all",
        help="Which frames are relaxed. needed: those with overlaps, strain or a high energy and "
        "no fault that a minimiser cannot mend; the verdicts are the same, many times faster. "
        "Needs --reference.",
    ),
)


def make_validator(
    molecule: Molecule, system: openmm.System, given: Mapping[str, Any], second: Any = None
) -> EnergyValidator:
    """An EnergyValidator by the options of `judge_options`, --temperature and --platform."""
    from ..systems.structure_files import read_structure_file
    from ..validation import EnergyValidator

    if given["relax_when"] == "needed" and given["reference"] is None:
        raise click.UsageError("--relax-when needed goes with --reference.")
    native = given["native"]
    return EnergyValidator(
        molecule.topology,
        system,
        temperature=given["temperature"],
        reference=given["reference"],
        energyWindow=given["window"],
        relaxationIterations=0 if given["no_relax"] else given["iterations"],
        relax=given["relax_when"],
        platform=given["platform"],
        nativePositions=None if native is None else read_structure_file(native).positions_nm,
        ligands=molecule.molecules,
        workers=given.get("workers", 1),
        interactionSolvation=given.get("solvation", False),
        second=second,
    )


def second_potential(molecule: Molecule, given: Mapping[str, Any]) -> Any:
    """The second potential that the options name, or None."""
    from ..systems.forcefield import make_system
    from ..validation import SecondPotential

    names, xml = given["second_forcefield"], given["second_system"]
    learned = given["second_potential"]
    if sum(bool(one) for one in (names, xml, learned)) > 1:
        raise click.UsageError(
            "Give one of --second-forcefield, --second-system and --second-potential."
        )
    if names:
        other = replace(molecule, parameters=None)
        chosen = replace(chosen_options(given, None), forcefield=tuple(names)).for_frames()
        return SecondPotential(" and ".join(names), make_system(other, chosen).system)
    if xml is not None:
        return SecondPotential(str(xml), read_system(xml))
    return None if learned is None else SecondPotential(learned, learned=learned)
