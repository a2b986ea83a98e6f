"""The bonded energy of each residue, and the residue of each bond and angle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm

from ..core import geometry as measure
from ..systems.selection import is_left_out
from .names import residue_labels

__all__ = ["ResidueEnergies"]


class ResidueEnergies:
    """Energies of harmonic bonds and angles and of torsions, by residue of the solute.

    The energy of a term is shared equally by its atoms, so that the residues sum to the energies
    of HarmonicBondForce, HarmonicAngleForce, PeriodicTorsionForce and RBTorsionForce. Other forces
    are not split.

    Parameters
    ----------
    topology : openmm.app.Topology
    system : openmm.System

    Attributes
    ----------
    labels : tuple of str
        Residues of the solute, such as ``A/ALA2``, in the order of the Topology.
    """

    def __init__(self, topology: Any, system: openmm.System) -> None:
        chosen = [r for r in topology.residues() if not is_left_out(r)]
        every = residue_labels(topology)
        self.labels: tuple[str, ...] = tuple(every[r.index] for r in chosen)
        #: Number among `labels` of each particle's residue; the last number for the solvent.
        self.owner: np.ndarray = np.full(system.getNumParticles(), len(chosen))
        for number, residue in enumerate(chosen):
            self.owner[[atom.index for atom in residue.atoms()]] = number
        rows = _bonded_rows(system)
        self._bonds = _Rows(rows["bond"], 2, 2)
        self._angles = _Rows(rows["angle"], 3, 2)
        self._torsions = _Rows(rows["torsion"], 4, 3)
        self._rb = _Rows(rows["rb"], 4, 6)

    def by_kind(self, positions_nm: np.ndarray) -> dict[str, np.ndarray]:
        """Energies (kJ/mol) by kind of term, each [R]; molecules have to be whole.

        Parameters
        ----------
        positions_nm : array [P,3]

        Returns
        -------
        dict of str to array [R]
            ``bond``, ``angle`` and ``torsion``.
        """
        frame = positions_nm[None]
        b, a, t, r = self._bonds, self._angles, self._torsions, self._rb
        lengths = measure.bond_lengths(frame, b.atoms)[0]
        angles = measure.bond_angles(frame, a.atoms)[0]
        turn = measure.torsion_angles(frame, t.atoms)[0]
        cosine = -np.cos(measure.torsion_angles(frame, r.atoms)[0])  # RB counts from trans
        terms = {
            "bond": [(b, 0.5 * b.numbers[:, 1] * (lengths - b.numbers[:, 0]) ** 2)],
            "angle": [(a, 0.5 * a.numbers[:, 1] * (angles - a.numbers[:, 0]) ** 2)],
            "torsion": [
                (t, t.numbers[:, 2] * (1 + np.cos(t.numbers[:, 0] * turn - t.numbers[:, 1]))),
                (r, (r.numbers * cosine[:, None] ** np.arange(6)).sum(axis=1)),
            ],
        }
        return {
            kind: np.sum([self._shared(rows, energy) for rows, energy in parts], axis=0)
            for kind, parts in terms.items()
        }

    def __call__(self, positions_nm: np.ndarray) -> np.ndarray:
        """Bonded energies (kJ/mol) of the residues, [R]."""
        return np.asarray(sum(self.by_kind(positions_nm).values()))

    def _shared(self, rows: _Rows, energy: np.ndarray) -> np.ndarray:
        width = rows.atoms.shape[1]
        share = np.repeat(energy / width, width)
        count = len(self.labels)
        return np.bincount(self.owner[rows.atoms.ravel()], share, minlength=count + 1)[:count]


class _Rows:
    """Terms of one kind: `atoms` [M,n] and `numbers` [M,k]."""

    def __init__(
        self, rows: Sequence[tuple[tuple[int, ...], tuple[float, ...]]], n: int, k: int
    ) -> None:
        self.atoms = np.array([row[0] for row in rows], dtype=np.int64).reshape(-1, n)
        self.numbers = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, k)


def _bonded_rows(
    system: openmm.System,
) -> dict[str, list[tuple[tuple[int, ...], tuple[float, ...]]]]:
    """Atoms and parameters of all terms that are split, in OpenMM's units."""
    rows: dict[str, list[tuple[tuple[int, ...], tuple[float, ...]]]] = {
        kind: [] for kind in ("bond", "angle", "torsion", "rb")
    }
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, constant = force.getBondParameters(k)
                rows["bond"].append(((i, j), (length._value, constant._value)))
        elif isinstance(force, openmm.HarmonicAngleForce):
            for k in range(force.getNumAngles()):
                i, j, m, angle, constant = force.getAngleParameters(k)
                rows["angle"].append(((i, j, m), (angle._value, constant._value)))
        elif isinstance(force, openmm.PeriodicTorsionForce):
            for k in range(force.getNumTorsions()):
                i, j, m, n, period, phase, constant = force.getTorsionParameters(k)
                numbers = (float(period), phase._value, constant._value)
                rows["torsion"].append(((i, j, m, n), numbers))
        elif isinstance(force, openmm.RBTorsionForce):
            for k in range(force.getNumTorsions()):
                i, j, m, n, *constants = force.getTorsionParameters(k)
                rows["rb"].append(((i, j, m, n), tuple(c._value for c in constants)))
    return rows
