"""AlphaFlow's panel for ATLAS (Jing, Berger, Jaakkola 2024), as its analysis script computes it.

Heavy atoms are superposed on the crystal structure. Where the script draws frames of the reference
at random (seed 137, with replacement) the same numbers are drawn here, in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from .contacts import contact_sets, contacts, jaccard
from .distances import pairwise_distance
from .ensemble import Ensemble
from .exposure import EXPOSED_NM2, mutual_information, side_chain_surface
from .panel import ANGSTROM, STATIC, Metric, Panel, Settings
from .pca import fit_components, similarity
from .rmsf import fluctuations, pearson, spearman
from .wasserstein import atom_gaussians, cloud_w2, root_mean_w2

__all__ = ["AtlasPanel"]

_SEED = 137
#: Frames of the reference for Gaussians and surfaces.
_DRAWN = 1000


class AtlasPanel(Panel):
    """Heavy atoms after superposition on the crystal structure."""

    name = "atlas"
    title = "ATLAS panel"
    source = "AlphaFlow, scripts/analyze_ensembles.py"
    fewest_alpha_carbons = 3
    published_frames = 250
    spread_frames = True
    metrics = (
        Metric("pairwise_rmsd", "Pairwise RMSD", "A", "reference",
               "mean CA RMSD between all pairs of frames, each with itself included", STATIC),
        Metric("rmsf", "RMSF", "A", "reference", "median over heavy atoms", STATIC),
        Metric("rmsf_r", "Per-target RMSF r", "", "high",
               "Pearson r of the heavy atoms' RMSF with the reference's", STATIC),
        Metric("rmwd", "RMWD", "A", "low", "root mean over heavy atoms of W2^2", STATIC),
        Metric("rmwd_translation", "RMWD translation", "A", "low", "part of the means", STATIC),
        Metric("rmwd_variance", "RMWD variance", "A", "low", "part of the covariances", STATIC),
        Metric("pca_w2", "MD PCA W2", "A", "low",
               "W2 in the plane of the reference's first two CA components, over sqrt(CA)", STATIC),
        Metric("joint_pca_w2", "Joint PCA W2", "A", "low",
               "the same with components of both ensembles together", STATIC),
        Metric("pc_similarity", "PC similarity", "", "high",
               "|cos| of the first CA components; published as the share above 0.5", STATIC),
        Metric("weak_j", "Weak contacts J", "", "high",
               "Jaccard of crystal contacts (CA < 8 A) formed in less than 90 % of frames", STATIC),
        Metric("transient_j", "Transient contacts J", "", "high",
               "Jaccard of other contacts formed in more than 10 % of frames", STATIC),
        Metric("exposed_j", "Exposed residue J", "", "high",
               "Jaccard of side chains buried in the crystal (< 2 A^2, probe 2.8 A) and exposed in "
               "more than 10 % of frames", STATIC),
        Metric("exposed_mi_rho", "Exposed MI rho", "", "high",
               "Spearman rho of the mutual information of exposure, all pairs of residues", STATIC),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        atoms = reference.atoms
        self._heavy = atoms.protein_heavy
        self._table = atoms.subset(self._heavy)
        self._alpha = self._table.alpha_carbons
        self._crystal = np.asarray(settings.native_nm, np.float64)[self._heavy]
        self._alpha_crystal = self._crystal[self._alpha]
        self._native_contacts = contacts(self._alpha_crystal[None])[0]
        heavy, alpha = self._superposed(reference)
        self._all_heavy, self._all_alpha = heavy, alpha
        self._rmsf = fluctuations(heavy)
        self._components = fit_components(alpha)
        self._known_exposed: dict[int, NDArray[np.bool_]] = {}
        self._buried = self._side_chains(self._crystal[None])[0] < EXPOSED_NM2
        self._has_side_chains = bool(self._side_chains(self._crystal[None]).any())

    def _superposed(self, ensemble: Ensemble) -> tuple[NDArray[Any], NDArray[Any]]:
        """Heavy atoms on the crystal, and alpha carbons of these superposed by themselves."""
        heavy = self.per_frame(
            ensemble,
            "heavy on crystal",
            lambda x: superpose(x[:, self._heavy], self._crystal).astype(np.float32),
        )
        alpha = self.per_frame(
            ensemble,
            "CA on crystal",
            lambda x: superpose(x[:, self._heavy][:, self._alpha], self._alpha_crystal).astype(
                np.float32
            ),
        )
        return heavy, alpha

    def _side_chains(self, heavy: NDArray[Any]) -> NDArray[np.float64]:
        return side_chain_surface(heavy, self._table)

    def _reference_draws(self, frames: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        random = np.random.RandomState(_SEED)
        count = len(self._all_alpha)
        return (
            random.randint(0, count, frames),
            random.randint(0, count, frames),
            random.randint(0, count, _DRAWN),
        )

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        heavy, alpha = self._superposed(ensemble)
        first, second, thousand = self._reference_draws(len(alpha))
        gap = root_mean_w2(atom_gaussians(self._all_heavy[thousand]), atom_gaussians(heavy))
        drawn = self._all_alpha[first]
        both = fit_components(np.concatenate([drawn, alpha]))
        size = np.sqrt(len(self._alpha))
        rmsf = fluctuations(heavy)
        reference_sets = contact_sets(self._native_contacts, contacts(drawn).mean(axis=0))
        own = self.per_frame(
            ensemble,
            "CA contacts on crystal",
            lambda x: contacts(self._superposed(ensemble.whole())[1]),
        )
        sets = contact_sets(self._native_contacts, own.mean(axis=0))
        pair = (drawn, self._all_alpha[second]) if ensemble is self.reference else (alpha, alpha)
        distance = pairwise_distance(*pair)
        return {
            "pairwise_rmsd": ANGSTROM * float(distance.mean()),
            "rmsf": ANGSTROM * float(np.median(rmsf)),
            "rmsf_r": pearson(rmsf, self._rmsf),
            "rmwd": ANGSTROM * gap.total,
            "rmwd_translation": ANGSTROM * gap.translation,
            "rmwd_variance": ANGSTROM * gap.variance,
            "pca_w2": ANGSTROM
            / size
            * cloud_w2(self._components.project(drawn), self._components.project(alpha)),
            "joint_pca_w2": ANGSTROM / size * cloud_w2(both.project(drawn), both.project(alpha)),
            "pc_similarity": similarity(self._components, fit_components(alpha)),
            "weak_j": jaccard(reference_sets.weak, sets.weak),
            "transient_j": jaccard(reference_sets.transient, sets.transient),
            **self._exposure(ensemble, thousand),
        }

    def _exposed(self, ensemble: Ensemble) -> NDArray[np.bool_]:
        """Which side chains are exposed, [frames, residues]; each frame is computed once."""
        return self.per_frame(
            ensemble,
            "exposed side chains",
            lambda x: self._side_chains(self._superposed(ensemble.whole())[0]) > EXPOSED_NM2,
        )

    def _drawn_exposed(self, drawn: NDArray[Any]) -> NDArray[np.bool_]:
        """The same of frames of the reference; only those that are drawn are computed."""
        wanted = np.unique(drawn)
        missing = [k for k in wanted.tolist() if k not in self._known_exposed]
        if missing:
            exposed = self._side_chains(self._all_heavy[missing]) > EXPOSED_NM2
            self._known_exposed.update(zip(missing, exposed, strict=True))
        return np.array([self._known_exposed[k] for k in drawn.tolist()])

    def _exposure(self, ensemble: Ensemble, drawn: NDArray[Any]) -> dict[str, float]:
        if not self._has_side_chains:
            return {"exposed_j": float("nan"), "exposed_mi_rho": float("nan")}
        reference = self._drawn_exposed(drawn)
        whole = len(self._all_heavy) == len(self.reference.positions_nm)
        same = whole and ensemble.positions_nm is self.reference.positions_nm
        own = self._drawn_exposed(ensemble.frames) if same else self._exposed(ensemble)
        mine, theirs = mutual_information(own), mutual_information(reference)
        return {
            "exposed_j": jaccard(
                self._buried & (reference.mean(axis=0) > 0.1),
                self._buried & (own.mean(axis=0) > 0.1),
            ),
            "exposed_mi_rho": spearman(mine, theirs),
        }

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        heavy, _ = self._superposed(ensemble)
        return {"heavy_rmsf_angstrom": ANGSTROM * fluctuations(heavy)}
