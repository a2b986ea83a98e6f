"""Validity rates at the thresholds of Str2Str, ConfDiff, BioEmu and TEMPO."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble
from .panel import NOISE, Metric, Panel, Settings
from .validity import (
    RULES,
    alpha_gaps,
    alpha_minimum,
    chirality,
    peptide_gaps,
    residue_minimum,
)

__all__ = ["ValidityPanel"]


def _rate(key: str, name: str) -> Metric:
    rule = RULES[key]
    return Metric(key, name, "%", "high", f"{rule.source}: {rule.text}", NOISE)


class ValidityPanel(Panel):
    """Shares of frames that keep each rule; the rule is in each metric's meaning."""

    name = "validity"
    title = "Validity"
    source = "Str2Str, ConfDiff, BioEmu, TEMPO"
    fewest_alpha_carbons = 2
    metrics = (
        _rate("ca_clash", "No CA clash"),
        _rate("ca_break_reference", "No CA break (reference)"),
        _rate("ca_break", "No CA break"),
        Metric("ca_valid", "CA valid", "%", "high",
               f"ConfDiff: {RULES['ca_clash'].text}, and {RULES['ca_break'].text}", NOISE),
        _rate("peptide_bond", "Peptide bonds"),
        _rate("atom_clash", "No atom clash"),
        _rate("loose_ca_break", "No CA break (4.5 A)"),
        _rate("loose_peptide_bond", "No C-N break"),
        Metric("physical", "Passes BioEmu's filter", "%", "high",
               f"{RULES['atom_clash'].text}, {RULES['loose_ca_break'].text}, "
               f"{RULES['loose_peptide_bond'].text}", NOISE),
        _rate("backbone_clash", "No backbone clash"),
        Metric("handedness", "Handedness", "%", "high",
               "frames with every alpha carbon of the native's hand (triple product of unit "
               "vectors to N, C, CB of the native's sign)", NOISE),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        gaps = self._gaps(reference)
        # A hair above the largest, as published: the reference itself has no break.
        self._longest = float(gaps.max()) + 1e-7 if gaps.size else np.inf
        self._hand = np.sign(chirality(settings.native_nm[None], reference.atoms)[0])
        self.notes.append(
            f"Largest neighbouring CA distance of the reference: {10 * self._longest:.3f} A."
        )

    def _gaps(self, ensemble: Ensemble) -> NDArray[np.float64]:
        return self.per_frame(ensemble, "CA gaps", lambda x: alpha_gaps(x, ensemble.atoms))

    def kept(self, ensemble: Ensemble) -> dict[str, NDArray[np.float64]]:
        """Whether each frame keeps each rule, 0 or 1 [F]; a share for `peptide_bond`."""
        atoms = ensemble.atoms
        closest = self.per_frame(
            ensemble, "closest CA", lambda x: alpha_minimum(x[:, atoms.alpha_carbons])
        )
        gaps = self._gaps(ensemble)
        bonds = self.per_frame(ensemble, "peptide bonds", lambda x: peptide_gaps(x, atoms))
        atom = self.per_frame(
            ensemble,
            "closest heavy atoms",
            lambda x: residue_minimum(
                x, atoms.protein_heavy, atoms.residue, 3, RULES["atom_clash"].threshold_nm
            ),
        )
        backbone = self.per_frame(
            ensemble,
            "closest backbone atoms",
            lambda x: residue_minimum(
                x, atoms.backbone, atoms.residue, 1, RULES["backbone_clash"].threshold_nm
            ),
        )
        hand = self.per_frame(ensemble, "handedness", lambda x: chirality(x, atoms))
        absent = np.full(len(closest), np.nan)

        def below(values: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
            if not values.shape[1]:
                return absent
            return (values <= limit).all(axis=1).astype(float)

        rules = {
            "ca_clash": (closest >= RULES["ca_clash"].threshold_nm) * 1.0,
            "ca_break_reference": below(gaps, self._longest),
            "ca_break": below(gaps, RULES["ca_break"].threshold_nm),
            "peptide_bond": (bonds <= RULES["peptide_bond"].threshold_nm).mean(axis=1)
            if bonds.shape[1]
            else absent,
            "atom_clash": np.isinf(atom) * 1.0,
            "loose_ca_break": below(gaps, RULES["loose_ca_break"].threshold_nm),
            "loose_peptide_bond": below(bonds, RULES["loose_peptide_bond"].threshold_nm),
            "backbone_clash": np.isinf(backbone) * 1.0,
            "handedness": (np.sign(hand) == self._hand).all(axis=1) * 1.0
            if hand.shape[1]
            else absent,
        }
        rules["ca_valid"] = rules["ca_clash"] * rules["ca_break"]
        rules["physical"] = (
            rules["atom_clash"] * rules["loose_ca_break"] * rules["loose_peptide_bond"]
        )
        return rules

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        rates = {key: 100 * float(kept.mean()) for key, kept in self.kept(ensemble).items()}
        return {metric.key: rates[metric.key] for metric in self.metrics}
