"""What training saw, for the declaration of a model: gathered from draws, merged over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .picking import EQUILIBRIUM_LAGS_PS, STATIC_TEMPERATURE_KELVIN

__all__ = ["Seen"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """Molecules and conditions of some draws.

    Merging is commutative, associative and idempotent, so the order of ranks and a draw that is
    made again after a resumption change nothing.

    Attributes
    ----------
    molecules, residues : frozenset of str
        Names.
    elements : frozenset of int
        Atomic numbers.
    kinds : frozenset of str
        Of the samples: ``static``, ``dynamics``, ``exchange``.
    max_tokens, max_atoms : int
        Of the largest molecule, before it is cropped.
    temperature_range_kelvin : (float, float), optional
        None where nothing but structures without time was seen.
    lag_range_ps : (float, float), optional
        The range that lags were drawn from: that of the settings, cut where the runs that were
        seen have no such lag. None as above.
    """

    molecules: frozenset[str] = frozenset()
    residues: frozenset[str] = frozenset()
    elements: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    max_tokens: int = 0
    max_atoms: int = 0
    temperature_range_kelvin: Range | None = None
    lag_range_ps: Range | None = None

    def merged(self, other: Seen) -> Seen:
        """What both saw."""
        return Seen(
            _joined(self.molecules, other.molecules),
            _joined(self.residues, other.residues),
            _joined(self.elements, other.elements),
            _joined(self.kinds, other.kinds),
            max(self.max_tokens, other.max_tokens),
            max(self.max_atoms, other.max_atoms),
            _span(self.temperature_range_kelvin, other.temperature_range_kelvin),
            _span(self.lag_range_ps, other.lag_range_ps),
        )

    @staticmethod
    def of_all(parts: Iterable[Seen]) -> Seen:
        """Merge any number of them; of none, what an untrained network saw."""
        total = Seen()
        for part in parts:
            total = total.merged(part)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, sets as sorted lists."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else _listed(value)
            for name, value in vars(self).items()
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Seen:
        """Read :meth:`to_dict`'s result, or :meth:`describe`'s.

        Raises
        ------
        ValueError
            An entry is missing or of another type.
        """
        try:
            return Seen(
                frozenset(map(str, values["molecules"])),
                frozenset(map(str, values["residues"])),
                frozenset(map(int, values["elements"])),
                frozenset(map(str, values["kinds"])),
                int(values["max_tokens"]),
                int(values["max_atoms"]),
                _range(values["temperature_range_kelvin"]),
                _range(values["lag_range_ps"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"This is no record of what training saw ({error!r}); it was written by another "
                "version of atmos_openmm, or altered."
            ) from error

    def describe(self) -> dict[str, Any]:
        """Return what a model may declare of its training, the ``data`` of a checkpoint.

        Structures without time are given a temperature and a lag that their molecules never had,
        so these are declared where there is nothing else, and do not widen the ranges of moving
        frames.
        """
        values = self.to_dict()
        if self.temperature_range_kelvin is None:
            values["temperature_range_kelvin"] = [STATIC_TEMPERATURE_KELVIN] * 2
        if self.lag_range_ps is None:
            values["lag_range_ps"] = list(EQUILIBRIUM_LAGS_PS)
        return values | {"has_exchange": "exchange" in self.kinds}


T = TypeVar("T")


def _joined(one: frozenset[T], two: frozenset[T]) -> frozenset[T]:
    """The union; a draw of something known costs no copy of all that is known."""
    return one if two <= one else one | two


def _span(one: Range | None, two: Range | None) -> Range | None:
    if one is None or two is None:
        return one or two
    return min(one[0], two[0]), max(one[1], two[1])


def _listed(value: Any) -> Any:
    return list(map(float, value)) if isinstance(value, tuple) else value


def _range(value: Any) -> Range | None:
    return None if value is None else (float(value[0]), float(value[1]))
