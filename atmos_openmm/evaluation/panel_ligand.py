"""The ligand panel (BioMD, NeuralMD, BoltzKinema's independent reproduction)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from .ensemble import Ensemble
from .ligand import (
    CONTACT_NM,
    COVERAGE_NM,
    STABLE_NM,
    collisions,
    contact_map,
    coverage,
    ligand_geometry,
    pair_distances,
)
from .panel import ANGSTROM, NOISE, STATIC, Metric, Panel, Settings, applicable
from .rmsf import fluctuations, pearson

__all__ = ["LigandPanel"]


class LigandPanel(Panel):
    """Frames superposed on the native structure by the alpha carbons; ligand heavy atoms."""

    name = "ligand"
    title = "Ligand panel"
    source = "BioMD, arXiv 2509.02642; NeuralMD, NeuralMD/evaluation.py; BoltzKinema's metrics"
    fewest_alpha_carbons = 3
    published_frames = 100
    metrics = (
        Metric("ligand_rmsf", "Ligand RMSF", "A", "reference", "median over ligand atoms", STATIC),
        Metric("ligand_rmsf_r", "Ligand RMSF r", "", "high",
               "Pearson r of the ligand atoms' RMSF with the reference's", frozenset({"frozen"})),
        Metric("protein_rmsf_r", "Protein RMSF r", "", "high", "Pearson r over CA", STATIC),
        Metric("contact_r", "Contact map r", "", "high",
               f"Pearson r of the shares of frames in which residue and ligand atom touch "
               f"(heavy atoms < {ANGSTROM * CONTACT_NM:g} A)", STATIC),
        Metric("bond_error", "Bond length error", "A", "low",
               "mean over bonds of the Wasserstein-1 distance of their lengths", STATIC),
        Metric("angle_error", "Bond angle error", "rad", "low",
               "mean over angles of their Wasserstein-1 distance", STATIC),
        Metric("ligand_clash", "Ligand collisions", "%", "low",
               "pairs of ligand atoms more than two bonds apart nearer than the sum of their "
               "covalent radii", NOISE),
        Metric("binding_clash", "Binding collisions", "%", "low",
               "pairs of a protein and a ligand atom nearer than the sum of their covalent radii",
               NOISE),
        Metric("stability", "Stability", "%", "high",
               f"pairs of ligand atoms within {ANGSTROM * STABLE_NM:g} A of their distance in the "
               "reference's frame of the same time", NOISE),
        Metric("matching", "Matching", "A", "low",
               "root mean square difference of the ligand's distance matrices, frames of the same "
               "time", NOISE),
        Metric("path_precision", "Path precision", "%", "high",
               f"frames with a reference frame nearer than {ANGSTROM * COVERAGE_NM:g} A (ligand "
               "RMSD as superposed)", NOISE),
        Metric("path_recall", "Path recall", "%", "high",
               "reference frames with a frame that near", STATIC),
        Metric("path_f1", "Path F1", "", "high", "harmonic mean of the two, 0 to 1", STATIC),
        Metric("unbound", "Unbound", "%", "reference",
               "frames in which no protein atom touches the ligand", frozenset({"frozen"})),
        Metric("centre_w1", "Displacement W1", "A", "low",
               "Wasserstein-1 distance of the distributions of the ligand centroid's distance from "
               "its native place", STATIC),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        atoms = reference.atoms
        with applicable():
            self._ligand = atoms.ligand(settings.ligand)
            self._geometry = ligand_geometry(atoms, self._ligand, settings.native_nm)
        self._native = np.asarray(settings.native_nm, np.float64)
        names = sorted({atoms.residue_names[r] for r in atoms.residue[self._ligand]})
        self.notes.append(f"Ligand: {', '.join(names)}, {len(self._ligand)} heavy atoms.")
        if not len(atoms.subset(self._ligand).bonds):
            self.notes.append(
                "The topology has no bonds in the ligand; they were taken from the distances in "
                "the native structure."
            )
        self._reference = self._described(reference)

    def _placed(self, ensemble: Ensemble) -> NDArray[np.float64]:
        alpha = ensemble.atoms.alpha_carbons
        return self.per_frame(
            ensemble,
            "ligand and CA on native",
            lambda x: superpose(x, self._native, alpha)[:, np.concatenate([self._ligand, alpha])],
        )

    def _described(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        """What all metrics are made of."""
        atoms, ligand, count = ensemble.atoms, self._ligand, len(self._ligand)
        placed = self._placed(ensemble)
        own = placed[:, :count]
        touching = self.per_frame(
            ensemble, "ligand contacts", lambda x: contact_map(x, atoms, ligand)
        )
        return {
            "ligand": own,
            "ligand_rmsf": fluctuations(own),
            "protein_rmsf": fluctuations(placed[:, count:]),
            "touching": touching,
            "contact_share": touching.mean(axis=0),
            "bonds": self._geometry.bond_lengths(own),
            "angles": self._geometry.bond_angles(own),
            "pairs": self.per_frame(
                ensemble, "ligand pairs", lambda x: pair_distances(x[:, ligand])
            ),
            "displacement": np.linalg.norm(
                own.mean(axis=1) - self._native[ligand].mean(axis=0), axis=-1
            ),
        }

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        from scipy.stats import wasserstein_distance

        mine, theirs = self._described(ensemble), self._reference
        ligand = self._ligand
        inner = self.per_frame(
            ensemble, "ligand collisions", lambda x: self._geometry.inner_collisions(x[:, ligand])
        )
        binding = self.per_frame(
            ensemble, "binding collisions", lambda x: collisions(x, ensemble.atoms, ligand)
        )
        precision, recall, f1 = coverage(mine["ligand"], theirs["ligand"])
        stability, matching = self._paired(ensemble, mine["pairs"])
        return {
            "ligand_rmsf": ANGSTROM * float(np.median(mine["ligand_rmsf"])),
            "ligand_rmsf_r": pearson(mine["ligand_rmsf"], theirs["ligand_rmsf"]),
            "protein_rmsf_r": pearson(mine["protein_rmsf"], theirs["protein_rmsf"]),
            "contact_r": pearson(mine["contact_share"], theirs["contact_share"]),
            "bond_error": ANGSTROM * _columns_w1(mine["bonds"], theirs["bonds"]),
            "angle_error": _columns_w1(mine["angles"], theirs["angles"]),
            "ligand_clash": 100 * float(inner.mean()),
            "binding_clash": 100 * float(binding.mean()),
            "stability": 100 * stability,
            "matching": ANGSTROM * matching,
            "path_precision": 100 * precision,
            "path_recall": 100 * recall,
            "path_f1": f1,
            "unbound": 100 * float((~mine["touching"].any(axis=(1, 2))).mean()),
            "centre_w1": ANGSTROM
            * float(wasserstein_distance(mine["displacement"], theirs["displacement"])),
        }

    def _paired(self, ensemble: Ensemble, pairs: NDArray[np.float64]) -> tuple[float, float]:
        """Stability and matching against the frames of the reference of the same time."""
        start, stop = self.reference.segments[0]
        truth = self._reference["pairs"][: stop - start]
        clock = ensemble.clock[ensemble.frames]
        kept = clock < len(truth)
        difference = pairs[kept] - truth[clock[kept]]
        if not difference.size:
            return float("nan"), float("nan")
        return (
            float((np.abs(difference) <= STABLE_NM).mean()),
            float(np.sqrt((difference**2).mean())),
        )

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        found = self._described(ensemble)
        return {
            "ligand_rmsf_angstrom": ANGSTROM * found["ligand_rmsf"],
            "ligand_contact_share": found["contact_share"],
            "displacement_angstrom": ANGSTROM * found["displacement"],
        }

    def axes(self) -> dict[str, NDArray[Any]]:
        atoms = self.reference.atoms
        return {
            "ligand_atoms": np.array([atoms.names[i] for i in self._ligand]),
            "ligand_residues": np.array(atoms.protein_labels),
        }


def _columns_w1(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean over columns of the Wasserstein-1 distance of [F, K] and [G, K]."""
    from scipy.stats import wasserstein_distance

    if not first.shape[1]:
        return float("nan")
    return float(
        np.mean([wasserstein_distance(a, b) for a, b in zip(first.T, second.T, strict=True)])
    )
