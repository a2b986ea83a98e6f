"""The density of the torsions of one block: a mixture whose weights depend on other torsions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .wrapped_normal import LARGEST_SD, LOG_TWO_PI, TWO_PI, FloatArray, Kernels, wrap

__all__ = ["BlockDensity", "Draws", "Gates"]

Gates = Literal["sequential", "conditional"]

_CHUNK = 1 << 21  # numbers in the largest temporary array, about


class Draws(Protocol):
    """Random numbers of one move, in the order in which they are asked for."""

    def uniform(self) -> float:
        """A number in (0, 1]."""
        ...

    def normal(self) -> float:
        """A standard normal deviate."""
        ...


@dataclass(frozen=True, eq=False)
class BlockDensity:
    """A mixture of wrapped normals with gates, over the d torsions of a block.

    The weights of its L components are a softmax of logits; those of component c are
    ``gates[c, 0] + sum_g gates[c, 1 + 2 g] cos(t_g) + gates[c, 2 + 2 g] sin(t_g)``, with t_g the
    torsions named in `gate_torsions`. Arrays are kept as read-only copies in double precision.

    Parameters
    ----------
    means : float64 array [K, d]
        In radians; wrapped into (-pi, pi]. K may be 0: then the block is uniform.
    covariances : float64 array [K, d, d]
        In radians squared; marginal standard deviations are at most `LARGEST_SD`.
    gate_torsions : int64 array [G]
        Torsions outside of the block (numbers in the whole molecule) that the weights depend on.
    sequential : float64 array [L, 1 + 2 G]
        Gates for blocks that are drawn in turn: they look at earlier blocks only.
    conditional : float64 array [L, 1 + 2 G]
        Gates for a block that is drawn given all others.
    local_covariance : float64 array [d, d], optional
        Of one more component, the last row of the gates, whose centre is where the torsions are.

    Raises
    ------
    ValueError
        If a shape or a number is not as described; the message says which.
    """

    means: FloatArray
    covariances: FloatArray
    gate_torsions: NDArray[np.int64]
    sequential: FloatArray
    conditional: FloatArray
    local_covariance: FloatArray | None = None

    def __post_init__(self) -> None:
        means = _array("means", self.means, 2)
        count, size = means.shape
        if size == 0:
            raise ValueError("A block has at least one torsion; means has shape [K, 0].")
        self._keep("means", wrap(means))
        covariances = _array("covariances", self.covariances, 3, (count, size, size))
        for k, covariance in enumerate(covariances):
            _check_covariance(f"covariances[{k}]", covariance)
        self._keep("covariances", covariances)
        if self.local_covariance is not None:
            local = _array("local_covariance", self.local_covariance, 2, (size, size))
            _check_covariance("local_covariance", local)
            self._keep("local_covariance", local)
        gates = np.array(self.gate_torsions, dtype=np.int64).reshape(-1)
        if len(set(gates.tolist())) != len(gates) or (gates < 0).any():
            raise ValueError(
                f"gate_torsions {gates.tolist()} must be different torsions, counted from 0."
            )
        self._keep("gate_torsions", gates)
        shape = (count + (self.local_covariance is not None), 1 + 2 * len(gates))
        self._keep("sequential", _array("sequential", self.sequential, 2, shape))
        self._keep("conditional", _array("conditional", self.conditional, 2, shape))

    def _keep(self, name: str, array: NDArray[Any]) -> None:
        array = np.ascontiguousarray(array)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    @classmethod
    def uniform(cls, size: int) -> BlockDensity:
        """A block of `size` torsions without any component."""
        gates = np.zeros((0, 1))
        return cls(
            np.zeros((0, size)),
            np.zeros((0, size, size)),
            np.zeros(0, dtype=np.int64),
            gates,
            gates,
        )

    @property
    def size(self) -> int:
        """Number of torsions, d."""
        return self.means.shape[1]

    @property
    def has_local(self) -> bool:
        """Whether the last component is centred on where the torsions are."""
        return self.local_covariance is not None

    @cached_property
    def kernels(self) -> Kernels:
        """The normals of all components, the local one last."""
        if self.local_covariance is None:
            return Kernels(self.covariances)
        return Kernels(np.concatenate([self.covariances, self.local_covariance[None]]))

    @cached_property
    def lasting_kernels(self) -> Kernels:
        """The normals of the components with centres of their own."""
        return Kernels(self.covariances)

    def centres(self, present: FloatArray) -> FloatArray:
        """The centres [L, d] of all components, with the block's present torsions [d]."""
        if not self.has_local:
            return self.means
        return np.concatenate([self.means, present[None]])

    def log_weights(self, torsions: FloatArray, gates: Gates, local: bool = True) -> FloatArray:
        """Logs of the components' weights [L, F], which sum to 1, given all torsions [F, T].

        Parameters
        ----------
        torsions : float64 array [F, T]
        gates : str
            "sequential" or "conditional"
        local : bool
            Whether the local component takes part.
        """
        table = self.sequential if gates == "sequential" else self.conditional
        if not local:
            table = table[: len(self.means)]
        angles = torsions[:, self.gate_torsions].T
        logits = table[:, :1] + table[:, 1::2] @ np.cos(angles) + table[:, 2::2] @ np.sin(angles)
        if len(logits) == 0:
            return logits
        shifted = logits - logits.max(axis=0)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0)))

    def log_density(
        self, torsions: FloatArray, where: slice, uniform_weight: float, gates: Gates
    ) -> FloatArray:
        """Log density [F] of the block in frames [F, T], without the local component.

        Parameters
        ----------
        torsions : float64 array [F, T]
        where : slice
            The block's torsions among all.
        uniform_weight : float
        gates : str
        """
        out = np.empty(len(torsions))
        step = max(1, _CHUNK // max(1, len(self.lasting_kernels.images.component) * self.size))
        for start in range(0, len(torsions), step):
            part = torsions[start : start + step]
            delta = wrap(part[None, :, where] - self.means[:, None])
            terms = self.lasting_kernels.log_densities(delta)
            terms = terms + self.log_weights(part, gates, local=False)
            out[start : start + step] = _with_uniform(terms, self.size, uniform_weight)
        return out

    def log_density_at(
        self, to: FloatArray, at: FloatArray, where: slice, uniform_weight: float, gates: Gates
    ) -> float:
        """Log density of the torsions `to` [d], with gates and local centre of `at` [T]."""
        delta = wrap(to - self.centres(at[where]))
        terms = self.kernels.log_densities(delta[:, None]) + self.log_weights(at[None], gates)
        return float(_with_uniform(terms, self.size, uniform_weight)[0])

    def draw(
        self,
        free: Sequence[int],
        at: FloatArray,
        where: slice,
        uniform_weight: float,
        draws: Draws,
        gates: Gates,
    ) -> FloatArray:
        """Draw the free torsions given all others; see `TorsionDensity.draw_block`."""
        out, rows = np.array(at[where]), list(free)
        component, given = self._pick(rows, at, out, uniform_weight, draws.uniform(), gates)
        if component < 0:
            out[rows] = wrap([TWO_PI * draws.uniform() - math.pi for _ in rows])
            return out
        conditional = self.kernels.given(rows)
        normals = np.array([draws.normal() for _ in rows])
        centre = self.centres(out)[component, rows]
        moved = conditional.gain[component] @ given + conditional.factors[component] @ normals
        out[rows] = wrap(centre + moved)
        return out

    def sample(
        self, torsions: FloatArray, uniform_weight: float, generator: np.random.Generator
    ) -> FloatArray:
        """Draw the block [F, d] given the torsions [F, T] of earlier blocks."""
        count = len(torsions)
        out = generator.uniform(-math.pi, math.pi, (count, self.size))
        from_mixture = generator.random(count) >= uniform_weight
        u, normals = generator.random(count), generator.standard_normal((count, self.size))
        if len(self.means) == 0:
            return out
        cumulative = np.cumsum(np.exp(self.log_weights(torsions, "sequential", False)), axis=0)
        chosen = (cumulative < u * cumulative[-1]).sum(axis=0)
        moved = np.einsum("fij,fj->fi", self.lasting_kernels.factors[chosen], normals)
        drawn = wrap(self.means[chosen] + moved)
        out[from_mixture] = drawn[from_mixture]
        return out

    def _pick(
        self,
        free: list[int],
        at: FloatArray,
        present: FloatArray,
        uniform_weight: float,
        u: float,
        gates: Gates,
    ) -> tuple[int, FloatArray]:
        """The component, -1 for the uniform part, and the differences of the given torsions."""
        logs = self.log_weights(at[None], gates)[:, 0]
        if len(logs) == 0:
            return -1, np.zeros(0)
        weights = (1.0 - uniform_weight) * np.exp(logs)
        component, differences = np.arange(len(weights)), np.zeros((len(weights), 0))
        conditional = self.kernels.given(free)
        fixed = conditional.fixed
        if fixed:
            delta = wrap(present[fixed] - self.centres(present)[:, fixed])
            x, terms = conditional.marginals.image_terms(delta[:, None])
            component, differences = conditional.marginals.images.component, x[:, 0]
            weights = weights[component] * np.exp(terms[:, 0])
        cumulative = np.cumsum(weights)
        total = cumulative[-1] + uniform_weight / TWO_PI ** len(fixed)
        chosen = int(np.searchsorted(cumulative, u * total, side="right"))
        if chosen == len(cumulative):
            return -1, np.zeros(0)
        return int(component[chosen]), differences[chosen]


def _with_uniform(terms: FloatArray, size: int, uniform_weight: float) -> FloatArray:
    """Logs [F] of the sum of a mixture's terms [L, F] and the uniform part."""
    if len(terms) == 0:
        return np.full(terms.shape[1], -size * LOG_TWO_PI)
    rest = math.log1p(-uniform_weight) if uniform_weight < 1.0 else -math.inf
    highest = terms.max(axis=0)
    total = highest + np.log(np.exp(terms - highest).sum(axis=0)) + rest
    return np.asarray(np.logaddexp(total, math.log(uniform_weight) - size * LOG_TWO_PI))


def _array(
    name: str, value: ArrayLike, dimensions: int, shape: tuple[int, ...] | None = None
) -> FloatArray:
    array = np.array(value, dtype=np.float64)
    if array.ndim != dimensions or (shape is not None and array.shape != shape):
        expected = f"{dimensions} dimensions" if shape is None else f"shape {list(shape)}"
        raise ValueError(f"{name} has shape {list(array.shape)}; expected {expected}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite.")
    return array


def _check_covariance(name: str, covariance: FloatArray) -> None:
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-15):
        raise ValueError(f"{name} is not symmetric.")
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(f"{name} is not positive definite.") from None
    widest = math.sqrt(covariance.diagonal().max())
    if widest > LARGEST_SD:
        raise ValueError(
            f"{name} has a standard deviation of {widest:.3f} rad; the largest that can be "
            f"wrapped exactly is {LARGEST_SD}. Use more components, or leave the torsion to the "
            "uniform part."
        )
