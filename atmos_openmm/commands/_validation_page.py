"""The page of `atmos-openmm validate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import FILE, option

if TYPE_CHECKING:
    import openmm

    from ..validation import ValidationReport

__all__ = ["page_option", "write_page"]

#: References that hold energies and no frames.
_ENERGIES = (".npz", ".npy", ".csv")

page_option = option(
    "--page",
    type=FILE,
    help="Write a page of the results too: one HTML file with verdicts, energies, strain, "
    "Ramachandran maps and the worst frames in 3-D, which loads nothing from the network.",
)


def write_page(
    path: Path,
    report: ValidationReport,
    topology: Any,
    system: openmm.System,
    trajectories: Sequence[Path],
    *,
    native_nm: Any = None,
    reference: Path | None = None,
    temperature_K: float = 300.0,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
) -> None:
    """Write the page of trajectories that were judged, and say where it is.

    Parameters
    ----------
    path : Path
    report : ValidationReport
        Of all trajectories.
    topology, system
        What the frames are of.
    trajectories : sequence of Path
    native_nm : array [P, 3], optional
    reference : Path, optional
        As it was given: its torsions are shown where it holds frames.
    temperature_K : float
    start, stop, stride : int
        The frames that were judged.
    """
    from ..report.validation_page import write_validation_page

    has_frames = reference is not None and reference.suffix.lower() not in _ENERGIES
    write_validation_page(
        report,
        path,
        topology,
        list(trajectories),
        system=system,
        native_nm=native_nm,
        reference_frames=reference if has_frames else None,
        temperature_K=temperature_K,
        start=start,
        stop=stop,
        stride=stride,
        command="atmos-openmm " + shlex.join(sys.argv[1:]),
    )
    click.echo(f"Page: {path}")
