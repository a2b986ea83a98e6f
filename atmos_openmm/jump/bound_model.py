"""A model bound to the molecule of a Topology: its atoms, module, ranges and screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ..core.units import plain
from ..model.bundled import find_model
from .arguments import checked_frames, checked_positive, is_in_range
from .bound_module import BoundModule, is_bound_module
from .domain import outside_of_training, refuse_unworkable, warn_of

if TYPE_CHECKING:
    import numpy as np
    import openmm
    import torch
    from numpy.typing import NDArray
    from openmm.app import Topology

    from ..density import TorsionDensity
    from ..model.model_features import ModelFeatures
    from ..model.model_file import LoadedModel
    from ..systems.molecule_features import MoleculeFeatures
    from ..systems.screen_building import ScreenBuilder
    from ..systems.screening import ScreenSpec, ScreenVerdict
    from ..systems.torsions import Torsions
    from .solute import Solute

DEFAULT_TEMPERATURE_K = 300.0


class BoundModel:
    """
    What is known and made once a model and a Topology have met.  `AtmosPropagator` adds frames and
    integrators to it, and documents the parameters.
    """

    def __init__(
        self,
        model: Any,
        topology: Topology | None,
        *,
        atoms: str | None,
        solute: str | Iterable[int] | None,
        positions: Any,
        molecules: Mapping[str, Any] | None,
        lag: Any,
        temperature: Any,
        device: str,
        screen: ScreenSpec | None,
    ) -> None:
        if topology is None or not hasattr(topology, "atoms"):
            raise TypeError(
                f"topology is {type(topology).__name__}; AtmosPropagator needs an "
                "openmm.app.Topology, e.g. that of a PDBFile: AtmosPropagator(model, pdb.topology)."
            )
        self._topology = topology
        self._num_particles = topology.getNumAtoms()
        self._given_screen = screen
        self._screen_builder: ScreenBuilder | None = None
        self._loaded: LoadedModel | None = None
        self._outside: dict[str, str] = {}
        if is_bound_module(model):
            self.modelName = "module"
        else:
            self.modelName, self._loaded = find_model(model)
        carried = "all" if self._loaded is None else self._loaded.capabilities.atoms
        if atoms is not None and self._loaded is not None and atoms != carried:
            raise ValueError(
                f"The model {self.modelName} carries {carried} atoms, but atoms={atoms!r} was "
                "asked for. Leave `atoms` out, or take another model."
            )
        self._atoms = atoms or carried
        self._solute = self._find_solute(solute, positions, molecules)
        self.atomIndices = self._solute.atom_indices
        self.movedIndices = self._solute.moved_indices
        if self._solute.fragments and self._given_screen is not None:
            self._given_screen = replace(self._given_screen, fragments=self._solute.fragments)
        bound_to = cast("torch.jit.ScriptModule", model) if self._loaded is None else self._loaded
        self._bound = BoundModule(self.modelName, bound_to, self._solute, device)
        self._lag_ps: float | None = None
        if lag is not None:
            self._lag_ps = self.checkedLag(lag)
        elif self._loaded is not None:
            self._lag_ps = float(self._loaded.capabilities.lag_range_ps[1])
        self._temperature_k = DEFAULT_TEMPERATURE_K
        if temperature is not None:
            self._temperature_k = self.checkedTemperature(temperature)
        self._device = device

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
        return self._bound.module

    def moduleOnDevice(self) -> torch.jit.ScriptModule:
        """Get the bound module on the torch device that `propagate()` uses."""
        return self._bound.on_device

    def moduleBytes(self) -> bytes:
        """Get the bound module as the content of a TorchScript archive."""
        return self._bound.archive

    def getScreen(self, system: openmm.System | None = None) -> ScreenSpec:
        """
        Get the geometry tests for frames of this molecule.  They are made once; a System is read at
        each call, and as long as its bond lengths stay the same, so does the object.

        Parameters
        ----------
        system : openmm.System, optional
            Where reference bond lengths come from; typical ones are used without it

        Raises
        ------
        ValueError
            If the System does not belong to the Topology
        """
        if self._given_screen is not None:
            return self._given_screen
        if self._screen_builder is None:
            from ..systems.screen_building import ScreenBuilder

            features, fragments = self._solute.features, self._solute.fragments
            assert features is not None
            self._screen_builder = ScreenBuilder(features, self._topology, fragments)
        return self._screen_builder.screen(system)

    def describeVerdict(self, verdict: ScreenVerdict) -> str:
        """
        Get a sentence on a verdict of the screen, with the atoms by name where the features of the
        molecule are known.
        """
        if self._solute.features is not None:
            return verdict.describe(self._solute.features)
        return f"{verdict.reason} at atoms {list(verdict.atoms)} of the model"

    def torsions(self, system: openmm.System | None = None, methyls: bool = False) -> Torsions:
        """
        Get the torsions that exact moves may turn: those with a side that lies wholly in the
        solute.

        Parameters
        ----------
        system : openmm.System, optional
            Torsions that its constraints do not allow are left out
        methyls : bool
            Whether methyls and rotors like them are turned too

        Raises
        ------
        ValueError
            If nothing is known of the molecule's bonds
        """
        from ..systems.torsions import torsions_of

        if self._solute.features is None:
            raise ValueError(
                f"Nothing is known of the bonds of {self.modelName}'s molecule, so its torsions "
                "cannot be found. Give the Topology of a molecule that can be understood."
            )
        moved = self.movedIndices if self._solute.fragments else None
        return torsions_of(self._solute.features, system, methyls, moved)

    def hasTorsionHead(self) -> bool:
        """Whether the model gives `torsionDensity()`, for which no frames are drawn."""
        return self._loaded is not None and self._loaded.capabilities.has_torsion_head

    def torsionDensity(
        self, lag: Any = None, temperature: Any = None, torsions: Torsions | None = None
    ) -> TorsionDensity:
        """
        Get the explicit density of the molecule's torsions that the model's torsion head gives, for
        exact Metropolis moves.  The network runs once, and no frame is drawn.

        Parameters
        ----------
        lag : Quantity or float, optional
            The time that a move stands for (in ps): short ones move near to where the torsions
            are; that of the propagator by default
        temperature : Quantity or float, optional
            The temperature asked of the model (in K); that of the propagator by default
        torsions : Torsions, optional
            Those that moves may turn, in their order, e.g. `torsions(system)`; all of the
            molecule's by default

        Raises
        ------
        ValueError
            If the model has no torsion head
        """
        from ..model.head_density import head_density

        loaded, static, indices = self._torsion_network()
        return head_density(
            loaded.module,
            static,
            self.torsions() if torsions is None else torsions,
            indices,
            self.checkedLag(lag),
            self.checkedTemperature(temperature),
        )

    def torsionModule(
        self,
        lag: Any = None,
        temperature: Any = None,
        torsions: Torsions | None = None,
        kind: str = "all",
    ) -> torch.jit.ScriptModule:
        """
        Get a bound module that turns torsions drawn from `torsionDensity()`, and whose `log_ratio`
        makes a Metropolis test of its frames exact: for an AtmosIntegrator or HybridDriver with
        acceptance 'metropolis' and no torsions set, or for a loop of your own.

        The integrator's own moves (`createIntegrator(acceptance='metropolis')`) draw from the same
        density without torch, in more kinds and in series, and are faster.

        Parameters
        ----------
        lag : Quantity or float, optional
            The time that a move stands for (in ps); that of the propagator by default.  The module
            takes any other, for which the network runs again at each call
        temperature : Quantity or float, optional
            The temperature asked of the model (in K); likewise
        torsions : Torsions, optional
            Those that it may turn, e.g. `torsions(system)`; all of the molecule's by default
        kind : str
            'all': all torsions at once, for one to four residues; 'residue': those of one residue

        Returns
        -------
        torch.jit.ScriptModule
            see docs/architecture.md, "The bound module"

        Raises
        ------
        ValueError
            If the model has no torsion head, only a part of a molecule moves, there is nothing to
            turn, or a residue has too many torsions
        """
        from ..model.bound_torsions import bind_torsions
        from .module_call import without_jit_warnings

        loaded, static, indices = self._torsion_network()
        if self._solute.fragments:
            raise ValueError(
                "A module of torsions is superposed on the frame before as a whole, so that parts "
                "of a molecule cannot be all that it moves. Take the moves of the integrator "
                "(acceptance 'metropolis'), or move whole molecules."
            )
        chosen = self.torsions() if torsions is None else torsions
        with without_jit_warnings():
            return bind_torsions(
                loaded.module,
                static,
                chosen,
                chosen.groups,
                indices,
                self.checkedLag(lag),
                self.checkedTemperature(temperature),
                kind,
            )

    def _torsion_network(self) -> tuple[LoadedModel, ModelFeatures, NDArray[np.int64]]:
        """The model with its head, the molecule's inputs, and the particle of each atom.

        Raises
        ------
        ValueError
            If there is no head.
        """
        from ..model.model_features import model_features

        loaded, features = self._loaded, self._solute.features
        if loaded is None or not self.hasTorsionHead():
            raise ValueError(
                f"The model {self.modelName} has no torsion head. Take a density of its frames "
                "(TorsionDensity.from_model), or a model that was trained with a head."
            )
        if self._solute.carried == "heavy":
            raise ValueError(
                f"The model {self.modelName} carries heavy atoms alone; a torsion head needs all."
            )
        assert features is not None
        return loaded, model_features(features.tensors(), loaded.config), features.atom_indices

    def fingerprint(self) -> str:
        """
        Get a hash (sha256, in hexadecimal) that tells models apart: that of the model file's
        weights, or of the code and the numbers of a module of your own.
        """
        return self._bound.fingerprint

    def checkedLag(self, lag: Any = None) -> float:
        """
        Get a lag in ps, that of the propagator for None.  One outside of the model's range brings
        an OutOfDomainWarning.

        Raises
        ------
        ValueError
            If it is not positive, or there is none
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
        return self._checked("lag", value, limits, "ps")

    def checkedTemperature(self, temperature: Any = None) -> float:
        """
        Get a temperature in K, that of the propagator for None.  One outside of the model's range
        brings an OutOfDomainWarning.

        Raises
        ------
        ValueError
            If it is not positive
        """
        from openmm import unit

        value = self._temperature_k if temperature is None else plain(temperature, unit.kelvin)
        limits = (
            None if self._loaded is None else self._loaded.capabilities.temperature_range_kelvin
        )
        return self._checked("temperature", value, limits, "K")

    def _checked(self, what: str, value: float, limits: Any, unit: str) -> float:
        """A positive lag or temperature; one outside of the model's range is warned of, once."""
        checked_positive(what, value, unit)
        if limits is not None and not is_in_range(value, limits):
            clause = f"a {what} of {value:g} {unit} ({limits[0]:g} to {limits[1]:g} {unit})"
            if self._outside.get(what) != clause:
                self._outside[what] = clause
                warn_of(f"The model {self.modelName} was not trained for {clause}.", [what])
        return float(value)

    def _find_solute(
        self,
        solute: str | Iterable[int] | None,
        positions: Any,
        molecules: Mapping[str, Any] | None,
    ) -> Solute:
        """Find the atoms that move, and check that the model is made for them."""
        from ..systems.solute_choice import chosen_indices
        from .solute import Solute, find_solute

        if positions is not None:
            positions = checked_frames(positions, self._num_particles)[0][0]
        screen = self._given_screen
        if self._loaded is None and screen is not None and self._atoms != "heavy":
            # Everything is given: the molecule need not be one that features can be made of.
            chosen = chosen_indices(self._topology, solute)
            found = Solute(list(range(screen.num_atoms)) if chosen is None else chosen)
        else:
            found = find_solute(
                self._topology,
                cast(Any, self._atoms),
                solute,
                positions=positions,
                molecules=molecules,
                caps="token" if self._loaded is None else self._loaded.config.caps,
            )
        if screen is not None and len(found.atom_indices) != screen.num_atoms:
            raise ValueError(
                f"solute names {len(found.atom_indices)} atoms, but the screen is for "
                f"{screen.num_atoms}."
            )
        if self._loaded is not None and found.network_features is not None:
            self._compare(self._loaded, found.network_features)
        return found

    def _compare(self, loaded: LoadedModel, features: MoleculeFeatures) -> None:
        """Refuse a molecule that the network cannot take in; warn of one that it never saw."""
        refuse_unworkable(self.modelName, loaded, features)
        self._outside = outside_of_training(loaded.capabilities, features)
        if self._outside:
            warn_of(
                f"The model {self.modelName} was not trained on molecules like this one: "
                + "; ".join(self._outside.values())
                + ". Its frames may be poor; see how many pass the tests.",
                self._outside,
            )
