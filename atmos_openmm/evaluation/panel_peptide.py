"""MDGen's panel for peptides (Jing, Staerk, Jaakkola, Berger, NeurIPS 2024).

JSD means SciPy's `jensenshannon`: the square root of the divergence, natural logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .divergence import jensen_shannon_distance
from .ensemble import Ensemble
from .msm import StateModel, fit_states, flux_matrix, markov_model
from .panel import STATIC, Metric, NotApplicable, Panel, Settings, applicable
from .paths import bridge_probabilities, cut_paths, sample_bridges
from .rmsf import spearman
from .tica import fit_tica, most_directions
from .torsions import find_torsions, pair_distances, sines_and_cosines, torsion_distances

__all__ = ["PeptidePanel"]

_ORDERED = frozenset({"frozen", "noise", "shuffled"})

TICA_BINS = 100
TICA_MAP_BINS = 50
PATH_STATES = 6
SAMPLED_PATHS = 500

#: Metrics of Markov models and of transition paths, which need an order in time.
_OF_MODELS = ("jsd_msm", "flux_rho", "transition_error")
_OF_PATHS = ("path_valid", "path_probability", "path_jsd")


class PeptidePanel(Panel):
    """Torsions, TICA, Markov states and transition paths."""

    name = "peptide"
    title = "Peptide panel"
    source = "MDGen, mdgen/analysis.py and scripts/analyze_peptide_sim.py"
    metrics = (
        Metric("jsd_backbone", "JSD backbone torsions", "", "low",
               "mean over phi and psi, 100 bins", STATIC),
        Metric("jsd_sidechain", "JSD side-chain torsions", "", "low", "mean over chi, 100 bins",
               STATIC),
        Metric("jsd_torsions", "JSD all torsions", "", "low", "mean over all torsions", STATIC),
        Metric("jsd_phi_psi", "JSD (phi, psi)", "", "low", "mean over residues, 50 x 50 bins",
               STATIC),
        Metric("jsd_tica0", "JSD TICA-0", "", "low",
               "first component, 100 bins on the joint range", STATIC),
        Metric("jsd_tica01", "JSD TICA-0,1", "", "low",
               "first two components, 50 x 50 bins on the joint range", STATIC),
        Metric("jsd_states", "JSD state shares", "", "low",
               "shares of frames in the reference's metastable states", STATIC),
        Metric("jsd_msm", "JSD MSM", "", "low",
               "stationary vectors of the two Markov models of metastable states",
               frozenset({"frozen"})),
        Metric("flux_rho", "Flux rho", "", "high",
               "Spearman rho of the fluxes pi_i T_ij between different states",
               frozenset({"frozen"})),
        Metric("transition_error", "Transition matrix error", "", "low",
               "mean over states, by reference weight, of half the absolute difference of the rows "
               "T_i of the two Markov models; 1 for states not connected in the ensemble",
               _ORDERED),
        Metric("path_valid", "Valid transition paths", "%", "high",
               f"stretches of {PATH_STATES} states with different ends that the reference's Markov "
               "model allows", frozenset({"frozen"})),
        Metric("path_probability", "Path probability", "", "high",
               "mean probability of these stretches given their ends", frozenset({"frozen"})),
        Metric("path_jsd", "JSD path states", "", "low",
               "states visited on them and on paths of the reference's model with the same ends",
               frozenset({"frozen"})),
    )  # fmt: skip

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        super().__init__(reference, settings)
        with applicable():
            self._torsions = find_torsions(reference.atoms)
        angles = reference.split(self._angles(reference))
        longest = max(len(a) for a in angles)
        self.lag, note = lag_in_frames(settings.lag_ps, reference.spacing_ps, longest)
        self.notes.append(f"TICA and Markov models: {note}.")
        most = most_directions(reference.num_frames)
        with applicable():
            self.tica = fit_tica([sines_and_cosines(a) for a in angles], self.lag, most=most)
        if 2 * len(self._torsions.atoms) > most:
            self.notes.append(
                f"{2 * len(self._torsions.atoms)} sines and cosines are more than "
                f"{reference.num_frames} frames can tell apart; TICA sees the {most} directions of "
                "the largest variance (published: all)."
            )
        self._dimension = max(2, self.tica.dimension)
        self._points = self._project(reference)
        self.states: StateModel = fit_states(
            reference.split(self._points), self.lag, macrostates=settings.macrostates
        )
        self._reference_states = self._assigned(reference)
        self.notes.append(
            f"{len(self.states.centres)} clusters in {self._dimension} components, "
            f"{self.states.macrostates} metastable states (published: 100 and 10; a cluster for "
            "ten frames at most)."
        )

    def _angles(self, ensemble: Ensemble) -> NDArray[np.float64]:
        return self.per_frame(ensemble, "torsions", self._torsions.angles)

    def _project(self, ensemble: Ensemble) -> NDArray[np.float64]:
        return self.tica.transform(sines_and_cosines(self._angles(ensemble)), self._dimension)

    def _assigned(self, ensemble: Ensemble) -> NDArray[np.int64]:
        return self.states.assign(self._project(ensemble))

    def values(self, ensemble: Ensemble) -> dict[str, float]:
        angles, reference = self._angles(ensemble), self._angles(self.reference)
        each = torsion_distances(angles, reference)
        backbone = self._torsions.backbone
        pairs = pair_distances(angles, reference, self._torsions)
        points = self._project(ensemble)
        return {
            "jsd_backbone": _mean(each[backbone]),
            "jsd_sidechain": _mean(each[~backbone]),
            "jsd_torsions": _mean(each),
            "jsd_phi_psi": _mean(pairs),
            "jsd_tica0": joint_distance(points[:, :1], self._points[:, :1], TICA_BINS),
            "jsd_tica01": joint_distance(points[:, :2], self._points[:, :2], TICA_MAP_BINS),
            **self._state_values(ensemble),
        }

    def _state_values(self, ensemble: Ensemble) -> dict[str, float]:
        states = self._assigned(ensemble)
        number = self.states.macrostates
        shares = np.bincount(states, minlength=number)
        found = {
            "jsd_states": jensen_shannon_distance(
                shares, np.bincount(self._reference_states, minlength=number)
            )
        }
        lag = self._own_lag(ensemble)
        pieces = ensemble.split(states)
        if lag is None and ensemble.spacing_ps is not None:
            self.note_once(
                f"{ensemble.name}: its frames are {ensemble.spacing_ps:g} ps apart, which does not "
                f"divide the lag of {self.lag * (self.reference.spacing_ps or 0):g} ps; it has no "
                "Markov model at that lag. Choose another lag."
            )
        if lag is None or max(len(p) for p in pieces) <= lag:
            return found | dict.fromkeys(_OF_MODELS + _OF_PATHS, float("nan"))
        try:
            model = markov_model(pieces, lag, number)
        except ValueError:  # it leaves every state for good: short, or drifting away
            return found | dict.fromkeys(_OF_MODELS + _OF_PATHS, float("nan"))
        macro = self.states.macro
        found["jsd_msm"] = jensen_shannon_distance(model.full_stationary(), macro.full_stationary())
        off = ~np.eye(number, dtype=bool)
        mine, theirs = flux_matrix(model)[off], flux_matrix(macro)[off]
        found["flux_rho"] = spearman(mine, theirs)
        rows = np.abs(model.full_transition() - macro.full_transition()).sum(axis=1) / 2
        rows[np.setdiff1d(np.arange(number), model.active)] = 1  # it says nothing of these
        found["transition_error"] = float(rows @ macro.full_stationary())
        return found | self._path_values(pieces, lag)

    def _path_values(self, pieces: list[NDArray[np.int64]], lag: int) -> dict[str, float]:
        paths = cut_paths(pieces, PATH_STATES, lag)
        if not len(paths):
            return dict.fromkeys(_OF_PATHS, float("nan"))
        transition = self.states.macro.full_transition()
        probability = bridge_probabilities(paths, transition)
        visited = np.zeros(self.states.macrostates)
        ends, counts = np.unique(paths[:, [0, -1]], axis=0, return_counts=True)
        for (start, end), count in zip(ends, counts, strict=True):
            try:
                drawn = sample_bridges(start, end, PATH_STATES, transition, SAMPLED_PATHS)
            except ValueError:  # the reference never makes this transition
                continue
            visited += count * np.bincount(drawn.ravel(), minlength=len(visited))
        own = np.bincount(paths.ravel(), minlength=len(visited))
        return {
            "path_valid": 100 * float((probability > 0).mean()),
            "path_probability": float(probability.mean()),
            "path_jsd": jensen_shannon_distance(own, visited) if visited.any() else float("nan"),
        }

    def _own_lag(self, ensemble: Ensemble) -> int | None:
        """The reference's lag in frames of another ensemble; None where it has no such lag."""
        if ensemble.spacing_ps is None or self.reference.spacing_ps is None:
            return None
        lag = self.lag * self.reference.spacing_ps / ensemble.spacing_ps
        return round(lag) if lag >= 0.99 and abs(lag - round(lag)) < 0.01 * lag else None

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        each = torsion_distances(self._angles(ensemble), self._angles(self.reference))
        return {"tica": self._project(ensemble)[:, :2], "torsion_jsd": each}

    def axes(self) -> dict[str, NDArray[Any]]:
        return {
            "torsions": np.array(self._torsions.names),
            "tica_timescales_frames": self.tica.timescales()[: self._dimension],
        }


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def joint_distance(first: NDArray[Any], second: NDArray[Any], bins: int) -> float:
    """Jensen-Shannon distance of points [F, D] and [G, D], bins on the range of both."""
    both = np.concatenate([first, second])
    ranges = [(low, high) for low, high in zip(both.min(axis=0), both.max(axis=0), strict=True)]
    p, q = (np.histogramdd(points, bins, range=ranges)[0] for points in (first, second))
    return jensen_shannon_distance(p, q)


def lag_in_frames(lag_ps: float, spacing_ps: float | None, longest: int) -> tuple[int, str]:
    """A lag in frames, at least 1 and at most a fifth of the longest trajectory, and words on it.

    Raises
    ------
    NotApplicable
        If frames have no order in time.
    """
    if spacing_ps is None:
        raise NotApplicable("the reference's frames have no order in time, so it has no dynamics")
    wanted = max(1, round(lag_ps / spacing_ps))
    lag = max(1, min(wanted, longest // 5))
    text = f"lag {lag} frame(s) of the reference = {lag * spacing_ps:g} ps"
    if abs(lag * spacing_ps - lag_ps) > 0.01 * lag_ps:
        text += f" ({lag_ps:g} ps asked for; at least a frame, at most a fifth of a trajectory)"
    return lag, text
