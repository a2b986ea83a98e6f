"""Does it move as fast as molecular dynamics: decorrelation times and steps (MDGen, ConfRover)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import rmsd
from .decorrelation import autocorrelation, decorrelation_time, torsion_autocorrelation
from .ensemble import Ensemble
from .panel import ANGSTROM, Metric, NotApplicable, Panel, Settings, applicable
from .panel_peptide import lag_in_frames
from .tica import fit_tica, most_directions
from .torsions import find_torsions, sines_and_cosines

__all__ = ["DynamicsPanel"]

_STILL = frozenset({"frozen", "shuffled"})
_ORDER = frozenset({"frozen", "shuffled", "noise"})
#: Lags go to this share of the shortest of the longest trajectories: beyond, few pairs are left.
_LONGEST_SHARE = 0.25
#: Beyond this value of the reference's mean curve there is only sampling error to compare.
FORGOTTEN = 0.05


class DynamicsPanel(Panel):
    """Times in ps at the spacing of each ensemble; only for frames with an order in time."""

    name = "dynamics"
    title = "Dynamics"
    source = "MDGen (decorrelation), STAR-MD (autocorrelation error), ConfRover (steps)"
    metrics = (
        Metric("time_backbone", "Decorrelation, backbone", "ps", "reference",
               "median over phi and psi of the time in which the torsion's autocorrelation falls "
               "to 1/e; the longest lag where it does not", _STILL),
        Metric("time_sidechain", "Decorrelation, side chains", "ps", "reference",
               "the same over chi", _STILL),
        Metric("time_tica0", "Decorrelation, TICA-0", "ps", "reference",
               "the same for the reference's slowest component", _STILL),
        Metric("time_error", "Decorrelation error", "decades", "low",
               "mean over torsions of |log10 of the ratio of the two times|", _ORDER),
        Metric("autocorrelation_error", "Autocorrelation error", "", "low",
               "mean absolute difference of the curves averaged over torsions, lags from a frame "
               "to where the reference's falls below 0.05", _ORDER),
        Metric("step", "Step", "A", "reference",
               "CA RMSD between frames one reference spacing apart, superposed; the mean", _ORDER),
        Metric("step_w1", "Step W1", "A", "low",
               "Wasserstein-1 distance of the distributions of these steps", _ORDER),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        if reference.spacing_ps is None:
            raise NotApplicable("the reference's frames have no order in time")
        self._spacing = reference.spacing_ps
        with applicable():
            self._torsions = find_torsions(reference.atoms)
        pieces = reference.split(self._angles(reference))
        self._longest = max(len(p) for p in pieces)
        if self._longest < 8:
            raise NotApplicable(f"the longest trajectory has {self._longest} frames; 8 are needed")
        lag, _ = lag_in_frames(settings.lag_ps, self._spacing, self._longest)
        self._tica = fit_tica(
            [sines_and_cosines(p) for p in pieces], lag, most=most_directions(reference.num_frames)
        )
        self._lags = max(2, int(_LONGEST_SHARE * self._longest))
        self._curves = self._torsion_curves(reference, self._lags)
        forgotten = self._curves[1:].mean(axis=1) < FORGOTTEN
        self._compared = int(np.argmax(forgotten)) + 1 if forgotten.any() else self._lags
        self._times = self._spacing * self._capped(self._curves)
        self._steps = self._step_lengths(reference)
        self.notes.append(
            f"Lags to {self._lags} frames = {self._lags * self._spacing:g} ps, a quarter of the "
            "longest reference trajectory."
        )

    def _angles(self, ensemble: Ensemble) -> NDArray[np.float64]:
        return self.per_frame(ensemble, "torsions", self._torsions.angles)

    def _torsion_curves(self, ensemble: Ensemble, lags: int) -> NDArray[np.float64]:
        return torsion_autocorrelation(ensemble.split(self._angles(ensemble)), lags)

    def _capped(self, curves: NDArray[np.float64]) -> NDArray[np.float64]:
        """Decorrelation times in frames, the longest lag where a curve does not fall."""
        return np.minimum(decorrelation_time(curves), len(curves) - 1)

    def _stride(self, ensemble: Ensemble) -> float:
        """Frames of an ensemble in one spacing of the reference."""
        assert ensemble.spacing_ps is not None
        return self._spacing / ensemble.spacing_ps

    def _step_lengths(self, ensemble: Ensemble) -> NDArray[np.float64]:
        stride = round(self._stride(ensemble))
        alpha = ensemble.atoms.alpha_carbons
        chosen = alpha if len(alpha) >= 3 else ensemble.atoms.heavy
        if stride < 1 or abs(stride - self._stride(ensemble)) > 0.01 * stride:
            return np.zeros(0)
        lengths = []
        for start, stop in ensemble.segments:
            x = ensemble.positions_nm[start:stop, chosen]
            if len(x) > stride:
                lengths.append(rmsd(x[:-stride], x[stride:]))
        return np.concatenate(lengths) if lengths else np.zeros(0)

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        from scipy.stats import wasserstein_distance

        if ensemble.spacing_ps is None:
            return {metric.key: float("nan") for metric in self.metrics}
        pieces = ensemble.split(self._angles(ensemble))
        ratio = ensemble.spacing_ps / self._spacing
        longest = max(len(p) for p in pieces)
        lags = min(round(self._lags / ratio), longest - 1)
        if lags < 2:
            self.note_once(
                f"{ensemble.name}: frames {ensemble.spacing_ps:g} ps apart do not resolve lags up "
                f"to {self._lags * self._spacing:g} ps; it has no decorrelation to compare."
            )
            return self.unavailable()
        curves = self._torsion_curves(ensemble, lags)
        times = ensemble.spacing_ps * self._capped(curves)
        components = self._tica.transform(sines_and_cosines(np.concatenate(pieces)), 1)
        slow = autocorrelation(ensemble.split(components), lags)
        backbone = self._torsions.backbone
        steps = self._step_lengths(ensemble)
        return {
            "time_backbone": _median(times[backbone]),
            "time_sidechain": _median(times[~backbone]),
            "time_tica0": float(ensemble.spacing_ps * self._capped(slow)[0]),
            "time_error": float(np.abs(np.log10(times / self._times)).mean()),
            "autocorrelation_error": self._curve_error(curves, ensemble.spacing_ps),
            "step": ANGSTROM * float(steps.mean()) if steps.size else float("nan"),
            "step_w1": ANGSTROM * float(wasserstein_distance(steps, self._steps))
            if steps.size
            else float("nan"),
        }

    def _curve_error(self, curves: NDArray[np.float64], spacing_ps: float) -> float:
        """At the reference's lags, the other's mean curve interpolated."""
        lags = self._spacing * np.arange(1, self._compared + 1)
        own = spacing_ps * np.arange(len(curves))
        lags = lags[lags <= own[-1] * (1 + 1e-9)]
        if not len(lags):
            return float("nan")
        mine = np.interp(lags, own, curves.mean(axis=1))
        return float(np.abs(mine - self._curves[1 : len(lags) + 1].mean(axis=1)).mean())

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        if ensemble.spacing_ps is None:
            return {}
        longest = max(stop - start for start, stop in ensemble.segments)
        lags = min(round(self._lags * self._stride(ensemble)), longest - 1)
        if lags < 2:
            return {}
        curves = self._torsion_curves(ensemble, lags)
        return {
            "lag_ps": ensemble.spacing_ps * np.arange(len(curves)),
            "autocorrelation_backbone": curves[:, self._torsions.backbone].mean(axis=1),
        }


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
