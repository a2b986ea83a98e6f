"""From a Topology and a force field to a System: the one place where Systems are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.constants import HYDROGEN_MASS_DALTON
from .errors import ForceFieldError
from .inputs import Molecule, read_input
from .system_description import describe_system
from .system_file import GivenSystem
from .system_options import (
    DEFAULT_FORCEFIELD,
    SystemOptions,
    fitting_cutoff_nm,
    has_implicit_solvent,
)

if TYPE_CHECKING:
    from openmm import System
    from openmm.app import ForceField, Topology

__all__ = [
    "DEFAULT_FORCEFIELD",
    "ForceFieldError",
    "MadeSystem",
    "create_system",
    "has_implicit_solvent",
    "load_forcefield",
    "make_system",
    "read_with_system",
]


@dataclass(frozen=True)
class MadeSystem:
    """A System, and what was chosen for it.

    Attributes
    ----------
    system : openmm.System
    choices : dict of str to str
        What it was made of and how, for people: "force field", "nonbonded", "constraints",
        "hydrogen mass", "implicit solvent", "ligands".
    """

    system: System
    choices: dict[str, str]

    @property
    def sources(self) -> list[str]:
        """Names of the force field's files, or of those that brought the parameters."""
        return next(iter(self.choices.values())).split(", ")

    def lines(self) -> list[str]:
        """The choices, a line each."""
        return [f"{name}: {value}" for name, value in self.choices.items()]


def make_system(molecule: Molecule, options: SystemOptions | None = None) -> MadeSystem:
    """Make the System of a molecule, from its own files' parameters or from a force field.

    Parameters
    ----------
    molecule : Molecule
    options : SystemOptions, optional
        The defaults where there are none.

    Raises
    ------
    ForceFieldError
        (a ValueError) The force field or the files do not know a part of the molecule, or options
        contradict each other, the files or the box.
    """
    options = options or SystemOptions()
    parameters, topology = molecule.parameters, molecule.topology
    ligands: list[str] = []
    if parameters is None:
        files = options.forcefield_files()
        options.method(topology)  # contradictions are told before anything is loaded
        system = create_system(
            topology,
            files,
            nonbonded=options.nonbonded,
            cutoff_nm=options.cutoff_nm,
            constraints=None if options.constraints == "None" else options.constraints,
            rigid_water=options.rigid_water,
            hydrogen_mass_dalton=options.hydrogen_mass,
            molecules=molecule.molecules,
            ligand_forcefield=options.ligand_forcefield,
            ligand_charges=options.ligand_charges,
            told=ligands,
        )
        source = {"force field": ", ".join(files)}
    else:
        fields = options.forcefield if options.forcefield != DEFAULT_FORCEFIELD else ()
        named = [*fields, *filter(None, (options.ligand_forcefield, options.ligand_charges))]
        if named:
            raise ForceFieldError(
                f"The force field {', '.join(named)} was named, and {parameters.label} brings the "
                "parameters of the molecule. Leave out one or the other."
            )
        system = parameters.create_system(options)
        source = {"parameters": parameters.label}
    choices = {**source, **describe_system(system, topology)}
    if not isinstance(parameters, GivenSystem):
        choices["constraints"] = f"{options.constraints}, {choices['constraints']}"
        choices["implicit solvent"] = _solvent_name(options, source) or choices["implicit solvent"]
    if ligands:
        choices["ligands"] = " ".join(ligands)
    return MadeSystem(system, choices)


def read_with_system(
    paths: str | Path | Sequence[str | Path],
    options: SystemOptions | None = None,
    *,
    records: Sequence[str | int] | None = None,
    molecules: Mapping[str, Any] | None = None,
) -> tuple[Molecule, MadeSystem]:
    """Read a molecule from files of any kind, see `read_input`, and make its System.

    Raises
    ------
    FeatureError, ForceFieldError
        (ValueErrors) See `read_molecule` and `make_system`.
    """
    molecule = read_input(paths, records=records, molecules=molecules)
    return molecule, make_system(molecule, options)


def _solvent_name(options: SystemOptions, source: dict[str, str]) -> str | None:
    """The implicit solvent that was chosen, or that a force field file is named after."""
    files = source.get("force field", "").split(", ")
    named = (name[9:-4] for name in files if name.startswith("implicit/"))
    return options.implicit or next(named, None)


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
    molecules: Mapping[str, Any] | None = None,
    ligand_forcefield: str | None = None,
    ligand_charges: str | None = None,
    told: list[str] | None = None,
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
    molecules : mapping from residue name to RDKit Mol, optional
        Ligands, which get parameters where the force field does not know them.
    ligand_forcefield, ligand_charges : str, optional
        What from, see `systems.ligand_forcefield.register_ligands`.
    told : list of str, optional
        Gets notes on what ligands got.

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
    if molecules:
        notes = _register_ligands(field, molecules, ligand_forcefield, ligand_charges)
        if told is not None:
            told += notes
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
        cutoff = fitting_cutoff_nm(topology) if cutoff_nm is None else cutoff_nm
        arguments["nonbondedCutoff"] = cutoff * unit.nanometer
    try:
        system: System = field.createSystem(topology, **arguments)
    except ForceFieldError:  # of a ligand, with advice of its own
        raise
    except ValueError as error:
        which = f"The force field {', '.join(names)}" if names else "The force field"
        raise ForceFieldError(
            f"{which} does not fit the molecule: {error} {_advice(topology)}"
        ) from error
    return system


def _register_ligands(
    field: ForceField, molecules: Mapping[str, Any], name: str | None, charges: str | None
) -> list[str]:
    """Let a force field make parameters for ligands that it does not know."""
    from .ligand_forcefield import register_ligands

    chosen = {"name": name, "charges": charges}
    given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    return register_ligands(field, molecules, **given)


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
