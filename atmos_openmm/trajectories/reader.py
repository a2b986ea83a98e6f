"""The reader of trajectories: frames one after the other, or those of the solute in memory.

Files are read in chunks, so that a trajectory of any length takes the same memory until somebody
gathers its frames.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.settings import read_settings
from ..core.units import positions_in_nm
from .box_watch import BoxWatch, is_placeholder
from .boxes import bring_together, make_whole, reduced_box
from .clock import Stretch, read_clock
from .errors import MissingInformationError
from .formats import open_file
from .frames import Frame, FrameChunk, FrameReader
from .scale import scale_fault
from .topology import SoluteTopology, check_atoms, check_count

__all__ = ["SoluteFrames", "gather", "joined", "open_frames", "read_folder"]


def open_frames(trajectory: Any, topology: Any, *, boxes: BoxWatch | None = None) -> FrameReader:
    """Open a trajectory for reading.

    Parameters
    ----------
    trajectory : str, path, mdtraj.Trajectory, array [F, P, 3] or Quantity
        A file in any format that mdtraj reads or the package's own layout (HDF5), or frames in
        memory (nm). Where the format carries a topology, its atoms are compared.
    topology : openmm.app.Topology
    boxes : BoxWatch, optional
        What the frames' boxes are compared with; what it says is among the reader's remarks.

    Returns
    -------
    FrameReader

    Raises
    ------
    FileNotFoundError
    TrajectoryMismatchError
        The number, elements or order of the atoms differ. For files, that may be when the first
        frame is read.
    ValueError
        The format is not known or the file is damaged.
    """
    return replace(_opened(trajectory, topology), boxes=boxes)


def _opened(trajectory: Any, topology: Any) -> FrameReader:
    if isinstance(trajectory, (str, os.PathLike)):
        return open_file(Path(trajectory), topology)
    mdtraj = sys.modules.get("mdtraj")
    if mdtraj is not None and isinstance(trajectory, mdtraj.Trajectory):
        remarks = check_atoms(trajectory.topology, topology, "the trajectory")
        # Whoever made it can set its times; those that a file did not have are not told apart.
        chunks = iter([FrameChunk.of(trajectory, timed=True)])
        return FrameReader("the trajectory", len(trajectory), True, remarks, chunks)
    given = isinstance(trajectory, np.ndarray)  # perhaps large: not copied
    values = trajectory if given else positions_in_nm(trajectory)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(
            f"an array of frames should have the shape (frames, atoms, 3); found {values.shape}"
        )
    check_count(values.shape[1], topology, "the array")
    chunks = iter([FrameChunk(values, np.full(len(values), np.nan), None)])
    return FrameReader("the array", len(values), False, [], chunks)


@dataclass(frozen=True)
class SoluteFrames:
    """Frames of the solute of one trajectory, in memory.

    Attributes
    ----------
    name : str
        What messages call it.
    positions_nm : float32 array [F, A, 3]
        Molecules whole, and together where the frames have a box.
    stretches : tuple of Stretch
        Which of the F frames follow each other in time; one without spacing where there is none.
    notes : tuple of str
        What was found and chosen.
    lacks_spacing : bool
        Whether it has no time because neither its format nor the caller says one.
    """

    name: str
    positions_nm: NDArray[np.float32]
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...] = ()
    lacks_spacing: bool = False


def gather(
    path: Path,
    topology: Any,
    solute: SoluteTopology,
    *,
    spacing_ps: float | None = None,
    stride: int = 1,
    has_time: bool = True,
    needs_time: bool = False,
) -> SoluteFrames:
    """Read the frames of a trajectory file into memory, without its solvent.

    Parameters
    ----------
    path : Path
        In any format that `open_frames` reads.
    topology : openmm.app.Topology
        Of all atoms of the file.
    solute : SoluteTopology
        Of this Topology.
    spacing_ps : float, optional
        Time between frames of the file, instead of what it says.
    stride : int
        Take every so many frames.
    has_time : bool
        False where the frames are known to have no order in time, whatever the file says.
    needs_time : bool
        Refuse what has no time, instead of noting it.

    Raises
    ------
    FileNotFoundError
    TrajectoryMismatchError
    MissingInformationError
        With `needs_time`: the format has no times that can be trusted, or those of the file do
        not increase evenly, and no spacing is given.
    ValueError
        The file cannot be read, or its coordinates are in another unit than its format's.
    """
    watch = BoxWatch(
        _own_box(topology), "the structure", "their molecules are taken as they are, whole or not"
    )
    reader = open_frames(path, topology, boxes=watch)
    lacking = has_time and spacing_ps is None and not reader.timed
    if needs_time and lacking:
        raise MissingInformationError("spacing", _without_times(path))
    positions: list[NDArray[np.float32]] = []
    times, repeated = [], []
    last = np.zeros(0)
    for frame in reader.frames(stride=stride):
        x = joined(frame, solute)
        if not positions and (scale := scale_fault(x)):
            raise ValueError(f"{path}: {scale}.")
        positions.append(x.astype(np.float32))
        times.append(frame.time_ps)
        repeated.append(np.array_equal(x, last))
        last = x
    found, notes = np.stack(positions), list(reader.remarks)
    stretches: tuple[Stretch, ...] = (Stretch(0, len(found)),)
    if spacing_ps is not None:
        stretches = (Stretch(0, len(found), stride * spacing_ps),)
    elif lacking:
        notes.append(f"{_without_times(path)} Without it the frames have no order in time.")
    elif has_time:
        clock = read_clock(times, np.array(repeated))
        found, stretches = found[clock.kept], clock.stretches
        notes += [f"{path} {note}." for note in clock.notes]
        if len(found) > 1 and all(s.spacing_ps is None for s in stretches):
            lacking = True
            notes[-1] = (
                f"{path} {clock.notes[-1]}; give the time between its frames in ps, if they are "
                "evenly spaced."
            )
            if needs_time:
                raise MissingInformationError("spacing", notes[-1])
    return SoluteFrames(str(path), found, stretches, tuple(notes), lacking)


def _without_times(path: Path) -> str:
    return (
        f"{path} has no times that can be trusted (files that end in {path.suffix} need not say "
        "any); give the time between its frames in ps."
    )


def _own_box(topology: Any) -> NDArray[np.float64] | None:
    """The box of a Topology, where it is one of a simulation."""
    vectors = topology.getPeriodicBoxVectors()
    box = None if vectors is None else positions_in_nm(vectors)
    return None if box is None or is_placeholder(box) else box


def joined(frame: Frame, solute: SoluteTopology) -> NDArray[np.float64]:
    """The solute's positions, its molecules whole and together."""
    x = frame.positions_nm[solute.atoms]
    # What is not finite cannot be moved; it is the caller's to refuse.
    if frame.box_nm is None or not np.isfinite(x).all():
        return x
    box = reduced_box(frame.box_nm)
    return bring_together(make_whole(x, solute.tree, box), solute.molecules, box)


