"""Bonds that the coordinates contradict."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FeatureError, MissingAtomsError
from .labels import atom_label, residue_label
from .openmm_bridge import box_vectors_in_nm
from .selection import is_left_out

FloatArray = npt.NDArray[np.float64]

LONGEST_PEPTIDE_BOND_NM = 0.2
"""Between the 0.133 nm of a peptide bond and the 0.25 nm of atoms that are not bonded."""
BOND_SLACK_NM = 0.07
"""What a bond may be longer than the sum of its atoms' covalent radii: twice of what strained
structures show, and half of what atoms one bond further apart have more."""
SHORTEST_BOND_NM = 0.06
"""No covalent bond is shorter (H-H, the shortest of all, 0.074)."""
_SUSPECT_NM = 0.13
"""Bonds longer than this are looked at by their elements (H-H may be 0.13)."""


def bond_faults(
    topology: Any,
    positions: FloatArray,
    *,
    hydrogens: bool = True,
    shortest_nm: float = SHORTEST_BOND_NM,
) -> list[FeatureError]:
    """Find bonds of the solute that are none: chain breaks, molecules split by the box.

    OpenMM bonds the residues that follow each other in a chain, however far apart they are.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : array [all atoms, 3], nm
    hydrogens : bool
        Whether bonds to hydrogens are looked at.
    shortest_nm : float
        How short a bond may be.

    Returns
    -------
    list of FeatureError
        MissingAtomsError for chain breaks; empty where all bonds have a length that bonds have
    """
    outside = {r.index for r in topology.residues() if is_left_out(r)}
    bonds = [
        (b[0], b[1])
        for b in topology.bonds()
        if b[0].element is not None
        and b[1].element is not None
        and b[0].residue.index not in outside
        and (hydrogens or 1 not in (b[0].element.atomic_number, b[1].element.atomic_number))
    ]
    if not bonds:
        return []
    ends = positions[np.array([(one.index, two.index) for one, two in bonds])]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    odd = np.flatnonzero((lengths < shortest_nm) | (lengths > _SUSPECT_NM))
    box = box_vectors_in_nm(topology.getPeriodicBoxVectors())
    faults = (_bond_fault(*bonds[k], positions, float(lengths[k]), box) for k in odd)
    return [fault for fault in faults if fault is not None]


def check_native(topology: Any, positions: FloatArray) -> None:
    """Refuse a structure that others are measured by, where its own bonds are none.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : array [all atoms, 3], nm

    Raises
    ------
    FeatureError
        Bonds between heavy atoms that are too long or too short, or coordinates that are not
        finite. Names of hydrogens differ too much between programs for their bonds to tell.
    """
    lost = ~np.isfinite(positions).all(axis=1)
    if lost.any():
        first = list(topology.atoms())[int(np.argmax(lost))]
        faults = [FeatureError(f"{atom_label(first, chain=True)} has no finite coordinates.")]
    else:
        faults = bond_faults(topology, positions, hydrogens=False)
    if faults:
        told = " ".join(str(fault) for fault in faults[:3])
        more = f" And {len(faults) - 3} more." if len(faults) > 3 else ""
        raise FeatureError(
            f"The native structure is broken itself, and good frames would be called bad by it: "
            f"{told}{more} Give a native structure that is whole, such as a frame of MD."
        )


@lru_cache(maxsize=256)
def _radius_nm(atomic_number: int) -> float:
    from rdkit import Chem

    return 0.1 * float(Chem.GetPeriodicTable().GetRcovalent(atomic_number))


def longest_bond_nm(one: Any, two: Any) -> float:
    """How long a bond between two atoms of a Topology may be."""
    return sum(_radius_nm(a.element.atomic_number) for a in (one, two)) + BOND_SLACK_NM


def _bond_fault(
    one: Any, two: Any, positions: FloatArray, length: float, box: FloatArray | None
) -> FeatureError | None:
    """Say what is wrong with a bond of this length (nm), if anything."""
    peptide = {one.name, two.name} == {"C", "N"} and one.residue is not two.residue
    limit = LONGEST_PEPTIDE_BOND_NM if peptide else longest_bond_nm(one, two)
    if SHORTEST_BOND_NM <= length <= limit:
        return None
    ends = " and ".join(atom_label(a) for a in (one, two))
    ends += f" (chain {one.residue.chain.id})"
    if length > limit and box is not None and _nearest_image(positions, one, two, box) <= limit:
        return FeatureError(
            f"The periodic box splits the molecule between {ends}. Make it whole first."
        )
    if length > limit and peptide:
        first, second = sorted((one.residue, two.residue), key=lambda r: r.index)
        return MissingAtomsError(
            f"The chain is broken between {residue_label(first)} and {residue_label(second)} "
            f"of chain {first.chain.id}: their C and N are {length:.2f} nm apart"
            f"{_count_missing(first, second)}. Rebuild the residues between them, e.g. with "
            "PDBFixer, or end one chain there (OXT or NME) and start another."
        )
    return FeatureError(
        f"{ends} are bonded, but {length:.3f} nm apart. Check the bonds (CONECT records) and "
        "coordinates."
    )


def _count_missing(first: Any, second: Any) -> str:
    try:
        missing = int(second.id) - int(first.id) - 1
    except ValueError:
        return ""
    return f" ({missing} residues are missing by their numbers)" if missing > 0 else ""


def _nearest_image(positions: FloatArray, one: Any, two: Any, box: FloatArray) -> float:
    """Distance of the nearest images, for boxes in OpenMM's reduced form; nm."""
    delta = positions[one.index] - positions[two.index]
    for k in (2, 1, 0):
        delta = delta - box[k] * np.round(delta[k] / box[k, k])
    return float(np.linalg.norm(delta))
