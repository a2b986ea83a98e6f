"""One look for every plot. The colours are of Okabe and Ito's colour-blind safe palette."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HYBRID_COLOR = "#0072B2"
MD_COLOR = "#D55E00"
MODEL_COLOR = "#009E73"
RAW_COLOR = "#56B4E9"
RELAXED_COLOR = "#0072B2"
ACCEPTED_COLOR = "#009E73"
REJECTED_COLOR = "#CC79A7"
NEUTRAL_COLOR = "#9AA2AC"
INK_COLOR = "#1F2933"
MUTED_COLOR = "#5B6673"
GRID_COLOR = "#E4E7EB"

# Inches of a figure that fills the page's column, and dots an inch of the PNG files.
WIDTH_INCHES = 8.6
DPI = 160


@contextlib.contextmanager
def plot_style() -> Iterator[Any]:
    """Draw inside this context: our settings, nothing of the user's matplotlib configuration.

    Yields the module `matplotlib.figure`. Figures are made from it directly, without pyplot, so
    that no window system is touched and no figure stays open.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which was not found; install it with 'pip install matplotlib'"
        ) from error
    settings: dict[Any, Any] = {
        "figure.dpi": DPI,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": INK_COLOR,
        "axes.labelcolor": INK_COLOR,
        "axes.edgecolor": MUTED_COLOR,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "axes.axisbelow": True,
        "grid.color": GRID_COLOR,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED_COLOR,
        "ytick.color": MUTED_COLOR,
        "xtick.labelcolor": INK_COLOR,
        "ytick.labelcolor": INK_COLOR,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "text.color": INK_COLOR,
        "lines.linewidth": 1.4,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield matplotlib.figure


@contextlib.contextmanager
def page_figure(
    height_inches: float, rows: int = 1, columns: int = 1, **shared: bool
) -> Iterator[tuple[Figure, Any]]:
    """A figure as wide as the page and its axes [rows * columns], to draw on inside the context."""
    with plot_style() as figures:
        figure = figures.Figure(figsize=(WIDTH_INCHES, height_inches))
        yield figure, figure.subplots(rows, columns, squeeze=False, **shared).ravel()


def map_colors() -> Any:
    """Viridis from green to dark: its yellow end is lost on white paper."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis_r"](np.linspace(0.14, 1, 256)))


def color_bar(figure: Figure, drawn: Any, label: str) -> Any:
    """A scale of colours beside all axes of a figure."""
    width, height = figure.get_size_inches()
    aspect = 20 * max(1.0, height / width)
    bar = figure.colorbar(drawn, ax=list(figure.axes), shrink=0.85, pad=0.015, aspect=aspect)
    bar.set_label(label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return bar


def share_maps(
    figure: Figure,
    axes: Sequence[Any],
    edges: Sequence[NDArray[Any]],
    shares: Sequence[NDArray[Any]],
    whole: str,
) -> Any:
    """Draw shares [X, Y] in percent of a `whole` on one logarithmic scale; returns the scale."""
    from matplotlib.colors import LogNorm

    seen = np.concatenate([share[share > 0] for share in shares])
    low, high = (seen.min(), seen.max()) if seen.size else (0.01, 1.0)
    norm = LogNorm(low, max(high, 1.01 * low))
    for ax, share in zip(axes, shares, strict=True):
        filled = np.ma.masked_equal(share.T, 0)
        mesh = ax.pcolormesh(*edges, filled, cmap=map_colors(), norm=norm, rasterized=True)
        ax.grid(True)
    return color_bar(figure, mesh, f"share of {whole} a bin (%)")


def legend_above(figure: Figure, ax: Any) -> None:
    """The legend of some axes above the figure, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, handlelength=2.2)


def message_figure(message: str) -> Figure:
    """A line of text in the place of a plot."""
    with plot_style() as figures:
        figure: Figure = figures.Figure(figsize=(WIDTH_INCHES, 0.8))
        figure.text(0.5, 0.5, message, ha="center", va="center", color=MUTED_COLOR)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
