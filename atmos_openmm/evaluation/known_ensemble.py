"""A bundled table of what a long reference says about a molecule: populations and a histogram."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "atmos-openmm-known-ensemble"
VERSION = 1
BINS = 36
FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True, eq=False)
class KnownEnsemble:
    """Phi and psi of one residue in one force field at one temperature.

    Attributes
    ----------
    molecule, method, made_by : str
        The sequence; how the reference was sampled; what counted it.
    temperature_k : float
    frames, ladders : int
        Frames counted, and independent simulations that they are from.
    populations : dict of str to (float, float)
        Share of each basin, by its name in `sampling.basins`, and its standard error.
    histogram : float64 array [BINS, BINS]
        Shares of the frames; phi from -180 degrees on in rows, psi in columns.
    """

    molecule: str
    method: str
    made_by: str
    temperature_k: float
    frames: int
    ladders: int
    populations: dict[str, tuple[float, float]]
    histogram: NDArray[np.float64]

    @classmethod
    def bundled(cls, molecule: str) -> KnownEnsemble:
        """The table of a molecule that comes with the package.

        Raises
        ------
        ValueError
            There is none, or it is damaged.
        """
        path = FOLDER / f"{molecule}.json"
        if not path.exists():
            there = ", ".join(sorted(each.stem for each in FOLDER.glob("*.json")))
            raise ValueError(f"There is no reference of {molecule}; there are: {there}.")
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if table.get("format") != FORMAT or table.get("version") != VERSION:
            raise ValueError(f"{path.name} is no table of a reference; install the package anew.")
        counts = np.array(table["histogram"], dtype=np.float64)
        return cls(
            table["molecule"],
            table["method"],
            table["made_by"],
            float(table["temperature_k"]),
            int(table["frames"]),
            int(table["ladders"]),
            {k: (v["population"], v["error"]) for k, v in table["populations"].items()},
            counts / counts.sum(),
        )
