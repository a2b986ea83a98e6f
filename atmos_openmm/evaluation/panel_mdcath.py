"""TEMPO's panel for mdCATH (NeurIPS 2025, arXiv 2511.05510, appendix D)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from .contacts import contact_sets, contacts, jaccard
from .distances import pairwise_distance
from .ensemble import Ensemble
from .panel import ANGSTROM, NOISE, STATIC, Metric, Panel, Settings
from .pca import fit_components, similarity
from .rmsf import fluctuations, pearson
from .validity import RULES, residue_minimum
from .wasserstein import atom_gaussians, cloud_w2, root_mean_w2

__all__ = ["MdcathPanel"]

#: Of the draw that makes two clouds of points equally large, as in AlphaFlow's script.
SEED = 137


class MdcathPanel(Panel):
    """Backbone atoms N, CA, C, O after superposition on the native structure."""

    name = "mdcath"
    title = "mdCATH panel"
    source = "TEMPO, arXiv 2511.05510"
    fewest_alpha_carbons = 3
    published_frames = 400
    metrics = (
        Metric("pairwise_rmsd", "Pairwise RMSD", "A", "reference",
               "mean CA RMSD between all pairs of frames, as superposed on the native", STATIC),
        Metric("rmsf", "RMSF", "A", "reference",
               "median over residues of the backbone's fluctuation", STATIC),
        Metric("rmsf_r", "RMSF r", "", "high",
               "Pearson r of the RMSF profile with the reference's", STATIC),
        Metric("rmwd", "RMWD", "A", "low",
               "root mean over atoms of the squared W2 of their Gaussians", STATIC),
        Metric("pca_w2", "MD PCA W2", "A", "low",
               "W2 in the plane of the reference's first two CA components, over sqrt(CA)",
               STATIC),
        Metric("pc_similarity", "PC similarity", "", "high",
               "|cos| of the first CA components of the two; published as the share above 0.5",
               STATIC),
        Metric("weak_j", "Weak contacts J", "", "high",
               "Jaccard of native contacts (CA < 8 A) formed in less than 90 % of frames",
               STATIC),
        Metric("transient_j", "Transient contacts J", "", "high",
               "Jaccard of non-native contacts formed in more than 10 % of frames", STATIC),
        Metric("rmsd_error", "RMSD error", "A", "low",
               "mean |RMSD(t) - RMSD of the reference(t)| to the native, backbone, frame by frame",
               NOISE),
        Metric("clash", "Clash ratio", "%", "low",
               f"frames that break: {RULES['backbone_clash'].text}", NOISE),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        atoms = reference.atoms
        self._alpha = np.searchsorted(atoms.backbone, atoms.alpha_carbons)
        self._residue = np.searchsorted(
            np.sort(atoms.protein_residues), atoms.residue[atoms.backbone]
        )
        self._native = np.asarray(settings.native_nm, np.float64)[atoms.backbone]
        self._native_contacts = contacts(self._native[None, self._alpha])[0]
        self._gaussians = atom_gaussians(self._backbone(reference))
        alpha = self._backbone(reference)[:, self._alpha]
        self._components = fit_components(alpha)
        self._cloud = self._components.project(alpha)
        self._sets = contact_sets(self._native_contacts, self._shares(reference))
        self._rmsf = self.profile(reference)
        self._rmsd_by_clock = self._clocked(reference)

    def _backbone(self, ensemble: Ensemble) -> NDArray[np.float32]:
        chosen = ensemble.atoms.backbone
        return self.per_frame(
            ensemble,
            "backbone on native",
            lambda x: superpose(x[:, chosen], self._native).astype(np.float32),
        )

    def _shares(self, ensemble: Ensemble) -> NDArray[np.float64]:
        alpha = ensemble.atoms.alpha_carbons
        return self.per_frame(ensemble, "CA contacts", lambda x: contacts(x[:, alpha])).mean(axis=0)

    def profile(self, ensemble: Ensemble) -> NDArray[np.float64]:
        """RMSF of each residue in nm, root mean square over its backbone atoms, [N]."""
        squares = fluctuations(self._backbone(ensemble)) ** 2
        sums = np.bincount(self._residue, squares) / np.bincount(self._residue)
        return np.sqrt(sums)

    def _rmsd(self, ensemble: Ensemble) -> NDArray[np.float64]:
        native = self._native

        def compute(_: NDArray[Any]) -> NDArray[np.float64]:
            frames = self._backbone(ensemble.whole())
            return np.sqrt(((frames - native) ** 2).sum(axis=-1).mean(axis=-1))

        return self.per_frame(ensemble, "backbone RMSD to native", compute)

    def _clocked(self, reference: Ensemble) -> NDArray[np.float64]:
        """The reference's RMSD by replica and clock, [replicas, longest], NaN beyond the end."""
        rmsd = reference.split(self._rmsd(reference))
        clocks = reference.split(reference.clock[reference.frames])
        table = np.full((len(rmsd), 1 + max(int(c[-1]) for c in clocks)), np.nan)
        for row, clock, values in zip(table, clocks, rmsd, strict=True):
            row[clock] = values
        return table

    def _rmsd_error(self, ensemble: Ensemble) -> float:
        clock = ensemble.clock[ensemble.frames]
        kept = clock < self._rmsd_by_clock.shape[1]
        errors = np.abs(self._rmsd(ensemble)[kept] - self._rmsd_by_clock[:, clock[kept]])
        return float(np.nanmean(errors)) if errors.size else float("nan")

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        backbone = self._backbone(ensemble)
        alpha = backbone[:, self._alpha]
        distance = self.per_pair(
            ensemble, "CA distance as superposed", lambda x: self._pairs(ensemble.whole())
        )
        chosen = ensemble.atoms.backbone
        closest = self.per_frame(
            ensemble,
            "closest backbone atoms",
            lambda x: residue_minimum(
                x, chosen, ensemble.atoms.residue, 1, RULES["backbone_clash"].threshold_nm
            ),
        )
        gap = root_mean_w2(self._gaussians, atom_gaussians(backbone))
        components = fit_components(alpha)
        sets = contact_sets(self._native_contacts, self._shares(ensemble))
        profile = self.profile(ensemble)
        pairs = ensemble.num_frames * (ensemble.num_frames - 1)
        return {
            "pairwise_rmsd": ANGSTROM * float(distance.sum() / max(pairs, 1)),
            "rmsf": ANGSTROM * float(np.median(profile)),
            "rmsf_r": pearson(profile, self._rmsf),
            "rmwd": ANGSTROM * gap.total,
            "pca_w2": ANGSTROM
            * plane_w2(self._cloud, self._components.project(alpha), len(self._alpha)),
            "pc_similarity": similarity(self._components, components),
            "weak_j": jaccard(self._sets.weak, sets.weak),
            "transient_j": jaccard(self._sets.transient, sets.transient),
            "rmsd_error": ANGSTROM * self._rmsd_error(ensemble),
            "clash": 100 * float(np.isfinite(closest).mean()),
        }

    def _pairs(self, ensemble: Ensemble) -> NDArray[np.float32]:
        alpha = self._backbone(ensemble)[:, self._alpha]
        return pairwise_distance(alpha, alpha).astype(np.float32)

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        return {
            "rmsf_angstrom": ANGSTROM * self.profile(ensemble),
            "contact_share": self._shares(ensemble),
            "pca_angstrom": ANGSTROM
            / np.sqrt(len(self._alpha))
            * self._components.project(self._backbone(ensemble)[:, self._alpha]),
            "rmsd_angstrom": ANGSTROM * self._rmsd(ensemble),
        }

    def axes(self) -> dict[str, NDArray[Any]]:
        atoms = self.reference.atoms
        return {
            "residues": np.array(atoms.protein_labels),
            "native_contacts": self._native_contacts,
        }


def plane_w2(reference: NDArray[np.float64], points: NDArray[np.float64], atoms: int) -> float:
    """W2 of two clouds of points in the plane of components, over sqrt(atoms), nm.

    Where the clouds differ in size, as many points as there are generated ones are drawn from the
    reference with replacement (seed 137), as in AlphaFlow's script.
    """
    if len(reference) != len(points):
        drawn = np.random.RandomState(SEED).randint(0, len(reference), len(points))
        reference = reference[drawn]
    return float(cloud_w2(reference, points) / np.sqrt(atoms))
