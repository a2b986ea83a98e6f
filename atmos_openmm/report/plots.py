"""The plots of a hybrid run, each a function from arrays to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# 6 degrees: fine enough for the basins of a dipeptide, coarse enough for a few hundred frames.
RAMACHANDRAN_BINS = 60


@dataclass(frozen=True)
class TorsionSeries:
    """Backbone torsions of one residue along one run.

    Attributes
    ----------
    name : str
        Shown as the title, such as "Hybrid".
    phi, psi : array [F]
        Radians.
    wall_seconds : array [F]
        Wall-clock time at which each frame was reached.
    color : str
        A colour of `style`.
    jump_seconds : array [J], optional
        Wall-clock times of the accepted jumps.
    """

    name: str
    phi: NDArray[Any]
    psi: NDArray[Any]
    wall_seconds: NDArray[Any]
    color: str
    jump_seconds: NDArray[Any] | None = None


def _degree_axis(axis: Any) -> None:
    axis.set_ticks([-180, -90, 0, 90, 180])
    axis.set_major_formatter(lambda value, _: f"{value:.0f}°".replace("-", "\N{MINUS SIGN}"))


def ramachandran_maps(runs: Sequence[TorsionSeries], residue: str = "") -> Figure:
    """Maps of (phi, psi), one a run, on one colour scale: the share of the run's frames a bin."""
    height = 0.42 * style.WIDTH_INCHES + 0.35
    with style.page_figure(height, columns=len(runs), sharey=True) as (figure, axes):
        from matplotlib.ticker import LogLocator, NullLocator

        edges = [np.linspace(-180, 180, RAMACHANDRAN_BINS + 1)] * 2
        shares = [phi_psi_shares(run.phi, run.psi, RAMACHANDRAN_BINS) for run in runs]
        bar = style.share_maps(figure, axes, edges, shares, "the run's frames")
        for ax, run in zip(axes, runs, strict=True):
            ax.axvline(0, color=style.NEUTRAL_COLOR, linewidth=0.8, linestyle=(0, (4, 3)))
            ax.set(
                title=f"{run.name}: {len(run.phi):,} frames",
                xlabel=f"φ {residue}".strip(),
                xlim=(-180, 180),
                ylim=(-180, 180),
                aspect="equal",
            )
            _degree_axis(ax.xaxis)
            _degree_axis(ax.yaxis)
        axes[0].set_ylabel(f"ψ {residue}".strip())
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.ax.yaxis.set_minor_locator(NullLocator())
    return figure


