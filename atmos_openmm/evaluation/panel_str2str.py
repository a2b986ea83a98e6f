"""Str2Str's distribution metrics (Lu, Zhong, Zhang, Tang 2024): JS-PwD, JS-TIC, JS-Rg.

The distance is SciPy's `jensenshannon`: the square root of the divergence, natural logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import gyration_radius
from .distances import (
    bin_numbers,
    far_distances,
    histogram_distance,
    histograms,
    mean_distance,
    value_range,
)
from .ensemble import Ensemble
from .panel import STATIC, Metric, Panel, Settings
from .tica import Tica, fit_tica

__all__ = ["Str2StrPanel"]

TICA_LAG_FRAMES = 20


class Str2StrPanel(Panel):
    """Alpha-carbon distances, their slow components, and the radius of gyration."""

    name = "str2str"
    title = "Str2Str panel"
    source = "Str2Str, src/metrics/metrics.py"
    fewest_alpha_carbons = 5
    metrics = (
        Metric("js_pwd", "JS-PwD", "", "low",
               "mean over CA pairs three or more apart, 50 bins on the reference's range", STATIC),
        Metric("js_tic", "JS-TIC", "", "low",
               "mean over the first two TICA components of these distances, lag 20 frames", STATIC),
        Metric("js_rg", "JS-Rg", "", "low", "radius of gyration of the CA, 50 bins", STATIC),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        distances = self._far(reference)
        self._range = value_range(distances)
        self._histograms = histograms(self._bins(reference))
        self._tica: Tica | None = None
        pieces = reference.split(distances)
        longest = max(len(p) for p in pieces)
        if reference.spacing_ps is not None and longest > 2:
            lag = max(1, min(TICA_LAG_FRAMES, longest // 5))
            self.notes.append(f"TICA of CA distances: lag {lag} frame(s) (published: 20).")
            self._tica = fit_tica(pieces, lag)
            self._slow = self._components(reference)
        self._gyration = self._radius(reference)

    def _far(self, ensemble: Ensemble) -> NDArray[np.float32]:
        alpha = ensemble.atoms.alpha_carbons
        return self.per_frame(ensemble, "far CA distances", lambda x: far_distances(x[:, alpha]))

    def _bins(self, ensemble: Ensemble) -> NDArray[np.int8]:
        return self.per_frame(
            ensemble,
            "bins of far CA distances",
            lambda x: bin_numbers(self._far(ensemble.whole()), *self._range),
        )

    def _components(self, ensemble: Ensemble) -> NDArray[np.float64]:
        tica = self._tica
        assert tica is not None
        return self.per_frame(
            ensemble,
            "TICA of far CA distances",
            lambda x: tica.transform(self._far(ensemble.whole()), 2),
        )

    def _radius(self, ensemble: Ensemble) -> NDArray[np.float64]:
        alpha = ensemble.atoms.alpha_carbons
        return self.per_frame(ensemble, "CA gyration", lambda x: gyration_radius(x[:, alpha]))[
            :, None
        ]

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        return {
            "js_pwd": histogram_distance(histograms(self._bins(ensemble)), self._histograms),
            "js_tic": float("nan")
            if self._tica is None
            else mean_distance(self._components(ensemble), self._slow),
            "js_rg": mean_distance(self._radius(ensemble), self._gyration),
        }

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        if self._tica is None:
            return {}
        return {"tica_distances": self._components(ensemble)}
