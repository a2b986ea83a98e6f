"""The torsions that moves may turn: which bonds, what turns with them, measuring and turning.

Turning a group about a bond keeps all bond lengths and angles and every other torsion, and its
Jacobian is 1, so that a move is tested by energies and densities of torsions alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.geometry import torsion_angles
from ..core.text import listed
from .features import features_from_topology
from .molecule_features import MoleculeFeatures
from .openmm_bridge import bond_lengths_from_system, constraint_arrays
from .rotatable_bonds import LISTED, Bond, MoleculeGraph
from .solute_choice import split_solute

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Torsions:
    """Torsions of a molecule, grouped in blocks: a residue or a ligand each.

    Attributes
    ----------
    names : tuple of str
        T names, each once: "ALA2 phi", "LEU3 chi1", "LIG1 C3-C7"; the chain in front of them
        ("A/ALA2 phi") where there are several. Residues are counted in their chain from 1.
    atoms : int64 [T, 4]
        Particles a, b, c, d in the System (the Topology); d's side of the bond b-c turns.
    groups : tuple of int64 arrays
        Particles that turn with each torsion, ascending; c is on the axis and not among them.
    backbone : bool [T]
        Which are phi or psi.
    block_sizes : tuple of int
        How many torsions each block has. They stand together, blocks in chain order; inside a
        block phi, psi, chi1, chi2 and so on outward.
    block_names : tuple of str
    previous : tuple of int
        The block that comes before each in its chain, joined by a peptide bond; -1 for none.
    notes : tuple of str
        What was left to dynamics, and why.
    """

    names: tuple[str, ...]
    atoms: IntArray
    groups: tuple[IntArray, ...]
    backbone: BoolArray
    block_sizes: tuple[int, ...]
    block_names: tuple[str, ...]
    previous: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def measure(self, positions_nm: npt.ArrayLike) -> FloatArray:
        """Return the torsions of frames.

        Parameters
        ----------
        positions_nm : array [..., P, 3]
            Of all particles.

        Returns
        -------
        float64 array [..., T]
            Radians in (-pi, pi].
        """
        angles = torsion_angles(positions_nm, self.atoms)
        # atan2 gives -pi for a negative zero.
        return np.asarray(np.where(angles == -np.pi, np.pi, angles))

    def rotated(
        self, positions_nm: npt.NDArray[np.floating[Any]], changes: Mapping[int, float]
    ) -> FloatArray:
        """Turn torsions and return new positions.

        Parameters
        ----------
        positions_nm : array [P, 3]
            Of all particles; it is not changed.
        changes : mapping from int to float
            By how many radians each torsion changes, by its number.

        Returns
        -------
        float64 array [P, 3]
            Virtual sites are where they were.
        """
        x = np.array(positions_nm, dtype=np.float64)
        for torsion in sorted(changes):
            _, b, c, _ = self.atoms[torsion]
            group = self.groups[torsion]
            axis = x[c] - x[b]
            axis /= math.sqrt(axis @ axis)
            x[group] = x[c] + (x[group] - x[c]) @ _rotation(axis, changes[torsion]).T
        return x


def find_torsions(
    topology: Any,
    *,
    solute: str | Iterable[int] | None = None,
    positions: Any | None = None,
    molecules: Mapping[str, Any] | None = None,
    system: Any | None = None,
    methyls: bool = False,
) -> Torsions:
    """Find the torsions of a Topology's solute that moves may turn.

    Parameters
    ----------
    topology : openmm.app.Topology
        With bonds, disulfides among them.
    solute : str or iterable of int, optional
        Atoms that may turn, as Topology indices or as a selection (`chosen_indices`): whole
        molecules or parts of them, such as side chains.
    positions, molecules
        See `features_from_topology`.
    system : openmm.System, optional
        Torsions that its constraints do not allow are left out.
    methyls : bool
        Whether rotors of three like atoms (CH3, NH3+, CF3) are turned as well.

    Raises
    ------
    ValueError
        See `features_from_topology` and `torsions_of`.
    """
    whole, moved = split_solute(topology, solute)
    features = features_from_topology(
        topology, "all", whole, positions=positions, molecules=molecules
    )
    return torsions_of(features, system, methyls, moved)


def torsions_of(
    features: MoleculeFeatures,
    system: Any = None,
    methyls: bool = False,
    moved: Collection[int] | None = None,
) -> Torsions:
    """Find the torsions of a molecule that moves may turn.

    These are single bonds outside of rings with neighbours on both sides. Bonds that have a cis and
    a trans form (amides, esters, amidines, guanidines), bonds next to a linear atom and rotors of
    three like atoms are left to the dynamics. The side with fewer atoms turns; of equal ones that
    with the lowest atom number.

    Parameters
    ----------
    features : MoleculeFeatures
        Of all atoms, hydrogens too.
    system : openmm.System, optional
        Left out as well is a torsion that a constraint joins across (a turning particle with one
        that neither turns nor is on the axis); or whose constraints' metric would change with it
        (Fixman's determinant: a constraint that turns and one that does not share a particle of
        the axis); or that would move a particle without mass.
    methyls : bool
        Whether rotors of three like atoms (CH3, NH3+, CF3) are turned as well.
    moved : collection of int, optional
        Topology indices of the atoms that may turn; all of them by default. Torsions with a side
        wholly among them are found, and that side turns. A loop between two fixed ends has none
        along its backbone: either side of such a bond holds what stays.

    Raises
    ------
    ValueError
        The System is of another molecule, or binds atoms that the features do not have.
    """
    graph = MoleculeGraph(features)
    chosen = None if moved is None else np.isin(features.atom_indices, list(moved))
    rotatable, notes = graph.rotatable_bonds(methyls, chosen)
    if system is not None:
        _check_system(features, system)
        rotatable, more = _allowed(features, system, rotatable)
        notes += more
    blocks = sorted({bond.residue for bond in rotatable})
    rotatable.sort(key=lambda bond: (bond.residue, bond.place))
    number = {residue: k for k, residue in enumerate(blocks)}
    previous = [number.get(graph.residue_before(residue), -1) for residue in blocks]
    particles = features.atom_indices
    return Torsions(
        names=tuple(bond.name for bond in rotatable),
        atoms=particles[np.array([bond.atoms for bond in rotatable], np.int64).reshape(-1, 4)],
        groups=tuple(np.sort(particles[list(bond.turning)]) for bond in rotatable),
        backbone=np.array([bond.is_backbone for bond in rotatable], dtype=bool),
        block_sizes=tuple(sum(b.residue == residue for b in rotatable) for residue in blocks),
        block_names=tuple(graph.residue_label(residue) for residue in blocks),
        # In a ring of residues the first one's predecessor is the last, which is drawn after it.
        previous=tuple(p if p < k else -1 for k, p in enumerate(previous)),
        notes=tuple(notes),
    )


def _rotation(axis: FloatArray, angle: float) -> FloatArray:
    """The matrix [3, 3] of a turn about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * np.eye(3) + sine * cross + (1.0 - cosine) * np.outer(axis, axis)


