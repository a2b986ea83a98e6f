"""The System that frames are judged under: an XML file, or a force field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openmm

__all__ = ["create_system", "read_system"]


def read_system(path: Path) -> openmm.System:
    """Read a System from OpenMM's XML.

    Raises
    ------
    FileNotFoundError
    ValueError
        It holds something else.
    """
    import openmm

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} with a System.")
    try:
        system = openmm.XmlSerializer.deserialize(path.read_text())
    except (openmm.OpenMMException, ValueError) as error:
        raise ValueError(f"{path} is no OpenMM XML file: {error}") from error
    if not isinstance(system, openmm.System):
        raise ValueError(f"{path} holds a {type(system).__name__}; a System was expected")
    return system


def create_system(topology: Any, names: tuple[str, ...]) -> openmm.System:
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
            hydrogen_mass_dalton=None,
        )
    except forcefield.ForceFieldError as error:
        raise ValueError(
            f"{error} Choose another with --forcefield, or give the System with --system."
        ) from error
