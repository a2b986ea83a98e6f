"""Diffusion decoder D_theta (ATMOS Eq. 9): the next frame from noise and the moved latent.

AF3's diffusion module (Algorithms 20 and 21): condition on the latent and the noise level,
encode noisy atoms, attend over tokens, decode to a displacement; preconditioned as in EDM
(Karras et al. 2022, Eq. 7). The atoms' blocks see geometry (:mod:`.geometry`).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .atom_attention import GeometricAtomBlock, atoms_to_tokens, pair_tokens_to_atoms
from .config import ModelConfig
from .context import Context
from .features import ModelFeatures
from .geometry import (
    HANDEDNESS_FEATURES,
    RadialEmbedding,
    RelativeUpdate,
    handedness_features,
    handedness_vectors,
    relative_vectors,
)
from .pairformer import Attention
from .primitives import (
    AdaptiveLayerNorm,
    ConditionedTransitionBlock,
    FourierEmbedding,
    Transition,
    linear_gate,
    linear_no_bias,
    linear_zero,
)


class Prepared(NamedTuple):
    """What the decoder needs of the latent, the same at every noise level.

    Attributes
    ----------
    s: Tensor [B, N, c_s]
        Token condition.
    token_bias: list of Tensor [B, heads, N, N]
        Attention bias of each token block.
    c: Tensor [B, A, c_atom]
        Atom condition.
    atom_conditions: list of Tensor [B, A, 6 c_atom]
        Norm scales, offsets and gates of each atom block, encoder then decoder.
    p: Tensor [B, T, Q, K, c_atompair]
        Atom-pair condition.
    p_static: Tensor [1, T, Q, K, c_atompair]
        Context of the atom pairs, which sets the radial functions.
    """

    s: Tensor
    token_bias: list[Tensor]
    c: Tensor
    atom_conditions: list[Tensor]
    p: Tensor
    p_static: Tensor


class DiffusionConditioning(nn.Module):
    """Join latent and context (AF3 Algorithm 21 without the noise level).

    ``forward(h_s, h_z, context) -> (s [B, N, c_s], z [B, N, N, c_z])``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layernorm_s = nn.LayerNorm(2 * config.c_s)
        self.layernorm_z = nn.LayerNorm(2 * config.c_z)
        self.linear_no_bias_s = linear_no_bias(2 * config.c_s, config.c_s)
        self.linear_no_bias_z = linear_no_bias(2 * config.c_z, config.c_z)
        self.transition_s = Transition(config.c_s, 2)
        self.transition_z = Transition(config.c_z, 2)

    def forward(self, h_s: Tensor, h_z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        batch = h_s.shape[0]
        s = torch.cat([h_s, context.s.expand(batch, -1, -1)], dim=-1)
        z = torch.cat([h_z, context.z.expand(batch, -1, -1, -1)], dim=-1)
        s = self.linear_no_bias_s(self.layernorm_s(s))
        z = self.linear_no_bias_z(self.layernorm_z(z))
        return s + self.transition_s(s), z + self.transition_z(z)


class DiffusionTransformerBlock(nn.Module):
    """Token block of the decoder (AF3 Algorithm 23) with a bias made beforehand.

    ``forward(a [B, N, c_token], s [B, N, c_s], bias [B, heads, N, N]) -> a``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layernorm_a = AdaptiveLayerNorm(config.c_token, config.c_s)
        self.attention = Attention(config.c_token, config.heads_token, False)
        self.linear_a_last = linear_gate(config.c_s, config.c_token, -2.0)
        self.layernorm_z = nn.LayerNorm(config.c_z)
        self.linear_nobias_z = linear_no_bias(config.c_z, config.heads_token)
        self.conditioned_transition_block = ConditionedTransitionBlock(config.c_token, config.c_s)

    @torch.jit.export
    def bias(self, z: Tensor) -> Tensor:
        """Return the attention bias [B, heads, N, N] of pairs [B, N, N, c_z]."""
        return self.linear_nobias_z(self.layernorm_z(z)).movedim(-1, -3)

    def forward(self, a: Tensor, s: Tensor, bias: Tensor) -> Tensor:
        scale, offset = self.layernorm_a.condition(s).chunk(2, dim=-1)
        x = self.layernorm_a(a, scale, offset)
        a = a + torch.sigmoid(self.linear_a_last(s)) * self.attention(x, x, bias)
        transition = self.conditioned_transition_block
        return a + transition(a, transition.condition(s))


class DiffusionModule(nn.Module):
    """Denoiser D(x; sigma | h, context) in angstrom.

    Entry points: ``prepare`` (once a jump), ``denoise`` (once a noise level).
    """

    sigma_data: float

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sigma_data = config.sigma_data
        self.conditioning = DiffusionConditioning(config)
        self.fourier_embedding = FourierEmbedding(config.c_noise, 3)
        self.layernorm_n = nn.LayerNorm(config.c_noise, bias=False)
        self.linear_noise_s = linear_no_bias(config.c_noise, config.c_s)
        self.linear_noise_c = linear_no_bias(config.c_noise, config.c_atom)
        self.linear_s_to_c = linear_no_bias(config.c_s, config.c_atom)
        self.linear_z_to_p = linear_no_bias(config.c_z, config.c_atompair)
        self.layernorm_c = nn.LayerNorm(config.c_atom)
        self.linear_handedness_1 = linear_no_bias(HANDEDNESS_FEATURES, config.c_atom)
        self.linear_handedness_2 = linear_no_bias(HANDEDNESS_FEATURES, config.c_atom)
        self.radial_1 = RadialEmbedding(config.c_atompair, config.c_noise, config.radial_basis)
        self.radial_2 = RadialEmbedding(config.c_atompair, config.c_noise, config.radial_basis)
        self.encoder_blocks = nn.ModuleList(
            [
                GeometricAtomBlock(config.c_atom, config.c_atompair, config.heads_atom)
                for _ in range(config.encoder_blocks)
            ]
        )
        self.decoder_blocks = nn.ModuleList(
            [
                GeometricAtomBlock(config.c_atom, config.c_atompair, config.heads_atom)
                for _ in range(config.decoder_blocks)
            ]
        )
        self.token_blocks = nn.ModuleList(
            [DiffusionTransformerBlock(config) for _ in range(config.token_blocks)]
        )
        self.linear_a = linear_no_bias(config.c_atom, config.c_token)
        self.linear_s_to_a = linear_zero(config.c_s, config.c_token)
        self.layernorm_a = nn.LayerNorm(config.c_token)
        self.linear_a_to_q = linear_no_bias(config.c_token, config.c_atom)
        self.update_1 = RelativeUpdate(config.c_atom, config.c_atompair, 2 * config.c_atompair)
        self.update_2 = RelativeUpdate(config.c_atom, config.c_atompair, 2 * config.c_atompair)

    @torch.jit.export
    def prepare(
        self, h_s: Tensor, h_z: Tensor, context: Context, features: ModelFeatures
    ) -> Prepared:
        """Return everything that does not depend on the noise level."""
        s, z = self.conditioning(h_s, h_z, context)
        bias: list[Tensor] = []
        for block in self.token_blocks:
            bias.append(block.bias(z))
        c = context.c + self.linear_s_to_c(s).index_select(1, features.atom_to_token)
        c = self.layernorm_c(c)
        conditions: list[Tensor] = []
        for encoder_block in self.encoder_blocks:
            conditions.append(encoder_block.condition(c))
        for decoder_block in self.decoder_blocks:
            conditions.append(decoder_block.condition(c))
        p = context.p + self.linear_z_to_p(pair_tokens_to_atoms(z, features))
        return Prepared(s, bias, c, conditions, p, context.p)

    @torch.jit.export
    def denoise(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> tuple[Tensor, Tensor]:
        """Denoise coordinates.

        Parameters
        ----------
        x_noisy: Tensor [B, A, 3]
            Noisy coordinates, angstrom.
        sigma: Tensor [B]
            Noise level, angstrom.

        Returns
        -------
        tuple[Tensor, Tensor]
            The denoised coordinates [B, A, 3] and the first estimate, halfway through the
            network, whose error is an auxiliary loss.
        """
        sd = self.sigma_data
        level = sigma.reshape(-1, 1, 1)
        total = torch.sqrt(level * level + sd * sd)
        c_skip = sd * sd / (total * total)
        c_out = level * sd / total
        noise = self.layernorm_n(self.fourier_embedding(torch.log(sigma / sd) / 4.0))

        # Encoder: geometry of the noisy frame, a first displacement.
        x = x_noisy - x_noisy.mean(1, keepdim=True)
        unit_1, d_1 = relative_vectors(x, features)
        p = prepared.p + self.radial_1(d_1, prepared.p_static, noise, sigma)
        q = prepared.c + self.linear_noise_c(noise).unsqueeze(1)
        q = q + self.linear_handedness_1(handedness_features(x, features))
        for i, encoder_block in enumerate(self.encoder_blocks):
            q = encoder_block(q, prepared.atom_conditions[i], p, unit_1, features)
        turn_1 = handedness_vectors(x, features)
        update = self.update_1(q, p, unit_1, unit_1, turn_1, turn_1, features)
        first = c_skip * x + c_out * update

        # Tokens.
        num_tokens = features.token_pair.shape[0]
        s = prepared.s + self.linear_noise_s(noise).unsqueeze(1)
        a = atoms_to_tokens(torch.relu(self.linear_a(q)), features, num_tokens)
        a = a + self.linear_s_to_a(s)
        for i, token_block in enumerate(self.token_blocks):
            a = token_block(a, s, prepared.token_bias[i])
        q = q + self.linear_a_to_q(self.layernorm_a(a)).index_select(1, features.atom_to_token)

        # Decoder: geometry of the first estimate beside that of the noisy frame.
        unit_2, d_2 = relative_vectors(first, features)
        p = p + self.radial_2(d_2, prepared.p_static, noise, sigma)
        q = q + self.linear_handedness_2(handedness_features(first, features))
        done = len(self.encoder_blocks)
        for i, decoder_block in enumerate(self.decoder_blocks):
            q = decoder_block(q, prepared.atom_conditions[done + i], p, unit_2, features)
        turn_2 = handedness_vectors(first, features)
        update = self.update_2(q, p, unit_1, unit_2, turn_1, turn_2, features)
        return first + c_out * update, first


def noise_levels(
    steps: int, sigma_max: float, sigma_min: float, rho: float, device: torch.device
) -> Tensor:
    """Return ``steps + 1`` decreasing noise levels in angstrom, the last 0 (EDM Eq. 5)."""
    ramp = torch.linspace(0.0, 1.0, steps, device=device)
    high = math.pow(sigma_max, 1.0 / rho)
    low = math.pow(sigma_min, 1.0 / rho)
    sigma = (high + ramp * (low - high)) ** rho
    return torch.cat([sigma, sigma.new_zeros([1])])
