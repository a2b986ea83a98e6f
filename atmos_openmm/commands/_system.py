"""What frames are of: their Topology, and the System as an XML file or by a force field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import openmm

__all__ = ["create_system", "read_structure", "read_system", "read_topology"]


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
