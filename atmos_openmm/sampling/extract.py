"""Valid generated frames of a run, gathered from the trajectories of its walkers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import replacement
from ..core.settings import read_settings
from ..trajectories.readable_names import readable_name
from .storage import read_run
from .trajectory_files import Frame, encoded_dcd_frames, open_trajectory

if TYPE_CHECKING:
    from openmm.app import Topology

_BATCH = 1000


def valid_frame_numbers(
    folder: str | Path, count: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walker and frame number of each valid generated frame of a run, by cycle and walker.

    Parameters
    ----------
    folder : str or Path
        the folder of a run
    count : int, optional
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
    if not len(frames):
        return 0
    interval_ps = settings["jump_interval"] * settings["step_ps"]
    with replacement(path) as temporary:
        output = open_trajectory(temporary, topology, interval_ps, format=path.suffix[1:])
        for start in range(0, len(frames), _BATCH):
            batch = slice(start, start + _BATCH)
            if settings["format"] == path.suffix[1:] == "dcd":
                output.append_encoded(
                    _gathered(folder, settings, walkers[batch], frames[batch], _dcd(topology))
                )
            else:
                output.append(_gathered(folder, settings, walkers[batch], frames[batch], _read))
            output.confirm()
    return len(frames)


def _gathered(
    folder: str | Path,
    settings: dict[str, Any],
    walkers: NDArray[np.int64],
    frames: NDArray[np.int64],
    read: Callable[[Path, NDArray[np.int64]], Iterable[Any]],
) -> list[Any]:
    """Frames of several walkers in the order given; each file is opened once."""
    result: list[Any] = [None] * len(frames)
    for walker in np.unique(walkers):
        rows = np.flatnonzero(walkers == walker)
        path = Path(folder) / f"trajectory_{walker:04d}.{settings['format']}"
        for row, frame in zip(rows, read(path, frames[rows]), strict=True):
            result[row] = frame
    return result


def _dcd(topology: Topology) -> Callable[[Path, NDArray[np.int64]], Iterable[bytes]]:
    return lambda path, numbers: encoded_dcd_frames(path, topology, numbers)


def _read(path: Path, numbers: NDArray[np.int64]) -> Iterator[Frame]:
    """Frames: positions [P, 3] and box vectors [3, 3] in nm."""
    import mdtraj

    with mdtraj.open(readable_name(path)) as source:
        for number in numbers:
            source.seek(int(number))
            if path.suffix == ".xtc":
                positions, _, _, vectors = source.read(1)
                box = vectors[0].astype(np.float64) if np.any(vectors) else None
                yield positions[0].astype(np.float64), box
                continue
            positions, lengths, angles = source.read(1)
            box = None
            if lengths is not None and (lengths > 0).all():
                box = np.array(
                    mdtraj.utils.lengths_and_angles_to_box_vectors(*(0.1 * lengths[0]), *angles[0])
                )
            yield 0.1 * positions[0].astype(np.float64), box
