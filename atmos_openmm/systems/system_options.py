"""What decides the System of a molecule, whatever its parameters come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ..core.constants import HYDROGEN_MASS_DALTON
from .errors import ForceFieldError

__all__ = [
    "CONSTRAINTS",
    "DEFAULT_FORCEFIELD",
    "IMPLICIT_SOLVENTS",
    "NONBONDED_METHODS",
    "SystemOptions",
    "fitting_cutoff_nm",
    "has_implicit_solvent",
]

DEFAULT_FORCEFIELD = ("amber14-all.xml", "implicit/gbn2.xml")
"""What every command takes where no force field is named: Amber 14 in GBn2 implicit solvent."""

NONBONDED_METHODS = ("NoCutoff", "CutoffNonPeriodic", "PME")
CONSTRAINTS = ("None", "HBonds", "AllBonds", "HAngles")
IMPLICIT_SOLVENTS = ("none", "hct", "obc1", "obc2", "gbn", "gbn2")

_CUTOFF_NM = 1.0
_SHARE_OF_BOX = 0.49  # OpenMM wants a cutoff of less than half of the smallest box width
_OPENMM_SOLVENTS = {"hct": "HCT", "obc1": "OBC1", "obc2": "OBC2", "gbn": "GBn", "gbn2": "GBn2"}


def has_implicit_solvent(files: Sequence[str]) -> bool:
    """Whether force field files, by their names, bring an implicit solvent."""
    return any(name.startswith("implicit/") or "obc" in name for name in files)


def fitting_cutoff_nm(topology: Any) -> float:
    """The usual cutoff in nm, or just below half of a smaller box."""
    from openmm import unit

    widths = topology.getUnitCellDimensions()
    if widths is None:
        return _CUTOFF_NM
    return min(_CUTOFF_NM, _SHARE_OF_BOX * min(widths.value_in_unit(unit.nanometer)))


@dataclass(frozen=True)
class SystemOptions:
    """How a System is made of a force field, or of the parameters that files bring.

    Attributes
    ----------
    forcefield : tuple of str
        Force field files, by OpenMM's names or as paths. They are not used where the molecule's
        own files hold its parameters.
    nonbonded : str, optional
        "NoCutoff", "CutoffNonPeriodic" or "PME"; by default PME in a periodic box, else no cutoff.
    cutoff_nm : float, optional
        Of methods with a cutoff; by default 1 nm, or just below half of a smaller box.
    constraints : str
        "None", "HBonds", "AllBonds" or "HAngles". Water is rigid with any.
    hydrogen_mass_dalton : float, optional
        Mass of hydrogens, taken from their neighbours; None or 0 leaves those of the parameters.
    implicit : str, optional
        "hct", "obc1", "obc2", "gbn" or "gbn2", or "none"; by default as the force field's files
        have it, and none where the molecule's own files hold its parameters.
    ligand_forcefield, ligand_charges : str, optional
        What ligands get parameters from that the force field does not know ("openff-2.2.1",
        "gaff-2.11"), and how they get charges ("nagl", "am1bcc").
    rigid_water : bool, optional
        By default as the force field has it, which is rigid but for AMOEBA.

    Raises
    ------
    ForceFieldError
        (a ValueError) A value is none of those listed, or two contradict each other.
    """

    forcefield: tuple[str, ...] = DEFAULT_FORCEFIELD
    nonbonded: Literal["NoCutoff", "CutoffNonPeriodic", "PME"] | None = None
    cutoff_nm: float | None = None
    constraints: Literal["None", "HBonds", "AllBonds", "HAngles"] = "HBonds"
    hydrogen_mass_dalton: float | None = HYDROGEN_MASS_DALTON
    implicit: Literal["none", "hct", "obc1", "obc2", "gbn", "gbn2"] | None = None
    ligand_forcefield: str | None = None
    ligand_charges: Literal["nagl", "am1bcc"] | None = None
    rigid_water: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "forcefield", tuple(self.forcefield))
        for name, known in (
            ("nonbonded", (None, *NONBONDED_METHODS)),
            ("constraints", CONSTRAINTS),
            ("implicit", (None, *IMPLICIT_SOLVENTS)),
        ):
            if getattr(self, name) not in known:
                listed = ", ".join(str(value) for value in known if value is not None)
                raise ForceFieldError(
                    f"{name} is {getattr(self, name)!r}; expected one of {listed}."
                )
        if self.cutoff_nm is not None:
            if not self.cutoff_nm > 0:
                raise ForceFieldError(f"The cutoff is {self.cutoff_nm} nm; it has to be positive.")
            if self.nonbonded == "NoCutoff":
                raise ForceFieldError(
                    f"A cutoff of {self.cutoff_nm} nm was asked for, and the nonbonded method "
                    "NoCutoff, which has none. Leave one of them out."
                )
        if self.hydrogen_mass_dalton is not None and self.hydrogen_mass_dalton < 0:
            raise ForceFieldError(
                f"The mass of hydrogens is {self.hydrogen_mass_dalton} dalton; it cannot be "
                "negative."
            )
        if self.nonbonded == "PME" and self.implicit not in (None, "none"):
            raise ForceFieldError(
                f"The implicit solvent {self.implicit} and PME were asked for; they do not go "
                "together: a periodic box is filled with explicit solvent. Leave one of them out."
            )

    @property
    def hydrogen_mass(self) -> float | None:
        """Mass of hydrogens in dalton; None for that of the parameters."""
        return self.hydrogen_mass_dalton or None

    def method(self, topology: Any) -> str:
        """OpenMM's name of the nonbonded method, by the Topology's box where none was chosen.

        Raises
        ------
        ForceFieldError
            A cutoff without a method that has one, PME without a box, or an implicit solvent in a
            box.
        """
        boxed = topology.getPeriodicBoxVectors() is not None
        if self.nonbonded is not None:
            if self.nonbonded == "PME" and not boxed:
                raise ForceFieldError(
                    "PME was asked for, and the files have no periodic box. Give coordinates with "
                    "a box, or choose NoCutoff or CutoffNonPeriodic."
                )
            return self.nonbonded
        if boxed and self.implicit not in (None, "none"):
            raise ForceFieldError(
                f"The implicit solvent {self.implicit} was asked for, and the files have a "
                "periodic box; they do not go together. Choose NoCutoff or CutoffNonPeriodic to "
                "leave the box aside, or no implicit solvent."
            )
        if not boxed and self.cutoff_nm is not None:
            raise ForceFieldError(
                f"A cutoff of {self.cutoff_nm} nm was asked for, and the files have no periodic "
                "box, in which case there is no cutoff. Choose CutoffNonPeriodic to have one."
            )
        return "PME" if boxed else "NoCutoff"

    def forcefield_files(self) -> tuple[str, ...]:
        """The force field's files, with the implicit solvent that was chosen.

        Raises
        ------
        ForceFieldError
            The files bring another implicit solvent than the one chosen.
        """
        files = self.forcefield or DEFAULT_FORCEFIELD
        if self.implicit is None:
            return files
        if files == DEFAULT_FORCEFIELD:
            files = files[:1]
        wanted = () if self.implicit == "none" else (f"implicit/{self.implicit}.xml",)
        if has_implicit_solvent(files) and not set(wanted) & set(files):
            raise ForceFieldError(
                f"The implicit solvent {self.implicit} was asked for, and the force field "
                f"{', '.join(files)} brings one. Leave one of them out."
            )
        return tuple(dict.fromkeys((*files, *wanted)))

    @property
    def has_implicit_solvent(self) -> bool:
        """Whether one was chosen, or comes with the force field."""
        return has_implicit_solvent(self.forcefield_files())

    def for_frames(self, parameters: Any = None) -> SystemOptions:
        """The same for frames of single molecules, which often carry a box that is not filled.

        An implicit solvent then has no cutoff, unless a method with one was chosen.

        Parameters
        ----------
        parameters : object, optional
            What the molecule's own files bring in place of the force field.
        """
        chosen = self.implicit not in (None, "none")
        implicit = chosen if parameters is not None else self.has_implicit_solvent
        return replace(self, nonbonded="NoCutoff") if implicit and not self.nonbonded else self

    def openmm_arguments(self, topology: Any) -> dict[str, Any]:
        """Arguments that `createSystem` of all of OpenMM's readers has, but for the solvent."""
        from openmm import app, unit

        method = self.method(topology)
        arguments: dict[str, Any] = {
            "nonbondedMethod": getattr(app, method),
            "constraints": None if self.constraints == "None" else getattr(app, self.constraints),
            "rigidWater": self.rigid_water is not False,
        }
        if self.hydrogen_mass is not None:
            arguments["hydrogenMass"] = self.hydrogen_mass * unit.dalton
        if method != "NoCutoff":
            cutoff = self.cutoff_nm or fitting_cutoff_nm(topology)
            arguments["nonbondedCutoff"] = cutoff * unit.nanometer
        return arguments

    def openmm_solvent(self) -> Any:
        """OpenMM's object of the implicit solvent, as its readers of files take it, or None."""
        from openmm import app

        name = _OPENMM_SOLVENTS.get(self.implicit or "none")
        return None if name is None else getattr(app, name)

    def changed(self) -> tuple[str, ...]:
        """Names of the options that are not at their defaults."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def describe(self) -> list[str]:
        """A line for each option, with what stands for the default."""
        mass = self.hydrogen_mass
        ligands = self.ligand_forcefield or "as the force field has them"
        return [
            f"force field: {', '.join(self.forcefield)}",
            f"nonbonded: {self.nonbonded or 'PME in a periodic box, else NoCutoff'}",
            f"cutoff: {'by the method and the box' if self.cutoff_nm is None else self.cutoff_nm}",
            f"constraints: {self.constraints}",
            f"hydrogen mass: {'as in the parameters' if mass is None else f'{mass:g} dalton'}",
            f"implicit solvent: {self.implicit or 'as in the force field'}",
            f"ligands: {ligands}",
        ]

    def as_settings(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {**asdict(self), "forcefield": list(self.forcefield)}
