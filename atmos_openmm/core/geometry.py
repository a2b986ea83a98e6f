"""Measurements on frames, vectorised, and least-squares superposition.

Unless said otherwise a function takes positions [F, A, 3] of F frames, in any unit of length, and
computes in double precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike, NDArray

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def bond_lengths(x: NDArray[Any], bonds: IntArray) -> FloatArray:
    """Return bond lengths [F, M] for `bonds` [M, 2]."""
    return np.asarray(np.linalg.norm(x[:, bonds[:, 1]] - x[:, bonds[:, 0]], axis=-1))


def bond_angles(x: FloatArray, angles: IntArray) -> FloatArray:
    """Return angles [F, K] in radians for `angles` [K, 3], the vertex in the middle.

    By atan2, which keeps its accuracy near 0 and pi, where arccos loses half of the digits. 0 where
    the vertex lies on one of the ends.
    """
    first = x[:, angles[:, 0]] - x[:, angles[:, 1]]
    second = x[:, angles[:, 2]] - x[:, angles[:, 1]]
    sine = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.asarray(np.arctan2(sine, np.sum(first * second, axis=-1)))


MIN_CHIRAL_VOLUME = 0.05
"""A normalised triple product below this, times its sign, is flat or inverted."""


def chiral_volumes(x: NDArray[Any], centers: IntArray) -> FloatArray:
    """Return normalised triple products [F, C] for `centers` [C, 4] (centre, a, b, d).

    (a-c) . ((b-c) x (d-c)) over the product of the three lengths: 0.77 in size for an ideal
    tetrahedron, 0 where flat, nan where atoms coincide.
    """
    origin = x[:, centers[:, 0]]
    a, b, d = (x[:, centers[:, k]] - origin for k in (1, 2, 3))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) * np.linalg.norm(d, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sum(a * np.cross(b, d), axis=-1) / lengths)


def torsion_cosines(x: FloatArray, torsions: IntArray) -> FloatArray:
    """Return unnormalised torsion cosines [F, T] for `torsions` [T, 4]: negative for trans."""
    p = [x[:, torsions[:, k]] for k in range(4)]
    b1, b2, b3 = p[1] - p[0], p[2] - p[1], p[3] - p[2]
    return np.asarray(np.sum(np.cross(b1, b2) * np.cross(b2, b3), axis=-1))


def torsion_angles(x: ArrayLike, torsions: ArrayLike) -> FloatArray:
    """Return torsion angles [..., T] of frames `x` [..., A, 3] in radians.

    IUPAC sign (clockwise from the front is positive), in (-pi, pi]; nan where atoms are not finite.
    By atan2 of both components, which is well conditioned near 0 and pi, unlike arccos.

    Parameters
    ----------
    x : array [..., A, 3]
    torsions : int array [T, 4]
    """
    x = np.asarray(x, dtype=np.float64)
    torsions = np.asarray(torsions, dtype=np.int64).reshape(-1, 4)
    if x.ndim < 2 or x.shape[-1] != 3:
        raise ValueError(f"positions have shape {x.shape}, expected [..., atoms, 3]")
    i, j, k, m = (x[..., torsions[:, n], :] for n in range(4))
    axis = k - j
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    # What of the outer bonds is at right angles to the axis.
    before, after = i - j, m - k
    before = before - (before * axis).sum(-1, keepdims=True) * axis
    after = after - (after * axis).sum(-1, keepdims=True) * axis
    sine = (np.cross(axis, before) * after).sum(-1)
    return np.asarray(np.arctan2(sine, (before * after).sum(-1)))


def ring_crossings(x: FloatArray, ring: tuple[int, ...], bonds: IntArray) -> BoolArray:
    """Tell which bonds cross a ring: [F, M'] for `bonds` [M', 2] that share no atom with it.

    The ring is the fan of triangles from its centroid; segment and triangle are intersected as by
    Moller and Trumbore (1997), edges included.
    """
    corners = x[:, list(ring)]
    center = corners.mean(axis=1)[:, None, None]
    first = corners[:, None] - center
    second = np.roll(corners, -1, axis=1)[:, None] - center
    start = x[:, bonds[:, 0]][:, :, None]
    direction = x[:, bonds[:, 1]][:, :, None] - start
    s = start - center
    h = np.cross(direction, second)
    determinant = np.sum(first * h, axis=-1)
    k = np.cross(s, first)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.sum(s * h, axis=-1) / determinant
        v = np.sum(direction * k, axis=-1) / determinant
        t = np.sum(second * k, axis=-1) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
    return np.asarray((hit & (determinant != 0)).any(axis=-1))


def minimum_image(delta: FloatArray, box_nm: FloatArray) -> FloatArray:
    """Return difference vectors [..., 3] in the nearest image; box rows a, b, c, reduced form."""
    for row in (2, 1, 0):
        delta = delta - np.floor(delta[..., row : row + 1] / box_nm[row, row] + 0.5) * box_nm[row]
    return delta


def centroid(positions: NDArray[Any]) -> FloatArray:
    """The unweighted centre [..., 3] of positions [..., A, 3]."""
    return np.asarray(np.asarray(positions, dtype=np.float64).mean(axis=-2))


def gyration_radius(positions: ArrayLike) -> FloatArray:
    """Root mean square distance [...] of points [..., A, 3] from their centroid, in their unit.

    Every point has the same weight.
    """
    x = np.asarray(positions, dtype=np.float64)
    x = x - x.mean(axis=-2, keepdims=True)
    return np.asarray(np.sqrt((x * x).sum(axis=-1).mean(axis=-1)))


def rotations_onto(mobile: NDArray[Any], target: NDArray[Any]) -> FloatArray:
    """The proper rotations that bring centred points nearest to others.

    Kabsch's solution (Acta Cryst. A32, 922, 1976): with H = mobile^T target = U S V^T, it is
    U diag(1, 1, det(U V^T)) V^T. A reflection is never returned, so a mirror image stays one and
    a screen can see it.

    Parameters
    ----------
    mobile, target : array [..., A, 3]
        Points with their centroids at the origin; leading axes broadcast.

    Returns
    -------
    float64 array [..., 3, 3]
        R for which `mobile @ R` is nearest to `target`.
    """
    covariance = np.swapaxes(np.asarray(mobile, dtype=np.float64), -1, -2) @ np.asarray(
        target, dtype=np.float64
    )
    u, _, vt = np.linalg.svd(covariance)
    u[..., :, -1] *= np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)[..., None]
    return np.asarray(u @ vt)


def superpose(
    mobile: NDArray[Any], target: NDArray[Any], fit: NDArray[np.int64] | None = None
) -> FloatArray:
    """Points moved rigidly onto others: unweighted least squares, by a proper rotation.

    Parameters
    ----------
    mobile : array [..., A, 3]
    target : array [..., A, 3]
        In the unit of `mobile`, with any centre; leading axes broadcast.
    fit : int array, optional
        The atoms that are fitted; all by default. The others move with them.

    Returns
    -------
    float64 array [..., A, 3]
        `mobile`, its fitted atoms with the centroid of those of `target`.
    """
    x, y = np.asarray(mobile, dtype=np.float64), np.asarray(target, dtype=np.float64)
    chosen, goal = (x, y) if fit is None else (x[..., fit, :], y[..., fit, :])
    own, origin = centroid(chosen)[..., None, :], centroid(goal)[..., None, :]
    return np.asarray((x - own) @ rotations_onto(chosen - own, goal - origin) + origin)


def rmsd(
    first: NDArray[Any], second: NDArray[Any], fit: NDArray[np.int64] | None = None
) -> FloatArray:
    """Root-mean-square deviation [...] of [..., A, 3] after superposition, in their unit.

    Each pair of frames is superposed by itself; leading axes broadcast. With `fit`, superposition
    and deviation are those of these atoms. NaN without atoms.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if fit is not None:
        x, y = x[..., fit, :], y[..., fit, :]
    if x.shape[-2] == 0:
        return np.full(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), np.nan)
    # The residual itself is measured: the usual trace formula cancels half of the digits for
    # frames that are nearly equal.
    return np.asarray(np.sqrt(((superpose(x, y) - y) ** 2).sum(axis=-1).mean(axis=-1)))
