"""The numbers by which a model is judged, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Quantity", "at_lag"]

Goal = Literal["low", "high", "zero"]


@dataclass(frozen=True)
class Quantity:
    """One number of a model.

    Attributes
    ----------
    key : str
        In JSON files; numbers of a lag end in ``@`` and the lag in ps.
    name : str
        In tables.
    goal : str
        ``low``, ``high``, or ``zero``: the nearer to 0 the better.
    meaning : str
    deciding : bool
        Whether it takes part in the verdict on the whole.
    statistic : str
        What is made of the values of many proposals or draws: ``mean`` or ``median``.
    """

    key: str
    name: str
    goal: Goal
    meaning: str
    deciding: bool = False
    statistic: Literal["mean", "median"] = "mean"

    def summary(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """The statistic of values [..., n] over the last axis."""
        return (np.mean if self.statistic == "mean" else np.median)(values, axis=-1)

    def badness(self, value: float) -> float:
        """A number that is larger for a worse value."""
        return {"low": value, "high": -value, "zero": abs(value)}[self.goal]


def at_lag(key: str, lag_ps: float) -> str:
    """Key of a quantity at a lag."""
    return f"{key}@{lag_ps:g}"


_OF_PROPOSALS = {
    "usable": (
        "usable proposals",
        "high",
        "share of raw proposals that pass the screen and have, after constraints, a potential "
        "energy of at most the mean of held-out MD plus 6 standard deviations; those that pass "
        "the screen, where there is no System",
    ),
    "screen": ("pass the screen", "high", "share of raw proposals that pass the geometry screen"),
    "handed": ("right-handed", "high", "share of raw proposals right at every stereocentre"),
    "energy_shift": (
        "energy above MD",
        "zero",
        "median potential energy of raw proposals after constraints, less the mean of held-out "
        "MD, in its standard deviations",
    ),
}

_OTHERS = {
    "loss": Quantity(
        "loss", "denoising loss", "low",
        "error in undoing noise on held-out frames, given the frames before (training's own "
        "measure)", True,
    ),
    "loss_first_estimate": Quantity(
        "loss_first_estimate", "loss of the first estimate", "low",
        "the same of the decoder's estimate halfway",
    ),
    "loss_distogram": Quantity(
        "loss_distogram", "distogram loss", "low",
        "cross entropy of the distances between residues that the latent predicts",
    ),
    "torsions": Quantity(
        "torsions", "torsion JSD", "low",
        "Jensen-Shannon distance (square root, nats) of each torsion's distribution in rollouts "
        "from that in held-out MD, mean over torsions", True,
    ),
    "phi_psi": Quantity(
        "phi_psi", "(phi, psi) JSD", "low", "the same of each residue's (phi, psi) map",
    ),
    "rollout_passed": Quantity(
        "rollout_passed", "rollout attempts that pass", "high",
        "share of the frames drawn in rollouts that pass the screen",
    ),
}  # fmt: skip


def find_quantity(key: str) -> Quantity:
    """The quantity of a key.

    Raises
    ------
    KeyError
        An unknown one.
    """
    base, _, lag = key.partition("@")
    if not lag:
        return _OTHERS[base]
    name, goal, meaning = _OF_PROPOSALS[base]
    return Quantity(
        key,
        f"{name}, lag {lag} ps",
        goal,  # type: ignore[arg-type]
        meaning,
        base == "usable",
        "median" if base == "energy_shift" else "mean",
    )
