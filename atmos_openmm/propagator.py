"""AtmosPropagator: a learned propagator bound to a Topology."""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .core.geometry import centroid, superpose
from .core.units import plain
from .jump.module_call import call_module, module_digest, module_sizes, without_jit_warnings
from .jump.noise import fresh_seed, proposal_noise

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from .integrator import AtmosIntegrator
    from .model.model_file import LoadedModel
    from .systems.features import MoleculeFeatures
    from .systems.hydrogen_plan import HydrogenPlan
    from .systems.screening import ScreenSpec, ScreenVerdict

DEFAULT_MODEL = "capped-amino-acids"
DEFAULT_TEMPERATURE_K = 300.0


class AtmosPropagator:
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
    `.atmos` file, or as a model that was loaded before.  A model declares what it was made for
    (residues, elements, sizes, lags, temperatures), and what the Topology holds is checked against
    it; a molecule that does not fit is refused with the reason.  Print the propagator to see what
    it can do:

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
    atomIndices: list[int]
        index in the Topology of each atom that moves, in the order of the bound module
    modelName: str
        name of the bundled model, file name, or "module"
    """

    def __init__(
        self,
        model: str | Path | LoadedModel | torch.jit.ScriptModule = DEFAULT_MODEL,
        topology: Topology | None = None,
        *,
        atoms: str | None = None,
        solute: Iterable[int] | None = None,
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
        model: str, Path, LoadedModel or torch.jit.ScriptModule
            Name of a bundled model, path of an .atmos file, loaded model, or bound module
        topology: openmm.app.Topology
            What the model is bound to.  Water and ions are left out unless `solute` names them
        atoms: str, optional
            'all' or 'heavy': which atoms the model carries.  A model knows this; for a module of
            your own it is 'all' by default.  With 'heavy' the hydrogens are placed on its frames
        solute: iterable of int, optional
            Indices of the atoms to be moved (whole molecules); all but solvent and ions by default
        positions: Quantity or array, optional
            Coordinates [P, 3] (in nm) from which handedness is taken: of D residues, of ligands,
            and of the names of hydrogens alike by symmetry.  Recommended
        molecules: dict, optional
            RDKit molecules by residue name, for residues that are not standard
        lag: Quantity or float, optional
            The time by which `propagate()` and the integrator jump (in ps), where nothing else is
            said; the model's longest by default
        temperature: Quantity or float, optional
            The temperature that `propagate()` asks for (in K); 300 K by default
        seed: int
            Of the noise of `propagate()`; 0 draws one
        device: str
            The torch device that `propagate()` uses
        screen: ScreenSpec, optional
            Geometry tests in place of those made from the Topology

        Raises
        ------
        ValueError
            If the model does not fit the Topology, the lag or temperature is out of the model's
            range, or the model cannot be found; the message says what to do
        TypeError
            If `model` or `topology` is something else altogether
        """
        if topology is None or not hasattr(topology, "atoms"):
            raise TypeError(
                f"topology is {type(topology).__name__}; AtmosPropagator needs an "
                "openmm.app.Topology, e.g. that of a PDBFile: AtmosPropagator(model, pdb.topology)."
            )
        self._topology = topology
        self._num_particles = topology.getNumAtoms()
        self._loaded: LoadedModel | None = None
        self._module: torch.jit.ScriptModule | None = None
        self._bound: torch.jit.ScriptModule | None = None
        # Of all atoms that move, and of those that the network carries: without hydrogens where
        # these are placed by the plan.
        self._features: MoleculeFeatures | None = None
        self._network_features: MoleculeFeatures | None = None
        self._hydrogen_plan: HydrogenPlan | None = None
        self._given_screen = screen
        if _is_module(model):
            self.modelName = "module"
            self._module = cast("torch.jit.ScriptModule", model)
        else:
            self.modelName, self._loaded = _load(model)
        own_set = "all" if self._loaded is None else self._loaded.capabilities.atoms
        if atoms is not None and self._loaded is not None and atoms != own_set:
            raise ValueError(
                f"The model {self.modelName} carries {own_set} atoms, but atoms={atoms!r} was "
                "asked for. Leave `atoms` out, or take another model."
            )
        self._atoms = atoms or own_set
        self._take_molecule(solute, positions, molecules)
        if self._loaded is not None and self._network_features is not None:
            self._loaded.capabilities.check(
                self._network_features.ref_element.tolist(),
                self._network_features.num_tokens,
                self._network_features.num_atoms,
            )
        if self._module is not None:
            self._check_module_size(self._module)
        self._lag_ps: float | None = None
        if lag is not None:
            self._lag_ps = self.checkedLag(lag)
        elif self._loaded is not None:
            self._lag_ps = float(self._loaded.capabilities.lag_range_ps[1])
        self._temperature_k = DEFAULT_TEMPERATURE_K
        if temperature is not None:
            self._temperature_k = self.checkedTemperature(temperature)
        self._device = device
        self._seed = int(seed) or fresh_seed()
        self._attempts = 0
        self._last_state: NDArray[np.float32] | None = None
        self._bytes: bytes | None = None
        self._on_device: torch.jit.ScriptModule | None = None

    def bind(self) -> torch.jit.ScriptModule:
        """
        Get the bound module: the network with everything about this molecule inside, the placement
        of hydrogens included where the model is one of heavy atoms.  It is made at the first call
        and kept.

        Returns
        -------
        torch.jit.ScriptModule
            see docs/architecture.md, "The bound module"

        Raises
        ------
        ValueError
            If the network of the model file takes other inputs than this version makes
        """
        if self._bound is None:
            module = self._module if self._module is not None else self._bind_network()
            if self._hydrogen_plan is not None:
                from .model.all_atoms import with_hydrogens

                with without_jit_warnings():
                    module = with_hydrogens(module, self._hydrogen_plan.tensors())
            self._bound = module
        return self._bound

    def _bind_network(self) -> torch.jit.ScriptModule:
        from .model.bound import bind

        assert self._loaded is not None and self._network_features is not None
        try:
            with without_jit_warnings():
                module = bind(self._loaded, self._network_features.tensors())
        except RuntimeError as error:
            # TorchScript answers inputs that a network was not made for with all of them.
            cause = str(error).strip().splitlines()[0][:200]
            raise ValueError(
                f"The model {self.modelName} cannot be bound by this version of atmos_openmm "
                f"({cause}). Take the version that made it, or export the model again."
            ) from None
        self._check_module_size(module)
        return module

    def moduleOnDevice(self) -> torch.jit.ScriptModule:
        """Get the bound module on the torch device that `propagate()` uses."""
        if self._device == "cpu":
            return self.bind()
        if self._on_device is None:
            import torch

            # A copy, so that the module that is saved for the integrator stays on the CPU.
            with without_jit_warnings():
                self._on_device = torch.jit.load(
                    io.BytesIO(self.moduleBytes()), map_location=self._device
                )
        return self._on_device

    def moduleBytes(self) -> bytes:
        """Get the bound module as the content of a TorchScript archive."""
        if self._bytes is None:
            import torch

            buffer = io.BytesIO()
            with without_jit_warnings():
                torch.jit.save(self.bind(), buffer)
            self._bytes = buffer.getvalue()
        return self._bytes

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
        positions: Quantity or array
            One frame [P, 3] or a batch [B, P, 3] of all atoms of the Topology (in nm)
        lag: Quantity or float, optional
            The time to skip (in ps); that of the propagator by default
        temperature: Quantity or float, optional
            The temperature asked of the model (in K); that of the propagator by default
        state: array, optional
            The model's memory [S] or [B, S], from `getLastState()`; no history by default
        attempt: int or sequence of int, optional
            Number of the proposal, or of each, which selects the noise; a batch takes that many
            numbers from `attempt` on.  By default the propagator counts

        Returns
        -------
        Quantity
            positions of the shape given, in nm

        Raises
        ------
        ValueError
            If a shape is wrong or lag or temperature is out of the model's range
        RuntimeError
            If the module fails, or proposes numbers that are not finite
        """
        from openmm import unit

        lag_ps = self.checkedLag(lag)
        temperature_k = (
            self._temperature_k if temperature is None else self.checkedTemperature(temperature)
        )
        frames, single = self._frames(positions)
        batch = len(frames)
        sizes = module_sizes(self.bind())
        states = _states(state, batch, sizes.state_size)
        attempts = self._attempt_numbers(attempt, batch)
        solute = np.asarray(self.atomIndices, dtype=np.int64)
        before = frames[:, solute]
        centred = np.stack([frame - centroid(frame) for frame in before])
        noise = np.stack([proposal_noise(self._seed, n, sizes.noise_size) for n in attempts])
        proposed, new_states, _ = call_module(
            self.moduleOnDevice(),
            centred.astype(np.float32),
            states,
            noise,
            lag_ps,
            temperature_k,
            device=self._device,
        )
        if not np.isfinite(proposed).all():
            bad = np.flatnonzero(~np.isfinite(proposed).all(axis=(1, 2))).tolist()
            raise RuntimeError(
                f"The model proposed positions that are not finite for frame(s) {bad}. Check the "
                "positions that you gave, and that lag and temperature are in the model's range."
            )
        result = frames.copy()
        for row in range(batch):
            result[row, solute] = superpose(proposed[row], before[row])
        self._last_state = new_states[0] if single else new_states
        return (result[0] if single else result) * unit.nanometer

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
        relaxation: Sequence[int] | None = None,
        seed: int = 0,
    ) -> AtmosIntegrator:
        """
        Create an AtmosIntegrator: a LangevinMiddleIntegrator that jumps with this propagator.

        Parameters
        ----------
        temperature: Quantity or float
            The temperature of the heat bath and of the jumps (in K)
        frictionCoeff: Quantity or float
            The friction coefficient (in 1/ps)
        stepSize: Quantity or float
            The step size (in ps)
        system: openmm.System, optional
            The System to be integrated.  It is compared with the Topology, and the screen takes
            its bond lengths from it
        jumpInterval: int
            The number of steps between jumps; 0 for none
        lag: Quantity or float, optional
            The time that one jump skips (in ps); that of the propagator by default
        acceptance: str
            'filter' or 'none', see AtmosIntegrator
        energyWindow: float
            The width of the filter's window (in standard deviations above the mean)
        relaxation: sequence of int, optional
            The minimiser iterations of each relaxation stage; none by default
        seed: int
            The seed of the jumps; 0 draws one when the Context is created

        Returns
        -------
        AtmosIntegrator

        Raises
        ------
        ValueError
            If the System does not belong to the Topology, or lag or temperature is out of the
            model's range
        """
        from .integrator import AtmosIntegrator

        temperature_k = self.checkedTemperature(temperature)
        lag_ps = self.checkedLag(lag)
        if system is not None:
            self._check_system(system)
        integrator = AtmosIntegrator(temperature_k, frictionCoeff, stepSize)
        integrator.setModule(self.moduleBytes(), self.atomIndices)
        integrator.setScreen(self.getScreen(system))
        integrator.setLag(lag_ps)
        integrator.setAcceptanceMode(acceptance)
        integrator.setEnergyWindow(energyWindow)
        integrator.setRelaxationStages([int(n) for n in relaxation or ()])
        integrator.setJumpSeed(int(seed))
        integrator.setJumpInterval(int(jumpInterval))
        return integrator

    def getScreen(self, system: openmm.System | None = None) -> ScreenSpec:
        """
        Get the geometry tests for frames of this molecule.

        Parameters
        ----------
        system: openmm.System, optional
            Where reference bond lengths come from; typical ones are used without it
        """
        if self._given_screen is not None:
            return self._given_screen
        from .systems.screening import build_screen

        assert self._features is not None
        return build_screen(self._features, self._topology, system)

    def describeVerdict(self, verdict: ScreenVerdict) -> str:
        """
        Get a sentence on a verdict of the screen, with the atoms by name where the features of the
        molecule are known.
        """
        if self._features is not None:
            return verdict.describe(self._features)
        return f"{verdict.reason} at atoms {list(verdict.atoms)} of the model"

    def info(self) -> dict[str, Any]:
        """
        Get what the propagator is and can do, as plain values: the model's name and declared
        capabilities, the sizes of the molecule, lag and temperature and their ranges.
        """
        capabilities = None if self._loaded is None else self._loaded.capabilities
        names = [] if self._features is None else list(self._features.residue_names)
        return {
            "model": self.modelName,
            "atoms": self._atoms,
            "num_atoms": len(self.atomIndices),
            "num_placed_hydrogens": (
                0 if self._hydrogen_plan is None else len(self._hydrogen_plan.hydrogens)
            ),
            "num_tokens": len(names) or None,
            "residues": names,
            "lag_ps": self._lag_ps,
            "lag_range_ps": None if capabilities is None else tuple(capabilities.lag_range_ps),
            "temperature_K": self._temperature_k,
            "temperature_range_K": (
                None if capabilities is None else tuple(capabilities.temperature_range_kelvin)
            ),
            "seed": self._seed,
            "device": self._device,
            "capabilities": {} if capabilities is None else dataclasses.asdict(capabilities),
        }

    def __str__(self) -> str:
        info = self.info()
        lines = [f"AtmosPropagator: model {info['model']}"]
        molecule = f"{info['num_atoms']} atoms ({info['atoms']})"
        if info["num_placed_hydrogens"]:
            molecule = (
                f"{info['num_atoms']} atoms ({info['num_placed_hydrogens']} hydrogens placed on "
                "the model's heavy atoms)"
            )
        if info["residues"]:
            shown = "-".join(info["residues"][:12]) + ("-..." if len(info["residues"]) > 12 else "")
            molecule += f", {info['num_tokens']} tokens: {shown}"
        lines.append(f"  molecule     {molecule}")
        lines.append(f"  lag          {_with_range(info['lag_ps'], info['lag_range_ps'], 'ps')}")
        lines.append(
            f"  temperature  {_with_range(info['temperature_K'], info['temperature_range_K'], 'K')}"
        )
        for name in ("denoising_steps", "trained_on", "licence"):
            if info["capabilities"].get(name):
                lines.append(f"  {name.replace('_', ' '):<12} {info['capabilities'][name]}")
        return "\n".join(lines)

    def fingerprint(self) -> str:
        """
        Get a hash (sha256, in hexadecimal) that tells models apart: that of the model file's
        weights, or of the code and the numbers of a module of your own.
        """
        if self._loaded is not None:
            return str(self._loaded.capabilities.weights_sha256)
        import torch

        # Loaded again, because a fresh module keeps as constants what its archive does not hold.
        with without_jit_warnings():
            return module_digest(torch.jit.load(io.BytesIO(self.moduleBytes())))

    def checkedLag(self, lag: Any = None) -> float:
        """
        Get a lag in ps, that of the propagator for None.

        Raises
        ------
        ValueError
            If it is out of the model's range, or there is none
        """
        from openmm import unit

        if lag is None:
            if self._lag_ps is None:
                raise ValueError(
                    "No lag was given, and a module of your own declares none: say e.g. "
                    "AtmosPropagator(module, topology, lag=10*picoseconds)."
                )
            return self._lag_ps
        value = plain(lag, unit.picosecond)
        limits = None if self._loaded is None else self._loaded.capabilities.lag_range_ps
        return _in_range("lag", value, limits, "ps", self.modelName)

    def checkedTemperature(self, temperature: Any) -> float:
        """
        Get a temperature in K.

        Raises
        ------
        ValueError
            If it is out of the model's range
        """
        from openmm import unit

        value = plain(temperature, unit.kelvin)
        limits = (
            None if self._loaded is None else self._loaded.capabilities.temperature_range_kelvin
        )
        return _in_range("temperature", value, limits, "K", self.modelName)

    def _take_molecule(
        self,
        solute: Iterable[int] | None,
        positions: Any,
        molecules: Mapping[str, Any] | None,
    ) -> None:
        """Find the model's atoms and their features."""
        heavy = self._atoms == "heavy"
        if self._module is not None and self._given_screen is not None and not heavy:
            # Everything is given: the molecule need not be one that features can be made of.
            chosen = range(self._given_screen.num_atoms) if solute is None else solute
            self.atomIndices = [int(i) for i in chosen]
            self._check_screen_size()
            return
        from .systems.features import features_from_topology
        from .systems.hydrogen_plan import bonded_hydrogens, plan_hydrogens

        if positions is not None:
            positions = self._frames(positions)[0][0]
        if solute is not None:
            solute = [int(i) for i in solute]
            if heavy:
                # Hydrogens come along, named or not: protonation follows from them.
                solute += sorted(set(bonded_hydrogens(self._topology, solute)) - set(solute))

        def features(atoms: Literal["all", "heavy"]) -> MoleculeFeatures:
            return features_from_topology(
                self._topology,
                atoms,
                solute,
                positions=positions,
                molecules=molecules,
                caps="token" if self._loaded is None else self._loaded.config.caps,
            )

        self._features = self._network_features = features("heavy" if heavy else "all")
        if heavy and bonded_hydrogens(self._topology, self._features.atom_indices.tolist()):
            with warnings.catch_warnings():
                # What the heavy atoms' features warn of has been said.
                warnings.simplefilter("ignore")
                self._features = features("all")
            self._hydrogen_plan = plan_hydrogens(self._features)
        self.atomIndices = self._features.atom_indices.tolist()
        if heavy and self._given_screen is not None:
            self._check_screen_size()

    def _check_screen_size(self) -> None:
        assert self._given_screen is not None
        if len(self.atomIndices) != self._given_screen.num_atoms:
            raise ValueError(
                f"solute names {len(self.atomIndices)} atoms, but the screen is for "
                f"{self._given_screen.num_atoms}."
            )

    def _check_module_size(self, module: torch.jit.ScriptModule) -> None:
        count = module_sizes(module).num_atoms
        expected, kind = len(self.atomIndices), "atoms"
        if self._network_features is not None:
            expected = self._network_features.num_atoms
            kind = "heavy atoms" if self._atoms == "heavy" else "atoms"
        if count != expected:
            raise ValueError(
                f"The module was bound to {count} atoms, but the Topology's solute has "
                f"{expected} {kind}. Name the atoms that the module moves with solute=[...], or "
                "bind it to this molecule."
            )

    def _check_system(self, system: openmm.System) -> None:
        from openmm import unit

        if system.getNumParticles() != self._num_particles:
            raise ValueError(
                f"The System has {system.getNumParticles()} particles, but the Topology has "
                f"{self._num_particles} atoms. Make both from the same structure."
            )
        for index in self.atomIndices:
            if system.isVirtualSite(index) or system.getParticleMass(index) == 0 * unit.dalton:
                raise ValueError(
                    f"Particle {index} of the System has no mass or is a virtual site, but the "
                    "model moves it. Leave it out with solute=[...]."
                )

    def _frames(self, positions: Any) -> tuple[NDArray[np.float64], bool]:
        """Positions [B, P, 3] in nm, and whether a single frame was given."""
        from openmm import unit

        if not hasattr(positions, "value_in_unit") and len(positions):
            # A list of frames, each a Quantity.
            positions = [
                p.value_in_unit(unit.nanometer) if hasattr(p, "value_in_unit") else p
                for p in positions
            ]
        elif hasattr(positions, "value_in_unit"):
            positions = positions.value_in_unit(unit.nanometer)
        array = np.array(positions, dtype=np.float64)
        single = array.ndim == 2
        if single:
            array = array[None]
        if array.ndim != 3 or array.shape[1:] != (self._num_particles, 3) or len(array) == 0:
            raise ValueError(
                f"positions have the shape {list(np.shape(positions))}; expected "
                f"[{self._num_particles}, 3] or [B, {self._num_particles}, 3]: all atoms of the "
                "Topology, in nm."
            )
        if not np.isfinite(array).all():
            raise ValueError("positions hold numbers that are not finite.")
        return array, single

    def _attempt_numbers(self, attempt: int | Sequence[int] | None, batch: int) -> list[int]:
        if attempt is None:
            first = self._attempts
            self._attempts += batch
            return list(range(first, first + batch))
        if isinstance(attempt, int):
            return list(range(attempt, attempt + batch))
        numbers = [int(n) for n in attempt]
        if len(numbers) != batch:
            raise ValueError(f"{len(numbers)} attempt numbers were given for {batch} frames.")
        return numbers


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    folder = Path(__file__).parent / "models"
    return sorted(path.stem for path in folder.glob("*.atmos"))


