"""The tables of a run record, and their form in HDF5."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..jump.proposal import REASONS

if TYPE_CHECKING:
    import h5py

FORMAT = "atmos-openmm-run"
VERSION = 1
ORIGINS = ("start", "jump", "continuation")

#: Column -> dtype of each table. Rows are numbers; codes index `REASONS` and `ORIGINS`.
TABLES: dict[str, dict[str, str]] = {
    "proposals": {
        "walker": "i4",
        "cycle": "i8",
        "attempt": "i8",
        "step": "i8",
        "segment": "i8",
        "energy_before_kj_per_mol": "f8",
        "energy_raw_kj_per_mol": "f8",
        "energy_after_kj_per_mol": "f8",
        "reason": "u1",
        "stage": "i2",
        "log_ratio": "f8",
        "rmsd_raw_to_after_nm": "f8",
    },
    "segments": {
        "walker": "i4",
        "cycle": "i8",
        "segment": "i8",
        "origin": "u1",
        "attempt": "i8",
        "first_step": "i8",
        "steps": "i8",
        "first_frame": "i8",
        "frames": "i8",
    },
    "frames": {
        "walker": "i4",
        "cycle": "i8",
        "frame": "i8",
        "segment": "i8",
        "step": "i8",
        "potential_energy_kj_per_mol": "f8",
        "kinetic_energy_kj_per_mol": "f8",
        "verdict": "u1",
        "generated": "?",
    },
}

#: Positions [row, A, 3] in nm that go with a proposal, in single precision.
PROPOSAL_POSITIONS = ("positions_before_nm", "positions_raw_nm", "positions_after_nm")

_CHUNK_ROWS = 1024
_CHUNK_FRAMES = 32


@dataclass
class Rows:
    """Rows of the three tables, column by column.

    Attributes
    ----------
    proposals, segments, frames: dict of str to numpy.ndarray
        columns by name, all of one length; `proposals` may also hold the three arrays
        `PROPOSAL_POSITIONS` of shape [rows, A, 3] in nm
    """

    proposals: dict[str, NDArray[Any]]
    segments: dict[str, NDArray[Any]]
    frames: dict[str, NDArray[Any]]

    def table(self, name: str) -> dict[str, NDArray[Any]]:
        """One of the three tables by name."""
        columns: dict[str, NDArray[Any]] = getattr(self, name)
        return columns


def columns_of(
    name: str, records: Sequence[Mapping[str, Any]], atoms: int | None = None
) -> dict[str, NDArray[Any]]:
    """Turn records into the columns of a table.

    Parameters
    ----------
    name: str
        "proposals", "segments" or "frames"
    records: sequence of mappings
        one a row
    atoms: int, optional
        with it, the positions of proposals of this many atoms are kept
    """
    columns: dict[str, NDArray[Any]] = {
        column: np.array([record[column] for record in records], dtype=dtype)
        for column, dtype in TABLES[name].items()
    }
    if name == "proposals" and atoms is not None:
        for column in PROPOSAL_POSITIONS:
            stacked = [np.asarray(record[column], dtype=np.float32) for record in records]
            columns[column] = (
                np.stack(stacked) if stacked else np.zeros((0, atoms, 3), dtype=np.float32)
            )
    return columns


def empty_rows(atoms: int | None) -> Rows:
    """Tables without rows."""
    return Rows(*(columns_of(name, [], atoms) for name in TABLES))


def joined(parts: Sequence[Rows]) -> Rows:
    """Several sets of rows, one after the other."""
    return Rows(
        *(
            {
                column: np.concatenate([part.table(name)[column] for part in parts])
                for column in parts[0].table(name)
            }
            for name in TABLES
        )
    )


def encode(rows: Rows, commit: int) -> bytes:
    """The rows of one commit as the bytes of an HDF5 file."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _describe(file, commit)
        for name in TABLES:
            group = file.create_group(name)
            for column, values in rows.table(name).items():
                group.create_dataset(column, data=values)
    return buffer.getvalue()


def create_record(file: h5py.File, rows: Rows, commit: int, settings: Mapping[str, Any]) -> None:
    """Fill a new HDF5 file with tables that can grow."""
    _describe(file, commit)
    file.attrs["settings"] = json.dumps(settings, sort_keys=True)
    for name in TABLES:
        group = file.create_group(name)
        for column, values in rows.table(name).items():
            group.create_dataset(
                column,
                data=values,
                maxshape=(None, *values.shape[1:]),
                chunks=(_CHUNK_ROWS if values.ndim == 1 else _CHUNK_FRAMES, *values.shape[1:]),
            )


def append_rows(file: h5py.File, rows: Rows, commit: int) -> None:
    """Add the rows of one commit to a record."""
    for name in TABLES:
        for column, values in rows.table(name).items():
            dataset = file[name][column]
            start = len(dataset)
            dataset.resize(start + len(values), axis=0)
            dataset[start:] = values
    file.attrs["commit"] = commit


def decode(file: h5py.File, positions: bool = True) -> Rows:
    """The rows of a record or of a part, with or without the positions of proposals."""
    if file.attrs.get("format") != FORMAT:
        raise ValueError(f"{file.filename} is not a run record (format {FORMAT!r}).")
    version = int(file.attrs["version"])
    if version != VERSION:
        raise ValueError(
            f"{file.filename} has version {version} of the run record; this program reads "
            f"version {VERSION}. Use the release that wrote it."
        )
    return Rows(
        *(
            {
                column: data[()]
                for column, data in file[name].items()
                if positions or column not in PROPOSAL_POSITIONS
            }
            for name in TABLES
        )
    )


def _describe(file: h5py.File, commit: int) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file.attrs["commit"] = commit
    file.attrs["reasons"] = json.dumps(REASONS)
    file.attrs["origins"] = json.dumps(ORIGINS)