def read_folder(
    path: Path, topology: Any, solute: SoluteTopology, *, spacing_ps: float | None = None
) -> tuple[list[SoluteFrames], str]:
    """Trajectories of the walkers of a hybrid run or a rollout, and words on them.

    A rollout's frames are a lag apart, as its run.json says. Those of a hybrid run have no common
    time between them, whatever their files say. A spacing that is given replaces both.

    Raises
    ------
    StorageError
        The folder is not one of these.
    ValueError
        It holds no trajectory.
    """
    settings = read_settings(path)
    files = sorted(p for p in path.glob("trajectory_*.*") if p.suffix in (".dcd", ".xtc"))
    if not files:
        raise ValueError(f"{path} holds no trajectory_NNNN.dcd or .xtc; has the run made frames?")
    rollout = settings.get("kind") == "rollout"
    if rollout and spacing_ps is None:
        spacing_ps = float(settings["lag_ps"])
    found = [
        gather(file, topology, solute, spacing_ps=spacing_ps, has_time=rollout) for file in files
    ]
    if rollout:
        return found, f"{path.name}: a rollout of {len(files)} walker(s)."
    return found, (
        f"{path.name}: a hybrid run; its frames have no common time between them (jumps and "
        "dynamics alternate), so it has no dynamics here."
    )