def load_named_model(model: str | Path | LoadedModel) -> LoadedModel:
    """
    Load the model that a name of a bundled one or the path of an .atmos file stands for.

    Raises
    ------
    ValueError
        If there is no such model, or the file is damaged
    """
    loaded: LoadedModel = _load(model)[1]
    return loaded


def _is_module(model: Any) -> bool:
    """Whether something is a TorchScript module (or quacks like a bound one)."""
    return hasattr(model, "propagate") and hasattr(model, "num_atoms")


def _load(model: Any) -> tuple[str, Any]:
    """Name and loaded model of what the user named."""
    if hasattr(model, "capabilities") and hasattr(model, "module"):
        return str(model.capabilities.name), model
    if not isinstance(model, (str, Path)):
        raise TypeError(
            f"model is {type(model).__name__}; give the name of a bundled model, the path of an "
            ".atmos file, a loaded model, or a TorchScript module that follows the contract of a "
            "bound module (propagate, num_atoms, state_size and noise_size, all exported)."
        )
    path = Path(model)
    name = path.stem
    if path.suffix != ".atmos":
        path = Path(__file__).parent / "models" / f"{model}.atmos"
        name = str(model)
        if not path.exists():
            names = ", ".join(bundled_models()) or "none"
            raise ValueError(
                f"There is no bundled model {name!r} (bundled: {names}). Give one of these, or the "
                "path of a model file that ends in .atmos."
            )
    elif not path.exists():
        raise ValueError(f"The model file {path} does not exist; check the path.")
    from .model.model_file import load_model

    return name, load_model(path)


