"""The plots of a validation page, each a function from arrays to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..validation.defects import INVALID, RELAXED, VALID
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_COLORS = {
    VALID: style.ACCEPTED_COLOR,
    RELAXED: style.RAW_COLOR,
    INVALID: style.REJECTED_COLOR,
}


def verdict_bars(reasons: Mapping[tuple[str, str], int]) -> Figure:
    """Frames by verdict and reason: valid ones first, then by number."""
    order = list(VERDICT_COLORS)
    rows = sorted(reasons.items(), key=lambda item: (order.index(item[0][0]), -item[1]))
    total = sum(reasons.values())
    with style.page_figure(0.32 * len(rows) + 0.75) as (figure, (ax,)):
        names = [v if v == VALID else f"{v}: {reason}" for (v, reason), _ in rows]
        numbers = [n for _, n in rows]
        colors = [VERDICT_COLORS[v] for (v, _), _ in rows]
        bars = ax.barh(names, numbers, color=colors, height=0.62)
        texts = [f"{n:,} ({100 * n / total:.1f} %)" for n in numbers]
        ax.bar_label(bars, texts, padding=5, fontsize=8.5)
        ax.invert_yaxis()
        ax.locator_params(axis="x", integer=True)
        ax.set(xlabel=f"frames (of {total:,})", xlim=(0, 1.18 * max(numbers)))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(True, axis="x")
    return figure


def energy_trace(
    frames: NDArray[Any],
    energies: NDArray[Any],
    worst: Sequence[int],
    reference: tuple[float, float] | None,
    limit: float | None,
) -> Figure:
    """Energies against the frame number.

    Parameters
    ----------
    frames : int array [F]
    energies : array [F]
        After constraints, kJ/mol; NaN where a frame has none.
    worst : sequence of int
        Frames that are marked with their number.
    reference : (float, float) or None
        Mean and standard deviation of molecular dynamics.
    limit : float or None
        Upper edge of the energy window.

    Notes
    -----
    Energies above the upper edge of the plot are triangles on that edge.
    """
    finite = energies[np.isfinite(energies)]
    if finite.size == 0:
        return style.message_figure("No frame has a finite energy.")
    low, middle = float(finite.min()), float(np.median(finite))
    levels = [middle + 8 * max(middle - low, 1.0)]
    if reference is not None:
        low = min(low, reference[0] - 3 * reference[1])
        levels.append(reference[0] + 12 * reference[1])
    if limit is not None:
        levels.append(limit + 0.25 * (limit - low))
    top = min(float(finite.max()), max(levels))
    top, bottom = top + 0.06 * (top - low + 1), low - 0.06 * (top - low + 1)
    with style.page_figure(2.7) as (figure, (ax,)):
        if reference is not None:
            mean, sd = reference
            band = dict(color=style.MD_COLOR, alpha=0.16, linewidth=0)
            ax.axhspan(mean - 2 * sd, mean + 2 * sd, label="MD, mean ± 2 sd", **band)
        if limit is not None:
            ax.axhline(limit, color=style.ACCEPTED_COLOR, label="edge of the window")
        above = ~(energies <= top)
        look = dict(linestyle="none", color=style.HYBRID_COLOR, markeredgewidth=0)
        size = 5 if len(frames) < 200 else 2.5
        ax.plot(frames[~above], energies[~above], marker="o", markersize=size,
                label="frames, after constraints", **look)  # fmt: skip
        if above.any():
            ax.plot(frames[above], np.full(above.sum(), top), marker="^", markersize=6,
                    clip_on=False, zorder=4, label="above the plot, or none",
                    **{**look, "color": style.REJECTED_COLOR})  # fmt: skip
        heights = dict(zip(frames.tolist(), np.where(above, top, energies).tolist(), strict=True))
        for frame in worst:
            if frame in heights:
                ax.annotate(str(frame), (frame, heights[frame]), xytext=(4, -9),
                            textcoords="offset points", fontsize=8.5)  # fmt: skip
        ax.locator_params(axis="x", integer=True)
        ax.set(xlabel="frame", ylabel="potential energy (kJ/mol)", ylim=(bottom, top))
        ax.grid(True, axis="y")
        style.legend_above(figure, ax)
    return figure


def strain_profile(
    labels: Sequence[str], mean: NDArray[Any], largest: NDArray[Any], limits: tuple[float, float]
) -> Figure:
    """Mean and largest strain of each residue, in thermal standard deviations.

    Parameters
    ----------
    labels : sequence of R str
    mean, largest : array [R]
    limits : (float, float)
        Where a term counts as an outlier, and where it is a defect.
    """
    with style.page_figure(2.7) as (figure, (ax,)):
        from matplotlib.ticker import LogLocator, NullLocator

        number = np.arange(len(labels))
        usual, shown = np.clip(mean, 0.1, 1e4), np.clip(largest, 0.1, 1e4)
        ax.vlines(number, usual, shown, color=style.NEUTRAL_COLOR, linewidth=1)
        ax.plot(number, shown, ".", color=style.REJECTED_COLOR, markersize=5,
                label="worst frame of each residue")  # fmt: skip
        ax.plot(number, usual, "_", color=style.HYBRID_COLOR, markersize=5,
                markeredgewidth=1.6, label="mean over the frames")  # fmt: skip
        for limit, text in zip(limits, ("outlier", "defect"), strict=True):
            ax.axhline(limit, color=style.MUTED_COLOR, linewidth=0.8, linestyle=(0, (4, 3)))
            ax.annotate(text, (1, limit), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                        textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        step = max(1, -(-len(labels) // 24))
        ax.set_xticks(number[::step], labels[::step], rotation=90, fontsize=7.5)
        ax.set(ylabel="strain (thermal sd)", yscale="log", xlim=(-1, len(labels)))
        ax.set_ylim(
            min(1.0, 0.8 * float(np.clip(mean, 0.1, 1e4).min())), 1.6 * max(12, shown.max())
        )
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.grid(True, axis="y")
        style.legend_above(figure, ax)
    return figure
