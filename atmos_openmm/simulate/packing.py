"""Many copies of one molecule in one Context.

A small molecule leaves a CPU idle: each step costs the same overhead however few atoms there are.
Copies that stand further apart than the nonbonded cutoff never feel each other, and a cutoff longer
than the molecule cuts nothing within a copy, so that one Context of M copies runs M independent
simulations, exact replicas of the molecule alone without a cutoff. Energies differ by a constant
(the reaction-field and generalised-Born terms are shifted to zero at the cutoff), forces do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..systems.forcefield import create_system

if TYPE_CHECKING:
    from openmm import System
    from openmm.app import ForceField, Topology

__all__ = ["PackedSystem", "create_single_system", "pack", "reach_nm"]

LONGEST_BOND_NM = 0.19  # C-S is 0.181; an upper bound for the reach of a chain of bonds
MARGIN_NM = 1.5  # how far two copies may drift towards each other between recentrings


@dataclass(frozen=True)
class PackedSystem:
    """A System of M copies and where they stand.

    Attributes
    ----------
    system : openmm.System
    num_copies, num_atoms : int
        Copies, and atoms in each.
    sites_nm : ndarray, shape (M, 3)
        Lattice sites, centred on the origin: single precision loses accuracy far from it.
    cutoff_nm : float
    """

    system: System
    num_copies: int
    num_atoms: int
    sites_nm: NDArray[np.float64]
    cutoff_nm: float

    def to_sites(self, positions_nm: ArrayLike) -> NDArray[np.float64]:
        """Copies [M, A, 3], each moved so that its centroid is at its site, as one [M*A, 3]."""
        x = np.asarray(positions_nm, dtype=float)
        placed = x - x.mean(axis=1, keepdims=True) + self.sites_nm[:, None]
        return placed.reshape(-1, 3)

    def from_sites(self, positions_nm: ArrayLike) -> NDArray[np.float64]:
        """Positions [M*A, 3] of the packed Context as centred copies [M, A, 3]."""
        x = np.asarray(positions_nm, dtype=float).reshape(self.num_copies, self.num_atoms, 3)
        return x - x.mean(axis=1, keepdims=True)


def create_single_system(topology: Topology, forcefield: ForceField) -> System:
    """The System of one molecule: no cutoff, constrained bonds to hydrogen, heavier hydrogens.

    Raises
    ------
    ValueError
        From the force field: a residue without a template, missing hydrogens.
    """
    return create_system(topology, forcefield, nonbonded="NoCutoff", remove_com_motion=False)


def reach_nm(topology: Topology) -> float:
    """An upper bound of the distance between any two atoms: the longest chain of bonds.

    Raises
    ------
    ValueError
        The topology is not one connected molecule, so that nothing bounds its extent.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    num_atoms = topology.getNumAtoms()
    ends = np.array([(b[0].index, b[1].index) for b in topology.bonds()], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(num_atoms, num_atoms))
    bonds_between = shortest_path(graph, directed=False, unweighted=True)
    connected = int(np.isfinite(bonds_between[0]).sum())
    if connected < num_atoms:
        raise ValueError(
            f"The structure has {num_atoms} atoms, of which only {connected} are bonded to each "
            "other; a simulation takes one connected molecule without solvent or ions. Remove the "
            "others, or give the bonds as CONECT records."
        )
    return float(bonds_between.max()) * LONGEST_BOND_NM


def pack(topology: Topology, forcefield: ForceField, num_copies: int) -> PackedSystem:
    """A System of ``num_copies`` copies of one molecule that do not feel each other.

    Parameters
    ----------
    topology : openmm.app.Topology
        One connected molecule.
    forcefield : openmm.app.ForceField
    num_copies : int

    Returns
    -------
    PackedSystem
    """
    from openmm import NonbondedForce, Vec3, app, unit

    reach = reach_nm(topology)
    cutoff = reach + 0.2
    num_atoms = topology.getNumAtoms()
    modeller = app.Modeller(topology, [Vec3(0, 0, 0)] * num_atoms * unit.nanometer)
    for _ in range(num_copies - 1):
        modeller.add(topology, [Vec3(0, 0, 0)] * num_atoms * unit.nanometer)
    system = create_system(
        modeller.topology,
        forcefield,
        nonbonded="CutoffNonPeriodic",
        cutoff_nm=cutoff,
        remove_com_motion=False,
    )
    for force in system.getForces():
        if isinstance(force, NonbondedForce):
            # Vacuum beyond the cutoff: the reaction field is then a constant shift of the energy.
            force.setReactionFieldDielectric(1.0)
            force.setUseDispersionCorrection(False)
    # Extents of two neighbours add up to at most the reach (half a reach each about the centroid
    # would be a compact molecule; a centroid can sit near one end, hence a whole reach).
    spacing = cutoff + reach + MARGIN_NM
    side = int(np.ceil(num_copies ** (1.0 / 3.0) - 1e-9))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sites = grid[:num_copies] * spacing
    return PackedSystem(system, num_copies, num_atoms, sites - sites.mean(axis=0), cutoff)
