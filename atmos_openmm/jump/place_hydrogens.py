"""The hydrogens of one structure, placed on its heavy atoms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..systems.features import features_from_topology
from ..systems.hydrogen_plan import plan_hydrogens
from ..systems.openmm_bridge import atom_positions_in_nm

FloatArray = npt.NDArray[np.float64]


def place_hydrogens(
    topology: Any,
    heavy_positions_nm: Any,
    molecules: Mapping[str, Any] | None = None,
    *,
    previous: Any = None,
    solute: Iterable[int] | None = None,
    system: Any = None,
) -> FloatArray:
    """Place the hydrogens of a structure whose Topology has them.

    Hydrogens that the heavy atoms determine get ideal places, named as IUPAC has it (HB2 and HB3).
    Methyls, ammonium, hydroxyls and thiols are turned until no turn of one lowers an energy of
    contacts, hydrogen bonds and torsions: a search without random numbers.

    Parameters
    ----------
    topology : openmm.app.Topology
        with hydrogens and bonds
    heavy_positions_nm : Quantity or array [P, 3] or [heavy atoms of the Topology, 3]
        bare numbers in nm; rows of hydrogens to be placed are not read
    molecules : mapping from residue name to RDKit Mol, optional
        chemistry of residues that are not standard
    previous : Quantity or array [P, 3], optional
        a frame with hydrogens. Then each hydrogen keeps its place in the frame of its group, free
        torsions included, and only torsions that clash are searched
    solute : iterable of int, optional
        Topology indices of the atoms to treat, whole residues; all but water and ions by default.
        Other atoms keep the positions given
    system : openmm.System, optional
        where lengths of bonds to hydrogens come from

    Returns
    -------
    float64 [P, 3]
        positions of all atoms of the Topology, nm

    Raises
    ------
    FeatureError
        for a molecule that cannot be understood (unknown residues, missing bonds or atoms)
    ValueError
        for positions of a wrong shape or that are not finite
    """
    import torch

    from ..model.hydrogen_placer import HydrogenPlacer

    atoms = list(topology.atoms())
    is_hydrogen = np.array(
        [a.element is not None and a.element.atomic_number == 1 for a in atoms], bool
    )
    positions = _rows_of_all(atom_positions_in_nm(heavy_positions_nm), is_hydrogen)
    earlier = None if previous is None else atom_positions_in_nm(previous, len(atoms))
    if earlier is None:
        # Hydrogens at their parents have no hand: that of stereocentres is read from the heavy
        # atoms, and labels follow the convention.
        earlier = positions.copy()
        for bond in topology.bonds():
            for h, parent in ((bond[0], bond[1]), (bond[1], bond[0])):
                if is_hydrogen[h.index]:
                    earlier[h.index] = positions[parent.index]
    features = features_from_topology(
        topology, "all", solute, positions=np.nan_to_num(earlier), molecules=molecules
    )
    plan = plan_hydrogens(features, system)
    model = features.atom_indices
    for name, needed in (
        ("heavy_positions_nm", positions[model[plan.heavy]]),
        ("heavy_positions_nm", np.delete(positions, model, axis=0)),
        ("previous", earlier[model]),
    ):
        if not np.isfinite(needed).all():
            raise ValueError(
                f"{name} holds numbers that are not finite, or lacks hydrogens that are not to be "
                "placed (water?). Give positions of every heavy atom, and of all atoms outside the "
                "solute."
            )
    placer = HydrogenPlacer(plan.tensors()).double()
    heavy = torch.from_numpy(positions[model[plan.heavy]])[None]
    if previous is None:
        placed = placer.ideal(heavy)
    else:
        placed = placer(heavy, torch.from_numpy(earlier[model])[None])
    positions[model] = placed[0].numpy()
    return positions


def _rows_of_all(given: FloatArray, is_hydrogen: npt.NDArray[np.bool_]) -> FloatArray:
    """Spread positions of heavy atoms over all rows, nan elsewhere; those of all as they are."""
    count = len(is_hydrogen)
    if len(given) == count:
        return given
    if len(given) == int((~is_hydrogen).sum()):
        positions = np.full((count, 3), np.nan)
        positions[~is_hydrogen] = given
        return positions
    raise ValueError(
        f"There are positions of {len(given)} atoms; the Topology has {count} atoms, "
        f"{int((~is_hydrogen).sum())} of them heavy. Give one or the other number."
    )
