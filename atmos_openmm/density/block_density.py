"""The density of the torsions of one block: a mixture whose weights depend on other torsions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .wrapped_normal import LARGEST_SD, FloatArray, Kernels, wrap

__all__ = ["BlockDensity", "Gates"]

Gates = Literal["sequential", "conditional"]


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
