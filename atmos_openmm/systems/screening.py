"""The screen: geometry that a generated frame must have before any energy is computed.

`build_screen` makes a `ScreenSpec` of a molecule's features; `screen` applies it to a frame and
names the first test that fails. The compiled integrator applies the same tests in C++; this one is
their reference, and says which atoms failed and by how much (`inspect_frame`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core import geometry
from .openmm_bridge import bond_lengths_from_system

if TYPE_CHECKING:
    from .features import MoleculeFeatures

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MIN_CHIRAL_VOLUME = 0.05
"""A normalised triple product below this, times its sign, is flat or inverted."""

MAX_RING_SIZE = 8
"""Larger rings (cyclic peptides, loops closed by disulphides) may be passed by a chain."""

GEOMETRY_REASONS = ("nonfinite", "bonds", "chirality", "cis_trans", "rings", "clash")
"""The tests of `screen` in their order."""

BONDI_RADII_NM = {
    1: 0.120, 2: 0.140, 3: 0.182, 5: 0.192, 6: 0.170, 7: 0.155, 8: 0.152, 9: 0.147, 11: 0.227,
    12: 0.173, 14: 0.210, 15: 0.180, 16: 0.180, 17: 0.175, 19: 0.275, 30: 0.139, 34: 0.190,
    35: 0.185, 53: 0.198,
}  # fmt: skip
"""Van der Waals radii, nm: Bondi, J. Phys. Chem. 68, 441 (1964); boron from Mantina et al.,
J. Phys. Chem. A 113, 5806 (2009)."""

AMIDE_LENGTH_NM = 0.1335
"""C-N of a peptide bond (Amber's equilibrium length), for links without force field."""


@dataclass(frozen=True, eq=False)
class ScreenSpec:
    """What a frame of one molecule must keep. A model atoms; lengths in nm.

    Attributes
    ----------
    bonds: int64 [M, 2]
        covalent bonds, i < j
    bond_lengths_nm: float64 [M]
        reference lengths
    bond_tolerance_nm: float
        largest deviation from the reference
    chiral_centers: int64 [C, 4]
        centre, then three neighbours a, b, d
    chiral_signs: float64 [C]
        sign of (a-c) . ((b-c) x (d-c)), +1 or -1
    cis_trans: int64 [T, 4]
        torsions whose class (trans where the cosine is negative) must stay as before the jump
    rings: tuple of tuples of int
        rings of at most eight atoms, in bond order
    radii_nm: float64 [A]
        Bondi radii
    clash_factor: float
        atoms more than three bonds apart clash below this share of the sum of their radii
    max_displacement_nm: float
        how far the model may move the centroid
    environment_distance_nm: float
        least distance to particles with mass outside the solute
    constraint_tolerance_nm: float
        how far a constrained distance may be off before constraints are applied
    """

    bonds: IntArray
    bond_lengths_nm: FloatArray
    chiral_centers: IntArray
    chiral_signs: FloatArray
    cis_trans: IntArray
    rings: tuple[tuple[int, ...], ...]
    radii_nm: FloatArray
    bond_tolerance_nm: float = 0.05
    clash_factor: float = 0.5
    max_displacement_nm: float = 1.0
    environment_distance_nm: float = 0.12
    constraint_tolerance_nm: float = 0.05

    def __post_init__(self) -> None:
        count = self.num_atoms
        for name, array, width in (
            ("bonds", self.bonds, 2),
            ("chiral_centers", self.chiral_centers, 4),
            ("cis_trans", self.cis_trans, 4),
        ):
            if array.ndim != 2 or array.shape[1] != width:
                raise ValueError(f"{name} has the shape {array.shape}; expected [n, {width}].")
            if array.size and (array.min() < 0 or array.max() >= count):
                raise ValueError(f"{name} names an atom outside 0 to {count - 1}.")
        if len(self.bond_lengths_nm) != len(self.bonds):
            raise ValueError(
                f"There are {len(self.bond_lengths_nm)} bond lengths for {len(self.bonds)} bonds."
            )
        if len(self.chiral_signs) != len(self.chiral_centers):
            raise ValueError(
                f"There are {len(self.chiral_signs)} chiral signs for "
                f"{len(self.chiral_centers)} centres."
            )
        if not np.isin(self.chiral_signs, (-1, 1)).all():
            raise ValueError("chiral_signs must be +1 or -1.")

    @property
    def num_atoms(self) -> int:
        """Number of model atoms, A."""
        return len(self.radii_nm)

    @cached_property
    def near_pairs(self) -> IntArray:
        """Pairs [P, 2], i < j, at most three bonds apart, sorted: never a clash."""
        neighbours: list[list[int]] = [[] for _ in range(self.num_atoms)]
        for i, j in self.bonds.tolist():
            neighbours[i].append(j)
            neighbours[j].append(i)
        pairs = []
        for i in range(self.num_atoms):
            reached, shell = {i}, {i}
            for _ in range(3):
                shell = {k for j in shell for k in neighbours[j]} - reached
                reached |= shell
            pairs += [(i, j) for j in sorted(reached) if j > i]
        return np.array(pairs, np.int64).reshape(-1, 2)

    @cached_property
    def clash_pairs(self) -> IntArray:
        """Pairs [P, 2], i < j, more than three bonds apart, sorted (A^2/2 of them)."""
        allowed = np.triu(np.ones((self.num_atoms, self.num_atoms), bool), 1)
        allowed[self.near_pairs[:, 0], self.near_pairs[:, 1]] = False
        return np.argwhere(allowed).astype(np.int64)

    @cached_property
    def _near_codes(self) -> IntArray:
        return self.near_pairs[:, 0] * self.num_atoms + self.near_pairs[:, 1]

    @cached_property
    def _bonds_apart(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """For each ring, which bonds share no atom with it: [M] of bool."""
        return tuple(np.asarray(~np.isin(self.bonds, ring).any(axis=1)) for ring in self.rings)


@dataclass(frozen=True)
class ScreenVerdict:
    """The first test that a frame fails, and where.

    Attributes
    ----------
    reason: str
        "accepted" or one of `GEOMETRY_REASONS`, "displaced", "environment"
    atoms: tuple of int
        model atoms of the worst offence: the bond, the centre and its neighbours, the torsion, the
        ring followed by the bond through it, the pair
    value: float
        what was measured: length (nm), signed volume, torsion (radians), distance (nm)
    limit: float
        what it should have been: reference length (nm), least volume, torsion before (radians),
        least distance (nm)
    count: int
        how many offences of this kind the frame has
    """

    reason: str
    atoms: tuple[int, ...] = ()
    value: float = float("nan")
    limit: float = float("nan")
    count: int = 0

    def __bool__(self) -> bool:
        return self.reason == "accepted"

    def describe(self, features: MoleculeFeatures) -> str:
        """Return a sentence that names the atoms."""
        if self:
            return "accepted"
        labels = [features.atom_label(a) for a in self.atoms]
        more = f" (worst of {self.count})" if self.count > 1 else ""
        if self.reason == "bonds":
            return (
                f"bond {labels[0]} - {labels[1]} is {self.value:.4f} nm long, expected "
                f"{self.limit:.4f}{more}"
            )
        if self.reason == "chirality":
            return (
                f"{labels[0]} has the wrong hand: signed volume {self.value:.2f}, at least "
                f"{self.limit:.2f} expected{more}"
            )
        if self.reason == "cis_trans":
            angle, before = np.degrees((self.value, self.limit))
            return (
                f"peptide bond {labels[1]} - {labels[2]} has turned from {before:.0f} to "
                f"{angle:.0f} degrees{more}"
            )
        if self.reason == "rings":
            return f"bond {labels[-2]} - {labels[-1]} passes through the ring of {labels[0]}{more}"
        if self.reason == "clash":
            return (
                f"{labels[0]} and {labels[1]} are {self.value:.4f} nm apart, at least "
                f"{self.limit:.4f} expected{more}"
            )
        if self.reason == "displaced":
            return f"the centre moved by {self.value:.3f} nm, at most {self.limit:.3f} expected"
        if self.reason == "environment":
            return (
                f"{labels[0]} is {self.value:.4f} nm from an atom outside the solute, at least "
                f"{self.limit:.4f} expected"
            )
        return f"coordinates of {labels[0] if labels else 'the frame'} are not finite"


ACCEPTED = ScreenVerdict("accepted")


def build_screen(
    features: MoleculeFeatures, topology: Any = None, system: Any = None, **thresholds: float
) -> ScreenSpec:
    """Make the screen of a molecule.

    Parameters
    ----------
    features: MoleculeFeatures
        the molecule
    topology: openmm.app.Topology, optional
        checked against the features where given
    system: openmm.System, optional
        reference bond lengths come from its harmonic bonds and constraints; without it (and for
        bonds that it holds in other forces), from the reference conformers, covalent radii between
        residues, and 0.1335 nm for amides
    **thresholds: float
        `bond_tolerance_nm`, `clash_factor`, `max_displacement_nm`, `environment_distance_nm` or
        `constraint_tolerance_nm`, where the defaults of `ScreenSpec` will not do

    Raises
    ------
    ValueError
        where features, topology and system do not belong together
    """
    last = int(features.atom_indices.max())
    if topology is not None:
        atoms = list(topology.atoms())
        for m, i in enumerate(features.atom_indices.tolist()):
            if i >= len(atoms) or atoms[i].name != features.atom_names[m]:
                found = atoms[i].name if i < len(atoms) else "nothing"
                raise ValueError(
                    f"The features name atom {i} {features.atom_names[m]}, but the Topology has "
                    f"{found} there. Make the features from this Topology."
                )
    if system is not None and last >= system.getNumParticles():
        raise ValueError(
            f"The features name atom {last}, but the System has {system.getNumParticles()} "
            "particles. Use the System of this Topology."
        )
    return ScreenSpec(
        bonds=features.bonds.copy(),
        bond_lengths_nm=_reference_lengths(features, system),
        chiral_centers=features.chiral_centers.copy(),
        chiral_signs=features.chiral_signs.astype(np.float64),
        cis_trans=_peptide_torsions(features),
        rings=_small_rings(features),
        radii_nm=np.array([_radius_nm(int(z)) for z in features.ref_element]),
        **thresholds,
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


def screen(
    spec: ScreenSpec,
    positions_nm: npt.ArrayLike,
    before_nm: npt.ArrayLike | None = None,
    only: Collection[str] | None = None,
) -> str:
    """Return the reason why a frame is rejected, or "accepted".

    Parameters
    ----------
    spec: ScreenSpec
        the molecule's screen
    positions_nm: array [A, 3]
        the new frame, model atoms, nm
    before_nm: array [A, 3], optional
        the frame before the jump; without it cis_trans is not tested
    only: collection of str, optional
        the tests to apply, from `GEOMETRY_REASONS`; all by default
    """
    return inspect_frame(spec, positions_nm, before_nm, only).reason


def inspect_frame(
    spec: ScreenSpec,
    positions_nm: npt.ArrayLike,
    before_nm: npt.ArrayLike | None = None,
    only: Collection[str] | None = None,
) -> ScreenVerdict:
    """Screen a frame and say which atoms fail; parameters as for `screen`.

    Raises
    ------
    ValueError
        for positions of another shape than [A, 3], or an unknown name in `only`
    """
    tests = GEOMETRY_REASONS if only is None else tuple(only)
    unknown = set(tests) - set(GEOMETRY_REASONS)
    if unknown:
        raise ValueError(
            f"Unknown test {sorted(unknown)[0]!r}; known are {', '.join(GEOMETRY_REASONS)}."
        )
    x = _frame(spec, positions_nm)
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        return ScreenVerdict("nonfinite", (int(bad[0]),), count=len(bad))
    before = None if before_nm is None else _frame(spec, before_nm)[None]
    frame = x[None]
    for reason in GEOMETRY_REASONS[1:]:
        if reason not in tests:
            continue
        if reason == "bonds":
            verdict = _check_bonds(spec, frame)
        elif reason == "chirality":
            verdict = _check_chirality(spec, frame)
        elif reason == "cis_trans":
            verdict = ACCEPTED if before is None else _check_cis_trans(spec, frame, before)
        elif reason == "rings":
            verdict = _check_rings(spec, frame)
        else:
            verdict = _check_clash(spec, x)
        if not verdict:
            return verdict
    return ACCEPTED


def screen_frames(
    spec: ScreenSpec,
    frames_nm: npt.ArrayLike,
    before_nm: npt.ArrayLike | None = None,
    only: Collection[str] | None = None,
) -> list[str]:
    """Screen many frames.

    Parameters
    ----------
    frames_nm: array [F, A, 3]
    before_nm: array [A, 3] or [F, A, 3], optional

    Returns
    -------
    list of F reasons
    """
    frames = np.asarray(frames_nm)
    earlier: Iterable[Any]
    if before_nm is None:
        earlier = [None] * len(frames)
    else:
        earlier = np.broadcast_to(np.asarray(before_nm), frames.shape)
    return [screen(spec, x, b, only) for x, b in zip(frames, earlier, strict=True)]


def check_displacement(spec: ScreenSpec, centered_nm: npt.ArrayLike) -> ScreenVerdict:
    """Test how far a frame's centroid is from the origin, before it is superposed.

    Parameters
    ----------
    centered_nm: array [A, 3]
        the model's frame in coordinates centred on the frame before the jump
    """
    distance = float(np.linalg.norm(_frame(spec, centered_nm).mean(axis=0)))
    if distance <= spec.max_displacement_nm:
        return ACCEPTED
    return ScreenVerdict("displaced", (), distance, spec.max_displacement_nm, 1)


def check_environment(
    spec: ScreenSpec,
    positions_nm: npt.ArrayLike,
    others_nm: npt.ArrayLike,
    box_nm: npt.ArrayLike | None = None,
) -> ScreenVerdict:
    """Test the distance to particles outside the solute.

    Parameters
    ----------
    positions_nm: array [A, 3]
        the solute
    others_nm: array [E, 3]
        particles with mass outside the solute
    box_nm: array [3, 3], optional
        periodic box vectors in reduced form, rows a, b, c; the nearest image counts
    """
    x = _frame(spec, positions_nm)
    others = np.asarray(others_nm, np.float64).reshape(-1, 3)
    if not len(others):
        return ACCEPTED
    limit = spec.environment_distance_nm
    box = None if box_nm is None else np.asarray(box_nm, np.float64)
    worst, atom, count = np.inf, 0, 0
    for k, point in enumerate(x):
        delta = others - point
        if box is not None:
            delta = geometry.minimum_image(delta, box)
        squares = np.sum(delta**2, axis=1)
        count += int((squares < limit * limit).sum())
        if squares.min() < worst:
            worst, atom = float(squares.min()), k
    if worst >= limit * limit:
        return ACCEPTED
    return ScreenVerdict("environment", (atom,), float(np.sqrt(worst)), limit, count)


def _frame(spec: ScreenSpec, positions_nm: npt.ArrayLike) -> FloatArray:
    x = np.asarray(positions_nm, np.float64)
    if x.shape != (spec.num_atoms, 3):
        raise ValueError(
            f"The frame has the shape {x.shape}; this screen is for [{spec.num_atoms}, 3]. Give "
            "the model's atoms, in its order, in nm."
        )
    return x


def _check_bonds(spec: ScreenSpec, frame: FloatArray) -> ScreenVerdict:
    if not len(spec.bonds):
        return ACCEPTED
    lengths = geometry.bond_lengths(frame, spec.bonds)[0]
    excess = np.abs(lengths - spec.bond_lengths_nm)
    k = int(excess.argmax())
    if excess[k] <= spec.bond_tolerance_nm:
        return ACCEPTED
    count = int((excess > spec.bond_tolerance_nm).sum())
    return ScreenVerdict(
        "bonds",
        tuple(spec.bonds[k].tolist()),
        float(lengths[k]),
        float(spec.bond_lengths_nm[k]),
        count,
    )


def _check_chirality(spec: ScreenSpec, frame: FloatArray) -> ScreenVerdict:
    if not len(spec.chiral_signs):
        return ACCEPTED
    volumes = geometry.chiral_volumes(frame, spec.chiral_centers)[0] * spec.chiral_signs
    # Coincident atoms give nan, which counts as flat.
    volumes = np.nan_to_num(volumes, nan=0.0)
    k = int(volumes.argmin())
    if volumes[k] >= MIN_CHIRAL_VOLUME:
        return ACCEPTED
    count = int((volumes < MIN_CHIRAL_VOLUME).sum())
    atoms = tuple(spec.chiral_centers[k].tolist())
    return ScreenVerdict("chirality", atoms, float(volumes[k]), MIN_CHIRAL_VOLUME, count)


def _check_cis_trans(spec: ScreenSpec, frame: FloatArray, before: FloatArray) -> ScreenVerdict:
    if not len(spec.cis_trans):
        return ACCEPTED
    now = geometry.torsion_cosines(frame, spec.cis_trans)[0] < 0
    then = geometry.torsion_cosines(before, spec.cis_trans)[0] < 0
    changed = np.flatnonzero(now != then)
    if not len(changed):
        return ACCEPTED
    torsion = spec.cis_trans[changed[:1]]
    return ScreenVerdict(
        "cis_trans",
        tuple(torsion[0].tolist()),
        float(geometry.torsion_angles(frame, torsion)[0, 0]),
        float(geometry.torsion_angles(before, torsion)[0, 0]),
        len(changed),
    )


def _check_rings(spec: ScreenSpec, frame: FloatArray) -> ScreenVerdict:
    count, atoms = 0, ()
    if not spec.rings:
        return ACCEPTED
    ends = frame[0][spec.bonds]
    middles = ends.mean(axis=1)
    halves = 0.5 * np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    for ring, apart in zip(spec.rings, spec._bonds_apart, strict=True):
        corners = frame[0][list(ring)]
        center = corners.mean(axis=0)
        # A bond further from the centroid than the ring's radius and its own half cannot cross.
        reach = np.linalg.norm(corners - center, axis=1).max() + halves
        near = apart & (np.sum((middles - center) ** 2, axis=1) <= reach**2)
        bonds = spec.bonds[near]
        if not len(bonds):
            continue
        crossing = np.flatnonzero(geometry.ring_crossings(frame, ring, bonds)[0])
        if len(crossing) and not count:
            atoms = (*ring, *bonds[crossing[0]].tolist())
        count += len(crossing)
    return ScreenVerdict("rings", atoms, count=count) if count else ACCEPTED


def _check_clash(spec: ScreenSpec, x: FloatArray) -> ScreenVerdict:
    from scipy.spatial import cKDTree

    reach = 2 * spec.clash_factor * float(spec.radii_nm.max())
    pairs = cKDTree(x).query_pairs(reach, output_type="ndarray")
    if not len(pairs):
        return ACCEPTED
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    distances = np.linalg.norm(x[pairs[:, 1]] - x[pairs[:, 0]], axis=1)
    limits = spec.clash_factor * spec.radii_nm[pairs].sum(axis=1)
    close = distances < limits
    pairs, distances, limits = pairs[close], distances[close], limits[close]
    far = ~np.isin(pairs[:, 0] * spec.num_atoms + pairs[:, 1], spec._near_codes)
    if not far.any():
        return ACCEPTED
    pairs, distances, limits = pairs[far], distances[far], limits[far]
    # Ties are broken by atom number: the tree's order is no promise.
    k = int(np.lexsort((pairs[:, 1], pairs[:, 0], distances / limits))[0])
    return ScreenVerdict(
        "clash", tuple(pairs[k].tolist()), float(distances[k]), float(limits[k]), len(pairs)
    )
