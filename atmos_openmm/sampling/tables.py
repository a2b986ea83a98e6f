"""The tables of a hybrid run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jump.proposal import REASONS

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


@dataclass
class Rows:
    """Rows of the three tables, column by column.

    Attributes
    ----------
    proposals, segments, frames : dict of str to numpy.ndarray
        Columns by name, all of one length; `proposals` may also hold the three arrays
        `PROPOSAL_POSITIONS` of shape [rows, A, 3] in nm.
    """

    proposals: dict[str, NDArray[Any]]
    segments: dict[str, NDArray[Any]]
    frames: dict[str, NDArray[Any]]

    def table(self, name: str) -> dict[str, NDArray[Any]]:
        """One of the three tables by name."""
        columns: dict[str, NDArray[Any]] = getattr(self, name)
        return columns


def row_dtype(name: str, atoms: int | None = None) -> np.dtype[Any]:
    """The dtype of a row of a table.

    Parameters
    ----------
    name : str
        "proposals", "segments" or "frames".
    atoms : int, optional
        With it, proposals have the positions of this many atoms.
    """
    columns: list[tuple[Any, ...]] = list(TABLES[name].items())
    if name == "proposals" and atoms is not None:
        columns += [(column, "f4", (atoms, 3)) for column in PROPOSAL_POSITIONS]
    return np.dtype(columns)


def packed(
    name: str, columns: Mapping[str, Any], rows: int, atoms: int | None = None
) -> NDArray[Any]:
    """Columns of a table as one structured array, whose columns are those of `row_dtype`."""
    table = np.zeros(rows, row_dtype(name, atoms))
    for column in table.dtype.names or ():
        if rows:
            table[column] = columns[column]
    return table


def packed_records(
    name: str, records: Sequence[Mapping[str, Any]], atoms: int | None = None
) -> NDArray[Any]:
    """Records, one a row, as one structured array."""
    dtype = row_dtype(name, atoms)
    columns = {column: [record[column] for record in records] for column in dtype.names or ()}
    return packed(name, columns, len(records), atoms)


def columns_of(table: NDArray[Any], positions: bool = True) -> dict[str, NDArray[Any]]:
    """The columns of a structured array, each an array of its own, with or without positions."""
    return {
        column: np.array(table[column])
        for column in table.dtype.names or ()
        if positions or column not in PROPOSAL_POSITIONS
    }


def reasons_of(codes: NDArray[Any]) -> Counter[str]:
    """Proposals by verdict, from the column of their codes."""
    found, counts = np.unique(codes, return_counts=True)
    return Counter({REASONS[code]: int(n) for code, n in zip(found, counts, strict=True)})
