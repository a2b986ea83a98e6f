"""What is wrong with a data file, in plain words, and what to do with such a file.

Nothing is left out silently: a reader either stops at the first fault that makes a sample useless
(``stop``), or leaves the sample out, says so by a warning and keeps the fault in its log
(``skip``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "DataFileError",
    "DataFileWarning",
    "Fault",
    "FaultLog",
    "Policy",
]

Policy = Literal["skip", "stop"]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file.

    Attributes
    ----------
    path : str
        The file.
    entry : str
        Where in the file: a group, a trajectory, a residue; '' for the whole file.
    kind : str
        A word that programs can test: ``unreadable, layout, missing, shape, inconsistent,
        nonfinite, broken, chemistry, mirrored, copy, image, ligand-gone, no-mol, order,
        incomplete, changed``.
    message : str
        A sentence: what was found, what was expected, what to do.
    fatal : bool
        Whether the entry cannot be used. Other faults are worth knowing.
    """

    path: str
    entry: str
    kind: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        where = self.path + (f" [{self.entry}]" if self.entry else "")
        return f"{where}: {self.message}"


class DataFileError(ValueError):
    """A data file, or an entry of one, that cannot be used.

    Attributes
    ----------
    fault : Fault
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault

    def __reduce__(self) -> tuple[type[DataFileError], tuple[Fault]]:
        return type(self), (self.fault,)  # errors travel between the processes of a reader


class DataFileWarning(UserWarning):
    """Something was left out of a data set, or is doubtful."""


class FaultLog:
    """The faults found so far, and the policy.

    Parameters
    ----------
    on_error : str
        ``stop``: the first fatal fault is raised. ``skip``: it is kept and a `DataFileWarning`
        names it; what it belongs to is left out by the caller.

    Raises
    ------
    ValueError
        Another policy.
    """

    def __init__(self, on_error: Policy = "stop") -> None:
        if on_error not in ("skip", "stop"):
            raise ValueError(f"on_error is {on_error!r}; expected 'skip' or 'stop'.")
        self.on_error = on_error
        self.faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Keep a fault; raise or warn as the policy says.

        Raises
        ------
        DataFileError
            A fatal fault under ``stop``.
        """
        if fault.fatal and self.on_error == "stop":
            raise DataFileError(fault)
        self.faults.append(fault)
        what = "Left out: " if fault.fatal else ""
        warnings.warn(f"{what}{fault}", DataFileWarning, stacklevel=3)

    def extend(self, faults: Iterable[Fault]) -> bool:
        """Keep several; return whether none of them is fatal."""
        usable = True
        for fault in faults:
            self.add(fault)
            usable = usable and not fault.fatal
        return usable
