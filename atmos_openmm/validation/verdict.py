"""The verdict on a frame: valid, valid after relaxation, or invalid, and for which reason.

Faults come in two kinds. A broken bond, a wrong hand, a flipped peptide bond, a threaded ring or a
constraint far off are *hard*: a minimiser hides them without mending them (a force field knows no
handedness, and pulls torn bonds to some local minimum), so they decide whatever the energy is.
Overlaps, strain and a high energy are *soft*: they are judged again after a short relaxation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["INVALID", "RELAXED", "REASONS", "VALID", "FrameVerdict", "Fault", "decide"]

VALID = "valid"
RELAXED = "valid after relaxation"
INVALID = "invalid"

#: Reasons in the order in which they are tested, hard ones first. The names are those that the
#: integrator counts; ``strain`` and ``relaxation`` are the validator's own.
HARD_REASONS = ("nonfinite", "bonds", "chirality", "cis_trans", "rings", "constraints")
SOFT_REASONS = ("clash", "environment", "strain", "energy")
REASONS = ("accepted", *HARD_REASONS, *SOFT_REASONS, "relaxation")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a frame.

    Attributes
    ----------
    reason: str
        one of `REASONS`.
    detail: str
        what, where and how far, with numbers.
    """

    reason: str
    detail: str


@dataclass(frozen=True)
class FrameVerdict:
    """What was found in one frame. Energies in kJ/mol, lengths in nm, angles in degrees.

    Numbers that could not be had (no relaxation asked for, a frame that is not finite) are NaN.

    Attributes
    ----------
    frame: int
        number in the trajectory, from 0.
    time_ps: float
        time stamp of the trajectory; NaN where it has none.
    verdict: str
        ``valid``, ``valid after relaxation`` or ``invalid``.
    reason: str
        ``accepted``, or the first test that failed (`REASONS`); for a frame that is valid after
        relaxation the one that failed before.
    detail: str
        the reason with numbers and names; empty when accepted.
    energies_kj_per_mol: dict of str to float
        energy of the frame as it is, by force.
    energy_raw_kj_per_mol: float
        their sum.
    energy_constrained_kj_per_mol: float
        energy after applying the constraints only.
    energy_relaxed_kj_per_mol: float
        energy after the limited minimisation.
    window_limit_kj_per_mol: float
        the energy that the verdict compares with; NaN when there was nothing to compare with.
    in_window: bool
        whether the energy after constraints is at or below the limit; False without a limit.
    largest_force_kj_per_mol_nm: float
    largest_force_atom: str
    clashes: int
        pairs of atoms that overlap.
    worst_clash: str
    worst_clash_nm: float
        distance of the pair that overlaps most.
    bond_outliers, angle_outliers: int
        terms further from their equilibrium than the outlier threshold.
    worst_bond, worst_angle: str
    worst_bond_sigma, worst_angle_sigma: float
        signed deviation of the worst one, in thermal standard deviations.
    constraint_error_nm: float
        largest deviation of a constraint before it is applied.
    worst_constraint: str
    broken_bonds, wrong_chirality, flipped_torsions, threaded_rings: tuple of str
        names of what is wrong.
    omega_deg: tuple of float
        the omega angle of each peptide bond, in the order of ``EnergyValidator.omegaLabels``.
    cis_peptide_bonds: tuple of str
        peptide bonds that are cis, those before proline and those expected to be cis too.
    rmsd_heavy_nm, rmsd_all_nm: float
        distance of the frame before to after the relaxation, superposed on heavy atoms and on
        all atoms; solvent and ions are left out.
    relaxed_clashes: int
        overlaps left after relaxation; -1 without relaxation.
    """

    frame: int
    time_ps: float
    verdict: str
    reason: str
    detail: str
    energies_kj_per_mol: dict[str, float]
    energy_raw_kj_per_mol: float
    energy_constrained_kj_per_mol: float
    energy_relaxed_kj_per_mol: float
    window_limit_kj_per_mol: float
    in_window: bool
    largest_force_kj_per_mol_nm: float
    largest_force_atom: str
    clashes: int
    worst_clash: str
    worst_clash_nm: float
    bond_outliers: int
    worst_bond: str
    worst_bond_sigma: float
    angle_outliers: int
    worst_angle: str
    worst_angle_sigma: float
    constraint_error_nm: float
    worst_constraint: str
    broken_bonds: tuple[str, ...]
    wrong_chirality: tuple[str, ...]
    flipped_torsions: tuple[str, ...]
    threaded_rings: tuple[str, ...]
    omega_deg: tuple[float, ...]
    cis_peptide_bonds: tuple[str, ...]
    rmsd_heavy_nm: float
    rmsd_all_nm: float
    relaxed_clashes: int

    @property
    def isValid(self) -> bool:
        """Whether the frame is valid as it is or after relaxation."""
        return self.verdict != INVALID

    def row(self, omega_labels: tuple[str, ...] = ()) -> dict[str, Any]:
        """Flatten into one row of a table: a column a field, a column a force.

        Parameters
        ----------
        omega_labels: tuple of str
            names of the peptide bonds, written before each omega angle.

        Returns
        -------
        dict of str to str, int or float
        """
        result: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "energies_kj_per_mol":
                result.update({f"energy_{k}_kj_per_mol": v for k, v in value.items()})
            elif field.name == "omega_deg":
                labels = omega_labels or tuple(str(i) for i in range(len(value)))
                pairs = zip(labels, value, strict=True) if value else ()
                result[field.name] = "; ".join(f"{label} {omega:.1f}" for label, omega in pairs)
            elif isinstance(value, tuple):
                result[field.name] = "; ".join(value)
            else:
                result[field.name] = value
        return result


def decide(raw: list[Fault], relaxed: list[Fault] | None) -> tuple[str, Fault]:
    """Come to a verdict.

    Parameters
    ----------
    raw: list of Fault
        what is wrong with the frame as it is.
    relaxed: list of Fault or None
        what is wrong with it after the relaxation; None when there was none.

    Returns
    -------
    verdict: str
    fault: Fault
        the one that decided: the first hard fault of the frame; otherwise the first fault that is
        left after the relaxation; otherwise the first soft fault of the frame.
    """

    def first(faults: list[Fault], reasons: tuple[str, ...]) -> Fault | None:
        chosen = [fault for fault in faults if fault.reason in reasons]
        return min(chosen, key=lambda fault: reasons.index(fault.reason), default=None)

    hard = first(raw, HARD_REASONS)
    if hard is not None:
        return INVALID, hard
    soft = first(raw, SOFT_REASONS)
    if soft is None:
        return VALID, Fault("accepted", "")
    if relaxed is None:
        return INVALID, soft
    left = first(relaxed, REASONS[1:])
    if left is not None:
        return INVALID, Fault(left.reason, f"{left.detail} (after relaxation)")
    return RELAXED, soft


def format_energy(value: float) -> str:
    """An energy for messages: plain where that is readable, powers of ten where it is not."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.1f} kJ/mol" if abs(value) < 1e6 else f"{value:.3g} kJ/mol"
