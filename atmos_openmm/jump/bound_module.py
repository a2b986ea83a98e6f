"""A model bound to a solute: the module, its archive, its copy on a device, its fingerprint."""

from __future__ import annotations

import io
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from .module_call import module_digest, module_sizes, without_jit_warnings

if TYPE_CHECKING:
    import torch

    from ..model.model_file import LoadedModel
    from .solute import Solute


def is_bound_module(model: Any) -> bool:
    """Whether something is a TorchScript module (or quacks like a bound one)."""
    return hasattr(model, "propagate") and hasattr(model, "num_atoms")


class BoundModule:
    """A model or a module of your own, bound to a solute. Each part is made once, when needed.

    Parameters
    ----------
    name : str
        For messages.
    model : LoadedModel or torch.jit.ScriptModule
    solute : Solute
    device : str
        Torch device of `on_device`.

    Raises
    ------
    ValueError
        If a module of your own was bound to another number of atoms.
    """

    def __init__(
        self, name: str, model: LoadedModel | torch.jit.ScriptModule, solute: Solute, device: str
    ) -> None:
        self._name = name
        self._model: Any = model
        self._is_module = is_bound_module(model)
        self._solute = solute
        self._device = device
        if self._is_module:
            self._check_size(cast(Any, model))

    @cached_property
    def module(self) -> torch.jit.ScriptModule:
        """The bound module, with hydrogens placed on its frames where the solute has a plan."""
        module = self._model if self._is_module else self._bind_network()
        if self._solute.hydrogen_plan is not None:
            from ..model.all_atoms import with_hydrogens

            with without_jit_warnings():
                module = with_hydrogens(module, self._solute.hydrogen_plan.tensors())
        return cast("torch.jit.ScriptModule", module)

    @cached_property
    def archive(self) -> bytes:
        """The bound module as the content of a TorchScript archive."""
        import torch

        buffer = io.BytesIO()
        with without_jit_warnings():
            torch.jit.save(self.module, buffer)
        return buffer.getvalue()

    @cached_property
    def on_device(self) -> torch.jit.ScriptModule:
        """The bound module on the torch device."""
        # A copy, so that the module that is saved for the integrator stays on the CPU.
        return self.module if self._device == "cpu" else self._load(self._device)

    @cached_property
    def fingerprint(self) -> str:
        """The hash of a model file's weights, or of a module's code and numbers."""
        if not self._is_module:
            return str(self._model.capabilities.weights_sha256)
        # Loaded again, because a fresh module keeps as constants what its archive does not hold.
        return module_digest(self._load("cpu"))

    def _load(self, device: str) -> torch.jit.ScriptModule:
        import torch

        with without_jit_warnings():
            return torch.jit.load(io.BytesIO(self.archive), map_location=device)

    def _bind_network(self) -> torch.jit.ScriptModule:
        from ..model.bound import bind

        assert self._solute.network_features is not None
        try:
            with without_jit_warnings():
                module = bind(self._model, self._solute.network_features.tensors())
        except RuntimeError as error:
            # TorchScript answers inputs that a network was not made for with all of them.
            cause = str(error).strip().splitlines()[0][:200]
            raise ValueError(
                f"The model {self._name} cannot be bound by this version of atmos_openmm "
                f"({cause}). Take the version that made it, or export the model again."
            ) from None
        self._check_size(module)
        return module

    def _check_size(self, module: torch.jit.ScriptModule) -> None:
        count = module_sizes(module).num_atoms
        features = self._solute.network_features
        expected = len(self._solute.atom_indices) if features is None else features.num_atoms
        kind = "heavy atoms" if self._solute.carried == "heavy" else "atoms"
        if count != expected:
            raise ValueError(
                f"The module was bound to {count} atoms, but the Topology's solute has "
                f"{expected} {kind}. Name the atoms that the module moves with solute=[...], or "
                "bind it to this molecule."
            )
