"""How a generator holds up along its rollout: metrics of windows of frames, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import superpose
from .ensemble import Ensemble, Segment
from .panel import ANGSTROM, STATIC, Metric, Panel, Settings
from .panel_mdcath import plane_w2
from .panel_validity import ValidityPanel
from .pca import fit_components
from .rmsf import fluctuations, pearson

__all__ = ["RolloutPanel"]

_BOTH = frozenset({"frozen", "noise", "drifting"})
_DRIFT = frozenset({"drifting"})
_NOISE = frozenset({"noise", "drifting"})
WINDOWS = 8
SMALLEST_WINDOW = 4


class RolloutPanel(Panel):
    """Windows of equal length along the clock of each trajectory, pooled over trajectories."""

    name = "rollout"
    title = "Along the rollout"
    source = "rollout-length curves as in STAR-MD, ICLR 2026"
    fewest_alpha_carbons = 3
    metrics = (
        Metric("last_valid", "CA valid at the end", "%", "high",
               "frames of the last window without CA clash (3.0 A) or break (4.2 A)", _NOISE),
        Metric("last_physical", "Passes BioEmu's filter at the end", "%", "high",
               "frames of the last window", _NOISE),
        Metric("last_w2", "MD PCA W2 at the end", "A", "low",
               "of the last window against the whole reference", STATIC),
        Metric("last_rmsf_r", "RMSF r at the end", "", "high",
               "of the last window's CA against the reference's", _BOTH),
        Metric("rmsd_drift", "RMSD drift", "A", "reference",
               "mean CA RMSD to the native of the last window less that of the first",
               _DRIFT),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        self._validity = ValidityPanel(reference, settings)
        self._native = np.asarray(settings.native_nm, np.float64)[reference.atoms.alpha_carbons]
        alpha = self._alpha(reference)
        self._components = fit_components(alpha)
        self._cloud = self._components.project(alpha)
        self._rmsf = fluctuations(alpha)

    def _alpha(self, ensemble: Ensemble) -> NDArray[np.float64]:
        chosen = ensemble.atoms.alpha_carbons
        return self.per_frame(
            ensemble, "CA on native", lambda x: superpose(x[:, chosen], self._native)
        )

    def windows(self, ensemble: Ensemble) -> list[Ensemble]:
        """Windows by the clock: the n-th holds the n-th part of every trajectory."""
        longest = max(stop - start for start, stop in ensemble.segments)
        count = max(1, min(WINDOWS, longest // SMALLEST_WINDOW))
        clocks = ensemble.clock
        first = min(int(clocks[start]) for start, _ in ensemble.segments)
        last = max(int(clocks[stop - 1]) for _, stop in ensemble.segments) + 1
        edges = np.linspace(first, last, count + 1).round().astype(int)
        found = []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            pieces: list[Segment] = []
            for start, stop in ensemble.segments:
                inside = start + np.flatnonzero(
                    (clocks[start:stop] >= low) & (clocks[start:stop] < high)
                )
                if len(inside):
                    pieces.append((int(inside[0]), int(inside[-1]) + 1))
            if sum(stop - start for start, stop in pieces) >= 2:
                found.append(ensemble.with_segments(pieces))
        return found or [ensemble]

    def _window(self, window: Ensemble) -> dict[str, float]:
        alpha = self._alpha(window)
        kept = self._validity.kept(window)
        rmsd = np.sqrt(((alpha - self._native) ** 2).sum(axis=-1).mean(axis=-1))
        points = self._components.project(alpha)
        return {
            "valid": 100 * float(kept["ca_valid"].mean()),
            "physical": 100 * float(kept["physical"].mean()),
            "w2": ANGSTROM * plane_w2(self._cloud, points, alpha.shape[1]),
            "rmsf_r": pearson(fluctuations(alpha), self._rmsf),
            "rmsd": ANGSTROM * float(rmsd.mean()),
        }

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        windows = self.windows(ensemble)
        first, last = self._window(windows[0]), self._window(windows[-1])
        return {
            "last_valid": last["valid"],
            "last_physical": last["physical"],
            "last_w2": last["w2"],
            "last_rmsf_r": last["rmsf_r"],
            "rmsd_drift": last["rmsd"] - first["rmsd"],
        }

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        windows = self.windows(ensemble)
        curves = [self._window(window) for window in windows]
        middle = [float(np.mean(w.clock[w.frames])) for w in windows]
        return {
            "rollout_frame": np.array(middle),
            **{f"rollout_{key}": np.array([c[key] for c in curves]) for key in curves[0]},
        }
