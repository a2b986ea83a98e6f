"""What is found in one frame: its energies, its geometry, and what the relaxation makes of it.

Numbers that could not be had are NaN. Each class gives its columns in tables and CSV files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from .defects import Defect

__all__ = ["EnergyFindings", "GeometryFindings", "RelaxationFindings"]

NAN = float("nan")


@dataclass(frozen=True)
class EnergyFindings:
    """Potential energies and the largest force of a frame.

    Attributes
    ----------
    by_force_kj_per_mol : dict of str to float
        Energy of the frame as it is, by force.
    raw_kj_per_mol : float
        Their sum.
    constrained_kj_per_mol : float
        After applying the constraints only.
    relaxed_kj_per_mol : float
        After the limited minimisation.
    window_limit_kj_per_mol : float
        The energy that the verdict compares with; NaN when there was nothing to compare with.
    largest_force_kj_per_mol_nm : float
    largest_force_atom : str
    rounding_kj_per_mol : float
        By how much the file's rounding of coordinates raises the energy on average; 0 where there
        is none.
    rounding_allowance_kj_per_mol : float
        What is taken off the energy before it is compared with the limit: the above and three
        standard deviations of its scatter.
    interactions_kj_per_mol : dict of str to (dict of str to float)
        Pair of groups -> ``coulomb``, ``lennard_jones``, ``total`` (and ``solvation``).
    residues_kj_per_mol : array [R] or None
        Bonded energy of each residue of the solute.
    second_kj_per_mol : float or None
        Energy in the second potential; None where there is none.
    """

    by_force_kj_per_mol: dict[str, float]
    raw_kj_per_mol: float = NAN
    constrained_kj_per_mol: float = NAN
    relaxed_kj_per_mol: float = NAN
    window_limit_kj_per_mol: float = NAN
    largest_force_kj_per_mol_nm: float = NAN
    largest_force_atom: str = ""
    rounding_kj_per_mol: float = 0.0
    rounding_allowance_kj_per_mol: float = 0.0
    interactions_kj_per_mol: dict[str, dict[str, float]] = field(default_factory=dict)
    residues_kj_per_mol: Any = None
    second_kj_per_mol: float | None = None

    @property
    def unrounded_kj_per_mol(self) -> float:
        """The energy after constraints less what rounding adds on average."""
        return self.constrained_kj_per_mol - self.rounding_kj_per_mol

    @property
    def in_window(self) -> bool:
        """Whether the energy after constraints is at or below the limit; False without a limit."""
        energy = self.constrained_kj_per_mol - self.rounding_allowance_kj_per_mol
        return bool(energy <= self.window_limit_kj_per_mol)

    def columns(self) -> dict[str, Any]:
        """Column -> value."""
        return {
            **{f"energy_{k}_kj_per_mol": v for k, v in self.by_force_kj_per_mol.items()},
            "energy_raw_kj_per_mol": self.raw_kj_per_mol,
            "energy_constrained_kj_per_mol": self.constrained_kj_per_mol,
            "energy_relaxed_kj_per_mol": self.relaxed_kj_per_mol,
            "window_limit_kj_per_mol": self.window_limit_kj_per_mol,
            "in_window": self.in_window,
            "largest_force_kj_per_mol_nm": self.largest_force_kj_per_mol_nm,
            "largest_force_atom": self.largest_force_atom,
        }

    def columns_in_depth(self) -> dict[str, Any]:
        """Column -> value, of what stands behind all others in a table."""
        found: dict[str, Any] = {"rounding_kj_per_mol": self.rounding_kj_per_mol}
        for pair, parts in self.interactions_kj_per_mol.items():
            for part, value in parts.items():
                found[f"interaction_{pair}_{part}_kj_per_mol"] = value
        if self.second_kj_per_mol is not None:
            found["second_energy_kj_per_mol"] = self.second_kj_per_mol
        return found


@dataclass(frozen=True)
class GeometryFindings:
    """The geometry of a frame against its chemistry and its force field.

    Attributes
    ----------
    clashes : int
        Pairs of atoms that overlap.
    worst_clash : str
    worst_clash_nm : float
        Distance of the pair that overlaps most.
    bond_outliers, angle_outliers : int
        Terms further from their equilibrium than the outlier threshold.
    worst_bond, worst_angle : str
    worst_bond_sigma, worst_angle_sigma : float
        Signed deviation of the worst one, in thermal standard deviations.
    constraint_error_nm : float
        Largest deviation of a constraint before it is applied.
    worst_constraint : str
    broken_bonds, wrong_chirality, flipped_torsions, threaded_rings : tuple of str
        Names of what is wrong.
    omega_deg : tuple of float
        The omega angle of each peptide bond, in the order of ``EnergyValidator.omegaLabels``.
    cis_peptide_bonds : tuple of str
        Peptide bonds that are cis, those before proline and those expected to be cis too.
    bent_groups, puckered_rings : tuple of str
        Groups that should be flat and are not, and rings that are puckered too much or too little.
    defects : tuple of Defect
        What fails the screen, at most one a reason, the worst place of each in the detail.
    """

    clashes: int = 0
    worst_clash: str = ""
    worst_clash_nm: float = NAN
    bond_outliers: int = 0
    worst_bond: str = ""
    worst_bond_sigma: float = NAN
    angle_outliers: int = 0
    worst_angle: str = ""
    worst_angle_sigma: float = NAN
    constraint_error_nm: float = NAN
    worst_constraint: str = ""
    broken_bonds: tuple[str, ...] = ()
    wrong_chirality: tuple[str, ...] = ()
    flipped_torsions: tuple[str, ...] = ()
    threaded_rings: tuple[str, ...] = ()
    omega_deg: tuple[float, ...] = ()
    cis_peptide_bonds: tuple[str, ...] = ()
    bent_groups: tuple[str, ...] = ()
    puckered_rings: tuple[str, ...] = ()
    defects: tuple[Defect, ...] = ()

    def columns(self, omega_labels: tuple[str, ...] = ()) -> dict[str, Any]:
        """Column -> value; `omega_labels` are written before each omega angle."""
        labels = omega_labels or tuple(str(i) for i in range(len(self.omega_deg)))
        pairs = zip(labels, self.omega_deg, strict=True) if self.omega_deg else ()
        result: dict[str, Any] = {}
        for one in fields(self):
            if one.name in ("bent_groups", "puckered_rings", "defects"):
                continue  # see `columns_in_depth`
            value = getattr(self, one.name)
            if one.name == "omega_deg":
                value = tuple(f"{label} {omega:.1f}" for label, omega in pairs)
            result[one.name] = "; ".join(value) if isinstance(value, tuple) else value
        return result

    def columns_in_depth(self) -> dict[str, Any]:
        """Column -> value, of what stands behind all others in a table."""
        return {
            "bent_groups": "; ".join(self.bent_groups),
            "puckered_rings": "; ".join(self.puckered_rings),
        }


@dataclass(frozen=True)
class RelaxationFindings:
    """What the limited minimisation did to a frame.

    Attributes
    ----------
    rmsd_heavy_nm, rmsd_all_nm : float
        Distance of the frame before to after, superposed on heavy atoms and on all atoms; solvent
        and ions are left out.
    relaxed_clashes : int
        Overlaps left; -1 without relaxation.
    """

    rmsd_heavy_nm: float = NAN
    rmsd_all_nm: float = NAN
    relaxed_clashes: int = -1

    def columns(self) -> dict[str, Any]:
        """Column -> value."""
        return vars(self)
