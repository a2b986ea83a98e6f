"""A model bound to one molecule: the TorchScript module that integrators run.

The only place where nanometres become angstroms.
"""

from typing import Final

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .context import Context
from .model_features import ModelFeatures, model_features
from .model_file import LoadedModel


class BoundNetwork(nn.Module):
    """A network with the static features and the context of one molecule.

    The context is encoded once, when the module is made.
    """

    def __init__(self, model: nn.Module, features: ModelFeatures, context: Context) -> None:
        super().__init__()
        self.model = model
        for name, value in zip(features._fields, features, strict=True):
            self.register_buffer("feature_" + name, value)
        for name, value in zip(context._fields, context, strict=True):
            self.register_buffer("context_" + name, value.detach().clone())

    def features(self) -> ModelFeatures:
        """Static inputs of the network."""
        return ModelFeatures(
            self.feature_atom_mask,
            self.feature_token_mask,
            self.feature_restype,
            self.feature_profile,
            self.feature_deletion_mean,
            self.feature_residue_index,
            self.feature_token_index,
            self.feature_asym_id,
            self.feature_entity_id,
            self.feature_sym_id,
            self.feature_token_bonds,
            self.feature_ref_pos,
            self.feature_ref_charge,
            self.feature_ref_mask,
            self.feature_ref_element,
            self.feature_ref_atom_name_chars,
            self.feature_ref_space_uid,
            self.feature_atom_to_token,
            self.feature_frame_atoms,
            self.feature_frame_mask,
            self.feature_msa,
            self.feature_msa_deletion,
            self.feature_msa_mask,
            self.feature_query_index,
            self.feature_key_index,
            self.feature_window_bias,
            self.feature_graph_atom,
            self.feature_graph_pair,
            self.feature_graph_token_pair,
            self.feature_chiral_centers,
            self.feature_chiral_signs,
            self.feature_label_centers,
            self.feature_label_mask,
        )

    def context(self) -> Context:
        """Context of the molecule, encoded once."""
        return Context(
            self.context_s_inputs,
            self.context_s,
            self.context_z,
            self.context_c,
            self.context_p,
        )


class BoundPropagator(BoundNetwork):
    """Decode the next frame by diffusion, behind the integrators' contract.

    ``propagate(positions [B, A, 3] nm, state [B, S], noise [B, K], lag [B] ps,
    temperature [B] K) -> (positions [B, A, 3] nm, state [B, S], log_ratio [B])``. The state is
    the latent h flattened (single track, then pair track); zeros mean "no history". `log_ratio` is
    0: this decoder's density is not evaluated
    (:class:`~atmos_openmm.model.bound_torsions.BoundTorsions` has one).
    """

    angstrom_per_nm: Final[float] = 10.0
    atoms: int
    tokens: int
    c_s: int
    c_z: int

    def __init__(self, model: nn.Module, features: ModelFeatures, context: Context) -> None:
        super().__init__(model, features, context)
        self.atoms = int(features.atom_mask.shape[1])
        self.tokens = int(features.token_mask.shape[1])
        self.c_s = int(model.c_s)
        self.c_z = int(model.c_z)

    @torch.jit.export
    def num_atoms(self) -> int:
        """Atoms of the molecule, A."""
        return self.atoms

    @torch.jit.export
    def state_size(self) -> int:
        """Numbers in the flattened latent, S."""
        return self.tokens * self.c_s + self.tokens * self.tokens * self.c_z

    @torch.jit.export
    def noise_size(self) -> int:
        """Normal random numbers a jump takes, K."""
        return self.model.noise_size(self.atoms)

    @torch.jit.export
    def propagate(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One jump of B walkers."""
        n = self.tokens
        split = n * self.c_s
        h_s = state[:, :split].reshape(-1, n, self.c_s)
        h_z = state[:, split:].reshape(-1, n, n, self.c_z)
        x, h_s, h_z = self.model.propagate(
            positions * self.angstrom_per_nm,
            h_s,
            h_z,
            noise,
            lag,
            temperature,
            self.context(),
            self.features(),
        )
        state = torch.cat([h_s.flatten(1), h_z.flatten(1)], dim=1)
        return x / self.angstrom_per_nm, state, torch.zeros_like(lag)

    def forward(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.propagate(positions, state, noise, lag, temperature)


def bind(loaded: LoadedModel, features: dict[str, Tensor]) -> torch.jit.ScriptModule:
    """Bind a loaded model to a molecule and script the result.

    Parameters
    ----------
    loaded : LoadedModel
        A model file in memory.
    features : dict[str, Tensor]
        The molecule's plain features (``docs/architecture.md``).
    """
    config = loaded.config
    return bind_network(loaded.module, features, config)


def bind_network(
    model: nn.Module, features: dict[str, Tensor], config: ModelConfig
) -> torch.jit.ScriptModule:
    """Bind a network, eager or scripted, to a molecule and script the result.

    Parameters
    ----------
    model : nn.Module
        :class:`~atmos_openmm.model.atmos.AtmosModel`.
    features : dict[str, Tensor]
        The molecule's plain features.
    config : ModelConfig
        The network's configuration.
    """
    model.eval()
    static = model_features(features, config)
    with torch.no_grad():
        context = model.context(static)
    bound = torch.jit.script(BoundPropagator(model, static, context).eval())
    for parameter in bound.parameters():
        parameter.requires_grad_(False)
    return bound