def _check_system(features: MoleculeFeatures, system: Any) -> None:
    """Refuse a System with fewer particles, or with bonds that leave the features."""
    last = int(features.atom_indices.max())
    if last >= system.getNumParticles():
        raise ValueError(
            f"The features name atom {last}, but the System has {system.getNumParticles()} "
            "particles. Use the System of this Topology."
        )
    inside = np.zeros(system.getNumParticles(), dtype=bool)
    inside[features.atom_indices] = True
    for i, j in bond_lengths_from_system(system):
        if inside[i] != inside[j] and not system.isVirtualSite(j if inside[i] else i):
            outer, inner = (j, i) if inside[i] else (i, j)
            raise ValueError(
                f"The System binds atom {inner} to particle {outer}, which is not in the features. "
                "Make the features of all atoms of whole molecules."
            )


def _allowed(
    features: MoleculeFeatures, system: Any, bonds: Sequence[Bond]
) -> tuple[list[Bond], list[str]]:
    """Return the bonds that a System's constraints and masses leave free, and notes on others."""
    pairs, _ = constraint_arrays(system)
    pairs = pairs[np.isin(pairs, features.atom_indices).any(axis=1)]
    kept: list[Bond] = []
    held: dict[str, list[str]] = {}
    for bond in bonds:
        turning = features.atom_indices[list(bond.turning)]
        axis = features.atom_indices[list(bond.atoms[1:3])]
        if any(system.getParticleMass(int(k))._value == 0 for k in turning):
            reason = "Would move particles without mass"
        else:
            reason = _constraint_fault(pairs, turning, axis)
        if reason:
            held.setdefault(reason, []).append(bond.name)
        else:
            kept.append(bond)
    return kept, [f"{reason}: {listed(names, LISTED)}." for reason, names in held.items()]


def _constraint_fault(pairs: IntArray, turning: IntArray, axis: IntArray) -> str:
    """Why constraints forbid a torsion; "" where they do not."""
    turns, on_axis = np.isin(pairs, turning), np.isin(pairs, axis)
    active = turns.any(axis=1)
    if not (turns | on_axis)[active].all():
        return "Constraints join both sides of"
    resting = ~active & ~on_axis.all(axis=1)
    if np.isin(pairs[resting], pairs[active]).any():
        return "The metric of the constraints depends on"
    return ""
