"""Plots of an evaluation: RMSF, TICA maps, contact maps, decorrelation, rollout, energies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bins of a TICA map: half of MDGen's, which some hundred frames do not fill.
MAP_BINS = 25
#: Maps beside each other.
MOST_MAPS = 4

_GENERATORS = (
    style.HYBRID_COLOR,
    style.ACCEPTED_COLOR,
    style.REJECTED_COLOR,
    style.RAW_COLOR,
    "#E69F00",
)


@dataclass(frozen=True)
class Curve:
    """A named row of an evaluation with its colour, line and layer."""

    name: str
    color: str
    dashes: Any = "-"
    layer: float = 3.0


def row_styles(roles: Sequence[tuple[str, str]]) -> list[Curve]:
    """Colours of rows given as (name, role): reference, oracle (dashed), then the generators.

    The oracle lies on top: a generator that repeats its frames, shuffled ones say, has the same
    curves, and both are seen through the dashes.
    """
    curves, generators = [], 0
    for name, role in roles:
        if role == "reference":
            curves.append(Curve(name, style.MD_COLOR))
        elif role == "oracle":
            curves.append(Curve(name, style.MUTED_COLOR, (0, (4, 2)), 4.0))
        else:
            curves.append(Curve(name, _GENERATORS[generators % len(_GENERATORS)]))
            generators += 1
    return curves


def _some_labels(
    set_ticks: Callable[..., Any], labels: Sequence[str], most: int, **how: Any
) -> None:
    """Write at most so many of the labels, evenly spread, under their places."""
    step = max(1, -(-len(labels) // most))
    set_ticks(range(0, len(labels), step), list(labels)[::step], **how)


def profile_curves(
    curves: Sequence[Curve], values: Sequence[NDArray[Any]], labels: Sequence[str], ylabel: str
) -> Figure:
    """A value a residue or atom, [N] each, one line a row."""
    with style.page_figure(2.8) as (figure, (ax,)):
        for curve, profile in zip(curves, values, strict=True):
            ax.plot(
                profile,
                color=curve.color,
                linestyle=curve.dashes,
                label=curve.name,
                zorder=curve.layer,
                clip_on=False,
            )
        _some_labels(ax.set_xticks, labels, 14, rotation=35, ha="right")
        ax.set(ylabel=ylabel, xlim=(-0.5, len(labels) - 0.5), ylim=(0, None))
        ax.grid(True, axis="y")
        style.legend_above(figure, ax)
    return figure


def point_maps(
    curves: Sequence[Curve], points: Sequence[NDArray[Any]], names: tuple[str, str]
) -> Figure:
    """Maps of points [F, 2] on one range and one colour scale: the share of frames a bin."""
    # The reference's range with a margin: a generator that explodes must not shrink it away.
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    margin = 0.25 * np.maximum(high - low, 1e-9)
    edges = [
        np.linspace(a, b, MAP_BINS + 1) for a, b in zip(low - margin, high + margin, strict=True)
    ]
    shares = [
        100 * np.histogram2d(cloud[:, 0], cloud[:, 1], list(edges))[0] / len(cloud)
        for cloud in points
    ]
    height = 0.85 * style.WIDTH_INCHES / max(len(curves), 2) + 0.6
    with style.page_figure(height, 1, len(curves), sharex=True, sharey=True) as (figure, axes):
        style.share_maps(figure, axes, edges, shares, "frames")
        for ax, curve, share in zip(axes, curves, shares, strict=True):
            beyond = 100 - share.sum()
            note = f" ({beyond:.0f} % outside)" if beyond >= 0.5 else ""
            ax.set_title(f"{curve.name}{note}", color=curve.color)
            ax.set(xlabel=names[0])
        axes[0].set_ylabel(names[1])
    return figure


def _contact_image(ax: Any, shares: NDArray[Any], aspect: str = "equal") -> Any:
    seldom = np.ma.masked_less(shares, 0.005)
    colors = style.map_colors()
    return ax.imshow(seldom, colors, aspect=aspect, vmin=0, vmax=1, interpolation="nearest")


def contact_maps(
    curves: Sequence[Curve], shares: Sequence[NDArray[Any]], residues: Sequence[str]
) -> Figure:
    """Shares of frames in which residues touch, [N (N - 1)/2] each: the reference above the
    diagonal of every map, the row below it."""
    count = len(residues)
    upper = np.triu_indices(count, k=1)
    panels = max(len(curves) - 1, 1)
    height = 0.92 * style.WIDTH_INCHES / max(panels, 2) + 0.5
    with style.page_figure(height, 1, panels, sharex=True, sharey=True) as (figure, axes):
        for k, ax in enumerate(axes, start=1 if len(curves) > 1 else 0):
            image = np.full((count, count), np.nan)
            image[upper] = shares[0]
            image.T[upper] = shares[k]
            drawn = _contact_image(ax, np.nan_to_num(image))
            ax.plot([0, count - 1], [0, count - 1], color=style.NEUTRAL_COLOR, linewidth=0.6)
            ax.set_title(curves[k].name, color=curves[k].color)
            _some_labels(ax.set_xticks, residues, 6, rotation=35, ha="right")
            _some_labels(ax.set_yticks, residues, 6)
        style.color_bar(figure, drawn, "share of frames in contact")
    return figure


def ligand_maps(
    curves: Sequence[Curve],
    shares: Sequence[NDArray[Any]],
    residues: Sequence[str],
    atoms: Sequence[str],
) -> Figure:
    """Shares of frames in which residue and ligand atom touch, [N, L] each; only residues that
    touch in some row."""
    touched = np.flatnonzero(np.max([s.max(axis=1) for s in shares], axis=0) > 0.05)
    if not len(touched):
        return style.message_figure("No residue touches the ligand in more than 5 % of the frames.")
    height = min(max(0.16 * len(touched), 1.6), 8.0) + 0.9
    with style.page_figure(height, 1, len(curves), sharex=True, sharey=True) as (figure, axes):
        for ax, curve, share in zip(axes, curves, shares, strict=True):
            drawn = _contact_image(ax, share[touched], aspect="auto")
            ax.set_title(curve.name, color=curve.color)
            _some_labels(ax.set_xticks, atoms, 8, rotation=60)
            ax.set_yticks(range(len(touched)), [residues[int(r)] for r in touched], fontsize=7)
        style.color_bar(figure, drawn, "share of frames in contact")
    return figure


def time_curves(
    curves: Sequence[Curve],
    times: Sequence[NDArray[Any]],
    values: Sequence[Sequence[NDArray[Any]]],
    names: Sequence[str],
    xlabel: str,
    logarithmic: bool = False,
) -> Figure:
    """Values against time, one panel a quantity; `values` [quantity][row]."""
    rows, height = (1, 2.6) if len(names) < 3 else (2, 4.6)
    with style.page_figure(height, rows, -(-len(names) // rows)) as (figure, axes):
        for ax, name, quantity in zip(axes, names, values, strict=False):
            for curve, x, y in zip(curves, times, quantity, strict=True):
                ax.plot(
                    x,
                    y,
                    color=curve.color,
                    linestyle=curve.dashes,
                    label=curve.name,
                    marker="o" if len(x) < 20 else None,
                    markersize=3,
                    zorder=curve.layer,
                )
            ax.set(title=name, xlabel=xlabel)
            if logarithmic:
                ax.set_xscale("log")
            ax.grid(True)
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        style.legend_above(figure, axes[0])
    return figure


def value_histograms(
    curves: Sequence[Curve], values: Sequence[NDArray[Any]], xlabel: str
) -> Figure:
    """Distributions of a value, [F] each, on the reference's range widened by its width."""
    finite = values[0][np.isfinite(values[0])]
    low, high = finite.min(), finite.max()
    edges = np.linspace(low - (high - low), high + (high - low), 76)
    with style.page_figure(2.8) as (figure, (ax,)):
        for curve, sample in zip(curves, values, strict=True):
            inside = np.histogram(sample[np.isfinite(sample)], edges)[0]
            beyond = len(sample) - int(inside.sum())
            note = f" ({beyond:,} of {len(sample):,} outside)" if beyond else ""
            ax.stairs(
                100 * inside / len(sample),
                edges,
                color=curve.color,
                linestyle=curve.dashes,
                linewidth=1.5,
                label=curve.name + note,
                zorder=curve.layer,
            )
        ax.set(xlabel=xlabel, ylabel="share (%)")
        ax.grid(True, axis="y")
        style.legend_above(figure, ax)
    return figure
