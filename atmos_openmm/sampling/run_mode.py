"""What sets kinds of hybrid runs apart: how walkers are made, what a cycle does, what is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .hybrid_settings import HybridSettings
from .hybrid_state import HybridState
from .moving_walker import MovingWalker
from .storage import HybridFolder

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology


@dataclass(frozen=True, eq=False)
class Sampled:
    """What a run samples, and how.

    Attributes
    ----------
    topology : openmm.app.Topology
    system : openmm.System
    starts_nm : float64 [W, P, 3]
        Where the walkers start.
    plan : HybridSettings
    properties : dict of str to str
        Of the Platform.
    """

    topology: Topology
    system: openmm.System
    starts_nm: NDArray[np.float64]
    plan: HybridSettings
    properties: dict[str, str]

    @property
    def frame_interval_ps(self) -> float:
        """Time between frames."""
        return self.plan.report * self.plan.dynamics.step_ps

    @property
    def periodic(self) -> bool:
        """Whether the System has a box."""
        return bool(self.system.usesPeriodicBoundaryConditions())

    def context(self, integrator: openmm.Integrator, walker: int) -> openmm.Context:
        """A Context with an integrator at a walker's start, without velocities."""
        import openmm

        platform = openmm.Platform.getPlatform(self.plan.platform)
        context = openmm.Context(self.system, integrator, platform, self.properties)
        box = self.topology.getPeriodicBoxVectors() if self.periodic else None
        if box is not None:
            context.setPeriodicBoxVectors(*box)
        context.setPositions(self.starts_nm[walker])
        return context


@dataclass(frozen=True)
class Advance:
    """How far a run is.

    Attributes
    ----------
    cycle, limit : int
        Cycles completed by every walker, and when the run ends at the latest.
    wanted : int
        Valid generated frames that were asked for; 0 for no number.
    new_cycles : int
        Made by this process.
    elapsed_s : float
        Wall-clock time of this process in the run's loop.
    """

    cycle: int
    limit: int
    wanted: int
    new_cycles: int = 0
    elapsed_s: float = 0.0

    def stopped_text(self) -> str:
        """What to say where the run was stopped before its end."""
        return (
            f"Stopped at cycle {self.cycle} of {self.limit}. Run the same command again to go on."
        )


class RunMode(ABC):
    """A kind of hybrid run.

    Attributes
    ----------
    walkers : list of MovingWalker
    folder : HybridFolder
        Once `make_folder()` was called.
    """

    walkers: Sequence[MovingWalker]
    folder: HybridFolder

    @abstractmethod
    def make_folder(
        self, path: str | Path, settings: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> HybridFolder:
        """Make or check the folder of the run, with settings beyond those of its kind."""

    @abstractmethod
    def take_up(self) -> HybridState:
        """Go to the last commit, or the beginning; where that is."""

    @abstractmethod
    def run_cycle(self, cycle: int) -> None:
        """A cycle of every walker."""

    @abstractmethod
    def has_news(self) -> bool:
        """Whether anything is new since the last commit."""

    @abstractmethod
    def write(self, cycle: int, walltime_s: float) -> None:
        """Commit what is new after so many cycles and so much time, and forget it."""

    @abstractmethod
    def reached(self, wanted: int) -> bool:
        """Whether there are as many valid generated frames as are wanted, if any are."""

    @abstractmethod
    def last_cycle(
        self, cycles: int | None, valid_frames: int | None, max_cycles: int | None
    ) -> int:
        """The cycle at which a run with these arguments ends at the latest.

        Raises
        ------
        ValueError
            They make no sense for such a run.
        """

    @abstractmethod
    def progress(self, advance: Advance) -> Any:
        """What to tell after a cycle."""

    @abstractmethod
    def summary(self, advance: Advance, walltime_s: float, stopped: bool) -> Any:
        """What the run has come to."""
