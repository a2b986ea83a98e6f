"""Before and after, with errors: what became better, and whether the whole is worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..evaluation.evaluate import SIGNIFICANT
from .quantities import Quantity, find_quantity

__all__ = ["Measurement", "Number", "compare", "overall", "paired_errors"]

BLOCKS = 20
RESAMPLES = 400
#: Share of usable proposals below which a model is of no use.
HARDLY_ANY = 0.05
BETTER, SAME, WORSE = "better", "no difference", "worse"


@dataclass(frozen=True)
class Measurement:
    """What was measured of one model, or of molecular dynamics in its place.

    Attributes
    ----------
    samples : mapping from str to sequence of float
        By quantity: a value for each proposal or draw, in the order of held-out time. Proposals
        and draws of two models with the same number belong together (same start, same noise).
    summaries : mapping from str to (float, float)
        By quantity: a value and its standard error, where there is no value for each unit.
    notes : tuple of str
    """

    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    summaries: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Quantities that were measured."""
        return [*self.samples, *self.summaries]


@dataclass(frozen=True)
class Number:
    """A quantity before and after.

    Attributes
    ----------
    quantity : Quantity
    before, after, oracle : (float, float)
        Value and standard error, NaN where there is none. The oracle is the training part of the
        molecular dynamics in the place of a model.
    difference_error : float
        Standard error of after less before.
    verdict : str
        ``better``, ``no difference``, ``worse``; '' where one of them has no value.
    """

    quantity: Quantity
    before: tuple[float, float]
    after: tuple[float, float]
    oracle: tuple[float, float]
    difference_error: float
    verdict: str


def paired_errors(
    quantity: Quantity, before: ArrayLike, after: ArrayLike, seed: int = 137
) -> tuple[float, float, float]:
    """Standard errors of a quantity's statistic before, after, and of its difference.

    A block bootstrap: contiguous blocks of units (`BLOCKS`) are drawn with replacement, the same
    ones before and after, so that what both share (hard starts, unlucky noise) cancels in the
    difference.

    Parameters
    ----------
    quantity : Quantity
    before, after : array [n]
        Of the same units.
    """
    pair = np.stack([np.asarray(before, np.float64), np.asarray(after, np.float64)])
    blocks = np.array_split(np.arange(pair.shape[1]), min(BLOCKS, pair.shape[1]))
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        picked = random.integers(0, len(blocks), len(blocks))
        values = quantity.summary(pair[:, np.concatenate([blocks[k] for k in picked])])
        draws.append((values[0], values[1], values[1] - values[0]))
    found = np.asarray(draws)
    with np.errstate(invalid="ignore"):
        errors = found.std(axis=0, ddof=1)
    return float(errors[0]), float(errors[1]), float(errors[2])


def judge(quantity: Quantity, before: float, after: float, error: float) -> str:
    """Compare two values: differences within two standard errors are none.

    An infinite value (the energy of overlapping atoms) is worse than any finite one.
    """
    if np.isnan(before) or np.isnan(after):
        return ""
    was, now = quantity.badness(before), quantity.badness(after)
    if was == now:
        return SAME
    if np.isfinite(was) and np.isfinite(now) and np.isfinite(error):
        if abs(now - was) <= SIGNIFICANT * error:
            return SAME
    return WORSE if now > was else BETTER


def compare(before: Measurement, after: Measurement, oracle: Measurement) -> list[Number]:
    """Compare what was measured of the original and of the adapted model."""
    numbers = []
    for key in dict.fromkeys([*before.keys, *after.keys]):
        quantity = find_quantity(key)
        if key in before.samples and key in after.samples:
            pair = np.array([before.samples[key], after.samples[key]])
            was, now = (float(v) for v in quantity.summary(pair))
            errors = paired_errors(quantity, *pair)
            told = ((was, errors[0]), (now, errors[1]), errors[2])
        else:
            nothing = (float("nan"), float("nan"))
            first, second = (m.summaries.get(key, nothing) for m in (before, after))
            told = (first, second, float(np.hypot(first[1], second[1])))
        verdict = judge(quantity, told[0][0], told[1][0], told[2])
        numbers.append(Number(quantity, told[0], told[1], _of(oracle, key), told[2], verdict))
    return numbers


def _of(measured: Measurement, key: str) -> tuple[float, float]:
    """Value and error of one quantity of one measurement."""
    if key in measured.samples:
        quantity = find_quantity(key)
        values = np.asarray(measured.samples[key], np.float64)
        return float(quantity.summary(values)), paired_errors(quantity, values, values)[0]
    return measured.summaries.get(key, (float("nan"), float("nan")))


def overall(numbers: Sequence[Number]) -> tuple[bool, str]:
    """Whether adapting helped, and a sentence that says so.

    It helped where at least one of the deciding numbers (usable proposals at each lag, denoising
    loss, torsion distributions) became better and none became worse; and not where hardly any
    proposal is usable afterwards, at any lag (`HARDLY_ANY`).
    """
    deciding = [n for n in numbers if n.quantity.deciding]
    better = [n for n in deciding if n.verdict == BETTER]
    worse = [n for n in deciding if n.verdict == WORSE]
    usable = [n.after[0] for n in deciding if n.quantity.key.startswith("usable")]
    hopeless = bool(usable) and max(usable) < HARDLY_ANY
    if better and not worse and not hopeless:
        also = [n for n in numbers if n.verdict == WORSE]
        sentence = f"It helped: {_told(better)}."
        if also:
            sentence += f" Worse, without deciding: {_told(also)}."
        return True, sentence
    sentence = "It did not help: keep the original."
    if hopeless:
        sentence += (
            f" Hardly any proposal is usable ({100 * max(usable):.0f} % at best), so that a run "
            "would gain nothing; longer training or more molecular dynamics may change that."
        )
    if worse:
        sentence += f" Worse: {_told(worse)}."
    if better:
        sentence += f" Better: {_told(better)}."
    if not better and not worse:
        sentence += " No deciding number changed by more than two standard errors."
    return False, sentence


def _told(numbers: Sequence[Number]) -> str:
    return "; ".join(
        f"{n.quantity.name} {number(n.before[0])} to {number(n.after[0])} "
        f"(± {number(n.difference_error)})"
        for n in numbers
    )


def number(value: float) -> str:
    """A number for tables: three digits, `none` for NaN."""
    if np.isnan(value):
        return "none"
    if not np.isfinite(value):
        return "infinite"
    if value == 0.0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"
    return f"{value:.2g}"
