"""Context encoder e_theta of the Cartesian configuration: AF3's trunk, run once a trajectory.

AF3's Algorithm 1, lines 1 to 13, without templates, which ATMOS does not use. Parameter names
are Protenix's.
"""

from typing import Final

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .input_embedder import InputFeatureEmbedder, RelativePositionEncoding
from .model_features import ModelFeatures
from .msa import MSAModule
from .pairformer import pairformer_stack
from .primitives import linear_no_bias


class Trunk(nn.Module):
    """Input embedder, alignment module and Pairformer, recycled.

    ``forward(features) -> (s_inputs [B, N, c_s_inputs], s [B, N, c_s], z [B, N, N, c_z])``.
    Gradients flow through the last cycle only, as in AF3.
    """

    cycles: Final[int]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cycles = config.cycles
        self.input_embedder = InputFeatureEmbedder(config)
        self.relative_position_encoding = RelativePositionEncoding(config.c_z)
        self.linear_no_bias_sinit = linear_no_bias(config.c_s_inputs, config.c_s)
        self.linear_no_bias_zinit1 = linear_no_bias(config.c_s, config.c_z)
        self.linear_no_bias_zinit2 = linear_no_bias(config.c_s, config.c_z)
        self.linear_no_bias_token_bond = linear_no_bias(1, config.c_z)
        self.linear_no_bias_z_cycle = linear_no_bias(config.c_z, config.c_z)
        self.layernorm_z_cycle = nn.LayerNorm(config.c_z)
        self.linear_no_bias_s = linear_no_bias(config.c_s, config.c_s)
        self.layernorm_s = nn.LayerNorm(config.c_s)
        self.msa_module = MSAModule(config)
        self.pairformer_stack = pairformer_stack(config, config.context_blocks)

    def forward(self, features: ModelFeatures) -> tuple[Tensor, Tensor, Tensor]:
        s_inputs = self.input_embedder(features)
        s_init = self.linear_no_bias_sinit(s_inputs)
        z_init = self.linear_no_bias_zinit1(s_init).unsqueeze(-2)
        z_init = z_init + self.linear_no_bias_zinit2(s_init).unsqueeze(-3)
        z_init = z_init + self.relative_position_encoding(features)
        bonds = features.token_bonds.to(z_init.dtype).unsqueeze(-1)
        z_init = z_init + self.linear_no_bias_token_bond(bonds)
        s = torch.zeros_like(s_init)
        z = torch.zeros_like(z_init)
        for cycle in range(self.cycles):
            if cycle == self.cycles - 1:
                s, z = self.cycle(s.detach(), z.detach(), s_inputs, s_init, z_init, features)
            else:
                with torch.no_grad():
                    s, z = self.cycle(s, z, s_inputs, s_init, z_init, features)
        return s_inputs, s, z

    def cycle(
        self,
        s: Tensor,
        z: Tensor,
        s_inputs: Tensor,
        s_init: Tensor,
        z_init: Tensor,
        features: ModelFeatures,
    ) -> tuple[Tensor, Tensor]:
        """One pass through alignment module and Pairformer from the last pass's result."""
        z = z_init + self.linear_no_bias_z_cycle(self.layernorm_z_cycle(z))
        z = self.msa_module(z, s_inputs, features)
        s = s_init + self.linear_no_bias_s(self.layernorm_s(s))
        return self.pairformer_stack(s, z, features.token_mask)
