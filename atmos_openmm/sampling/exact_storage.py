"""The folder of an exact run, and reading what it holds.

It is that of a hybrid run with other tables: `moves.npy`, a row for a cycle of a walker, and
`frames.npy`, with the torsions of every frame. `density.safetensors` is the density that moves were
drawn from; the checkpoint names its hash, so that a run goes on with no other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError, explained, sha256_of_file, write_atomically
from ..core.read_errors import READ_ERRORS, first_line
from ..core.settings import read_settings
from ..jump.torsion_moves import MOVE_KINDS, SERIES
from .hybrid_state import HybridState
from .npy_table import NpyTable, read_npy_table
from .run_folder import Arrays, Lengths, Meta, check_kind, read_checkpoint
from .storage import VERSION, HybridFolder, table_file
from .tables import columns_of

if TYPE_CHECKING:
    from openmm.app import Topology

    from ..density import TorsionDensity

EXACT_RUN = "Metropolis run"
DENSITY_FILE = "density.safetensors"
#: The density that was given, where that of the run was adapted from it.
GIVEN_DENSITY_FILE = "density_given.safetensors"
#: How the density came about.
DENSITY_RECORD = "density.json"

#: What moves are counted by.
COUNTED = (*MOVE_KINDS, SERIES)
_TABLES = ("moves", "frames")


def move_dtype() -> np.dtype[Any]:
    """A row of moves: counts by kind and of series, and what became of HMC's (-1 for none)."""
    kinds = (len(COUNTED),)
    return np.dtype(
        [
            ("walker", "i4"),
            ("cycle", "i8"),
            ("proposed", "u4", kinds),
            ("accepted", "u4", kinds),
            ("hmc_accepted", "i1"),
        ]
    )


def frame_dtype(torsions: int) -> np.dtype[Any]:
    """A row of frames, with so many torsions in radians."""
    return np.dtype(
        [
            ("walker", "i4"),
            ("cycle", "i8"),
            ("frame", "i8"),
            ("step", "i8"),
            ("potential_energy_kj_per_mol", "f8"),
            ("kinetic_energy_kj_per_mol", "f8"),
            ("torsions", "f4", (torsions,)),
        ]
    )


class ExactFolder(HybridFolder):
    """The files of one exact run, open for writing by one process; see `RunFolder`.

    Attributes
    ----------
    density_sha256 : str
        Of the file of the density, which every commit names. At the last commit after `open`.
    """

    kind = EXACT_RUN
    versions = (VERSION,)
    tables = ("moves.npy", "frames.npy")
    density_sha256 = ""

    def open_tables(
        self, topology: Topology, walkers: int, frame_interval_ps: float, torsions: int
    ) -> HybridState | None:
        """Open the files, cut back to the last commit; see `HybridFolder.open`."""
        rows = {"moves": move_dtype(), "frames": frame_dtype(torsions)}
        tables = {table_file(name): partial(NpyTable, dtype=rows[name]) for name in _TABLES}
        state = self._open(walkers, topology, frame_interval_ps, tables)
        if state is None:
            with explained(self.path, self.committed_text()):
                for name in _TABLES:
                    self._files[table_file(name)].append(np.zeros(0, rows[name]))
        return state

    def write_density(
        self, density: TorsionDensity, given: TorsionDensity, record: dict[str, Any]
    ) -> None:
        """Store the density that counts, the one it was adapted from, and how that went."""
        with explained(self.path, "Nothing was committed."):
            if density is not given:
                given.save(self.path / GIVEN_DENSITY_FILE)
            density.save(self.path / DENSITY_FILE)
            write_atomically(self.path / DENSITY_RECORD, json.dumps(record, indent=2).encode())
            self.density_sha256 = sha256_of_file(self.path / DENSITY_FILE)

    def read_density(self) -> TorsionDensity:
        """The density of the last commit.

        Raises
        ------
        StorageError
            It is not there, or another one.
        """
        from ..density import TorsionDensity

        path = self.path / DENSITY_FILE
        if not path.exists() or sha256_of_file(path) != self.density_sha256:
            raise StorageError(
                f"{path} is not the density that the run was made with: somebody replaced or "
                "removed it. Put it back from a copy, or start again in another folder."
            )
        return TorsionDensity.load(path)

    def _encode(self, state: HybridState, lengths: Lengths) -> tuple[Meta, Arrays]:
        meta, arrays = super()._encode(state, lengths)
        return {**meta, "density_sha256": self.density_sha256}, arrays

    def _decode(self, meta: Meta, arrays: Arrays) -> tuple[HybridState, Lengths]:
        self.density_sha256 = meta["density_sha256"]
        return super()._decode(meta, arrays)


