"""Valid generated frames of a run, gathered from the trajectories of its walkers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .storage import read_run, read_settings
from .trajectory_files import open_trajectory

if TYPE_CHECKING:
    from openmm.app import Topology

_BATCH = 1000


def valid_frame_numbers(
    folder: str | Path, count: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walker and frame number of each valid generated frame of a run, by cycle and walker.

    Parameters
    ----------
    folder: str or Path
        the folder of a run
    count: int, optional
        how many at most, from the first on

    Returns
    -------
    walkers [N], frames [N]
    """
    table = read_run(folder, positions=False).frames
    rows = np.flatnonzero(table["generated"])
    rows = rows[np.lexsort((table["walker"][rows], table["cycle"][rows]))][:count]
    return table["walker"][rows].astype(np.int64), table["frame"][rows]


def write_valid_frames(
    folder: str | Path, topology: Topology, path: Path, count: int | None = None
) -> int:
    """Write the valid generated frames of a run to one trajectory; return how many there are.

    The file is written beside its place and renamed into it.
    """
    settings = read_settings(folder)
    walkers, frames = valid_frame_numbers(folder, count)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    temporary.unlink(missing_ok=True)
    output = open_trajectory(temporary, topology, settings["jump_interval"] * settings["step_ps"])
    sources = [
        _open(Path(folder) / f"trajectory_{walker:04d}.{settings['format']}")
        for walker in range(settings["walkers"])
    ]
    try:
        for start in range(0, len(frames), _BATCH):
            chosen = zip(
                walkers[start : start + _BATCH], frames[start : start + _BATCH], strict=True
            )
            output.append(_read(sources[walker], int(frame)) for walker, frame in chosen)
            output.confirm()
        if len(frames):
            os.replace(temporary, path)
    finally:
        for source in sources:
            source.close()
        temporary.unlink(missing_ok=True)
    return len(frames)


def _open(path: Path) -> Any:
    import mdtraj

    return mdtraj.open(str(path))


def _read(source: Any, frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """One frame: positions [P, 3] and box vectors [3, 3] in nm."""
    import mdtraj

    source.seek(frame)
    if isinstance(source, mdtraj.formats.DCDTrajectoryFile):
        positions, lengths, angles = source.read(1)
        box = None
        if lengths is not None and (lengths > 0).all():
            vectors = mdtraj.utils.lengths_and_angles_to_box_vectors(
                *(0.1 * lengths[0]), *angles[0]
            )
            box = np.array(vectors, dtype=np.float64)
        return 0.1 * positions[0].astype(np.float64), box
    positions, _, _, vectors = source.read(1)
    box = vectors[0].astype(np.float64) if np.any(vectors) else None
    return positions[0].astype(np.float64), box
