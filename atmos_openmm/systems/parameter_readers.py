"""Topology and parameter files of AMBER, GROMACS and CHARMM: by OpenMM's readers, or by ParmEd's.

ParmEd reads what OpenMM's readers do not: AMBER files of CHARMM force fields (chamber) or of before
AMBER 7, and GROMACS files with virtual sites.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.units import plain, positions_in_nm
from .errors import FeatureError, ForceFieldError
from .system_options import SystemOptions

if TYPE_CHECKING:
    import openmm

__all__ = ["FileParameters", "read_amber", "read_charmm", "read_gromacs", "read_with_parmed"]


@dataclass
class FileParameters:
    """Parameters that a molecule's own files hold.

    Attributes
    ----------
    topology : openmm.app.Topology
        The reader's own at first, then by this package's names.
    label : str
        Names of the files.
    make : callable
        OpenMM's or ParmEd's `createSystem`.
    solvents : bool
        Whether it takes an implicit solvent.
    notes : tuple of str
        What was peculiar about them.
    plain : openmm.System, optional
        See `plain_system`.
    """

    topology: Any
    label: str
    make: Callable[..., openmm.System]
    solvents: bool = True
    notes: tuple[str, ...] = ()
    plain: openmm.System | None = None

    def plain_system(self) -> openmm.System:
        """A System without cutoff and constraints, for masses and charges."""
        if self.plain is None:
            self.plain = self.make()
        return self.plain

    def create_system(self, options: SystemOptions) -> openmm.System:
        """Make the System.

        Raises
        ------
        ForceFieldError
            The files lack a parameter, or the options do not fit them.
        """
        arguments = options.openmm_arguments(self.topology)
        solvent = options.openmm_solvent()
        if solvent is not None:
            if not self.solvents:
                raise ForceFieldError(
                    f"The implicit solvent {options.implicit} was asked for; {self.label} has no "
                    "radii for one. Leave it out, or take AMBER files of the molecule."
                )
            arguments["implicitSolvent"] = solvent
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # ParmEd's, on units and box
                system = self.make(**arguments)
        except Exception as error:  # the readers raise errors of many kinds
            raise ForceFieldError(f"{self.label} gives no System: {error}") from error
        if solvent is not None and not _has_radii(system):
            raise ForceFieldError(
                f"The implicit solvent {options.implicit} was asked for; {self.label} has atoms "
                "without a radius. Leave it out, or set radii with ParmEd's changeRadii."
            )
        return system


def read_amber(path: Path, box_nm: Any = None) -> FileParameters:
    """Read an AMBER topology (prmtop, parm7, top).

    Parameters
    ----------
    path : Path
    box_nm : array [3, 3], optional
        Box vectors that are used in place of the file's.

    Raises
    ------
    FeatureError
        Neither OpenMM nor ParmEd can read it.
    """
    from openmm import app

    try:
        file = _quietly(app.AmberPrmtopFile, str(path), _vectors(box_nm))
    except Exception as error:  # OpenMM's reader raises errors of many kinds
        return read_with_parmed(path, box_nm, error)
    return FileParameters(file.topology, path.name, file.createSystem)


def read_gromacs(path: Path, box_nm: Any = None) -> FileParameters:
    """Read a GROMACS topology; its includes are looked for beside it and in GROMACS's folder.

    Raises
    ------
    FeatureError
        Neither OpenMM nor ParmEd can read it.
    """
    from openmm import app

    try:
        file = _quietly(app.GromacsTopFile, str(path), _vectors(box_nm))
        plain = file.createSystem()
    except Exception as error:  # OpenMM's reader raises errors of many kinds
        if "#include" in str(error):
            raise FeatureError(
                f"{path}: {error}. Name GROMACS's folder of force fields in the environment "
                "variable GMXDATA, or give one file with everything (gmx grompp -pp)."
            ) from error
        return read_with_parmed(path, box_nm, error)
    for atom in file.topology.atoms():
        mass = plain.getParticleMass(atom.index)._value
        # OpenMM goes by an atom's name where the file has no atomic number.
        if mass and (atom.element is None or abs(atom.element.mass._value - mass) > 0.6):
            atom.element = app.Element.getByMass(mass)
    return FileParameters(file.topology, path.name, file.createSystem, solvents=False, plain=plain)


def read_charmm(path: Path, parameters: Sequence[Path], box_nm: Any = None) -> FileParameters:
    """Read a CHARMM psf with its parameter files.

    Raises
    ------
    FeatureError
        There are no parameter files, or neither OpenMM nor ParmEd can read them.
    """
    from openmm import app

    if not parameters:
        raise FeatureError(
            f"{path} names atom types and has no parameters. Give the parameter files of its force "
            "field as well (.prm or .par, .rtf, .str)."
        )
    names = [str(p) for p in parameters]
    label = ", ".join(p.name for p in (path, *parameters))
    try:
        file = _quietly(app.CharmmPsfFile, str(path), _vectors(box_nm))
        topology = file.topology  # before parameters: elements by the psf's own masses
        known = _quietly(app.CharmmParameterSet, *names)
        file.loadParameters(known)
    except Exception as error:  # OpenMM's readers raise errors of many kinds
        return read_with_parmed(path, box_nm, error, parameters)
    return FileParameters(topology, label, partial(file.createSystem, known))


def read_with_parmed(
    path: Path,
    box_nm: Any = None,
    reason: Exception | None = None,
    parameters: Sequence[Path] = (),
) -> FileParameters:
    """Read a topology of any of the three programs with ParmEd.

    Parameters
    ----------
    path : Path
    box_nm : array [3, 3], optional
    reason : Exception, optional
        Why OpenMM's reader cannot.
    parameters : sequence of Path
        Parameter files, for a CHARMM psf.

    Raises
    ------
    FeatureError
        ParmEd cannot either.
    """
    import parmed

    label = ", ".join(p.name for p in (path, *parameters))
    more: dict[str, Any] = {}
    try:
        structure = _quietly(parmed.load_file, str(path))
        if not hasattr(structure, "createSystem"):
            raise ValueError(f"it holds a {type(structure).__name__}")
        if parameters:
            names = [str(p) for p in parameters]
            more["params"] = _quietly(parmed.charmm.CharmmParameterSet, *names)
            _quietly(structure.load_parameters, more["params"])
        return _of_parmed(structure, label, box_nm, reason, more)
    except Exception as error:  # ParmEd raises errors of many kinds
        first = "" if reason is None else f"OpenMM's reader: {reason}; "
        raise FeatureError(f"{path} cannot be read. {first}ParmEd's: {error}.") from error


def _of_parmed(
    structure: Any, label: str, box_nm: Any, reason: Exception | None, more: dict[str, Any]
) -> FileParameters:
    if box_nm is not None:
        structure.box_vectors = _vectors(box_nm)
    notes = (
        () if reason is None else (f"{label} is read by ParmEd; OpenMM's reader says: {reason}",)
    )
    # As in OpenMM's readers: a surface term, and energies of constrained bonds in CHARMM's alone.
    make = partial(structure.createSystem, useSASA=True, flexibleConstraints=bool(more), **more)
    return FileParameters(structure.topology, label, make, notes=notes)


def _has_radii(system: openmm.System) -> bool:
    """Whether every atom has a radius in the implicit solvent; without, energies are no numbers."""
    import openmm

    for force in system.getForces():
        if isinstance(force, openmm.GBSAOBCForce):
            place = 1
        elif isinstance(force, openmm.CustomGBForce):
            count = force.getNumPerParticleParameters()
            names = [force.getPerParticleParameterName(k) for k in range(count)]
            place = names.index("or" if "or" in names else "radius")
        else:
            continue
        found = [force.getParticleParameters(k)[place] for k in range(force.getNumParticles())]
        return all(plain(radius, openmm.unit.nanometer) > 0.0 for radius in found)
    return True


def _quietly(call: Callable[..., Any], *arguments: Any) -> Any:
    """ParmEd warns of what it fills in by itself, and OpenMM leaves files for Python to close."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments)


def _vectors(box_nm: Any) -> Any:
    from openmm import unit

    return None if box_nm is None else positions_in_nm(box_nm) * unit.nanometer
