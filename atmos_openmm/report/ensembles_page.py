"""Runs of one molecule beside a reference: maps, populations with errors, error against time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.statistics import batch_means_error, effective_sample_size, standard_error
from ..evaluation.divergence import jensen_shannon_divergence
from ..evaluation.known_ensemble import BINS, KnownEnsemble
from ..sampling.basins import RAMACHANDRAN, Basins
from . import plots, style
from .page import Fact, Picture, Section, Table, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIVISION = Basins("phi, psi", (0, 1), RAMACHANDRAN)
_SHOWN = {"beta/PPII": "β/PPII", "alpha-R": "α-R", "phi>0": "φ > 0"}
_RARE = "phi>0"
_CURVE_POINTS = 200

#: The plots of `BesideReference`, by file name.
PICTURES = ("ramachandran.png", "populations.png", "error_against_time.png")


@dataclass(frozen=True, eq=False)
class SampledRun:
    """Phi and psi along one run.

    Attributes
    ----------
    name : str
    color : str
    angles : array [W, F, 2]
        Phi and psi of each walker's frames, radians.
    seconds : array [F]
        Of the run's own clock at each frame, whatever had to be made before it included.
    is_boltzmann : bool
        Whether its populations are meant to be Boltzmann's.
    """

    name: str
    color: str
    angles: NDArray[np.floating[Any]]
    seconds: NDArray[np.float64]
    is_boltzmann: bool = True

    def populations(self) -> dict[str, tuple[float, float, float]]:
        """Population of each basin, its standard error, and effective samples.

        The error is NaN where nothing varies: a basin that was never seen is no knowledge.
        """
        labels = _DIVISION.assign(self.angles)
        result = {}
        for code, name in enumerate(RAMACHANDRAN):
            inside = (labels == code).astype(np.float64)
            errors = [batch_means_error(inside), standard_error(inside)]
            known = [error for error in errors if error > 0]
            share = float(inside.mean()) if inside.size else math.nan
            result[name] = share, max(known, default=math.nan), effective_sample_size(inside)
        return result

    def histogram(self) -> NDArray[np.float64]:
        """Shares of the frames [BINS, BINS]."""
        phi, psi = self.angles.reshape(-1, 2).T
        return plots.phi_psi_shares(phi, psi, BINS) / 100

    def running_population(self, basin: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times, and the population of all frames until then."""
        inside = (_DIVISION.assign(self.angles) == RAMACHANDRAN.index(basin)).mean(axis=0)
        count = len(inside)
        last = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).astype(int))
        return self.seconds[last], (np.cumsum(inside) / np.arange(1, count + 1))[last]


