"""The solute: the atoms of a Topology that a model moves, and what is known of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..systems.features import MoleculeFeatures, features_from_topology
from ..systems.hydrogen_plan import HydrogenPlan, bonded_hydrogens, plan_hydrogens

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology


@dataclass(frozen=True, eq=False)
class Solute:
    """What a model is bound to.

    Attributes
    ----------
    atom_indices : list of int
        Index in the Topology of each atom that moves.
    features : MoleculeFeatures or None
        Of these atoms; None where nothing but their numbers is known.
    network_features : MoleculeFeatures or None
        Of the atoms that the network carries: without hydrogens where a plan places these.
    hydrogen_plan : HydrogenPlan or None
        How hydrogens are placed on the network's atoms, if they are.
    carried : "all" or "heavy"
        Which atoms the network carries.
    """

    atom_indices: list[int]
    features: MoleculeFeatures | None = None
    network_features: MoleculeFeatures | None = None
    hydrogen_plan: HydrogenPlan | None = None
    carried: Literal["all", "heavy"] = "all"

    def check_system(self, system: openmm.System, num_atoms: int) -> None:
        """Refuse a System that is not of a Topology of `num_atoms`, or cannot move the solute.

        Raises
        ------
        ValueError
            With what differs.
        """
        from openmm import unit

        if system.getNumParticles() != num_atoms:
            raise ValueError(
                f"The System has {system.getNumParticles()} particles, but the Topology has "
                f"{num_atoms} atoms. Make both from the same structure."
            )
        for index in self.atom_indices:
            if system.isVirtualSite(index) or system.getParticleMass(index) == 0 * unit.dalton:
                raise ValueError(
                    f"Particle {index} of the System has no mass or is a virtual site, but the "
                    "model moves it. Leave it out with solute=[...]."
                )


def find_solute(
    topology: Topology,
    atoms: Literal["all", "heavy"],
    solute: Iterable[int] | None = None,
    *,
    positions: Any = None,
    molecules: Mapping[str, Any] | None = None,
    caps: Literal["token", "atoms"] = "token",
) -> Solute:
    """Find a model's atoms in a Topology, and their features.

    Parameters
    ----------
    topology : openmm.app.Topology
    atoms : "all" or "heavy"
        Which atoms the model carries. With "heavy", the hydrogens of the Topology move too, by a
        plan that places them on heavy atoms.
    solute : iterable of int, optional
        Atoms to be moved; all but solvent and ions by default.
    positions, molecules, caps
        As for `features_from_topology`.

    Raises
    ------
    ValueError
        For a molecule that cannot be understood.
    """
    heavy = atoms == "heavy"
    if solute is not None:
        solute = [int(i) for i in solute]
        if heavy:
            # Hydrogens come along, named or not: protonation follows from them.
            solute += sorted(set(bonded_hydrogens(topology, solute)) - set(solute))

    def features(atoms: Literal["all", "heavy"]) -> MoleculeFeatures:
        return features_from_topology(
            topology, atoms, solute, positions=positions, molecules=molecules, caps=caps
        )

    network = features(atoms)
    if not heavy or not bonded_hydrogens(topology, network.atom_indices.tolist()):
        return Solute(network.atom_indices.tolist(), network, network, carried=atoms)
    with warnings.catch_warnings():
        # What the heavy atoms' features warn of has been said.
        warnings.simplefilter("ignore")
        moved = features("all")
    return Solute(moved.atom_indices.tolist(), moved, network, plan_hydrogens(moved), atoms)