@dataclass(frozen=True)
class ExactRows:
    """The tables of an exact run.

    Attributes
    ----------
    moves, frames : dict of str to array
        Columns by name (see docs/files.md).
    walkers : int
    walltime_s : float
        Of the run, up to the last commit.
    """

    moves: dict[str, NDArray[Any]]
    frames: dict[str, NDArray[Any]]
    walkers: int
    walltime_s: float

    def torsions(self) -> NDArray[np.float32]:
        """Torsions [W, F, T] of the frames of each walker, radians."""
        angles = self.frames["torsions"]
        # Walkers have as many frames each, in the order of time.
        order = np.argsort(self.frames["walker"], kind="stable")
        return np.asarray(angles[order].reshape(self.walkers, -1, angles.shape[1]))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Proposed and accepted moves of the kinds that were tried."""
        totals = [self.moves[name].sum(axis=0, dtype=np.int64) for name in ("proposed", "accepted")]
        pairs = zip(*(total.tolist() for total in totals), strict=True)
        return {kind: pair for kind, pair in zip(COUNTED, pairs, strict=True) if pair[0]}

    def trajectories(self) -> tuple[int, int]:
        """Proposed and accepted HMC trajectories."""
        outcomes = self.moves["hmc_accepted"]
        return int((outcomes >= 0).sum()), int((outcomes > 0).sum())


def read_exact_run(folder: str | Path) -> ExactRows:
    """The tables of an exact run, finished or not, as far as they are committed.

    Raises
    ------
    StorageError
        The folder is not that of an exact run, or has lost files.
    """
    path = Path(folder)
    check_kind(path, EXACT_RUN)
    settings = read_settings(path)
    found = read_checkpoint(path, EXACT_RUN, ExactFolder.versions, ExactFolder.tables)
    if found is None:
        dtypes = (move_dtype(), frame_dtype(len(settings["torsions"])))
        moves, frames = (columns_of(np.zeros(0, dtype)) for dtype in dtypes)
        return ExactRows(moves, frames, settings["walkers"], 0.0)
    files = found[0]["files"]
    moves, frames = (
        columns_of(read_npy_table(path / table_file(name), files[table_file(name)][1]))
        for name in _TABLES
    )
    return ExactRows(moves, frames, settings["walkers"], found[0]["walltime_s"])


def read_density_record(folder: str | Path) -> dict[str, Any]:
    """How the density of a run came about; empty before that is known.

    Raises
    ------
    StorageError
        The file is damaged.
    """
    path = Path(folder) / DENSITY_RECORD
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except READ_ERRORS as error:
        raise StorageError(
            f"{path} is damaged ({first_line(error)}). It says how the density came about, and no "
            "number of the run depends on it: take it away, and the run goes on without."
        ) from error


def given_density(folder: str | Path) -> TorsionDensity | None:
    """The density that the run of a folder was given, before it was adapted; None without one."""
    from ..density import TorsionDensity

    for name in (GIVEN_DENSITY_FILE, DENSITY_FILE):
        if (Path(folder) / name).exists():
            return TorsionDensity.load(Path(folder) / name)
    return None


def density_digest(density: TorsionDensity) -> str:
    """SHA-256 of all that decides a density's values."""
    found = hashlib.sha256(
        json.dumps([density.names, density.block_sizes, density.uniform_weight]).encode()
    )
    for block in density.blocks:
        for array in (
            block.means,
            block.covariances,
            block.gate_torsions,
            block.sequential,
            block.conditional,
            block.local_covariance,
        ):
            if array is not None:
                found.update(repr(array.shape).encode() + array.tobytes())
    return found.hexdigest()