@dataclass(frozen=True)
class BesideReference:
    """Runs of the same wall-clock time beside a reference.

    Attributes
    ----------
    reference : KnownEnsemble
    runs : sequence of SampledRun
    setup_note : str
        What was made before the exact run, and how long that took.
    """

    reference: KnownEnsemble
    runs: Sequence[SampledRun]
    setup_note: str

    def facts(self) -> list[Fact]:
        """The numbers for the top of the page."""
        value, error = self.reference.populations[_RARE]
        shares = [f"{run.name} {_percents(*run.populations()[_RARE][:2])}" for run in self.runs]
        far = [
            f"{run.name} {jensen_shannon_divergence(run.histogram(), self.reference.histogram):.3f}"
            for run in self.runs
        ]
        biased = [run.name for run in self.runs if not run.is_boltzmann]
        explored = f"; of {', '.join(biased)} they are the model's" if biased else ""
        return [
            Fact(
                "Frames with φ > 0",
                "; ".join(shares),
                f"a long reference says {_percents(value, error)}; ± is one standard error"
                f"{explored}",
            ),
            Fact(
                "Divergence from the reference's map",
                "; ".join(far),
                f"Jensen-Shannon in nats, {BINS} × {BINS} bins; 0 equal, 0.693 disjoint; "
                "fewer frames look farther",
            ),
        ]

    def pictures(self) -> dict[str, Picture]:
        """The plots by file name."""
        reference = self.reference
        return {
            "ramachandran.png": Picture(
                style.png_bytes(self._maps()),
                "Four maps of phi and psi: the reference and three runs.",
                f"φ and ψ of all frames, in {BINS} × {BINS} bins. The reference: "
                f"{reference.method}; {reference.frames:,} frames. The dashed line is φ = 0, the "
                "ridge that MD seldom crosses.",
            ),
            "populations.png": Picture(
                style.png_bytes(self._populations()),
                "Populations of three basins with error bars, for the reference and three runs.",
                "Populations of the basins with their standard errors; the grey band is the "
                "reference with its own. A hollow mark has no error: the run never entered, or "
                "never left, the basin. Bars of exploring runs tell of the length of the run, not "
                "of the model's bias.",
            ),
            "error_against_time.png": Picture(
                style.png_bytes(self._errors()),
                "Error of the share of frames with phi above 0 against wall-clock time.",
                "How far the share of frames with φ > 0, of all frames so far, is from the "
                "reference's, in per cent of all frames, against each run's own clock. A line "
                f"begins with the run's first frame: {self.setup_note} In the grey band the "
                "reference itself is not sure. A run that has not seen φ > 0 stays at the dotted "
                "line.",
            ),
        }

    def section(self, pictures: dict[str, Picture]) -> Section:
        """What the runs say about populations."""
        head = ("basin", "reference", *(run.name for run in self.runs))
        found = [run.populations() for run in self.runs]
        rows = tuple(
            (
                _SHOWN[name],
                _percents(*self.reference.populations[name]),
                *(
                    f"{_percents(share, error)}"
                    + (f" ({samples:,.0f} samples)" if samples > 0 else "")
                    for share, error, samples in (each[name] for each in found)
                ),
            )
            for name in RAMACHANDRAN
        )
        caption = "Populations with standard errors, and effective samples where they are known."
        return Section(
            "Populations, beside a long reference",
            [*pictures.values(), Table(head, rows, frozenset(head[1:]), caption=caption)],
        )

    @property
    def explanation(self) -> Text:
        """How to read the populations."""
        return Text(
            (
                "The exact run draws φ and ψ from an explicit density and tests each move by the "
                "Metropolis criterion, with dynamics in between: all of its frames have weight 1, "
                f"and their averages are Boltzmann's within their errors. {self.setup_note} The "
                "time of that is in its clock. The density decides how fast the run is, not what "
                "it finds.",
            ),
            strong="What is exact.",
        )

    def _maps(self) -> Figure:
        names = ["Reference", *(run.name for run in self.runs)]
        shares = [100 * self.reference.histogram, *(100 * run.histogram() for run in self.runs)]
        height = 0.42 * style.WIDTH_INCHES * math.ceil(len(names) / 2) + 0.3
        return plots.phi_psi_maps(names, BINS, shares, 2, height)

    def _populations(self) -> Figure:
        found = [run.populations() for run in self.runs]
        with style.page_figure(2.6, columns=len(RAMACHANDRAN), sharey=True) as (figure, axes):
            for ax, name in zip(axes, RAMACHANDRAN, strict=True):
                value, error = (100 * each for each in self.reference.populations[name])
                ax.axvspan(value - error, value + error, color=style.GRID_COLOR)
                ax.axvline(value, color=style.MUTED_COLOR, linewidth=1)
                for line, (run, populations) in enumerate(zip(self.runs, found, strict=True)):
                    share, sigma, _ = (100 * each for each in populations[name])
                    known = not math.isnan(sigma)
                    ax.errorbar(
                        share,
                        line,
                        xerr=sigma if known else None,
                        fmt="o",
                        color=run.color,
                        markerfacecolor=run.color if known else "white",
                        capsize=3,
                    )
                ax.set(title=_SHOWN[name], xlabel="population (%)")
                ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
                ax.grid(True, axis="x")
            names = [run.name for run in self.runs]
            axes[0].set(yticks=range(len(names)), yticklabels=names)
            axes[0].set_ylim(len(names) - 0.5, -0.5)
        return figure

    def _errors(self) -> Figure:
        value, error = (100 * each for each in self.reference.populations[_RARE])
        with style.page_figure(3.0) as (figure, (ax,)):
            least = 0.05
            ax.axhspan(least, error, color=style.GRID_COLOR, linewidth=0)
            ax.axhline(value, color=style.MUTED_COLOR, linewidth=1, linestyle=":")
            for run in self.runs:
                seconds, shares = run.running_population(_RARE)
                away = np.abs(100 * shares - value).clip(min=least)
                ax.plot(seconds, away, color=run.color, label=run.name)
            ax.set(yscale="log", xlabel="wall-clock time (s)", ylim=(least, 100))
            ax.set(ylabel="error of the share\nwith φ > 0 (%)", xlim=(0, None))
            ax.yaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
            ax.grid(True)
            style.legend_above(figure, ax)
        return figure


def _percents(share: float, error: float) -> str:
    if math.isnan(share):
        return "-"
    return f"{100 * share:.1f} ± {100 * error:.1f} %" if error > 0 else f"{100 * share:.1f} %"
