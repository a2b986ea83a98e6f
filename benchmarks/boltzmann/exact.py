"""The exact mode as a sampler of the benchmark, with densities of different origins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samplers import FRICTION, Case, Frames, Sampler, positions_of

HEAD_LAG_PS = 5000.0
#: Set-up of the adapted run: stretches of chain, in jumps, each followed by a new density.
ADAPTATION_JUMPS = (400, 1600)


class Exact(Sampler):
    """Dynamics and exact jumps in turn, a frame at each jump; torsions are drawn uniformly.

    A jump is a series of trials that a surrogate of the energy tests, whose end is tested with the
    energy.
    """

    interval, moves, trials = 5, 1, 100

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__(case, seed)
        from atmos_openmm.systems.torsions import find_torsions

        self.torsions = find_torsions(case.topology, system=case.system)
        self.density: Any = None
        self.simulation: Any = None

    def first_density(self) -> Any:
        """The density of the first jump; uniform here."""
        from atmos_openmm.density import TorsionDensity

        torsions = self.torsions
        return TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)

    def prepare(self) -> None:
        self.begin(self.first_density())

    def begin(self, density: Any, positions: Any = None) -> None:
        """Start a chain with a density."""
        from atmos_openmm import AtmosIntegrator

        molecule = self.case.molecule
        integrator = AtmosIntegrator(molecule.temperature, FRICTION, molecule.step_ps)
        integrator.setRandomNumberSeed(self.seed)
        integrator.setJumpSeed(self.seed)
        integrator.setJumpInterval(self.interval)
        integrator.setAcceptanceMode("metropolis")
        integrator.setTorsionMoves(self.torsions, density)
        integrator.setMovesPerJump(self.moves)
        integrator.setTrialsPerMove(self.trials)
        self.density = density
        self.simulation = self.case.simulation(integrator, self.seed)
        if positions is not None:
            self.simulation.context.setPositions(positions)

    def advance(self) -> tuple[Frames, NDArray[np.float64]]:
        self.simulation.integrator.step(self.interval)
        # A jump evaluates where it starts and each move or series, and where the next step does.
        self.evaluations += self.interval + self.moves + 1
        return positions_of(self.simulation.context), np.zeros(1)

    def notes(self) -> dict[str, Any]:
        integrator = self.simulation.integrator
        statistics = integrator.getMoveStatistics()
        if self.trials > 1:
            statistics["series"] = integrator.getSeriesStatistics()
        return {
            "accepted": {
                kind: round(accepted / proposed, 4)
                for kind, (proposed, accepted) in statistics.items()
                if proposed
            }
        }


class SingleExact(Exact):
    """Moves that are each tested with the energy itself: no series of trials."""

    interval, moves, trials = 20, 10, 1


class HeadExact(Exact):
    """The density is that of the bundled torsion head, which has seen ALA and LEU alone."""

    def first_density(self) -> Any:
        from atmos_openmm import AtmosPropagator
        from atmos_openmm.model.bundled import TORSION_MODEL

        propagator = AtmosPropagator(
            TORSION_MODEL,
            self.case.topology,
            positions=self.case.start,
            temperature=self.case.molecule.temperature,
        )
        return propagator.torsionDensity(lag=HEAD_LAG_PS, torsions=self.torsions)


class AdaptedExact(HeadExact):
    """The head's density is refitted to the chain's own frames first, in the clock."""

    def prepare(self) -> None:
        super().prepare()
        for jumps in ADAPTATION_JUMPS:
            frames = np.concatenate([self.advance()[0] for _ in range(jumps)])
            density = self.density.adapt(
                self.torsions.measure(frames),
                trajectories=[len(frames)],
                backbone=self.torsions.backbone.tolist(),
            )
            self.begin(density, frames[-1])
