"""Errors of the way from a Topology to features; all are ValueErrors."""

from __future__ import annotations


class FeatureError(ValueError):
    """A Topology cannot be turned into features; the message says where and what to do."""


class MissingAtomsError(FeatureError):
    """A residue lacks hydrogens or heavy atoms."""


class MissingBondsError(FeatureError):
    """A Topology or one of its residues lacks bonds, or has them wrong."""


class UnknownResidueError(FeatureError):
    """A residue is not a standard one and nothing says what its chemistry is."""
