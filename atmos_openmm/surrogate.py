"""A fast approximation of a System's energy, for series of trial moves of torsions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openmm
from numpy.typing import NDArray
from openmm import unit

from ._native import doubles, native_groups
from ._registration import load_wrapper

if TYPE_CHECKING:
    import numpy as np

    from .systems.torsions import Torsions

_atmos = load_wrapper()

SERIES_TRIALS = 100
"""Trials in a series where nothing else is said."""
SINGLE_MOVES = 10
"""Moves at a jump that are tested with the energy itself."""
MOST_PARTICLES = 1000
"""Without a box the surrogate sums over all pairs, which pays for no more particles than this."""


class SurrogateEnergy:
    """The energy that the trials of a series are tested with.

    It knows pairs of a NonbondedForce, periodic and Ryckaert-Bellemans torsions, maps of torsions
    (CMAPTorsionForce), harmonic bonds and angles (of atoms that torsions move apart, as restraints
    have them), and generalised Born models (GBSAOBCForce, and OpenMM's CustomGBForces of HCT, OBC1,
    OBC2, GBn and GBn2), pairs and Born models in single precision. A cutoff is left out where there
    is no periodic box. In a box there is no Born model, and pairs are those within the cutoff: with
    a reaction field or, in place of Ewald's sums (PME and LJPME), with a force that is shifted to 0
    at the cutoff. Virtual sites that turn along are left out. Where it knows every force it differs
    from the potential energy by what torsions do not change, and by some tenths of RT where there
    are Ewald's sums. Averages are exact whatever it leaves out, because the end of a series is
    tested with the energy itself (Iftimie et al., J. Chem. Phys. 113, 4852 (2000); Gelb, J. Chem.
    Phys. 118, 7747 (2003)).

    Parameters
    ----------
    system : openmm.System
    torsions : Torsions
        Those that are turned.
    groups : int
        Force groups that count, as bits; all by default.

    Raises
    ------
    openmm.OpenMMException
        The torsions name particles that the System does not have.
    """

    def __init__(self, system: openmm.System, torsions: Torsions, groups: int = -1) -> None:
        xml = openmm.XmlSerializer.serialize(system)
        self._native = _atmos.surrogateFromXml(xml, native_groups(torsions), groups)
        vectors = system.getDefaultPeriodicBoxVectors()
        self._box = [[side / unit.nanometer for side in vector] for vector in vectors]

    def evaluate(
        self, positions_nm: NDArray[np.floating], box_nm: NDArray[np.floating] | None = None
    ) -> float:
        """Energy (kJ/mol) of positions [P, 3].

        Parameters
        ----------
        positions_nm : array [P, 3]
        box_nm : array [3, 3], optional
            Vectors of the periodic box; the System's own by default.

        Raises
        ------
        openmm.OpenMMException
            There are not as many positions as particles, or the box is not three vectors.
        """
        box = self._box if box_nm is None else box_nm
        return float(_atmos.surrogateEnergy(self._native, doubles(positions_nm), doubles(box)))

    @property
    def unknown_forces(self) -> tuple[str, ...]:
        """Names of the forces that may change with torsions and are left out or simplified.

        A cutoff without a box, salt (kappa), and parameters that global ones offset are
        simplified; so are Ewald's sums, which are not named. "virtual sites" are those that turn
        along, which are left out of all forces.
        """
        return tuple(self._native.getUnknownForces())


def default_trials(system: openmm.System) -> int:
    """Trials in each move: a series where the surrogate knows every force, else 1.

    Ewald's sums count as known: with the stand-in for them most series are accepted.
    """
    periodic = any(
        isinstance(force, openmm.NonbondedForce) and force.usesPeriodicBoundaryConditions()
        for force in system.getForces()
    )
    if system.getNumParticles() > MOST_PARTICLES and not periodic:
        return 1
    xml = openmm.XmlSerializer.serialize(system)
    nothing_turns = _atmos.TorsionParameters()
    gaps = _atmos.surrogateFromXml(xml, nothing_turns, -1).getUnknownForces()
    return 1 if len(gaps) else SERIES_TRIALS


def chosen_moves(
    system: openmm.System | None, moves: int | None, trials: int | None
) -> tuple[int, int]:
    """Moves at a jump and trials in each: those that are given, or what suits the System."""
    if trials is None:
        trials = 1 if system is None else default_trials(system)
    if moves is None:
        moves = 1 if trials > 1 else SINGLE_MOVES  # a series hardly needs a second
    return int(moves), int(trials)
