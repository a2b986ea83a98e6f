"""Folders of hybrid runs as version 1 kept them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np

from atmos_openmm.sampling.storage import read_run
from atmos_openmm.sampling.tables import TABLES

#: Made by the last release of version 1: "run_v1_finished" (without positions of proposals) and
#: "run_v1_unfinished" (killed in a commit, with a record and parts), each without its system.xml,
#: and with what read_run gave in a .npz file beside it.
GENUINE = Path(__file__).parents[1] / "sampling" / "data" / "runs_of_version_1.zip"


def unpack(name: str, to: Path) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """A genuine folder, and its columns by table."""
    with zipfile.ZipFile(GENUINE) as archive:
        for member in archive.namelist():
            if member.startswith((f"{name}/", f"{name}.npz")):
                archive.extract(member, to)
    expected: dict[str, dict[str, np.ndarray]] = {table: {} for table in TABLES}
    with np.load(to / f"{name}.npz") as arrays:
        for key, values in arrays.items():
            table, column = key.split("/")
            expected[table][column] = values
    return to / name, expected


def downgrade(folder: Path, merged: int) -> None:
    """Turn a folder of version 2, one commit a cycle, into one of version 1.

    `merged` cycles are in the record, each of the others is in a part of its own.
    """
    rows = read_run(folder)
    path = folder / "checkpoint.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    meta = json.loads(arrays.pop("meta").tobytes())
    cycles = meta["cycle"]

    def write(file: Path, first: int, stop: int, commit: int) -> None:
        with h5py.File(file, "w") as out:
            out.attrs.update(format="atmos-openmm-run", version=1, commit=commit)
            for name in TABLES:
                columns = rows.table(name)
                chosen = (columns["cycle"] >= first) & (columns["cycle"] < stop)
                for column, values in columns.items():
                    out.create_dataset(f"{name}/{column}", data=values[chosen])

    if merged:
        write(folder / "record.h5", 0, merged, merged)
    (folder / "parts").mkdir()
    for cycle in range(merged, cycles):
        write(folder / "parts" / f"part_{cycle + 1:09d}.h5", cycle, cycle + 1, cycle + 1)
    for walker, saved in enumerate(meta["walkers"]):
        name = f"trajectory_{walker:04d}.dcd"
        saved["trajectory_bytes"] = meta["files"][name][1]
    kept = {key: meta[key] for key in ("cycle", "walltime_s", "generated", "walkers")}
    text = json.dumps({"version": 1, "commit": cycles, **kept}).encode()
    np.savez(path, meta=np.frombuffer(text, np.uint8), **arrays)
    for name in TABLES:
        (folder / f"{name}.npy").unlink()
    (folder / "tables.json").unlink()
