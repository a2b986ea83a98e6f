"""What is left out of the data while a run goes on, each told once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable

from ...data.faults import DataFileWarning, Fault

__all__ = ["LeftOut"]


class LeftOut:
    """Molecules and runs that were left out.

    Attributes
    ----------
    counts : Counter of Fault
        How often, by the first fault of its kind: one run may have many such frames.
    """

    def __init__(self) -> None:
        self.counts: Counter[Fault] = Counter()
        self._first: dict[tuple[str, str, str], Fault] = {}

    def tell(self, faults: Iterable[Fault]) -> None:
        """Count faults, with a `DataFileWarning` for each at its first time."""
        for fault in faults:
            first = self._first.setdefault((fault.path, fault.entry, fault.kind), fault)
            self.counts[first] += 1
            if self.counts[first] == 1:
                warnings.warn(f"Left out: {fault}", DataFileWarning, stacklevel=3)
