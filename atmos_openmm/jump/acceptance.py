"""The energy window: which frames count as something that MD could have made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openmm

ACCEPTANCE_MODES = ("none", "filter")
"""Modes that take frames of a model; they explore."""

METROPOLIS = "metropolis"
"""The mode whose moves of torsions are tested exactly."""

WINDOWS_KEPT = 100
"""Conditions whose energies are remembered; the ones that were not used for longest go first."""


@dataclass
class RunningStatistics:
    """Mean and standard deviation of a growing sample (Welford, Technometrics 4, 419, 1962).

    Attributes
    ----------
    count : int
        numbers seen
    mean : float
        their mean
    sum_of_squares : float
        sum of squared deviations from the mean
    """

    count: int = 0
    mean: float = 0.0
    sum_of_squares: float = 0.0

    def add(self, value: float) -> None:
        """Take in one more number. Numbers that are not finite are left out."""
        if not math.isfinite(value):
            return
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.sum_of_squares += delta * (value - self.mean)

    @property
    def standard_deviation(self) -> float:
        """Sample standard deviation (n - 1); 0 for fewer than two numbers."""
        if self.count < 2:
            return 0.0
        return math.sqrt(self.sum_of_squares / (self.count - 1))


@dataclass
class EnergyWindow:
    """A one-sided window on the potential energy, learned from the run's own MD.

    A frame is inside when E <= mean + width * sd. Low energies are no fault. The window is a
    filter and not a Metropolis test: what passes is plausible, and its weight is not known.

    Attributes
    ----------
    width : float
        in standard deviations
    minimum_samples : int
        energies to be known before anything is judged
    statistics : RunningStatistics
        of the MD energies in kJ/mol
    """

    width: float
    minimum_samples: int
    statistics: RunningStatistics

    @property
    def ready(self) -> bool:
        """Whether enough energies are known."""
        return self.statistics.count >= self.minimum_samples

    @property
    def limit_kj_per_mol(self) -> float:
        """The highest energy inside the window."""
        return self.statistics.mean + self.width * self.statistics.standard_deviation

    def contains(self, energy_kj_per_mol: float) -> bool:
        """Whether a frame of this energy is inside. An energy that is not finite never is."""
        return math.isfinite(energy_kj_per_mol) and energy_kj_per_mol <= self.limit_kj_per_mol


@dataclass(frozen=True)
class EnergyConditions:
    """What energies of the dynamics depend on besides the positions.

    Attributes
    ----------
    temperature_k : float
        of the dynamics
    force_groups : int
        that the energy is taken of, as bits
    parameters : tuple of (str, float)
        the parameters of the Context
    """

    temperature_k: float
    force_groups: int
    parameters: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, context: openmm.Context, temperature_k: float) -> EnergyConditions:
        """Read those of a Context."""
        parameters = tuple(sorted(context.getParameters().items()))
        return cls(temperature_k, context.getIntegrator().getIntegrationForceGroups(), parameters)


@dataclass
class EnergyWindows:
    """The energy windows of a run, one for all conditions under which its dynamics ran.

    Energies at one temperature say nothing about those at another. A window begins anew under
    conditions that are new, and is there again under conditions that come back.

    Attributes
    ----------
    width : float
        in standard deviations
    minimum_samples : int
        energies to be known before anything is judged
    known : dict of EnergyConditions to RunningStatistics
        of the MD energies in kJ/mol; the conditions used last come last
    """

    width: float
    minimum_samples: int
    known: dict[EnergyConditions, RunningStatistics] = field(default_factory=dict)

    def use(self, conditions: EnergyConditions) -> EnergyWindow:
        """Get the window under these conditions, which are kept from then on."""
        statistics = self.known.pop(conditions, None)
        if statistics is None:
            statistics = RunningStatistics()
            if len(self.known) >= WINDOWS_KEPT:
                del self.known[next(iter(self.known))]
        self.known[conditions] = statistics
        return EnergyWindow(self.width, self.minimum_samples, statistics)
