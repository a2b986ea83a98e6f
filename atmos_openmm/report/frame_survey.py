"""What a validation page shows of the frames themselves: torsions, strain and the worst ones.

Frames are read one after the other; memory grows with the molecule, not with the trajectory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import torsion_angles
from ..systems.backbone import backbone_quads
from ..trajectories.frames import Frame
from ..trajectories.reader import joined
from ..trajectories.topology import SoluteTopology
from ..validation.terms import (
    HarmonicTerms,
    angle_deviations,
    angle_terms,
    bond_deviations,
    bond_terms,
    constraint_terms,
)

__all__ = ["BackboneMaps", "FrameSurvey", "StrainMeter"]

#: 6 degrees wide.
BINS = 60

#: Classes of residues whose allowed regions differ, in the order of the page.
CLASSES = ("other residues", "glycine", "proline")


class BackboneMaps:
    """Histograms of phi and psi over the frames of one molecule, a class of residues each.

    Parameters
    ----------
    solute : SoluteTopology

    Attributes
    ----------
    counts : dict of str to array [BINS, BINS]
        By class; classes without a residue are left out. Rows are phi from -180 degrees on.
    """

    def __init__(self, solute: SoluteTopology) -> None:
        residues = [
            r
            for r in solute.topology.residues()
            if r.name not in ("ACE", "NME") and {"N", "CA", "C"} <= {a.name for a in r.atoms()}
        ]
        self._torsions: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.counts: dict[str, NDArray[np.float64]] = {}
        kinds = {"GLY": "glycine", "PRO": "proline"}
        quads = list(zip(residues, backbone_quads(solute.topology), strict=True))
        for name in CLASSES:
            rows = [
                (quad["phi"], quad["psi"])
                for residue, quad in quads
                if kinds.get(residue.name, CLASSES[0]) == name and quad["phi"] and quad["psi"]
            ]
            if rows:
                phi, psi = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
                self._torsions[name] = phi, psi
                self.counts[name] = np.zeros((BINS, BINS))

    def add(self, positions_nm: NDArray[Any]) -> None:
        """Count one frame [A, 3] of the solute."""
        for name, atoms in self._torsions.items():
            phi, psi = (np.degrees(torsion_angles(positions_nm[None], a)[0]) for a in atoms)
            known = np.isfinite(phi) & np.isfinite(psi)
            edges = [np.linspace(-180, 180, BINS + 1)] * 2
            self.counts[name] += np.histogram2d(phi[known], psi[known], edges)[0]

    def shares(self, name: str) -> NDArray[np.float64]:
        """Percent of what was counted of a class, [BINS, BINS]."""
        counts = self.counts[name]
        return np.asarray(100 * counts / max(counts.sum(), 1))


class StrainMeter:
    """The strain of each residue: its bond, angle or constraint furthest from equilibrium.

    Parameters
    ----------
    solute : SoluteTopology
        Of A atoms and R residues.
    system : openmm.System
        Of the whole Topology.
    temperature_K : float
        Of the thermal widths.
    """

    def __init__(self, solute: SoluteTopology, system: Any, temperature_K: float) -> None:
        place = np.full(system.getNumParticles(), -1, dtype=np.int64)
        place[solute.atoms] = np.arange(len(solute.atoms))
        self._residue = np.array([a.residue.index for a in solute.topology.atoms()])
        self._num_residues = solute.topology.getNumResidues()
        self._kinds = [
            (deviations, _within(terms(system, temperature_K), place))
            for terms, deviations in (
                (bond_terms, bond_deviations),
                (constraint_terms, bond_deviations),
                (angle_terms, angle_deviations),
            )
        ]

    def measure(self, positions_nm: NDArray[Any]) -> NDArray[np.float64]:
        """Of one frame [A, 3], in thermal standard deviations [R]; 0 where there is no term."""
        result = np.zeros(self._num_residues)
        for deviations, terms in self._kinds:
            sigma = np.abs(deviations(terms, positions_nm) / terms.sigma)
            for column in terms.atoms.T:
                np.maximum.at(result, self._residue[column], sigma)
        return result


def _within(terms: HarmonicTerms, place: NDArray[np.int64]) -> HarmonicTerms:
    """Those terms whose atoms all have a place, with the places in their stead."""
    atoms = place[terms.atoms]
    kept = (atoms >= 0).all(axis=1)
    return HarmonicTerms(atoms[kept], terms.equilibrium[kept], terms.sigma[kept])


class FrameSurvey:
    """Gathers what is shown of the frames of one or several trajectories.

    Frames without finite coordinates are left out.

    Parameters
    ----------
    solute : SoluteTopology
        Of A atoms and R residues.
    meter : StrainMeter, optional
    kept : collection of (str, int)
        Trajectories and numbers of the frames whose positions are kept.

    Attributes
    ----------
    maps : BackboneMaps
    num_frames : int
        Those that were added.
    strain_largest : array [R] or None
        Of all frames; None without a meter.
    strain_frame : list of R (str, int)
        The frames where it is largest.
    positions_nm : dict of (str, int) to array [A, 3]
        Of the kept frames.
    strain : dict of (str, int) to array [R]
        Of the kept frames.
    """

    def __init__(
        self,
        solute: SoluteTopology,
        meter: StrainMeter | None = None,
        kept: Collection[tuple[str, int]] = (),
    ) -> None:
        count = solute.topology.getNumResidues()
        self._solute, self._meter, self._kept = solute, meter, kept
        self.maps = BackboneMaps(solute)
        self.num_frames = 0
        self._strain_sum = np.zeros(count)
        self.strain_largest = None if meter is None else np.zeros(count)
        self.strain_frame = [("", -1)] * count
        self.positions_nm: dict[tuple[str, int], NDArray[np.float64]] = {}
        self.strain: dict[tuple[str, int], NDArray[np.float64]] = {}

    @property
    def strain_mean(self) -> NDArray[np.float64] | None:
        """Mean over the frames, [R]; None without a meter."""
        return None if self._meter is None else self._strain_sum / max(self.num_frames, 1)

    # Coordinates of any size are measured; what overflows on the way is out of range.
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def add(self, frames: Iterable[Frame], name: str = "") -> None:
        """Read frames of the trajectory called `name`."""
        for frame in frames:
            x = joined(frame, self._solute)
            if not np.isfinite(x).all():
                continue
            key = (name, frame.index)
            self.num_frames += 1
            self.maps.add(x)
            if key in self._kept:
                self.positions_nm[key] = x
            if self._meter is not None:
                self._add_strain(key, self._meter.measure(x))

    def _add_strain(self, key: tuple[str, int], strain: NDArray[np.float64]) -> None:
        assert self.strain_largest is not None
        strain = np.nan_to_num(strain, nan=0.0, posinf=float(np.finfo(np.float32).max))
        self._strain_sum += strain
        larger = strain > self.strain_largest
        self.strain_largest[larger] = strain[larger]
        for residue in np.flatnonzero(larger):
            self.strain_frame[residue] = key
        if key in self._kept:
            self.strain[key] = strain
