"""Diffusion decoder D_theta of the invariant configuration (ATMOS Eq. 9).

AF3's diffusion module (Algorithms 20 and 21) with atom blocks that see geometry
(:mod:`.geometric_features`): condition on the latent and the noise level, encode noisy atoms,
attend over tokens, decode to a displacement; preconditioned as in EDM (Karras et al. 2022, Eq. 7).
"""

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .context import Context
from .diffusion_transformer import DiffusionTransformer
from .geometric_attention import geometric_atom_blocks
from .geometric_features import (
    HANDEDNESS_FEATURES,
    RadialEmbedding,
    RelativeUpdate,
    handedness_features,
    handedness_vectors,
    relative_vectors,
)
from .model_features import ModelFeatures
from .pairformer import key_bias_of
from .prepared import Prepared
from .primitives import FourierEmbedding, Transition, linear_no_bias, linear_zero
from .windows import atoms_to_tokens, centred, token_pairs_to_windows, tokens_to_atoms


class GeometricConditioning(nn.Module):
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


class GeometricDiffusionModule(nn.Module):
    """Denoiser D(x; sigma | h, context) in angstrom.

    Entry points: ``prepare`` (once a jump), ``denoise`` (once a noise level), ``estimates``
    (the same with the first estimate, for training).
    """

    sigma_data: float

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sigma_data = config.sigma_data
        self.conditioning = GeometricConditioning(config)
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
        self.encoder_blocks = geometric_atom_blocks(config, config.encoder_blocks)
        self.decoder_blocks = geometric_atom_blocks(config, config.decoder_blocks)
        self.diffusion_transformer = DiffusionTransformer(
            config.token_blocks, config.c_token, config.c_s, config.c_z, config.heads_token
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
        key_bias = key_bias_of(features.token_mask).to(z.dtype)
        token_bias = self.diffusion_transformer.biases(z, key_bias)
        c = self.layernorm_c(context.c + tokens_to_atoms(self.linear_s_to_c(s), features))
        conditions: list[Tensor] = []
        for encoder_block in self.encoder_blocks:
            conditions.append(encoder_block.condition(c))
        for decoder_block in self.decoder_blocks:
            conditions.append(decoder_block.condition(c))
        p = context.p + self.linear_z_to_p(token_pairs_to_windows(z, features))
        return Prepared(s, token_bias, c, conditions, [p, context.p])

    @torch.jit.export
    def denoise(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """Return the denoised coordinates [B, A, 3]; the parameters are those of `estimates`."""
        return self.estimates(x_noisy, sigma, prepared, features)[-1]

    @torch.jit.export
    def estimates(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> list[Tensor]:
        """Denoise coordinates in two stages.

        Parameters
        ----------
        x_noisy : Tensor [B, A, 3]
            Noisy coordinates, angstrom.
        sigma : Tensor [B]
            Noise level, angstrom.

        Returns
        -------
        list of Tensor [B, A, 3]
            The first estimate, halfway through the network, whose error is an auxiliary loss,
            and the denoised coordinates.
        """
        sd = self.sigma_data
        level = sigma.reshape(-1, 1, 1)
        total = torch.sqrt(level * level + sd * sd)
        c_skip = sd * sd / (total * total)
        c_out = level * sd / total
        noise = self.layernorm_n(self.fourier_embedding(torch.log(sigma / sd) / 4.0))

        # Encoder: geometry of the noisy frame, a first displacement.
        p_static = prepared.pair[1]
        x = centred(x_noisy, features)
        unit_1, d_1 = relative_vectors(x, features)
        p = prepared.pair[0] + self.radial_1(d_1, p_static, noise, sigma)
        q = prepared.c + self.linear_noise_c(noise).unsqueeze(1)
        q = q + self.linear_handedness_1(handedness_features(x, features))
        for i, encoder_block in enumerate(self.encoder_blocks):
            q = encoder_block(q, prepared.atom_conditions[i], p, unit_1, features)
        turn_1 = handedness_vectors(x, features)
        update = self.update_1(q, p, unit_1, unit_1, turn_1, turn_1, features)
        first = c_skip * x + c_out * update

        # Tokens.
        s = prepared.s + self.linear_noise_s(noise).unsqueeze(1)
        a = atoms_to_tokens(torch.relu(self.linear_a(q)), features)
        a = a + self.linear_s_to_a(s)
        a = self.diffusion_transformer(a, s, prepared.token_bias)
        q = q + tokens_to_atoms(self.linear_a_to_q(self.layernorm_a(a)), features)

        # Decoder: geometry of the first estimate beside that of the noisy frame.
        unit_2, d_2 = relative_vectors(first, features)
        p = p + self.radial_2(d_2, p_static, noise, sigma)
        q = q + self.linear_handedness_2(handedness_features(first, features))
        done = len(self.encoder_blocks)
        for i, decoder_block in enumerate(self.decoder_blocks):
            q = decoder_block(q, prepared.atom_conditions[done + i], p, unit_2, features)
        turn_2 = handedness_vectors(first, features)
        update = self.update_2(q, p, unit_1, unit_2, turn_1, turn_2, features)
        return [first, first + c_out * update]
