"""The screen of a molecule, made from its features and a System's bond lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .openmm_bridge import bond_lengths_from_system
from .screen_spec import ScreenSpec

if TYPE_CHECKING:
    from .fragments import Fragment
    from .molecule_features import MoleculeFeatures

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_RING_SIZE = 8
"""Larger rings (cyclic peptides, loops closed by disulphides) may be passed by a chain."""

BONDI_RADII_NM = {
    1: 0.120, 2: 0.140, 3: 0.182, 5: 0.192, 6: 0.170, 7: 0.155, 8: 0.152, 9: 0.147, 11: 0.227,
    12: 0.173, 14: 0.210, 15: 0.180, 16: 0.180, 17: 0.175, 19: 0.275, 30: 0.139, 34: 0.190,
    35: 0.185, 53: 0.198,
}  # fmt: skip
"""Van der Waals radii, nm: Bondi, J. Phys. Chem. 68, 441 (1964); boron from Mantina et al.,
J. Phys. Chem. A 113, 5806 (2009)."""

AMIDE_LENGTH_NM = 0.1335
"""C-N of a peptide bond (Amber's equilibrium length), for links without force field."""


def build_screen(
    features: MoleculeFeatures, topology: Any = None, system: Any = None, **thresholds: float
) -> ScreenSpec:
    """Make the screen of a molecule.

    Parameters
    ----------
    features : MoleculeFeatures
        The molecule.
    topology : openmm.app.Topology, optional
        Checked against the features where given.
    system : openmm.System, optional
        Reference bond lengths come from its harmonic bonds and constraints; without it (and for
        bonds that it holds in other forces), from the reference conformers, covalent radii between
        residues, and 0.1335 nm for amides.
    **thresholds : float
        `bond_tolerance_nm`, `clash_factor`, `max_displacement_nm`, `environment_distance_nm` or
        `constraint_tolerance_nm`, where the defaults of `ScreenSpec` will not do.

    Raises
    ------
    ValueError
        Where features, topology and system do not belong together.
    """
    return ScreenBuilder(features, topology, (), **thresholds).screen(system)


class ScreenBuilder:
    """Makes the screens of one molecule for several Systems.

    What follows from the molecule alone (rings, torsions, radii) is found once. A System is read at
    each call, so that a changed one is noticed; as long as its bond lengths are those of the call
    before, the screen is the same object, whose arrays nobody can change.

    Parameters and errors are those of `build_screen`, besides `fragments`: what moves where that
    is not all of the atoms.
    """

    def __init__(
        self,
        features: MoleculeFeatures,
        topology: Any = None,
        fragments: tuple[Fragment, ...] = (),
        **thresholds: float,
    ) -> None:
        if topology is not None:
            _check_topology(features, topology)
        self._features = features
        self._latest = ScreenSpec(
            bonds=features.bonds.copy(),
            bond_lengths_nm=np.full(len(features.bonds), np.nan),
            chiral_centers=features.chiral_centers.copy(),
            chiral_signs=features.chiral_signs.astype(np.float64),
            cis_trans=_peptide_torsions(features),
            rings=_small_rings(features),
            radii_nm=np.array([_radius_nm(int(z)) for z in features.ref_element]),
            fragments=fragments,
            **thresholds,
        )
        for array in vars(self._latest).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def screen(self, system: Any = None) -> ScreenSpec:
        """Make the screen for a System, or with typical bond lengths for None."""
        last = int(self._features.atom_indices.max())
        if system is not None and last >= system.getNumParticles():
            raise ValueError(
                f"The features name atom {last}, but the System has {system.getNumParticles()} "
                "particles. Use the System of this Topology."
            )
        lengths = _reference_lengths(self._features, system)
        if not np.array_equal(lengths, self._latest.bond_lengths_nm):
            lengths.setflags(write=False)
            self._latest = replace(self._latest, bond_lengths_nm=lengths)
        return self._latest


def _check_topology(features: MoleculeFeatures, topology: Any) -> None:
    atoms = list(topology.atoms())
    for m, i in enumerate(features.atom_indices.tolist()):
        if i >= len(atoms) or atoms[i].name != features.atom_names[m]:
            found = atoms[i].name if i < len(atoms) else "nothing"
            raise ValueError(
                f"The features name atom {i} {features.atom_names[m]}, but the Topology has "
                f"{found} there. Make the features from this Topology."
            )


def _radius_nm(element: int) -> float:
    if element in BONDI_RADII_NM:
        return BONDI_RADII_NM[element]
    from rdkit import Chem

    return 0.1 * float(Chem.GetPeriodicTable().GetRvdw(element))


def _reference_lengths(features: MoleculeFeatures, system: Any) -> FloatArray:
    """Return a reference length for each bond, nm."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    known = {} if system is None else bond_lengths_from_system(system)
    lengths = []
    for (i, j), order in zip(features.bonds.tolist(), features.bond_order.tolist(), strict=True):
        a, b = sorted((int(features.atom_indices[i]), int(features.atom_indices[j])))
        if (a, b) in known:
            lengths.append(known[a, b])
        elif features.ref_space_uid[i] == features.ref_space_uid[j]:
            distance = np.linalg.norm(features.ref_pos[i] - features.ref_pos[j])
            lengths.append(0.1 * float(distance))
        elif sorted((int(features.ref_element[i]), int(features.ref_element[j]))) == [6, 7]:
            lengths.append(AMIDE_LENGTH_NM)
        else:
            radii = [table.GetRcovalent(int(features.ref_element[k])) for k in (i, j)]
            lengths.append(0.1 * sum(radii) - 0.01 * (order - 1))
    return np.array(lengths, np.float64)


def _neighbours(features: MoleculeFeatures) -> list[list[int]]:
    lists: list[list[int]] = [[] for _ in range(features.num_atoms)]
    for i, j in features.bonds.tolist():
        lists[i].append(j)
        lists[j].append(i)
    return lists


def _peptide_torsions(features: MoleculeFeatures) -> IntArray:
    """Find the torsions C-C-N-C about amide bonds between residues, proline's left out.

    CA-C-N-CA between amino acids; a cap's carbon stands in for CA (CH3 of ACE, C of NME).
    """
    z, uid = features.ref_element, features.ref_space_uid
    near = _neighbours(features)
    order = {
        (int(i), int(j)): float(o)
        for (i, j), o in zip(features.bonds, features.bond_order, strict=True)
    }
    found = []
    for i, j in features.bonds.tolist():
        for c, n in ((i, j), (j, i)):
            if z[c] != 6 or z[n] != 7 or uid[c] == uid[n]:
                continue
            carbonyl = any(z[o] == 8 and order[min(c, o), max(c, o)] == 2 for o in near[c])
            before = sorted(k for k in near[c] if z[k] == 6)
            after = sorted(k for k in near[n] if z[k] == 6 and k != c)
            # Two carbons after the bond: proline, or another tertiary amide, is free to turn.
            if carbonyl and len(before) == 1 and len(after) == 1:
                found.append((before[0], c, n, after[0]))
    return np.array(sorted(found), np.int64).reshape(-1, 4)


def _small_rings(features: MoleculeFeatures) -> tuple[tuple[int, ...], ...]:
    """Return the rings of at most MAX_RING_SIZE atoms (smallest set), in bond order."""
    from rdkit import Chem

    mol = Chem.RWMol()
    for element in features.ref_element.tolist():
        mol.AddAtom(Chem.Atom(int(element)))
    for i, j in features.bonds.tolist():
        mol.AddBond(i, j, Chem.BondType.SINGLE)
    rings = [tuple(int(a) for a in ring) for ring in Chem.GetSSSR(mol)]
    return tuple(sorted(r for r in rings if len(r) <= MAX_RING_SIZE))
