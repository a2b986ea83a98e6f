"""From a Topology and a force field to a System: the one place where Systems are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..core.constants import HYDROGEN_MASS_DALTON
from .errors import ForceFieldError

if TYPE_CHECKING:
    from openmm import System
    from openmm.app import ForceField, Topology

__all__ = [
    "DEFAULT_FORCEFIELD",
    "ForceFieldError",
    "create_system",
    "has_implicit_solvent",
    "load_forcefield",
]

DEFAULT_FORCEFIELD = ("amber14-all.xml", "implicit/gbn2.xml")
"""What every command takes where no force field is named: Amber 14 in GBn2 implicit solvent."""

_CUTOFF_NM = 1.0
_SHARE_OF_BOX = 0.49  # OpenMM wants a cutoff of less than half of the smallest box width


def load_forcefield(files: Sequence[str]) -> ForceField:
    """Load a force field from its files.

    Parameters
    ----------
    files : sequence of str
        Names of files that come with OpenMM, or paths.

    Raises
    ------
    ForceFieldError
        A file is missing or broken.
    """
    from openmm import app

    try:
        return app.ForceField(*files)
    except Exception as error:  # unknown file, bad XML, missing parameters
        raise ForceFieldError(
            f"The force field {', '.join(files)} cannot be loaded: {error} Give names of files "
            "that come with OpenMM, or paths."
        ) from error


def has_implicit_solvent(files: Sequence[str]) -> bool:
    """Whether force field files, by their names, bring an implicit solvent."""
    return any(name.startswith("implicit/") or "obc" in name for name in files)


def create_system(
    topology: Topology,
    forcefield: ForceField | Sequence[str] = DEFAULT_FORCEFIELD,
    *,
    nonbonded: Literal["NoCutoff", "CutoffNonPeriodic", "PME"] | None = None,
    cutoff_nm: float | None = None,
    constraints: Literal["HBonds", "AllBonds", "HAngles"] | None = "HBonds",
    rigid_water: bool | None = None,
    hydrogen_mass_dalton: float | None = HYDROGEN_MASS_DALTON,
    remove_com_motion: bool = True,
) -> System:
    """Make the System of a molecule and whatever is around it, by default for steps of 4 fs.

    Parameters
    ----------
    topology : openmm.app.Topology
        With all hydrogens.
    forcefield : openmm.app.ForceField or sequence of str
        The force field or its files. An implicit solvent is one of the files.
    nonbonded : str, optional
        OpenMM's name of the nonbonded method; by default PME where the Topology has a periodic
        box, no cutoff where it has none.
    cutoff_nm : float, optional
        Of methods with a cutoff; by default 1 nm, or just below half of a smaller box.
    constraints : str, optional
        OpenMM's name of what is constrained; None for nothing but rigid water.
    rigid_water : bool, optional
        By default as the force field has it, which is rigid but for AMOEBA.
    hydrogen_mass_dalton : float, optional
        Mass of hydrogens, taken from their neighbours; None leaves the force field's.
    remove_com_motion : bool
        Whether a force removes the motion of the centre of mass.

    Returns
    -------
    openmm.System

    Raises
    ------
    ForceFieldError
        A file is missing or broken, the force field does not know a residue, or an implicit
        solvent meets a periodic box; the message says which, and what to do.
    """
    from openmm import app, unit

    names = () if hasattr(forcefield, "createSystem") else tuple(forcefield)
    field: Any = load_forcefield(names) if names else forcefield
    if nonbonded is None:
        nonbonded = "NoCutoff" if topology.getPeriodicBoxVectors() is None else "PME"
    if nonbonded == "PME" and has_implicit_solvent(names):
        raise ForceFieldError(
            f"The force field {', '.join(names)} has an implicit solvent, and the structure a "
            "periodic box; they do not go together. Take the box out of the structure, or choose "
            "a force field for explicit solvent."
        )
    arguments: dict[str, Any] = {
        "nonbondedMethod": getattr(app, nonbonded),
        "constraints": None if constraints is None else getattr(app, constraints),
        "rigidWater": rigid_water,
        "removeCMMotion": remove_com_motion,
    }
    if hydrogen_mass_dalton is not None:
        arguments["hydrogenMass"] = hydrogen_mass_dalton * unit.dalton
    if nonbonded != "NoCutoff":
        cutoff = _fitting_cutoff_nm(topology) if cutoff_nm is None else cutoff_nm
        arguments["nonbondedCutoff"] = cutoff * unit.nanometer
    try:
        system: System = field.createSystem(topology, **arguments)
    except ValueError as error:
        which = f"The force field {', '.join(names)}" if names else "The force field"
        raise ForceFieldError(
            f"{which} does not fit the molecule: {error} {_advice(topology)}"
        ) from error
    return system


def _fitting_cutoff_nm(topology: Topology) -> float:
    from openmm import unit

    widths = topology.getUnitCellDimensions()
    if widths is None:
        return _CUTOFF_NM
    return min(_CUTOFF_NM, _SHARE_OF_BOX * min(widths.value_in_unit(unit.nanometer)))


def _advice(topology: Topology) -> str:
    """What most often is wrong when a force field finds no template."""
    if not any(a.element is not None and a.element.atomic_number == 1 for a in topology.atoms()):
        return (
            "The structure has no hydrogens: add them first, e.g. with "
            "openmm.app.Modeller.addHydrogens or PDBFixer."
        )
    return (
        "Residues that are not standard need a force field file of their own; missing atoms can "
        "be added with PDBFixer."
    )