def _with_range(value: float | None, limits: tuple[float, float] | None, unit_: str) -> str:
    text = "to be given" if value is None else f"{value:g} {unit_}"
    if limits is not None:
        text += f" (model: {limits[0]:g} to {limits[1]:g} {unit_})"
    return text


def _in_range(
    what: str, value: float, limits: Sequence[float] | None, unit_: str, model: str
) -> float:
    if not value > 0 or not np.isfinite(value):
        raise ValueError(f"The {what} is {value:g} {unit_}; it has to be positive.")
    if limits is not None and not limits[0] * (1 - 1e-6) <= value <= limits[1] * (1 + 1e-6):
        raise ValueError(
            f"The {what} is {value:g} {unit_}, but the model {model} was made for "
            f"{limits[0]:g} to {limits[1]:g} {unit_}. Choose one in this range."
        )
    return float(value)


def _states(state: NDArray[np.floating] | None, batch: int, size: int) -> NDArray[np.float32]:
    """States [B, S]; zeros for no history."""
    if state is None:
        return np.zeros((batch, size), dtype=np.float32)
    array = np.array(state, dtype=np.float32)
    if array.shape == (size,) and batch == 1:
        array = array[None]
    if array.shape != (batch, size):
        raise ValueError(f"state has the shape {list(array.shape)}; expected [{batch}, {size}].")
    return array
