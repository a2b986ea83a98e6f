"""What may be wrong with a frame, and the verdict that follows from it.

Defects come in two kinds. A broken bond, a wrong hand, a flipped peptide bond, a threaded ring or a
constraint far off are *hard*: a minimiser hides them without mending them (a force field knows no
handedness, and pulls torn bonds to some local minimum), so they decide whatever the energy is.
Overlaps, strain, bent planes and rings and a high energy are *soft*: they are judged again after a
short relaxation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["INVALID", "REASONS", "RELAXED", "VALID", "Defect", "decide", "energy_defects"]

VALID = "valid"
RELAXED = "valid after relaxation"
INVALID = "invalid"

#: Reasons in the order in which they are tested, hard ones first. The names are those that the
#: integrator counts; ``strain``, ``planarity``, ``pucker`` and ``relaxation`` are the validator's.
HARD_REASONS = ("nonfinite", "bonds", "chirality", "cis_trans", "rings", "constraints")
SOFT_REASONS = ("clash", "environment", "strain", "planarity", "pucker", "energy")
REASONS = ("accepted", *HARD_REASONS, *SOFT_REASONS, "relaxation")


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a frame.

    Attributes
    ----------
    reason : str
        One of `REASONS`.
    detail : str
        What, where and how far, with numbers.
    """

    reason: str
    detail: str


def decide(raw: Sequence[Defect], relaxed: Sequence[Defect] | None) -> tuple[str, Defect]:
    """Come to a verdict.

    Parameters
    ----------
    raw : sequence of Defect
        What is wrong with the frame as it is.
    relaxed : sequence of Defect or None
        What is wrong with it after the relaxation; None when there was none.

    Returns
    -------
    verdict : str
    defect : Defect
        The one that decided: the first hard one of the frame; otherwise the first one that is left
        after the relaxation; otherwise the first soft one of the frame.
    """

    def first(defects: Sequence[Defect], reasons: tuple[str, ...]) -> Defect | None:
        chosen = [defect for defect in defects if defect.reason in reasons]
        return min(chosen, key=lambda defect: reasons.index(defect.reason), default=None)

    hard = first(raw, HARD_REASONS)
    if hard is not None:
        return INVALID, hard
    soft = first(raw, SOFT_REASONS)
    if soft is None:
        return VALID, Defect("accepted", "")
    if relaxed is None:
        return INVALID, soft
    left = first(relaxed, REASONS[1:])
    if left is not None:
        return INVALID, Defect(left.reason, f"{left.detail} (after relaxation)")
    return RELAXED, soft


def energy_defects(
    energy_kj_per_mol: float, limit_kj_per_mol: float, allowance_kj_per_mol: float = 0.0
) -> list[Defect]:
    """The defect of an energy that is above the window, or that is none; a limit of NaN is none.

    Parameters
    ----------
    energy_kj_per_mol, limit_kj_per_mol : float
    allowance_kj_per_mol : float
        how much of the energy the rounding of coordinates may explain.
    """
    if not math.isfinite(energy_kj_per_mol):
        return [Defect("energy", "the potential energy is not finite")]
    if energy_kj_per_mol - allowance_kj_per_mol > limit_kj_per_mol:
        energy, limit = _energy(energy_kj_per_mol), _energy(limit_kj_per_mol)
        text = f"{energy} is above the window's {limit}"
        if allowance_kj_per_mol:
            text += f", rounded coordinates explain {_energy(allowance_kj_per_mol)} at most"
        return [Defect("energy", text)]
    return []


def _energy(value: float) -> str:
    """Plain where that is readable, powers of ten where it is not."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.1f} kJ/mol" if abs(value) < 1e6 else f"{value:.3g} kJ/mol"
