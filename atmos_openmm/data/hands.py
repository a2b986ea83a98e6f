"""Handedness of frames: amino acids against L, and centres against the molecule's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import chiral_volumes
from .faults import Fault

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures

__all__ = ["mirrored_fault", "other_hands", "stereocentres"]

CARBON = 6
MIRRORED = -0.05
"""Normalised triple product, times its sign, below which a centre has the other hand; 0 is flat."""


def stereocentres(
    features: MoleculeFeatures, resolved: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Carbons whose hand MD never changes, [C, 4], and their signs [C].

    Stereocentres and methylenes, where all their atoms were seen. Nitrogens may invert.
    """
    centres = np.concatenate([features.chiral_centers, features.label_centers])
    signs = np.concatenate([features.chiral_signs, features.label_signs])
    told = (features.ref_element[centres[:, 0]] == CARBON) & resolved[centres].all(axis=1)
    return centres[told], signs[told]


def other_hands(
    x: NDArray[Any], centres: NDArray[np.int64], signs: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which centres [C, 4] of frames [F, A, 3] have another hand than their sign, [F, C]."""
    return np.asarray(chiral_volumes(x, centres) * signs < MIRRORED)


def mirrored_fault(path: str, entry: str, topology: Any, positions_nm: Any) -> Fault | None:
    """A fault where most amino acids of a natural protein have the hand of D ones.

    Parameters
    ----------
    path, entry : str
        Of the fault.
    topology : openmm.app.Topology
    positions_nm : array [A, 3]
    """
    centres = []
    for residue in topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if all(name in atoms for name in ("CA", "N", "C", "CB")):
            centres.append([atoms[name] for name in ("CA", "N", "C", "CB")])
    if not centres:
        return None
    left = np.ones(len(centres), np.float32)
    mirrored = other_hands(np.asarray(positions_nm)[None], np.array(centres), left)
    count = int(mirrored.sum())
    if 2 * count <= len(centres):
        return None
    message = (
        f"{count} of its {len(centres)} alpha carbons have the hand of D amino acids: the "
        "coordinates are mirrored. Change the sign of one axis, or get the file again."
    )
    return Fault(path, entry, "mirrored", message)
