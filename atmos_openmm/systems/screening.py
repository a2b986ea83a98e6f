"""The screen: geometry that a generated frame must have before any energy is computed.

`build_screen` makes a `ScreenSpec` of a molecule's features; `screen` applies it to a frame and
names the first test that fails. The compiled integrator applies the same tests in C++; this one is
their reference, and says which atoms failed and by how much (`inspect_frame`).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from ..core import geometry
from .screen_building import AMIDE_LENGTH_NM, BONDI_RADII_NM, MAX_RING_SIZE, build_screen
from .screen_spec import ScreenSpec, ScreenVerdict

__all__ = [
    "ACCEPTED",
    "AMIDE_LENGTH_NM",
    "BONDI_RADII_NM",
    "GEOMETRY_REASONS",
    "MAX_RING_SIZE",
    "ScreenSpec",
    "ScreenVerdict",
    "build_screen",
    "check_displacement",
    "check_environment",
    "inspect_frame",
    "screen",
]

FloatArray = npt.NDArray[np.float64]

ACCEPTED = ScreenVerdict("accepted")

GEOMETRY_REASONS = ("nonfinite", "bonds", "chirality", "cis_trans", "rings", "clash")
"""The tests of `screen` in their order."""


def screen(
    spec: ScreenSpec,
    positions_nm: npt.ArrayLike,
    before_nm: npt.ArrayLike | None = None,
    only: Collection[str] | None = None,
) -> str:
    """Return the reason why a frame is rejected, or "accepted".

    Parameters
    ----------
    spec : ScreenSpec
        the molecule's screen
    positions_nm : array [A, 3]
        the new frame, model atoms, nm
    before_nm : array [A, 3], optional
        the frame before the jump; without it cis_trans is not tested
    only : collection of str, optional
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


def check_displacement(spec: ScreenSpec, centered_nm: npt.ArrayLike) -> ScreenVerdict:
    """Test how far a frame's centroid is from the origin, before it is superposed.

    Parameters
    ----------
    centered_nm : array [A, 3]
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
    positions_nm : array [A, 3]
        the solute
    others_nm : array [E, 3]
        particles with mass outside the solute
    box_nm : array [3, 3], optional
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
    if volumes[k] >= geometry.MIN_CHIRAL_VOLUME:
        return ACCEPTED
    count = int((volumes < geometry.MIN_CHIRAL_VOLUME).sum())
    atoms = tuple(spec.chiral_centers[k].tolist())
    return ScreenVerdict("chirality", atoms, float(volumes[k]), geometry.MIN_CHIRAL_VOLUME, count)


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