def phi_psi_maps(
    names: Sequence[str], bins: int, shares: Sequence[NDArray[Any]], columns: int, height: float
) -> Figure:
    """Maps of phi and psi side by side on one colour scale.

    Parameters
    ----------
    names : sequence of N str
    bins : int
        Along each side.
    shares : sequence of N arrays [bins, bins]
        In per cent of the frames, phi from -180 degrees on in rows, psi in columns.
    columns : int
    height : float
        Of the figure, inches.
    """
    lines = -(-len(names) // columns)
    edges = [np.linspace(-180, 180, bins + 1)] * 2
    with style.page_figure(height, lines, columns, sharex=True, sharey=True) as (figure, axes):
        bar = style.share_maps(figure, axes[: len(names)], edges, shares, "the frames")
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.ax.yaxis.set_minor_formatter(lambda value, _: "")
        for ax, name in zip(axes, names, strict=False):
            ax.axvline(0, color=style.NEUTRAL_COLOR, linewidth=0.8, linestyle=(0, (4, 3)))
            ticks = [-180, -90, 0, 90, 180]
            ax.set(title=name, xlim=(-180, 180), ylim=(-180, 180), aspect="equal")
            ax.set(xticks=ticks, yticks=ticks, xlabel="φ (°)", ylabel="ψ (°)")
            ax.label_outer()
        for ax in axes[len(names) :]:
            ax.remove()
    return figure


def phi_psi_shares(phi: NDArray[Any], psi: NDArray[Any], bins: int) -> NDArray[np.float64]:
    """Shares [bins, bins] of the frames, in per cent, from phi and psi in radians."""
    edges = [np.linspace(-180, 180, bins + 1)] * 2
    x, y = (np.degrees(np.asarray(angles, dtype=np.float64)) for angles in (phi, psi))
    counts = np.histogram2d(x, y, edges)[0]
    return np.asarray(100 * counts / max(counts.sum(), 1))


def torsion_series(runs: Sequence[TorsionSeries], residue: str = "") -> Figure:
    """phi against wall-clock time, one panel a run; accepted jumps as ticks along the top."""
    height = 1.55 * len(runs) + 0.45
    with style.page_figure(height, len(runs), sharex=True) as (figure, axes):
        for ax, run in zip(axes, runs, strict=True):
            ax.axhspan(30, 100, color=style.GRID_COLOR, alpha=0.6, linewidth=0)
            ax.plot(
                run.wall_seconds,
                np.degrees(run.phi),
                linestyle="none",
                marker=".",
                markersize=2.2,
                color=run.color,
                markeredgewidth=0,
            )
            if run.jump_seconds is not None and len(run.jump_seconds):
                ax.plot(
                    run.jump_seconds,
                    np.full(len(run.jump_seconds), 199.0),
                    marker="|",
                    linestyle="none",
                    color=style.ACCEPTED_COLOR,
                    markersize=5,
                    alpha=0.6,
                )
            ax.set(title=run.name, ylabel=f"φ {residue}".strip(), ylim=(-180, 216))
            ax.grid(True, axis="y")
            _degree_axis(ax.yaxis)
        longest = max((run.wall_seconds[-1] for run in runs if len(run.wall_seconds)), default=1.0)
        axes[-1].set(xlabel="wall-clock time (s)", xlim=(0, longest))
    return figure


def proposal_energies(
    md: NDArray[Any],
    raw: NDArray[Any],
    relaxed: NDArray[Any],
    window: float | None,
    names: tuple[str, str] = ("proposals, raw", "proposals, relaxed"),
) -> Figure:
    """Energies of proposals before and after relaxation over those of MD, in kJ/mol.

    Parameters
    ----------
    md : array [F]
        Potential energies of MD frames.
    raw, relaxed : array [P]
        Of proposals, after constraints alone and after the relaxation; NaN where there is none.
    window : float or None
        Upper edge of the energy window.
    names : (str, str)
        Of `raw` and `relaxed` in the legend.

    Notes
    -----
    Energies beyond the right edge are counted in the legend, not dropped silently.
    """
    md, raw, relaxed = (np.asarray(x, float)[np.isfinite(x)] for x in (md, raw, relaxed))
    everything = np.concatenate([md, raw, relaxed])
    if everything.size == 0:
        return style.message_figure("No energies: nothing was proposed.")
    core = md if md.size else everything
    spread = max(core.std(), 1.0)
    top = max(core.max(), window if window is not None else -np.inf) + 4 * spread
    # Most of the raw proposals should be seen, but not at the price of the rest.
    if raw.size:
        top = max(top, min(float(np.percentile(raw, 90)), top + 12 * spread))
    bottom = everything.min() - 0.5 * spread
    edges = np.linspace(bottom, top, 70)
    looks: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "MD frames": (md, dict(fill=True, color=style.MD_COLOR, alpha=0.35, linewidth=0)),
        names[0]: (
            raw,
            dict(color=style.INK_COLOR, linewidth=1.2, linestyle=(0, (3, 1.5)), zorder=3),
        ),
        names[1]: (relaxed, dict(color=style.RELAXED_COLOR, linewidth=1.8)),
    }
    with style.page_figure(3.1) as (figure, (ax,)):
        for name, (values, look) in looks.items():
            if values.size:
                shares = 100 * np.histogram(values, edges)[0] / len(values)
                beyond = int(np.count_nonzero(values > top))
                note = f"; {beyond:,} beyond the edge" if beyond else ""
                ax.stairs(shares, edges, label=f"{name} ({len(values):,}{note})", **look)
        if window is not None:
            ax.axvline(window, color=style.ACCEPTED_COLOR, linewidth=1.4)
            ax.annotate(
                "edge of the window",
                (window, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -4),
                textcoords="offset points",
                va="top",
                fontsize=8.5,
                color=style.ACCEPTED_COLOR,
            )
        ax.set(xlabel="potential energy (kJ/mol)", ylabel="share (%)", xlim=(bottom, top))
        ax.grid(True, axis="y")
        ax.legend(
            loc="upper left", bbox_to_anchor=(0, 1.16), ncols=3, borderaxespad=0, handlelength=1.6
        )
    return figure


def outcome_bars(counts: Mapping[str, int]) -> Figure:
    """How the proposals ended: one bar a reason, `accepted` first, then by number."""
    total = sum(counts.values())
    if total == 0:
        return style.message_figure("Nothing was proposed.")
    rejected = sorted(
        ((name, n) for name, n in counts.items() if name != "accepted" and n),
        key=lambda item: -item[1],
    )
    rows = [("accepted", counts.get("accepted", 0)), *rejected]
    with style.page_figure(0.32 * len(rows) + 0.75) as (figure, (ax,)):
        names = [name.replace("_", " and ") if name == "cis_trans" else name for name, _ in rows]
        numbers = [n for _, n in rows]
        colors = [style.ACCEPTED_COLOR] + [style.REJECTED_COLOR] * len(rejected)
        bars = ax.barh(names, numbers, color=colors, height=0.62)
        shares = [f"{n:,} ({100 * n / total:.1f} %)" for n in numbers]
        ax.bar_label(bars, shares, padding=5, fontsize=8.5)
        ax.invert_yaxis()
        ax.set(xlabel=f"proposals (of {total:,})", xlim=(0, 1.18 * max(numbers)))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(True, axis="x")
    return figure


def relaxation_rmsd(rmsd_nm: NDArray[Any]) -> Figure:
    """How far the relaxation moved the generated frames: RMSD after superposition, nm."""
    values = np.asarray(rmsd_nm, float)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return style.message_figure("No frame was relaxed.")
    with style.page_figure(2.3) as (figure, (ax,)):
        edges = np.linspace(0, max(1.05 * values.max(), 1e-4), 41)
        ax.hist(values, edges, color=style.RELAXED_COLOR, alpha=0.85)
        median = float(np.median(values))
        ax.axvline(median, color=style.INK_COLOR, linewidth=1.2, linestyle=(0, (4, 3)))
        ax.set(
            xlabel="RMSD raw to relaxed (nm), all atoms",
            ylabel="frames",
            xlim=(0, edges[-1]),
            title=f"median {median:.4f} nm",
        )
        ax.grid(True, axis="y")
    return figure
