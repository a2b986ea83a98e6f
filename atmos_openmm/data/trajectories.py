"""The project's own trajectory files as samples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..trajectories.clock import even_spacing
from ..trajectories.layout import FORMAT, Trajectory, TrajectoryFile, TrajectoryFileError
from .entries import Entry, guarded
from .faults import DataFileError, Fault
from .frames import HDF5Frames
from .sample import Provenance, Sample

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = ["TrajectoryMolecule", "inspect", "is_trajectory_file"]


def is_trajectory_file(file: Any) -> bool:
    """Whether an open HDF5 file is of the project's layout."""
    return file.attrs.get("format") == FORMAT


def inspect(path: str | os.PathLike[str]) -> list[Entry]:
    """Find the trajectories of a file without reading frames.

    Returns
    -------
    list of Entry
        Named ``<molecule>/<number>``.
    """
    path = str(Path(path))
    try:
        with TrajectoryFile(path) as file:
            return [
                guarded(path, t.name, partial(_entry, path, file, t)) for t in file.trajectories
            ] or [Entry.failed(path, "", "missing", "it holds no trajectory.")]
    except (TrajectoryFileError, FileNotFoundError) as error:
        message = str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ")
        return [Entry.failed(path, "", "unreadable", message)]


def _entry(path: str, file: TrajectoryFile, trajectory: Trajectory) -> Entry:
    failed = partial(Entry.failed, path, trajectory.name)
    spacing = None
    if trajectory.kind == "dynamics":
        if len(trajectory) < 2:
            return failed("shape", "dynamics of a single frame; a lag needs at least 2.")
        spacing = even_spacing(trajectory.time_ps)
        if spacing is None:
            steps = np.diff(trajectory.time_ps)
            return failed(
                "inconsistent",
                f"its time stamps are not evenly spaced ({steps.min():g} to {steps.max():g} ps).",
            )
    if not trajectory.temperature_kelvin > 0.0:
        return failed("inconsistent", f"its temperature is {trajectory.temperature_kelvin:g} K.")
    entry = f"/trajectories/{trajectory.name}"
    extra = {k: v for k, v in trajectory.attributes.items() if k not in ("kind", "temperature_K")}
    sample = Sample(
        name=f"{file.name}/{trajectory.name}",
        kind="dynamics" if trajectory.kind == "dynamics" else "exchange",
        frames=HDF5Frames(path, f"{entry}/positions", len(trajectory), trajectory.num_atoms),
        source=TrajectoryMolecule(path),
        temperature_kelvin=trajectory.temperature_kelvin,
        spacing_ps=spacing,
        provenance=Provenance(
            "atmos-openmm",
            path,
            entry,
            {**extra, "force_field": file.settings.get("forcefield", "not recorded")},
        ),
    )
    return Entry(sample)


@dataclass(frozen=True)
class TrajectoryMolecule:
    """The molecule of a trajectory file; reference positions are its first frame.

    Attributes
    ----------
    path : str
    """

    path: str

    def load(self) -> Molecule:
        """Read the molecule.

        Raises
        ------
        DataFileError
        """
        from ..systems.inputs import Molecule

        try:
            with TrajectoryFile(self.path) as file:
                positions = file.trajectories[0].positions(0).astype(np.float64)
                return Molecule(file.topology, positions, {}, file.name)
        except (TrajectoryFileError, FileNotFoundError) as error:
            raise DataFileError(Fault(self.path, "", "unreadable", str(error))) from error
