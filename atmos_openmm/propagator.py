"""AtmosPropagator: a learned propagator bound to a Topology."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .jump.acceptance import METROPOLIS
from .jump.arguments import (
    checked_attempts,
    checked_frames,
    checked_states,
)
from .jump.bound_model import DEFAULT_TEMPERATURE_K, BoundModel
from .jump.choose_density import choose_density
from .jump.description import description
from .jump.from_inputs import PropagatorInputs
from .jump.module_call import module_sizes
from .jump.noise import fresh_seed
from .jump.propose import propose_frames
from .model.bundled import DEFAULT_MODEL, bundled_models, load_named_model
from .systems.selection import describe_left_out

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from .density import TorsionDensity
    from .integrator import AtmosIntegrator
    from .model.model_file import LoadedModel
    from .systems.screening import ScreenSpec

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_TEMPERATURE_K",
    "AtmosPropagator",
    "bundled_models",
    "load_named_model",
]


class AtmosPropagator(PropagatorInputs, BoundModel):
    """
    AtmosPropagator binds a learned propagator to the molecule of a Topology.  Given a frame it
    proposes another one, as the molecule might be found some time (the lag) later, at the price of
    a few evaluations of a network.  It is the way into everything else: it makes the integrator
    that alternates such jumps with molecular dynamics, and it can be called directly.

    To add jumps to a simulation, make the Topology, System and positions as for any other, and let
    the propagator create the integrator:

    >>> pdb = PDBFile('ace-ala-nme.pdb')
    >>> forcefield = ForceField('amber14-all.xml', 'implicit/gbn2.xml')
    >>> system = forcefield.createSystem(pdb.topology, constraints=HBonds,
    ...                                  hydrogenMass=1.5*amu)
    >>> propagator = AtmosPropagator('capped-amino-acids', pdb.topology)
    >>> integrator = propagator.createIntegrator(300*kelvin, 1/picosecond, 4*femtoseconds,
    ...                                          system=system, jumpInterval=250)
    >>> simulation = Simulation(pdb.topology, system, integrator)
    >>> simulation.context.setPositions(pdb.positions)
    >>> simulation.minimizeEnergy()
    >>> simulation.step(100000)

    Every 250 steps the integrator now proposes a new frame, checks it against the geometry of the
    molecule and the force field, and takes it or puts everything back.  See AtmosIntegrator for
    what is checked, how many proposals pass, and what that means for averages.

    The model is named in one of three ways: by the name of a bundled one, by the path of an
    `.atmos` file, or as a model that was loaded before.  A model declares what it was trained on
    (residues, elements, sizes, lags, temperatures), and what the Topology holds is compared with
    it: a molecule unlike those is bound with an OutOfDomainWarning that says in what, and refused
    only where the network cannot take it in.  Print the propagator to see what it can do:

    >>> print(propagator)
    >>> propagator.info()['lag_range_ps']

    To ask for frames directly, without any dynamics, call `propagate()`.  A batch of frames is
    cheaper than as many calls:

    >>> frame = propagator.propagate(pdb.positions, lag=100*picoseconds)
    >>> frames = propagator.propagate([pdb.positions]*64)

    These frames are raw: nothing was screened, and no energy was computed.  They are superposed on
    the frames that they came from, as the integrator does it, because the network gives them in an
    arbitrary orientation.  A propagator that remembers (its state) can be rolled out:

    >>> for i in range(100):
    ...     frame = propagator.propagate(frame, state=propagator.getLastState())

    The noise of proposal number n is a function of the seed and n, the same as in an
    AtmosIntegrator with that seed.  `propagate()` counts its proposals; give `attempt` to repeat
    one.

    **Bring your own module.**  In place of a model you can give a TorchScript module of your own,
    made for this molecule, that follows the contract of a bound module (docs/architecture.md): a
    `torch.jit.ScriptModule` with exported methods

        propagate(positions [B,A,3] nm, state [B,S], noise [B,K], lag [B] ps, temperature [B] K)
            -> (positions [B,A,3], state [B,S], log_ratio [B])
        num_atoms() -> int,  state_size() -> int,  noise_size() -> int

    Then everything that follows from it works alike: `createIntegrator()`, HybridSampler and the
    screen, which is made from the Topology (or give your own `screen`).  A `lag` has to be given,
    because nothing is known of the module's range:

    >>> propagator = AtmosPropagator(torch.jit.script(MyModule()), topology, lag=10*picoseconds)

    **Heavy atoms only.**  A model (or module, with atoms='heavy') may move heavy atoms alone.  The
    bound module then places the hydrogens on each frame that it proposes: where they stood relative
    to their heavy atoms before the jump, the torsions of methyls and hydroxyls included; those
    that would overlap are turned.  Integrators, screens and `propagate()` see all atoms, as with
    any other model.  The Topology has to have all hydrogens, or none: then there are none to place.

    Attributes
    ----------
    atomIndices : list[int]
        index in the Topology of each atom of the bound module, in its order
    movedIndices : list[int]
        index in the Topology of each atom that moves: the same, or fewer where `solute` names
        parts of molecules
    modelName : str
        name of the bundled model, file name, or "module"
    """

    def __init__(
        self,
        model: str | Path | LoadedModel | torch.jit.ScriptModule = DEFAULT_MODEL,
        topology: Topology | None = None,
        *,
        atoms: str | None = None,
        solute: str | Iterable[int] | None = None,
        positions: Any = None,
        molecules: Mapping[str, Any] | None = None,
        lag: Any = None,
        temperature: Any = None,
        seed: int = 0,
        device: str = "cpu",
        screen: ScreenSpec | None = None,
    ) -> None:
        """
        Create an AtmosPropagator.

        Parameters
        ----------
        model : str, Path, LoadedModel or torch.jit.ScriptModule
            Name of a bundled model, path of an .atmos file, loaded model, or bound module
        topology : openmm.app.Topology
            What the model is bound to.  Water, ions and membrane lipids are left out unless
            `solute` names them
        atoms : str, optional
            'all' or 'heavy': which atoms the model carries.  A model knows this; for a module of
            your own it is 'all' by default.  With 'heavy' the hydrogens are placed on its frames
        solute : str or iterable of int, optional
            The atoms to be moved, as indices or as a selection of MDTraj ('protein and resSeq 10 to
            20', 'sidechain and resid 3 7'); all but solvent and ions by default.  Of a molecule
            that moves in part the network reads all atoms; the moved ones are put in place by the
            unmoved atoms around them, and everything else stays where it is
        positions : Quantity or array, optional
            Coordinates [P, 3] (in nm) from which handedness is taken: of D residues, of ligands,
            and of the names of hydrogens alike by symmetry.  Recommended
        molecules : dict, optional
            RDKit molecules by residue name, for residues that are not standard
        lag : Quantity or float, optional
            The time by which `propagate()` and the integrator jump (in ps), where nothing else is
            said; the model's longest by default
        temperature : Quantity or float, optional
            The temperature that `propagate()` asks for (in K); 300 K by default
        seed : int
            Of the noise of `propagate()`; 0 draws one
        device : str
            The torch device that `propagate()` uses
        screen : ScreenSpec, optional
            Geometry tests in place of those made from the Topology

        Raises
        ------
        ValueError
            If the model cannot work on the Topology's molecule, or cannot be found; the message
            says what to do
        TypeError
            If `model` or `topology` is something else altogether
        """
        super().__init__(
            model,
            topology,
            atoms=atoms,
            solute=solute,
            positions=positions,
            molecules=molecules,
            lag=lag,
            temperature=temperature,
            device=device,
            screen=screen,
        )
        self._seed = int(seed) or fresh_seed()
        self._attempts = 0
        self._last_state: NDArray[np.float32] | None = None

    def propagate(
        self,
        positions: Any,
        lag: Any = None,
        temperature: Any = None,
        state: NDArray[np.floating] | None = None,
        attempt: int | Sequence[int] | None = None,
    ) -> Any:
        """
        Propose frames.  Each is superposed on the frame that it came from by a proper rotation and
        a translation; atoms that the model does not carry stay where they are.

        Parameters
        ----------
        positions : Quantity or array
            One frame [P, 3] or a batch [B, P, 3] of all atoms of the Topology (in nm)
        lag : Quantity or float, optional
            The time to skip (in ps); that of the propagator by default
        temperature : Quantity or float, optional
            The temperature asked of the model (in K); that of the propagator by default
        state : array, optional
            The model's memory [S] or [B, S], from `getLastState()`; no history by default
        attempt : int or sequence of int, optional
            Number of the proposal, or of each, which selects the noise; a batch takes that many
            numbers from `attempt` on.  By default the propagator counts

        Returns
        -------
        Quantity
            positions of the shape given, in nm

        Raises
        ------
        ValueError
            If a shape is wrong, or lag or temperature is not positive
        RuntimeError
            If the module fails, or proposes numbers that are not finite
        """
        from openmm import unit

        lag_ps = self.checkedLag(lag)
        temperature_k = (
            self._temperature_k if temperature is None else self.checkedTemperature(temperature)
        )
        frames, single = checked_frames(positions, self._num_particles)
        batch = len(frames)
        states = checked_states(state, batch, module_sizes(self.bind()).state_size)
        if attempt is None:
            attempt = self._attempts
            self._attempts += batch
        proposed = propose_frames(
            self.moduleOnDevice(),
            frames[:, self.atomIndices],
            states,
            [(self._seed, number) for number in checked_attempts(attempt, batch)],
            lag_ps,
            temperature_k,
            device=self._device,
            fragments=self._solute.fragments,
        )
        bad = np.flatnonzero(np.isnan(proposed.positions_nm).any(axis=(1, 2))).tolist()
        if bad:
            raise RuntimeError(
                f"The model proposed positions that are not finite for frame(s) {bad}. Check the "
                "positions that you gave, and that lag and temperature are in the model's range."
            )
        frames[:, self.atomIndices] = proposed.positions_nm
        self._last_state = proposed.states[0] if single else proposed.states
        return (frames[0] if single else frames) * unit.nanometer

    def getLastState(self) -> NDArray[np.float32] | None:
        """
        Get the model's memory after the last `propagate()`: [S] after a single frame, [B, S] after
        a batch, None before the first call.
        """
        return self._last_state

    def createIntegrator(
        self,
        temperature: Any,
        frictionCoeff: Any,
        stepSize: Any,
        *,
        system: openmm.System | None = None,
        jumpInterval: int = 250,
        lag: Any = None,
        acceptance: str = "filter",
        energyWindow: float = 6.0,
        windowSamples: int = 20,
        relaxation: Sequence[int] | None = None,
        seed: int = 0,
        density: TorsionDensity | str | Path | None = None,
        positions: Any = None,
        moves: int | None = None,
        trials: int | None = None,
        moveShares: Mapping[str, float] | None = None,
        dynamics: str = "langevin",
        methyls: bool = False,
    ) -> AtmosIntegrator:
        """
        Create an AtmosIntegrator: a LangevinMiddleIntegrator that jumps with this propagator.

        With acceptance 'metropolis' its averages are Boltzmann's: a jump is a number of moves of
        torsions, drawn from an explicit density and tested with its exact ratio, at the price of an
        energy each.  By default the density is the model's: that of its torsion head, or else
        fitted to frames that it draws from `positions`, which takes a minute the first time:

        >>> integrator = propagator.createIntegrator(300*kelvin, 1/picosecond, 4*femtoseconds,
        ...                                          system=system, acceptance='metropolis',
        ...                                          jumpInterval=25, positions=pdb.positions)

        Parameters
        ----------
        temperature : Quantity or float
            The temperature of the heat bath and of the jumps (in K)
        frictionCoeff : Quantity or float
            The friction coefficient (in 1/ps)
        stepSize : Quantity or float
            The step size (in ps)
        system : openmm.System, optional
            The System to be integrated.  It is compared with the Topology, and the screen takes
            its bond lengths from it
        jumpInterval : int
            The number of steps between jumps; 0 for none
        lag : Quantity or float, optional
            The time that one jump skips (in ps); that of the propagator by default
        acceptance : str
            'filter', 'none' or 'metropolis', see AtmosIntegrator
        energyWindow : float
            The width of the filter's window (in standard deviations above the mean)
        windowSamples : int
            The number of energies that the filter has to know before the first proposal
        relaxation : sequence of int, optional
            The minimiser iterations of each relaxation stage; none by default
        seed : int
            The seed of the jumps; 0 draws one when the Context is created
        density : TorsionDensity, str or Path, optional
            For 'metropolis': what torsions are drawn from, the file of such a density, or
            'uniform'; the model's by default
        positions : Quantity or array, optional
            For 'metropolis': a frame [P, 3] (in nm) from which a model without a torsion head
            draws those that its density is fitted to
        moves : int, optional
            For 'metropolis': the number of moves a jump.  By default 10, or 1 where it is a series
            of trials
        trials : int, optional
            For 'metropolis': the number of trials in a move, tested with a fast approximation of
            the energy before the end is tested with the energy itself (`SurrogateEnergy`).  By
            default 100 where it knows every force of the System, else 1, which is none
        moveShares : mapping of str to float, optional
            For 'metropolis': how often each kind of move is tried, see AtmosIntegrator
        dynamics : str
            For 'metropolis': 'langevin' or 'hmc', see AtmosIntegrator
        methyls : bool
            For 'metropolis': whether methyls and rotors like them are turned too

        Returns
        -------
        AtmosIntegrator

        Raises
        ------
        ValueError
            If the System does not belong to the Topology, lag or temperature is not positive, or
            the density is of other torsions
        """
        from .integrator import AtmosIntegrator
        from .surrogate import chosen_moves

        temperature_k = self.checkedTemperature(temperature)
        lag_ps = self.checkedLag(lag)
        if system is not None:
            self._solute.check_system(system, self._num_particles)
        integrator = AtmosIntegrator(temperature_k, frictionCoeff, stepSize)
        integrator.setModule(self.moduleBytes(), self.atomIndices)
        integrator.setScreen(self.getScreen(system))
        integrator.setLag(lag_ps)
        integrator.setAcceptanceMode(acceptance)
        integrator.setEnergyWindow(energyWindow)
        integrator.setWindowSamples(int(windowSamples))
        integrator.setRelaxationStages([int(n) for n in relaxation or ()])
        integrator.setJumpSeed(int(seed))
        if acceptance == METROPOLIS:
            torsions = self.torsions(system, methyls)
            chosen = choose_density(
                self, torsions, density, positions, lag=lag_ps, temperature=temperature_k
            )
            integrator.setTorsionMoves(torsions, chosen)
            count, series = chosen_moves(system, moves, trials)
            integrator.setMovesPerJump(count)
            integrator.setTrialsPerMove(series)
            integrator.setMoveShares(moveShares or {})
            integrator.setDynamics(dynamics)
        integrator.setJumpInterval(int(jumpInterval))
        return integrator

    def info(self) -> dict[str, Any]:
        """
        Get what the propagator is and can do, as plain values: the model's name and declared
        capabilities, the sizes of the molecule, lag and temperature and their ranges.
        """
        capabilities = None if self._loaded is None else self._loaded.capabilities
        features, plan = self._solute.features, self._solute.hydrogen_plan
        names = [] if features is None else list(features.residue_names)
        return {
            "model": self.modelName,
            "atoms": self._atoms,
            "num_atoms": len(self.atomIndices),
            "num_moved_atoms": len(self.movedIndices),
            "left_out": describe_left_out(self._topology),
            "num_placed_hydrogens": 0 if plan is None else len(plan.hydrogens),
            "num_tokens": len(names) or None,
            "residues": names,
            "lag_ps": self._lag_ps,
            "lag_range_ps": None if capabilities is None else tuple(capabilities.lag_range_ps),
            "temperature_K": self._temperature_k,
            "temperature_range_K": (
                None if capabilities is None else tuple(capabilities.temperature_range_kelvin)
            ),
            "outside_training": list(self._outside.values()),
            "seed": self._seed,
            "device": self._device,
            "capabilities": {} if capabilities is None else dataclasses.asdict(capabilities),
        }

    def __str__(self) -> str:
        return description(self.info())
