"""Normal distributions wrapped around the torus, with full covariance.

A wrapped normal is the sum of a normal over all images of an angle, 2 pi apart. With marginal
standard deviations of at most `LARGEST_SD` two images are enough in each dimension: the nearest
one, delta in (-pi, pi], and that on the other side, delta - sign(delta) 2 pi, where it lies within
`REACH` standard deviations. All others hold less than 1e-17 of the weight.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LARGEST_SD", "LOG_TWO_PI", "REACH", "TWO_PI", "Conditional", "Kernels", "wrap"]

FloatArray = NDArray[np.float64]

TWO_PI = 2.0 * math.pi
LOG_TWO_PI = math.log(TWO_PI)

LARGEST_SD = 0.69
"""Largest marginal standard deviation in radians."""

REACH = 9.0
"""Standard deviations within which an image counts."""


def wrap(angles: ArrayLike) -> FloatArray:
    """Angles in (-pi, pi]."""
    x = np.asarray(angles, dtype=np.float64)
    return np.asarray(x - TWO_PI * np.ceil((x - math.pi) / TWO_PI))


class Images:
    """Which images each of several normals may have.

    Parameters
    ----------
    widths : float64 array [L, d]
        Marginal standard deviations.

    Attributes
    ----------
    component : int64 array [I]
        The normal that an image belongs to, ascending.
    starts : int64 array [L]
        The first image of each normal.
    """

    def __init__(self, widths: FloatArray) -> None:
        self._reach = REACH * widths
        # |delta| <= pi, so the other side is at least pi away.
        sides = [[(0, 1) if far else (0,) for far in row] for row in self._reach >= math.pi]
        patterns = [list(itertools.product(*row)) for row in sides]
        counts = [len(rows) for rows in patterns]
        self.component = np.repeat(np.arange(len(widths)), counts)
        self.starts = np.cumsum([0, *counts[:-1]], dtype=np.int64)[: len(counts)]
        flat = [pattern for rows in patterns for pattern in rows]
        self._folded = np.array(flat, dtype=bool).reshape(len(flat), widths.shape[1])
        self.single = len(flat) == len(widths)

    def of(self, delta: FloatArray) -> tuple[FloatArray, NDArray[np.bool_] | None]:
        """The images [I, ..., d] of differences [L, ..., d], and which count (None for all)."""
        if self.single:
            return delta, None
        extra = (1,) * (delta.ndim - 2)
        near = TWO_PI - np.abs(delta) <= self._reach.reshape(len(delta), *extra, -1)
        folded = self._folded.reshape(len(self._folded), *extra, -1)
        x = delta[self.component]
        x = x - folded * np.copysign(TWO_PI, x)
        return x, np.all(near[self.component] | ~folded, axis=-1)


class Kernels:
    """The normals of a mixture, without their centres.

    Parameters
    ----------
    covariances : float64 array [L, d, d]
        Positive definite, in radians squared.
    """

    def __init__(self, covariances: FloatArray) -> None:
        self.covariances = covariances
        factors = np.linalg.cholesky(covariances)
        self.factors = factors
        self.images = Images(np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)))
        whiten = np.swapaxes(np.linalg.inv(factors), 1, 2)
        self._whiten = whiten[self.images.component]
        dimensions = covariances.shape[1]
        log_volumes = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        self._log_norm = (-0.5 * dimensions * LOG_TWO_PI - log_volumes)[self.images.component]
        self._conditionals: dict[tuple[int, ...], Conditional] = {}

    def image_terms(self, delta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The images [I, F, d] of differences [L, F, d] and the log of each one's density [I, F].

        Images that do not count have minus infinity.
        """
        x, counts = self.images.of(delta)
        z = x @ self._whiten
        terms = self._log_norm[:, None] - 0.5 * np.einsum("ifd,ifd->if", z, z)
        if counts is not None:
            terms[~counts] = -np.inf
        return x, terms

    def log_densities(self, delta: FloatArray) -> FloatArray:
        """Logs of the wrapped normals' densities [L, F] at differences [L, F, d] in (-pi, pi]."""
        _, terms = self.image_terms(delta)
        if self.images.single:
            return terms
        return np.asarray(np.logaddexp.reduceat(terms, self.images.starts, axis=0))

    def given(self, free: Sequence[int]) -> Conditional:
        """The normals of the free dimensions given the others; kept for the next call."""
        key = tuple(free)
        if key not in self._conditionals:
            self._conditionals[key] = Conditional(self.covariances, key)
        return self._conditionals[key]


class Conditional:
    """Normals of some dimensions given the others.

    Parameters
    ----------
    covariances : float64 array [L, d, d]
    free : tuple of int
        Dimensions that are not given.

    Attributes
    ----------
    fixed : list of int
        Dimensions that are given.
    gain : float64 array [L, free, fixed]
        By which the given differences move the mean of the free ones.
    factors : float64 array [L, free, free]
        Lower Cholesky factors of the conditional covariances.
    """

    def __init__(self, covariances: FloatArray, free: tuple[int, ...]) -> None:
        dimensions = covariances.shape[1]
        self.fixed = [j for j in range(dimensions) if j not in free]
        rows = list(free)
        own = covariances[:, rows][:, :, rows]
        if not self.fixed:
            self.gain = np.zeros((len(covariances), len(rows), 0))
            self.factors = np.linalg.cholesky(own)
            return
        mixed = covariances[:, self.fixed][:, :, rows]
        given = covariances[:, self.fixed][:, :, self.fixed]
        self.gain = np.swapaxes(np.linalg.solve(given, mixed), 1, 2)
        self.factors = np.linalg.cholesky(own - self.gain @ mixed)
        self._given = given

    @cached_property
    def marginals(self) -> Kernels:
        """The normals of the given dimensions."""
        return Kernels(self._given)
