"""What can be wrong with a trajectory, beside a file that is damaged."""

from __future__ import annotations

from typing import Literal

__all__ = ["MissingInformationError", "TrajectoryMismatchError"]


class TrajectoryMismatchError(ValueError):
    """A trajectory whose atoms are not those of the topology."""


class MissingInformationError(ValueError):
    """Something that the files do not say and that has to be given.

    Attributes
    ----------
    needed : str
        ``topology``, ``spacing`` or ``temperature``: a command names its option for it.
    """

    def __init__(self, needed: Literal["topology", "spacing", "temperature"], message: str) -> None:
        super().__init__(message)
        self.needed = needed
