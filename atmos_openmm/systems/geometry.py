"""Measurements on frames, vectorised: each function takes [F, A, 3] positions of F frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def bond_lengths(x: FloatArray, bonds: IntArray) -> FloatArray:
    """Return bond lengths [F, M] for `bonds` [M, 2]."""
    return np.asarray(np.linalg.norm(x[:, bonds[:, 1]] - x[:, bonds[:, 0]], axis=-1))


def chiral_volumes(x: FloatArray, centers: IntArray) -> FloatArray:
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


def torsion_angles(x: FloatArray, torsions: IntArray) -> FloatArray:
    """Return torsion angles [F, T] in radians, IUPAC sign, in (-pi, pi]."""
    p = [x[:, torsions[:, k]] for k in range(4)]
    b1, b2, b3 = p[1] - p[0], p[2] - p[1], p[3] - p[2]
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    sine = np.sum(b1 * n2, axis=-1) * np.linalg.norm(b2, axis=-1)
    return np.asarray(np.arctan2(sine, np.sum(n1 * n2, axis=-1)))


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
