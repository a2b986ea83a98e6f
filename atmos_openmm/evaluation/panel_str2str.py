"""Str2Str's distribution metrics (Lu, Zhong, Zhang, Tang 2024): JS-PwD, JS-TIC, JS-Rg.

The distance is SciPy's `jensenshannon`: the square root of the divergence, natural logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distances import far_distances, gyration_radius, mean_distance
from .ensemble import Ensemble
from .panel import Metric, NotApplicable, Panel, Settings
from .tica import Tica, fit_tica

__all__ = ["Str2StrPanel"]

_BOTH = frozenset({"frozen", "noise"})
TICA_LAG_FRAMES = 20


class Str2StrPanel(Panel):
    """Alpha-carbon distances, their slow components, and the radius of gyration."""

    name = "str2str"
    title = "Str2Str panel"
    source = "Str2Str, src/metrics/metrics.py"
    metrics = (
        Metric("js_pwd", "JS-PwD", "", "low",
               "mean over CA pairs three or more apart, 50 bins on the reference's range", _BOTH),
        Metric("js_tic", "JS-TIC", "", "low",
               "mean over the first two TICA components of these distances, lag 20 frames", _BOTH),
        Metric("js_rg", "JS-Rg", "", "low", "radius of gyration of the CA, 50 bins", _BOTH),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        if len(reference.atoms.alpha_carbons) < 5:
            raise NotApplicable("the panel needs five alpha carbons or more")
        self._distances = self._far(reference)
        self._tica: Tica | None = None
        pieces = reference.split(self._distances)
        longest = max(len(p) for p in pieces)
        if reference.spacing_ps is not None and longest > 2:
            lag = min(TICA_LAG_FRAMES, longest // 5)
            self.notes.append(f"TICA of CA distances: lag {lag} frame(s) (published: 20).")
            self._tica = fit_tica(pieces, max(lag, 1))
            self._slow = self._tica.transform(self._distances, 2)
        self._gyration = self._radius(reference)

    def _far(self, ensemble: Ensemble) -> NDArray[np.float32]:
        alpha = ensemble.atoms.alpha_carbons
        return ensemble.per_frame("far CA distances", lambda x: far_distances(x[:, alpha]))

    def _radius(self, ensemble: Ensemble) -> NDArray[np.float64]:
        alpha = ensemble.atoms.alpha_carbons
        return ensemble.per_frame("CA gyration", lambda x: gyration_radius(x[:, alpha]))[:, None]

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        distances = self._far(ensemble)
        return {
            "js_pwd": mean_distance(distances, self._distances),
            "js_tic": float("nan") if self._tica is None else mean_distance(
                self._tica.transform(distances, 2), self._slow),
            "js_rg": mean_distance(self._radius(ensemble), self._gyration),
        }  # fmt: skip

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        if self._tica is None:
            return {}
        return {"tica_distances": self._tica.transform(self._far(ensemble), 2)}
