"""Errors of the way from a Topology to features or a System; all are ValueErrors."""

from __future__ import annotations

MAX_LISTED = 20
"""Faults that one message tells in full."""


class FeatureError(ValueError):
    """A Topology cannot be turned into features; the message says where and what to do."""


class MissingAtomsError(FeatureError):
    """A residue lacks hydrogens or heavy atoms."""


class MissingBondsError(FeatureError):
    """A Topology or one of its residues lacks bonds, or has them wrong."""


class UnknownResidueError(FeatureError):
    """A residue is not a standard one and nothing says what its chemistry is."""


class ForceFieldError(ValueError):
    """A force field cannot be loaded, or does not fit the molecule."""


def raise_all(faults: list[FeatureError]) -> None:
    """Raise what was found wrong, together; nothing where the list is empty.

    One fault is raised as it is. Several make one error of their common type, or of FeatureError.

    Raises
    ------
    FeatureError
    """
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    kinds = {type(fault) for fault in faults}
    kind = kinds.pop() if len(kinds) == 1 else FeatureError
    shown = ["  " + str(fault).replace("\n", "\n  ") for fault in faults[:MAX_LISTED]]
    if len(faults) > MAX_LISTED:
        shown.append(f"  and {len(faults) - MAX_LISTED} more")
    raise kind(f"{len(faults)} faults of the molecule:\n" + "\n".join(shown))
