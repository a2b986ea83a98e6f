"""The verdict on a frame with all that was found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .defects import INVALID
from .findings import EnergyFindings, GeometryFindings, RelaxationFindings

__all__ = ["FrameVerdict"]


@dataclass(frozen=True)
class FrameVerdict:
    """What was found in one frame. Energies in kJ/mol, lengths in nm, angles in degrees.

    Attributes
    ----------
    frame : int
        Number in the trajectory, from 0.
    time_ps : float
        Time stamp of the trajectory; NaN where it has none.
    verdict : str
        ``valid``, ``valid after relaxation`` or ``invalid``.
    reason : str
        ``accepted``, or the first test that failed (`defects.REASONS`); for a frame that is valid
        after relaxation the one that failed before.
    detail : str
        The reason with numbers and names; empty when accepted.
    energies : EnergyFindings
    geometry : GeometryFindings
        Of the frame as it is.
    relaxation : RelaxationFindings
    notes : tuple of str
        What was noticed that is no fault, of "the frame ...".
    worst_widths : dict of int to (float, str)
        Of residues with a bond or angle beyond the outlier threshold (numbers among the solute's
        residues): the worst one in thermal standard deviations, and what it is.
    """

    frame: int
    time_ps: float
    verdict: str
    reason: str
    detail: str
    energies: EnergyFindings
    geometry: GeometryFindings = field(default_factory=GeometryFindings)
    relaxation: RelaxationFindings = field(default_factory=RelaxationFindings)
    notes: tuple[str, ...] = ()
    worst_widths: dict[int, tuple[float, str]] = field(default_factory=dict)

    @property
    def isValid(self) -> bool:
        """Whether the frame is valid as it is or after relaxation."""
        return self.verdict != INVALID

    def row(self, omega_labels: tuple[str, ...] = ()) -> dict[str, Any]:
        """Flatten into one row of a table: a column a finding, a column a force.

        Parameters
        ----------
        omega_labels : tuple of str
            Names of the peptide bonds, written before each omega angle.

        Returns
        -------
        dict of str to str, int, bool or float
        """
        return {
            "frame": self.frame,
            "time_ps": self.time_ps,
            "verdict": self.verdict,
            "reason": self.reason,
            "detail": self.detail,
            **self.energies.columns(),
            **self.geometry.columns(omega_labels),
            **self.relaxation.columns(),
            **self.geometry.columns_in_depth(),
            **self.energies.columns_in_depth(),
        }
