"""Runs panels: reference molecular dynamics, an MD replica as the oracle, and any generators.

Every row of a table is measured against the same reference on the same atoms with the same number
of frames. The oracle is MD too: what it scores is what a perfect generator could expect from so
many frames. No other row is to be read without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atoms import common_atoms
from .bootstrap import BLOCKS, RESAMPLES, block_bootstrap
from .ensemble import Ensemble
from .overlap import check_rows
from .panel import Metric, NotApplicable, Panel, Settings
from .panels import find_panel

__all__ = ["Evaluation", "PanelResult", "PanelRow", "evaluate", "split_reference"]

REFERENCE, ORACLE, GENERATOR = "reference", "oracle", "generator"

#: Differences from the oracle beyond so many combined errors are told as differences.
SIGNIFICANT = 2.0


@dataclass(frozen=True)
class PanelRow:
    """What one ensemble scored in one panel.

    Attributes
    ----------
    name : str
    role : str
        ``reference`` (against itself), ``oracle`` (another stretch of MD) or ``generator``.
    frames, trajectories : int
        That were measured.
    spacing_ps : float or None
    values, errors : dict of str to float
        By metric; errors are standard errors by block bootstrap over this ensemble's frames, the
        reference held fixed.
    arrays : dict of str to array
        Curves and maps.
    """

    name: str
    role: str
    frames: int
    trajectories: int
    spacing_ps: float | None
    values: dict[str, float]
    errors: dict[str, float]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class PanelResult:
    """A panel's table; the reference is the first row, oracles follow."""

    panel: type[Panel]
    rows: tuple[PanelRow, ...]
    notes: tuple[str, ...]
    axes: dict[str, NDArray[Any]]
    seconds: float

    @property
    def name(self) -> str:
        """The panel's name."""
        return self.panel.name

    def row(self, role: str) -> PanelRow:
        """The first row of a role."""
        return next(row for row in self.rows if row.role == role)

    def verdict(self, row: PanelRow, metric: Metric) -> str:
        """``as MD``, ``worse than MD`` or ``better than MD``, against the first oracle.

        Differences within two combined standard errors are none. '' where either has no value.
        """
        oracle, reference = self.row(ORACLE), self.row(REFERENCE).values[metric.key]
        if row.role != GENERATOR or np.isnan(oracle.values[metric.key]):
            return ""
        if np.isnan(row.values[metric.key]):
            return ""
        mine, theirs = (metric.badness(r.values[metric.key], reference) for r in (row, oracle))
        errors = [np.nan_to_num(r.errors.get(metric.key, 0.0)) for r in (row, oracle)]
        if abs(mine - theirs) <= SIGNIFICANT * float(np.hypot(*errors)):
            return "as MD"
        return "worse than MD" if mine > theirs else "better than MD"


@dataclass(frozen=True)
class Evaluation:
    """All panels of one molecule.

    Attributes
    ----------
    molecule : str
    panels : tuple of PanelResult
    skipped : dict of str to str
        Panels that do not apply, and why.
    notes : tuple of str
        What was chosen: oracle, frames, atoms.
    """

    molecule: str
    panels: tuple[PanelResult, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...]

    def panel(self, name: str) -> PanelResult:
        """The result of a panel."""
        return next(result for result in self.panels if result.name == name)


def split_reference(reference: Ensemble) -> tuple[Ensemble, Ensemble, str]:
    """Reference and oracle from one set of MD trajectories, and words on it.

    With several trajectories the last one is the oracle; a single one is cut into halves. Segments
    whose clock does not start at 0 go on with the trajectory before them.
    """
    starts = [k for k, (first, _) in enumerate(reference.segments) if reference.clock[first] == 0]
    if len(starts) > 1:
        rest = reference.with_segments(reference.segments[: starts[-1]]).taken()
        last = reference.with_segments(reference.segments[starts[-1] :], "MD replica").taken()
        return (
            rest,
            last,
            (
                f"the oracle is the last of {len(starts)} trajectories of the reference; the "
                "others are the reference"
            ),
        )
    first, second = (half.restarted() for half in reference.halves())
    return (
        replace(first, name=reference.name),
        replace(second, name="MD, second half"),
        "the oracle is the second half of the only reference trajectory, the first half is the "
        "reference; the two are correlated where they meet, and each is half as long as the data",
    )


