"""Tables of hybrid runs as version 1 of the record kept them, in HDF5.

`record.h5` holds the rows of the commits up to the one that it names, and `parts/part_N.h5` those
of commit N after it, as far as N is not beyond the commit of `checkpoint.npz`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import StorageError
from .tables import PROPOSAL_POSITIONS, TABLES, Rows

if TYPE_CHECKING:
    import h5py

    from .run_folder import Meta

VERSION = 1
FORMAT = "atmos-openmm-run"
RECORD = "record.h5"
PARTS = "parts"

_BLOCK_ROWS = 4096


def translated(meta: Meta, trajectories: Sequence[str]) -> Meta:
    """What the checkpoint says, as version 2 has it, but for the tables.

    Parameters
    ----------
    meta : dict
        Of a checkpoint of this version.
    trajectories : sequence of str
        The file of each walker.
    """
    kept = ("frames", "segment", "step", "energy_limit_kj_per_mol")
    return {
        **{name: meta[name] for name in ("cycle", "walltime_s", "generated")},
        "walkers": [{name: walker[name] for name in kept} for walker in meta["walkers"]],
        "files": {
            name: [walker["frames"], walker["trajectory_bytes"]]
            for name, walker in zip(trajectories, meta["walkers"], strict=True)
        },
    }


def read_rows(folder: Path, commit: int, positions: bool = True) -> Rows | None:
    """The rows of all commits up to one; None where there are none.

    A run of an older program may go on meanwhile, and merge parts into its record.

    Raises
    ------
    StorageError
        A file is damaged or missing.
    """
    while True:
        merged = _record_commit(folder)
        pieces: list[Rows] = []
        with contextlib.suppress(FileNotFoundError):
            pieces = list(_pieces(folder, commit, positions, None))
        if _record_commit(folder) == merged:
            break
    if not pieces:
        return None
    return Rows(
        **{
            name: {
                column: np.concatenate([piece.table(name)[column] for piece in pieces])
                for column in pieces[0].table(name)
            }
            for name in TABLES
        }
    )


def blocks(folder: Path, commit: int) -> Iterator[Rows]:
    """The rows of all commits up to one, some thousand at a time.

    Raises
    ------
    StorageError
        A file is damaged or missing.
    """
    merged = _record_commit(folder)
    if merged > commit:
        raise StorageError(
            f"{folder / RECORD} holds commit {merged}, but checkpoint.npz is at {commit}: files of "
            "two runs were mixed. Put the right ones back, or start again in another folder."
        )
    missing = set(range(merged + 1, commit + 1)) - set(_part_numbers(folder))
    if missing:
        raise StorageError(
            f"{folder / PARTS} lacks part {min(missing)}, which was committed. Put it back, or "
            "start again in another folder."
        )
    yield from _pieces(folder, commit, True, _BLOCK_ROWS)


def remove(folder: Path) -> None:
    """Remove the files of this version."""
    (folder / RECORD).unlink(missing_ok=True)
    if (folder / PARTS).exists():
        shutil.rmtree(folder / PARTS)


def _pieces(folder: Path, commit: int, positions: bool, size: int | None) -> Iterator[Rows]:
    """Rows of the record and of the parts after it, by files or by blocks of so many rows."""
    import h5py

    merged = _record_commit(folder)
    paths = [folder / RECORD] if merged else []
    paths += [
        _part(folder, number) for number in _part_numbers(folder) if merged < number <= commit
    ]
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                _check(file)
                longest = max(len(file[name]["walker"]) for name in TABLES)
                step = size or max(longest, 1)
                for start in range(0, max(longest, 1), step):
                    yield _rows(file, slice(start, start + step), positions)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{path} is damaged ({error}). Put it back from a copy.") from error


def _rows(file: h5py.File, rows: slice, positions: bool) -> Rows:
    return Rows(
        **{
            name: {
                column: data[rows]
                for column, data in file[name].items()
                if positions or column not in PROPOSAL_POSITIONS
            }
            for name in TABLES
        }
    )


def _check(file: h5py.File) -> None:
    found: Any = file.attrs.get("format"), int(file.attrs.get("version", 0))
    if found != (FORMAT, VERSION):
        raise StorageError(
            f"{file.filename} is no record of version {VERSION} (found {found[0]!r}, version "
            f"{found[1]}). Use the release that wrote it."
        )


def _record_commit(folder: Path) -> int:
    """The last commit that the record holds; 0 where there is no record."""
    import h5py

    path = folder / RECORD
    if not path.exists():
        return 0
    try:
        with h5py.File(path, "r") as file:
            return int(file.attrs["commit"])
    except (OSError, KeyError) as error:
        raise StorageError(f"{path} is damaged ({error}). Put it back from a copy.") from error


def _part(folder: Path, number: int) -> Path:
    return folder / PARTS / f"part_{number:09d}.h5"


def _part_numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem[5:]) for path in (folder / PARTS).glob("part_*.h5"))
