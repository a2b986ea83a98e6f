"""Systems that are there already: OpenMM's XML, or an object; whether they are of these atoms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ForceFieldError
from .system_options import SystemOptions

if TYPE_CHECKING:
    import openmm

__all__ = ["GivenSystem", "check_system_fits", "read_system_file"]

_MASS_SLACK = 0.5
"""Dalton: between the masses that force fields give an element, and those of its isotopes."""


@dataclass(frozen=True)
class GivenSystem:
    """A System that options cannot change any more.

    Attributes
    ----------
    system : openmm.System
    label : str
        Where it comes from.
    """

    system: openmm.System
    label: str

    def create_system(self, options: SystemOptions) -> openmm.System:
        """The System itself.

        Raises
        ------
        ForceFieldError
            Options ask for something that only counts while a System is made.
        """
        asked = [name for name in options.changed() if name != "rigid_water"]
        if asked:
            raise ForceFieldError(
                f"{', '.join(asked)} {'is' if len(asked) == 1 else 'are'} given, and {self.label} "
                "is a System that is made already. Leave out one or the other."
            )
        return self.system


def read_system_file(path: str | Path) -> openmm.System:
    """Read a System from OpenMM's XML.

    Raises
    ------
    FileNotFoundError
    ValueError
        It holds something else.
    """
    import openmm

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} with a System.")
    try:
        system = openmm.XmlSerializer.deserialize(path.read_text())
    except (openmm.OpenMMException, ValueError) as error:
        raise ValueError(f"{path} is no OpenMM XML file: {error}") from error
    if not isinstance(system, openmm.System):
        raise ValueError(f"{path} holds a {type(system).__name__}; a System was expected")
    return system


def check_system_fits(system: openmm.System, topology: Any, label: str) -> None:
    """Refuse a System of other atoms than the Topology's.

    Masses tell the elements. Hydrogens may have taken mass from the atoms they are bonded to, and
    an atom of mass 0 that is no virtual site stands still.

    Raises
    ------
    ForceFieldError
        Their number differs, or masses contradict elements; the message names the first atom.
    """
    from openmm import unit

    count = topology.getNumAtoms()
    if system.getNumParticles() != count:
        raise ForceFieldError(
            f"{label} is a System of {system.getNumParticles()} particles, and the Topology has "
            f"{count} atoms. Give the structure that the System was made of, with all its atoms "
            "in their order."
        )
    atoms = list(topology.atoms())
    masses = [system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(count)]
    natural = [0.0 if a.element is None else a.element.mass._value for a in atoms]
    groups = list(masses)
    expected = list(natural)
    for bond in topology.bonds():
        for heavy, light in ((bond[0], bond[1]), (bond[1], bond[0])):
            if _is_hydrogen(light) and not _is_hydrogen(heavy):
                groups[heavy.index] += masses[light.index]
                expected[heavy.index] += natural[light.index]
    for atom in atoms:
        k = atom.index
        virtual = system.isVirtualSite(k)
        # An atom without element may be a virtual site, a lone pair or a Drude particle.
        if atom.element is None or (masses[k] == 0.0 and not virtual):
            continue
        near = min(abs(masses[k] - natural[k]), abs(groups[k] - expected[k])) < _MASS_SLACK
        if virtual or not (near or (_is_hydrogen(atom) and 0.9 < masses[k] < 4.1)):
            what = "a virtual site" if virtual else f"of mass {masses[k]:.4g}"
            raise ForceFieldError(
                f"{label} is a System of other atoms than the Topology: particle {k} is {what}, "
                f"and atom {k} is {atom.name} of {atom.residue.name} {atom.residue.id} "
                f"({atom.element.symbol}, {natural[k]:.4g} dalton). Give the structure that the "
                "System was made of, its atoms in their order."
            )


def _is_hydrogen(atom: Any) -> bool:
    return atom.element is not None and atom.element.atomic_number == 1
