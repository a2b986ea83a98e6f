"""The Python face of the compiled integrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import openmm
from openmm import unit

from ._native import (
    doubles,
    integers,
    native_screen,
    native_torsions,
    proposal_from,
    screen_from,
)
from ._registration import load_wrapper
from .core.units import plain

if TYPE_CHECKING:
    from .jump.proposal import Proposal
    from .systems.screening import ScreenSpec

_atmos = load_wrapper()

FloatArray = npt.NDArray[np.float64]


class AtmosIntegrator(_atmos.AtmosIntegrator):  # type: ignore[misc, name-defined]
    """A LangevinMiddleIntegrator that alternates its dynamics with jumps of a learned propagator.

    It does everything that a LangevinMiddleIntegrator does, on every platform. Every
    `jumpInterval` steps the positions of the molecule that a module is bound to go through that
    module, which answers with a frame `lag` ahead. The frame is superposed on the old one and
    screened; constraints are applied; relaxation stages, if there are any, are run; and the
    potential energy is judged. An accepted frame is kept and new velocities are drawn. A rejected
    one is undone exactly and counted under the reason that turned it down.

    A jump happens at the start of a step and changes neither the step count nor the time of the
    Context: what the jumps cover is in `getLearnedTime()`. With `jumpInterval` 0, the default, the
    integrator is step for step the LangevinMiddleIntegrator.

    `AtmosPropagator.createIntegrator()` makes one from a model file and a Topology. By hand:

    >>> integrator = AtmosIntegrator(300*kelvin, 1/picosecond, 0.004*picoseconds)
    >>> integrator.setModule(module_bytes, range(22))
    >>> integrator.setScreen(screen)
    >>> integrator.setJumpInterval(250)
    >>> integrator.setLag(100*picoseconds)
    >>> simulation = Simulation(topology, system, integrator)
    >>> simulation.context.setPositions(positions)
    >>> simulation.step(10000)
    >>> integrator.getNumAccepted(), integrator.getRejections()

    With acceptance "filter" or "none" the frames do not follow Boltzmann's distribution: the energy
    decides which frames are plausible, and no more than that. With "metropolis" they do: a jump is
    then a number of torsional moves from an explicit density (`setTorsionMoves()`), accepted by
    their energies and the ratio of densities, no module is needed, and velocities stay as they are:

    >>> integrator.setTorsionMoves(torsions, density)
    >>> integrator.setAcceptanceMode("metropolis")
    >>> integrator.setJumpInterval(20)

    In place of torsions a module can propose the moves, if it keeps no state and its `log_ratio` is
    that of its proposals, as that of `AtmosPropagator.torsionModule()` is.

    The window is that of the present temperature, Context parameters and force groups: it begins
    anew where one of them changes, and is there again where it comes back.

    Checkpoints and State XML hold what changes in a run: counters, the module's state, the windows
    and the seed in use. XmlSerializer, copies and pickles hold the settings with the module and the
    screen, and a copy starts a run of its own. XmlSerializer.deserialize() and
    CompoundIntegrator.getIntegrator() return OpenMM's own Python class although the jumps go on:
    `cast()` gives the methods of this one back.

    Parameters
    ----------
    temperature : temperature
        of the heat bath and of the jumps (in Kelvin)
    frictionCoeff : 1/time
        friction coefficient of the heat bath (in inverse picoseconds)
    stepSize : time
        step size (in picoseconds)
    """

    def __init__(self, temperature: Any, frictionCoeff: Any, stepSize: Any) -> None:
        super().__init__(
            plain(temperature, unit.kelvin),
            plain(frictionCoeff, unit.picosecond**-1),
            plain(stepSize, unit.picosecond),
        )

    # The module and the screen.

    def setModule(self, module: bytes, atomIndices: Sequence[int]) -> None:
        """Set the module that proposes the jumps.

        Parameters
        ----------
        module : bytes
            content of a TorchScript archive (docs/architecture.md, "The bound module")
        atomIndices : sequence of int
            the particle that each atom of the module is, in the module's order

        Raises
        ------
        openmm.OpenMMException
            if it cannot be loaded or does not fit; the integrator is then unchanged
        """
        super().setModule(bytes(module), integers(atomIndices))

    def setScreen(self, screen: ScreenSpec) -> None:
        """Set what new frames are compared with.

        Parameters
        ----------
        screen : ScreenSpec
            made by `systems.screening` for the module's atoms
        """
        super().setScreen(native_screen(screen))

    def getScreen(self) -> ScreenSpec:
        """Get what new frames are compared with."""
        return screen_from(super().getScreen())

    # Exact jumps.

    def setTorsionMoves(self, torsions: Any, density: Any) -> None:
        """Set what the jumps of acceptance "metropolis" move and draw from.

        Parameters
        ----------
        torsions : Torsions
            the torsions and the particles that turn with them, as `systems.torsions` finds them
        density : TorsionDensity
            the density of the same torsions, in the same blocks

        Raises
        ------
        openmm.OpenMMException
            if they do not fit each other or the System; the integrator is then unchanged
        """
        if tuple(torsions.block_sizes) != tuple(density.block_sizes):
            raise openmm.OpenMMException(
                f"AtmosIntegrator: the density is of blocks of {tuple(density.block_sizes)} "
                f"torsions, but the torsions stand in blocks of {tuple(torsions.block_sizes)}; "
                "make the density of these torsions"
            )
        super().setTorsionMoves(native_torsions(torsions, density))

    def getMoveShares(self) -> dict[str, float]:
        """Get how often each kind of move is tried; empty for the defaults."""
        return dict(zip(self.getMoveKinds(), super().getMoveShares(), strict=False))

    def setMoveShares(self, shares: Mapping[str, float]) -> None:
        """Set how often each kind of move is tried, relative to the others.

        By default all 1 (0 in molecules of more than 4 blocks), residue 2, neighbours 1, backbone
        2, sidechain 2, torsion 2, small 0.

        Parameters
        ----------
        shares : mapping of str to float
            shares of `getMoveKinds()`, 0 for those that are not named; empty for the defaults

        Raises
        ------
        openmm.OpenMMException
            if a kind is unknown, a share negative, or nothing is left that could be moved
        """
        kinds = list(self.getMoveKinds())
        unknown = [kind for kind in shares if kind not in kinds]
        if unknown:
            raise openmm.OpenMMException(
                f"AtmosIntegrator: there is no kind of move '{unknown[0]}'; the kinds are "
                + ", ".join(kinds)
            )
        super().setMoveShares([float(shares.get(kind, 0.0)) for kind in kinds] if shares else [])

    def getSmallMoveWidth(self) -> unit.Quantity:
        """Get the standard deviation of moves of the kind "small"."""
        return super().getSmallMoveWidth() * unit.radian

    def setSmallMoveWidth(self, width: Any) -> None:
        """Set the standard deviation of moves of the kind "small".

        Parameters
        ----------
        width : angle
            more than 0 (in radians); 0.35 by default
        """
        super().setSmallMoveWidth(plain(width, unit.radian))

    def getMoveStatistics(self) -> dict[str, tuple[int, int]]:
        """Get the numbers of proposed and accepted moves by kind, for the kinds that were tried.

        With `setTrialsPerMove()` above 1 these are the trials, accepted by the surrogate.
        """
        counts = {
            kind: (self.getNumMovesProposed(kind), self.getNumMovesAccepted(kind))
            for kind in self.getMoveKinds()
        }
        return {kind: count for kind, count in counts.items() if count[0] > 0}

    def getSeriesStatistics(self) -> tuple[int, int]:
        """Get the numbers of series of trials and of those that the energy accepted."""
        if self.getTrialsPerMove() == 1:
            return 0, 0
        return self.getNumProposed(), self.getNumAccepted()

    def getTrajectoryStatistics(self) -> tuple[int, int]:
        """Get the numbers of judged and of accepted trajectories of the dynamics "hmc"."""
        return self.getNumTrajectoriesProposed(), self.getNumTrajectoriesAccepted()

    # Settings with units.

    def getLag(self) -> unit.Quantity:
        """Get the time by which a jump moves ahead."""
        return super().getLag() * unit.picosecond

    def setLag(self, lag: Any) -> None:
        """Set the time by which a jump moves ahead.

        Parameters
        ----------
        lag : time
            more than 0 (in picoseconds)
        """
        super().setLag(plain(lag, unit.picosecond))

    def setRelaxationStages(self, iterations: Sequence[int]) -> None:
        """Set the relaxation stages.

        With the filter a stage is applied only while the energy is above the window; in mode
        "none" all of them are. Five iterations cost about as much as 60 steps of a small molecule.

        Parameters
        ----------
        iterations : sequence of int
            for each stage the largest number of minimiser iterations; empty (the default) for none
        """
        super().setRelaxationStages(integers(iterations))

    def getRelaxationTolerance(self) -> unit.Quantity:
        """Get the root mean square force at which the minimiser of the stages stops."""
        return super().getRelaxationTolerance() * unit.kilojoule_per_mole / unit.nanometer

    def setRelaxationTolerance(self, tolerance: Any) -> None:
        """Set the root mean square force at which the minimiser of the stages stops.

        Parameters
        ----------
        tolerance : force
            more than 0 (in kJ/mol/nm)
        """
        super().setRelaxationTolerance(plain(tolerance, unit.kilojoule_per_mole / unit.nanometer))

    # What happened.

    def getLearnedTime(self) -> unit.Quantity:
        """Get the time covered by accepted jumps."""
        return super().getLearnedTime() * unit.picosecond

    def getRejections(self) -> dict[str, int]:
        """Get the number of rejected proposals by reason, for the reasons that occurred."""
        counts = {
            name: super(AtmosIntegrator, self).getNumRejected(name)
            for name in self.getReasonNames()[1:]
        }
        return {name: count for name, count in counts.items() if count > 0}

    def getLastProposal(self) -> Proposal:
        """Get the most recent proposal, with its positions.

        Raises
        ------
        openmm.OpenMMException
            if none has been made since this integrator was created
        """
        return proposal_from(super().getLastProposal())

    def takeProposals(self) -> list[Proposal]:
        """Get the proposals made since the last call, oldest first, and forget them.

        At most `getProposalCapacity()` (1000 by default) are kept, and the oldest are dropped
        first; `getNumDroppedProposals()` counts those. `setProposalRecording(capacity,
        keepPositions)` sets how many are kept and whether with their positions, by default without.
        """
        return [proposal_from(proposal) for proposal in super().takeProposals()]

    def getHiddenState(self) -> FloatArray:
        """Get the module's state, shape [S]; empty when there is no history."""
        return np.array(super().getHiddenState(), dtype=np.float64)

    def setHiddenState(self, state: Sequence[float] | FloatArray) -> None:
        """Set the module's state.

        It belongs to the frame that the Context holds. After setting positions that have nothing
        to do with those before, clear it with an empty list.

        Parameters
        ----------
        state : sequence of float
            as many numbers as the module's state has, or none
        """
        super().setHiddenState(doubles(state))

    def getWindowMean(self) -> unit.Quantity:
        """Get the mean of the dynamics' energies that the filter knows at this temperature."""
        return super().getWindowMean() * unit.kilojoule_per_mole

    def getWindowStandardDeviation(self) -> unit.Quantity:
        """Get the sample standard deviation of the energies known at this temperature."""
        return super().getWindowStandardDeviation() * unit.kilojoule_per_mole

    def setWindowStatistics(self, samples: int, mean: Any, standardDeviation: Any) -> None:
        """Set what the filter knows of the dynamics' energies, for instance from an earlier run.

        It is that of the present temperature, Context parameters and force groups; before a Context
        exists, that of the first ones.

        Parameters
        ----------
        samples : int
            number of energies
        mean : energy
            their mean (in kJ/mol)
        standardDeviation : energy
            their sample standard deviation (in kJ/mol)
        """
        super().setWindowStatistics(
            int(samples),
            plain(mean, unit.kilojoule_per_mole),
            plain(standardDeviation, unit.kilojoule_per_mole),
        )

    # Python's copies. OpenMM's own would be this class around a pointer to the base class.

    @staticmethod
    def isinstance(integrator: openmm.Integrator) -> bool:
        """Tell whether an integrator is an AtmosIntegrator, whatever its Python class says."""
        return bool(_atmos.isAtmosIntegrator(integrator))

    @staticmethod
    def cast(integrator: openmm.Integrator) -> AtmosIntegrator:
        """Get an integrator as an AtmosIntegrator.

        Parameters
        ----------
        integrator : openmm.Integrator
            one for which `AtmosIntegrator.isinstance()` is true; it keeps the ownership

        Returns
        -------
        AtmosIntegrator
            the same object under this class

        Raises
        ------
        openmm.OpenMMException
            if it is another kind of integrator
        """
        if isinstance(integrator, AtmosIntegrator):
            return integrator
        result = _atmos.castToAtmosIntegrator(integrator)
        result.__class__ = AtmosIntegrator
        # What owns the C++ object must live as long as this view of it.
        result._owner = integrator
        return result

    def __copy__(self) -> AtmosIntegrator:
        duplicate = _atmos.cloneIntegrator(self)
        duplicate.__class__ = self.__class__
        # A copy owns its C++ object, also where this one is a view of another's.
        own = ("this", "_owner")
        extra = {key: value for key, value in self.__dict__.items() if key not in own}
        duplicate.__dict__.update(extra)
        return duplicate

    def __deepcopy__(self, memo: dict[int, Any]) -> AtmosIntegrator:
        from copy import deepcopy

        duplicate = self.__copy__()
        memo[id(self)] = duplicate
        for key, value in duplicate.__dict__.items():
            if key != "this":
                duplicate.__dict__[key] = deepcopy(value, memo)
        return duplicate

    def __getstate__(self) -> str:
        return _atmos.integratorToXml(self)

    def __setstate__(self, xml: str) -> None:
        self.this = _atmos.integratorFromXml(xml).this
