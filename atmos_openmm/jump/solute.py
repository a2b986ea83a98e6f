"""The solute: the atoms of a Topology that a model moves, and what is known of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..systems.features import MoleculeFeatures, features_from_topology
from ..systems.fragments import Fragment, find_fragments
from ..systems.hydrogen_plan import HydrogenPlan, bonded_hydrogens, plan_hydrogens
from ..systems.solute_choice import split_solute

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology


@dataclass(frozen=True, eq=False)
class Solute:
    """What a model is bound to.

    Attributes
    ----------
    atom_indices : list of int
        Index in the Topology of each atom of the module: of whole molecules, and of molecules that
        move in part.
    features : MoleculeFeatures or None
        Of these atoms; None where nothing but their numbers is known.
    network_features : MoleculeFeatures or None
        Of the atoms that the network carries: without hydrogens where a plan places these.
    hydrogen_plan : HydrogenPlan or None
        How hydrogens are placed on the network's atoms, if they are.
    carried : "all" or "heavy"
        Which atoms the network carries.
    fragments : tuple of Fragment
        What moves where that is not all of these atoms.
    """

    atom_indices: list[int]
    features: MoleculeFeatures | None = None
    network_features: MoleculeFeatures | None = None
    hydrogen_plan: HydrogenPlan | None = None
    carried: Literal["all", "heavy"] = "all"
    fragments: tuple[Fragment, ...] = ()

    @property
    def moved_indices(self) -> list[int]:
        """Index in the Topology of each atom that moves."""
        if not self.fragments:
            return self.atom_indices
        return sorted(self.atom_indices[k] for part in self.fragments for k in part.atoms.tolist())

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
        for index in self.moved_indices:
            if system.isVirtualSite(index) or system.getParticleMass(index) == 0 * unit.dalton:
                raise ValueError(
                    f"Particle {index} of the System has no mass or is a virtual site, but the "
                    "model moves it. Leave it out with solute=[...]."
                )


def find_solute(
    topology: Topology,
    atoms: Literal["all", "heavy"],
    solute: str | Iterable[int] | None = None,
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
    solute : str or iterable of int, optional
        Atoms to be moved, as indices or as a selection (`chosen_indices`); all but solvent and
        ions by default. Of a molecule that moves in part the network reads all atoms.
    positions, molecules, caps
        As for `features_from_topology`.

    Raises
    ------
    ValueError
        For a molecule that cannot be understood.
    """
    heavy = atoms == "heavy"
    whole, moved = split_solute(topology, solute)
    if whole is not None and heavy:
        # Hydrogens come along, named or not: protonation follows from them.
        whole += sorted(set(bonded_hydrogens(topology, whole)) - set(whole))

    def features(atoms: Literal["all", "heavy"]) -> MoleculeFeatures:
        return features_from_topology(
            topology, atoms, whole, positions=positions, molecules=molecules, caps=caps
        )

    def parts(features: MoleculeFeatures) -> tuple[Fragment, ...]:
        return () if moved is None else find_fragments(features, moved)

    network = features(atoms)
    if not heavy or not bonded_hydrogens(topology, network.atom_indices.tolist()):
        indices = network.atom_indices.tolist()
        return Solute(indices, network, network, carried=atoms, fragments=parts(network))
    with warnings.catch_warnings():
        # What the heavy atoms' features warn of has been said.
        warnings.simplefilter("ignore")
        full = features("all")
    plan = plan_hydrogens(full)
    return Solute(full.atom_indices.tolist(), full, network, plan, atoms, parts(full))
