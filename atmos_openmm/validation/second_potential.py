"""A second potential beside the run's own: another force field, or a machine-learned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import unit

from .contexts import evaluation_context, put_frame

__all__ = ["SecondEnergy", "SecondPotential"]


@dataclass(frozen=True)
class SecondPotential:
    """What energies are computed by a second time.

    Attributes
    ----------
    name : str
        What tables call it.
    system : openmm.System or None
        Of the same particles in the same order.
    learned : str or None
        In place of a System, a potential that openmm-ml knows: "ani2x", "mace-off23-small".
    """

    name: str
    system: openmm.System | None = None
    learned: str | None = None

    @staticmethod
    def of(given: Any) -> SecondPotential | None:
        """From a System, the name of a potential of openmm-ml, one of these with a name, or None.

        Raises
        ------
        TypeError
            It is something else.
        """
        if given is None or isinstance(given, SecondPotential):
            return given
        if isinstance(given, openmm.System):
            return SecondPotential("second System", given)
        if isinstance(given, str):
            return SecondPotential(given, learned=given)
        raise TypeError(
            f"a second potential should be a System, a SecondPotential or the name of a potential "
            f"of openmm-ml, not {type(given).__name__}"
        )


class SecondEnergy:
    """Energies of frames in the second potential.

    Parameters
    ----------
    potential : SecondPotential
    topology : openmm.app.Topology
    platform : openmm.Platform or str or None
    threads : int or None
        Of the CPU platform.

    Raises
    ------
    ImportError
        openmm-ml is not there.
    ValueError
        It does not know the potential, or the System has another number of particles.
    """

    def __init__(
        self,
        potential: SecondPotential,
        topology: Any,
        platform: openmm.Platform | str | None = None,
        threads: int | None = None,
    ) -> None:
        system = potential.system
        if system is None:
            system = _learned_system(str(potential.learned), topology)
        if system.getNumParticles() != topology.getNumAtoms():
            raise ValueError(
                f"the second potential {potential.name!r} is of {system.getNumParticles()} "
                f"particles, the Topology of {topology.getNumAtoms()} atoms; make it from this "
                "Topology"
            )
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._context = evaluation_context(system, platform, threads)

    def __call__(self, positions_nm: np.ndarray, box_nm: np.ndarray | None = None) -> float:
        """Energy (kJ/mol) of a frame [P,3] as it is, in a box [3,3]; NaN where there is none."""
        try:
            put_frame(self._context, positions_nm, box_nm if self._periodic else None)
            state = self._context.getState(energy=True)
        except openmm.OpenMMException:
            self._context.reinitialize()
            return float("nan")
        return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def _learned_system(name: str, topology: Any) -> openmm.System:
    try:
        from openmmml import MLPotential
    except ImportError as error:
        raise ImportError(
            f"the potential {name!r} needs openmm-ml, which is not installed ({error}); install "
            "it with 'conda install -c conda-forge openmm-ml' or 'pip install openmmml', and the "
            "package of the potential (its documentation says which)"
        ) from error
    try:
        potential = MLPotential(name)
    except KeyError as error:
        raise ValueError(
            f"openmm-ml does not know a potential {name!r}; its documentation lists those that "
            "it does"
        ) from error
    return potential.createSystem(topology)
