"""Means and standard deviations of many quantities of frames, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .findings import EnergyFindings

__all__ = ["Spreads", "quantities"]


def quantities(energies: EnergyFindings) -> dict[tuple[str, ...], float]:
    """The energies (kJ/mol) of a frame whose spread is told, by what they are.

    Returns
    -------
    dict of tuple to float
        ``("force", name)``, ``("interaction", pair, part)``, ``("residue", number)`` and
        ``("second",)``.
    """
    found: dict[tuple[str, ...], float] = {
        ("force", name): value for name, value in energies.by_force_kj_per_mol.items()
    }
    for pair, parts in energies.interactions_kj_per_mol.items():
        found.update({("interaction", pair, part): value for part, value in parts.items()})
    if energies.residues_kj_per_mol is not None:
        values = energies.residues_kj_per_mol
        found.update({("residue", str(k)): float(value) for k, value in enumerate(values)})
    if energies.second_kj_per_mol is not None:
        found["second",] = energies.second_kj_per_mol
    return found


class Spreads:
    """Mean and standard deviation of named numbers, by Welford's recurrence.

    What is not finite is passed over.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[int, float, float]] = {}

    def add(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Take one more value of each into account."""
        for key, value in values.items():
            if not np.isfinite(value):
                continue
            count, mean, squares = self._sums.get(key, (0, 0.0, 0.0))
            step = value - mean
            mean += step / (count + 1)
            self._sums[key] = (count + 1, mean, squares + step * (value - mean))

    def merge(self, other: Spreads) -> None:
        """Take all values of another one into account."""
        for key, (n, mean, squares) in other._sums.items():
            count, own, own_squares = self._sums.get(key, (0, 0.0, 0.0))
            step, total = mean - own, count + n
            self._sums[key] = (
                total,
                own + step * n / total,
                own_squares + squares + step**2 * count * n / total,
            )

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self._sums)

    def mean(self, *key: str) -> float | None:
        """Mean of a quantity; None without a value."""
        return self._sums[key][1] if key in self._sums else None

    def sd(self, *key: str) -> float | None:
        """Standard deviation with n - 1 in the denominator; None with fewer than two values."""
        count, _, squares = self._sums.get(key, (0, 0.0, 0.0))
        return float(np.sqrt(squares / (count - 1))) if count > 1 else None

    def beside(self, reference: Spreads | None, *key: str) -> dict[str, float | None]:
        """``mean``, ``sd``, ``reference_mean`` and ``reference_sd`` of a quantity."""
        return {
            "mean": self.mean(*key),
            "sd": self.sd(*key),
            "reference_mean": None if reference is None else reference.mean(*key),
            "reference_sd": None if reference is None else reference.sd(*key),
        }
