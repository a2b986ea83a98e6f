"""Energies under the user's own System (EGInterpolator's energy W1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .energy import energy_difference, potential_energies
from .ensemble import Ensemble
from .panel import NOISE, STATIC, Metric, NotApplicable, Panel, Settings

__all__ = ["EnergyPanel"]


class EnergyPanel(Panel):
    """Potential energies of the frames as they are, without relaxation."""

    name = "energy"
    title = "Energies"
    source = "EGInterpolator, arXiv 2604.03911 (W1); Szekely, Rizzo 2013 (energy distance)"
    needs_all_atoms = True
    metrics = (
        Metric("energy_w1", "Energy W1", "kJ/mol", "low",
               "Wasserstein-1 distance of the potential energies' distributions", STATIC),
        Metric("energy_distance", "Energy distance", "(kJ/mol)^1/2", "low",
               "sqrt(2 E|X-Y| - E|X-X'| - E|Y-Y'|) of the potential energies", STATIC),
        Metric("energy_shift", "Energy shift", "sd", "reference",
               "difference of the means in standard deviations of the reference",
               NOISE),
        Metric("energy_spread", "Energy spread", "", "reference",
               "ratio of the standard deviations", STATIC),
        Metric("energy_in_window", "In the window", "%", "high",
               "frames at most 6 standard deviations above the reference's mean",
               NOISE),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        if settings.system is None:
            raise NotApplicable("no System was given")
        self._reference = self._energies(reference)
        if not np.isfinite(self._reference).all() or self._reference.std() == 0:
            raise NotApplicable(
                "the reference's own energies under this System are not finite or do not vary; is "
                "it the System of these frames?"
            )
        self.notes.append(
            f"Energies of the frames as they are on the {settings.platform} platform, without "
            "relaxation; bonds that the System constrains have no energy."
        )

    def _energies(self, ensemble: Ensemble) -> NDArray[np.float64]:
        settings = self.settings
        return self.per_frame(
            ensemble,
            "potential energy",
            lambda x: potential_energies(x, settings.system, settings.platform),
        )

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        return energy_difference(self._energies(ensemble), self._reference)

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        return {"energy_kj_per_mol": self._energies(ensemble)}
