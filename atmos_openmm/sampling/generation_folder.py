"""The folder of a generation of valid frames: a rollout's, with verdicts in its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from .rollout_attempt import Attempt
from .rollout_folder import COLUMNS, RolloutFolder, read_table

__all__ = ["GenerationFolder", "JudgedAttempt", "read_generation"]


@dataclass(frozen=True, eq=False)
class JudgedAttempt(Attempt):
    """An attempt with the verdict of the validator.

    Attributes
    ----------
    verdict : str
        "valid", "valid after relaxation" or "invalid"; "screened" where it was not judged because
        it failed the screen.
    energy_kj_per_mol, window_limit_kj_per_mol : float
        After constraints, and what it was compared with; NaN where it was not judged.
    """

    verdict: str = "screened"
    energy_kj_per_mol: float = float("nan")
    window_limit_kj_per_mol: float = float("nan")


class GenerationFolder(RolloutFolder):
    """The files of one generation, open for writing by one process; see `RunFolder`."""

    kind = "generation"
    columns: ClassVar[Mapping[str, str]] = {
        **COLUMNS,
        "verdict": "str",
        "energy_kj_per_mol": "float",
        "window_limit_kj_per_mol": "float",
    }

    def row(
        self,
        attempt: Attempt,
        frame: int,
        walker: int,
        number: int,
        learned_time_ps: float,
        written: bool,
    ) -> dict[str, Any]:
        assert isinstance(attempt, JudgedAttempt)
        return {
            **super().row(attempt, frame, walker, number, learned_time_ps, written),
            "verdict": attempt.verdict,
            "energy_kj_per_mol": attempt.energy_kj_per_mol,
            "window_limit_kj_per_mol": attempt.window_limit_kj_per_mol,
        }


def read_generation(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The table of a generation, finished or going on, as far as it is committed.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    dict of str to numpy.ndarray
        column by column, a row for every frame drawn: those of `read_rollout`, and `verdict`,
        `energy_kj_per_mol` and `window_limit_kj_per_mol`

    Raises
    ------
    StorageError
        if the folder is not that of a generation, or lost files
    """
    return read_table(Path(folder), GenerationFolder)