def evaluate(
    reference: Ensemble,
    generators: Sequence[Ensemble] = (),
    *,
    settings: Settings,
    panels: Sequence[str],
    oracles: Sequence[Ensemble] = (),
    frames: int | None = None,
    molecule: str = "",
    resamples: int = RESAMPLES,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure an MD replica and generated ensembles against reference MD.

    Parameters
    ----------
    reference : Ensemble
        Molecular dynamics.
    generators : sequence of Ensemble
        Anything: this package's runs, other models' frames. Fewer atoms will do for most panels;
        all rows are then measured on the atoms that all have.
    settings : Settings
        `native_nm` in the atoms of the reference.
    panels : sequence of str
        Names, see `panels.PANELS`.
    oracles : sequence of Ensemble
        MD replicas that are not part of the reference. Without one the reference is split
        (`split_reference`).
    frames : int, optional
        Frames of every row, by TEMPO's rule: longer ones are cut, shorter ones repeated from the
        start. By default as many as the shortest row has, at most as many as were published.
    molecule : str
        Name.
    resamples : int
        Draws of the block bootstrap; 0 for no errors.
    progress : callable, optional
        Called with a line of text before each step.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If the ensembles are of different molecules or have too few frames, an oracle has frames
        of the reference, or if no panel of the names is there.
    """
    chosen = [find_panel(name) for name in panels]
    notes: list[str] = []
    if not oracles:
        reference, oracle, words = split_reference(reference)
        notes.append(words[0].upper() + words[1:] + ".")
        oracles = [oracle]
    whole = [reference, *oracles, *generators]
    if len({e.name for e in whole}) != len(whole):
        raise ValueError(
            f"two ensembles have the same name among {', '.join(e.name for e in whole)}; give "
            "others"
        )
    indices = common_atoms([e.atoms for e in whole])
    table = reference.atoms.subset(indices[0])
    cut = [e.restricted(i, table) for e, i in zip(whole, indices, strict=True)]
    notes += check_rows(cut[0], cut[1 : 1 + len(oracles)], cut[1 + len(oracles) :])
    cut_settings = replace(settings, native_nm=np.asarray(settings.native_nm)[indices[0]])
    if len(indices[0]) < len(reference.atoms):
        notes.append(
            f"All rows are measured on the {len(indices[0])} atoms (of {len(reference.atoms)}) "
            "that all ensembles have."
        )
    results, skipped = [], {}
    for panel in chosen:
        try:
            if panel.needs_all_atoms:
                rows, told = [_in_order(e, reference) for e in whole], settings
            else:
                rows, told = cut, cut_settings
            result = _measured(panel, rows, told, len(oracles), frames, resamples, progress)
        except NotApplicable as error:
            skipped[panel.name] = str(error)
        else:
            results.append(result)
    notes.append(
        f"Errors are standard errors by a block bootstrap over each row's own frames ({BLOCKS} "
        f"blocks, {resamples} draws), the reference held fixed; they are too small where frames "
        "are correlated over more than a tenth of the row."
        if resamples
        else "No standard errors were asked for: verdicts take any difference for one."
    )
    return Evaluation(molecule, tuple(results), skipped, tuple(notes))


def _in_order(ensemble: Ensemble, reference: Ensemble) -> Ensemble:
    """All atoms in the reference's order, where an ensemble has all of them by name."""
    if ensemble.atoms.names == reference.atoms.names:
        return ensemble
    ours, theirs = common_atoms([reference.atoms, ensemble.atoms])
    if len(ours) < len(reference.atoms) or len(theirs) < len(ensemble.atoms):
        return ensemble
    return ensemble.restricted(theirs, reference.atoms)


def _measured(
    panel: type[Panel],
    ensembles: Sequence[Ensemble],
    settings: Settings,
    oracles: int,
    frames: int | None,
    resamples: int,
    progress: Callable[[str], None] | None,
) -> PanelResult:
    """A panel fitted on the first ensemble, the reference, and asked of all."""
    report = progress or (lambda text: None)
    report(f"{panel.title}: fitting the reference")
    started = time.perf_counter()
    fitted = panel(ensembles[0], settings)
    count = frames or min(e.num_frames for e in ensembles[1:])
    if frames is None and panel.published_frames is not None:
        count = min(count, panel.published_frames)
    fitted.notes.append(
        f"{count} frames a row, {ensembles[0].num_frames} of the reference"
        + (f" (published: {panel.published_frames} a row)." if panel.published_frames else ".")
    )
    rows = []
    for place, ensemble in enumerate(ensembles):
        role = REFERENCE if place == 0 else ORACLE if place <= oracles else GENERATOR
        measured = ensemble
        if place:
            measured = _sized(ensemble, count, frames is not None, panel.spread_frames)
        report(f"{panel.title}: {ensemble.name}")
        rows.append(_row(fitted, measured, role, resamples))
    seconds = time.perf_counter() - started
    return PanelResult(panel, tuple(rows), tuple(fitted.notes), fitted.axes(), seconds)


def _sized(ensemble: Ensemble, count: int, exactly: bool, spread: bool) -> Ensemble:
    if ensemble.num_frames < count and exactly:
        return ensemble.extended(count)
    # A copy: what is computed of single frames is computed of these alone.
    return (ensemble.spread(count) if spread else ensemble.first(count)).taken()


def _row(fitted: Panel, ensemble: Ensemble, role: str, resamples: int) -> PanelRow:
    described = (ensemble.num_frames, len(ensemble.segments), ensemble.spacing_ps)
    try:
        values = fitted.values(ensemble)
        arrays = fitted.arrays(ensemble)
        errors = block_bootstrap(fitted.values, ensemble, resamples) if resamples else {}
    except NotApplicable as error:
        if role != GENERATOR:
            raise
        fitted.notes.append(f"{ensemble.name}: {error}.")
        nothing = fitted.unavailable()
        return PanelRow(ensemble.name, role, *described, nothing, nothing)
    missing = [m.name for m in fitted.metrics if np.isnan(values[m.key])]
    if missing and role != REFERENCE:
        why = " (frames without an order in time have no dynamics)" * (ensemble.spacing_ps is None)
        fitted.notes.append(f"{ensemble.name} has no value of {', '.join(missing)}{why}.")
    return PanelRow(ensemble.name, role, *described, values, errors, arrays)
