"""Least-squares superposition by a proper rotation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def centroid(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unweighted centre of positions [A, 3]: a [3] vector in the same unit."""
    return np.asarray(positions, dtype=np.float64).mean(axis=0)


def rotation_onto(
    mobile: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The proper rotation that brings one centred set of points closest to another.

    Kabsch's solution (Acta Cryst. A32, 922, 1976): with H = mobile^T target = U S V^T, the
    rotation is V diag(1, 1, det(V U^T)) U^T. A reflection is never returned, so a mirror image
    stays a mirror image and the screen can see it.

    Parameters
    ----------
    mobile, target: numpy.ndarray, shape [A, 3]
        points with their centroids at the origin

    Returns
    -------
    numpy.ndarray, shape [3, 3], float64
        R such that `mobile @ R.T` is closest to `target`
    """
    covariance = np.asarray(mobile, dtype=np.float64).T @ np.asarray(target, dtype=np.float64)
    u, _, vt = np.linalg.svd(covariance)
    handedness = np.sign(np.linalg.det(vt.T @ u.T))
    correction = np.diag([1.0, 1.0, handedness if handedness != 0 else 1.0])
    return vt.T @ correction @ u.T


def superpose(mobile: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """`mobile` moved rigidly onto `target` (both [A, 3], any common unit, any centre).

    Unweighted and in double precision; the result has the centroid of `target`.
    """
    origin = centroid(np.asarray(target, dtype=np.float64))
    centred = np.asarray(mobile, dtype=np.float64) - centroid(np.asarray(mobile, dtype=np.float64))
    rotation = rotation_onto(centred, np.asarray(target, dtype=np.float64) - origin)
    return centred @ rotation.T + origin


def rmsd(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Root mean square deviation after superposition of two [A, 3] arrays, in their unit."""
    difference = superpose(first, second) - np.asarray(second, dtype=np.float64)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
