"""What a panel is: a set of metrics fitted on reference MD and asked of any ensemble."""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .ensemble import Ensemble

__all__ = [
    "ANGSTROM",
    "NOISE",
    "STATIC",
    "Metric",
    "NotApplicable",
    "Panel",
    "Settings",
    "applicable",
]

#: Tables are in angstrom, as those of the field; arrays in nm.
ANGSTROM = 10.0

#: Of panels, so that what is kept of frames for one reference is not taken for another's.
_NUMBERS = itertools.count()

#: What metrics catch, see `Metric`: what single frames show, and what their distribution shows.
NOISE = frozenset({"noise"})
STATIC = frozenset({"frozen", "noise"})

Goal = Literal["low", "high", "reference"]


class NotApplicable(ValueError):
    """A panel that these molecules or files do not allow; the message says why."""


@contextlib.contextmanager
def applicable() -> Iterator[None]:
    """Turn a ValueError of the block, of what a molecule lacks, into `NotApplicable`."""
    try:
        yield
    except ValueError as error:
        raise NotApplicable(str(error)) from error


@dataclass(frozen=True)
class Metric:
    """One number of a panel.

    Attributes
    ----------
    key : str
        In JSON and CSV files.
    name : str
        In tables.
    unit : str
        '' for pure numbers.
    goal : str
        ``low``: 0 is perfect; ``high``: the more the better; ``reference``: as near as possible to
        the value that the reference itself has.
    meaning : str
        The formula in words.
    catches : frozenset of str
        Which bad generators it must rank below an MD replica: ``frozen`` (one frame repeated),
        ``noise`` (the native structure
        with every atom displaced at random by 3 A a coordinate), ``shuffled`` (right frames in
        random order), ``drifting`` (right frames with noise that grows to 3 A).
    """

    key: str
    name: str
    unit: str
    goal: Goal
    meaning: str
    catches: frozenset[str]

    def badness(self, value: float, reference: float = float("nan")) -> float:
        """A number that is larger for a worse value; inf where there is no value.

        Parameters
        ----------
        value : float
        reference : float
            The reference's own value, for the goal ``reference``.
        """
        if np.isnan(value):
            return float("inf")
        if self.goal == "high":
            return -value
        return value if self.goal == "low" else abs(value - reference)


@dataclass(frozen=True)
class Settings:
    """What panels have to know beyond the frames.

    Attributes
    ----------
    native_nm : array [A, 3]
        The structure that frames are superposed on and contacts are counted from.
    lag_ps : float
        Of TICA and Markov models; 100 ps as MDGen has it. At least one frame, at most a fifth of
        the longest trajectory; the panel says what it took.
    macrostates : int
        Of Markov models, at most; 10 as MDGen has them, for which PCCA+ takes seconds.
    ligand : str or None
        Residue name of the ligand.
    system : openmm.System or None
        For energies.
    platform : str
        OpenMM platform for energies.
    """

    native_nm: NDArray[Any]
    lag_ps: float = 100.0
    macrostates: int = 10
    ligand: str | None = None
    system: Any = None
    platform: str = "CPU"

    def __post_init__(self) -> None:
        if not 0 < self.lag_ps < np.inf:
            raise ValueError(f"the lag is {self.lag_ps:g} ps; expected a time above 0")


class Panel(ABC):
    """Metrics fitted on a reference.

    Parameters
    ----------
    reference : Ensemble
        Molecular dynamics.
    settings : Settings

    Attributes
    ----------
    notes : list of str
        What the panel chose, for the report.

    Raises
    ------
    NotApplicable
        If the molecule lacks what the metrics are about.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    #: Frames of a generated ensemble in the publication; None where any number serves.
    published_frames: ClassVar[int | None] = None
    #: Whether it needs every atom, not only those that all rows have.
    needs_all_atoms: ClassVar[bool] = False
    #: Whether frames are taken evenly spread where there are too many; else the first ones.
    spread_frames: ClassVar[bool] = False

    #: Residues with alpha carbons that it needs.
    fewest_alpha_carbons: ClassVar[int] = 0

    def __init__(self, reference: Ensemble, settings: Settings) -> None:
        found = len(reference.atoms.alpha_carbons)
        if found < self.fewest_alpha_carbons:
            raise NotApplicable(
                f"the panel needs a protein of {self.fewest_alpha_carbons} residues or more; found "
                f"{found} alpha carbons"
            )
        self.reference = reference
        self.settings = settings
        self.notes: list[str] = []
        self._number = next(_NUMBERS)

    def note_once(self, note: str) -> None:
        """Take down a note on an ensemble, which resampling may ask for again."""
        if note not in self.notes:
            self.notes.append(note)

    @classmethod
    def unavailable(cls) -> dict[str, float]:
        """NaN for every metric."""
        return {metric.key: float("nan") for metric in cls.metrics}

    def per_frame(
        self, ensemble: Ensemble, key: str, compute: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> NDArray[Any]:
        """`Ensemble.per_frame` of a quantity that may depend on this panel's reference."""
        return ensemble.per_frame(f"{key} (panel {self._number})", compute)

    def per_pair(
        self, ensemble: Ensemble, key: str, compute: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> NDArray[Any]:
        """`Ensemble.per_pair` of a quantity that may depend on this panel's reference."""
        return ensemble.per_pair(f"{key} (panel {self._number})", compute)

    @abstractmethod
    def values(self, ensemble: Ensemble) -> dict[str, float]:
        """Each metric of an ensemble by key; NaN where it has none."""

    def arrays(self, ensemble: Ensemble) -> dict[str, NDArray[Any]]:
        """Curves and maps for the report; none by default."""
        return {}

    def axes(self) -> dict[str, NDArray[Any]]:
        """Arrays that all rows share, such as bin edges and residue numbers."""
        return {}
