"""Diffusion decoder D_theta of the Cartesian configuration (ATMOS Eq. 9): AF3's.

Condition on the moved latent and the noise level, encode noisy atoms, attend over tokens,
decode to a displacement (AF3 Algorithms 20 and 21); preconditioned as in EDM (Karras et al.
2022, Eq. 7). Names and numerics are Protenix's.
"""

from typing import Final

import torch
from torch import Tensor, nn

from .atom_encoder import AtomAttentionDecoder, atom_encoder
from .blocks import blocks_of, in_blocks
from .config import ModelConfig
from .context import Context
from .diffusion_transformer import DiffusionTransformer
from .input_embedder import RelativePositionEncoding
from .model_features import ModelFeatures
from .pairformer import key_bias_of
from .prepared import Prepared
from .primitives import FourierEmbedding, Transition, linear_no_bias, linear_zero


class DiffusionConditioning(nn.Module):
    """Conditions of the decoder (AF3 Algorithm 21), split by what they depend on.

    ``pairs(z [B, N, N, c_z], features) -> [B, N, N, c_z]`` and
    ``singles(s [B, N, c_s], s_inputs [B, N, c_s_inputs]) -> [B, N, c_s]`` do not depend on the
    noise level; ``forward(singles, sigma [B]) -> s [B, N, c_s]`` does.
    """

    sigma_data: Final[float]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sigma_data = config.sigma_data
        c_s, c_z = config.c_s, config.c_z
        self.relpe = RelativePositionEncoding(c_z)
        self.layernorm_z = nn.LayerNorm(2 * c_z, bias=False)
        self.linear_no_bias_z = linear_no_bias(2 * c_z, c_z)
        self.transition_z1 = Transition(c_z, 2)
        self.transition_z2 = Transition(c_z, 2)
        self.layernorm_s = nn.LayerNorm(c_s + config.c_s_inputs, bias=False)
        self.linear_no_bias_s = linear_no_bias(c_s + config.c_s_inputs, c_s)
        self.fourier_embedding = FourierEmbedding(config.c_noise)
        self.layernorm_n = nn.LayerNorm(config.c_noise, bias=False)
        self.linear_no_bias_n = linear_no_bias(config.c_noise, c_s)
        self.transition_s1 = Transition(c_s, 2)
        self.transition_s2 = Transition(c_s, 2)

    @torch.jit.export
    def pairs(self, z: Tensor, features: ModelFeatures) -> Tensor:
        position = self.relpe(features).expand(z.shape[0], -1, -1, -1)
        if in_blocks(z, self.linear_no_bias_z.weight, self.training):
            return self.pairs_in_blocks(z, position)
        z = self.linear_no_bias_z(self.layernorm_z(torch.cat([z, position], dim=-1)))
        z = z + self.transition_z1(z)
        return z + self.transition_z2(z)

    def pairs_in_blocks(self, z: Tensor, position: Tensor) -> Tensor:
        n = z.shape[1]
        pairs = torch.empty_like(z, memory_format=torch.contiguous_format)
        for m in range(z.shape[0]):
            for start, end in blocks_of(n, n, z.is_cuda):
                rows = torch.cat([z[m, start:end], position[m, start:end]], dim=-1)
                pairs[m, start:end] = self.linear_no_bias_z(self.layernorm_z(rows))
        self.transition_z1.add_to(pairs)
        self.transition_z2.add_to(pairs)
        return pairs

    @torch.jit.export
    def singles(self, s: Tensor, s_inputs: Tensor) -> Tensor:
        inputs = s_inputs.expand(s.shape[0], -1, -1)
        return self.linear_no_bias_s(self.layernorm_s(torch.cat([s, inputs], dim=-1)))

    def forward(self, singles: Tensor, sigma: Tensor) -> Tensor:
        noise = self.fourier_embedding(torch.log(sigma / self.sigma_data) / 4.0)
        s = singles + self.linear_no_bias_n(self.layernorm_n(noise)).unsqueeze(1)
        s = s + self.transition_s1(s)
        return s + self.transition_s2(s)


class DiffusionModule(nn.Module):
    """Denoiser D(x; sigma | h, context) in angstrom.

    Entry points: ``embed`` (once a molecule), ``prepare`` (once a jump), ``denoise`` (once a
    noise level).
    """

    sigma_data: float

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sigma_data = config.sigma_data
        c_s, c_z = config.c_s, config.c_z
        self.diffusion_conditioning = DiffusionConditioning(config)
        self.atom_attention_encoder = atom_encoder(
            config, True, config.c_token, config.encoder_blocks
        )
        self.layernorm_s = nn.LayerNorm(c_s, bias=False)
        self.linear_no_bias_s = linear_zero(c_s, config.c_token)
        self.diffusion_transformer = DiffusionTransformer(
            config.token_blocks, config.c_token, c_s, c_z, config.heads_token
        )
        self.layernorm_a = nn.LayerNorm(config.c_token, bias=False)
        self.atom_attention_decoder = AtomAttentionDecoder(
            config.c_token,
            config.c_atom,
            config.c_atompair,
            config.decoder_blocks,
            config.heads_atom,
        )

    @torch.jit.export
    def embed(self, features: ModelFeatures) -> tuple[Tensor, Tensor]:
        """Return the reference embedding of atoms and atom pairs, the same for every frame."""
        encoder = self.atom_attention_encoder
        return encoder.embed_atoms(features), encoder.embed_pairs(features)

    @torch.jit.export
    def prepare(
        self, h_s: Tensor, h_z: Tensor, context: Context, features: ModelFeatures
    ) -> Prepared:
        """Return everything that does not depend on the noise level."""
        encoder = self.atom_attention_encoder
        z = self.diffusion_conditioning.pairs(h_z, features)
        s = self.diffusion_conditioning.singles(h_s, context.s_inputs)
        narrow = encoder.narrow_pairs(z)
        key_bias = key_bias_of(features.token_mask).to(z.dtype)
        token_bias = self.diffusion_transformer.biases(z, key_bias)
        z = narrow  # The wide pairs are not needed any more.
        # As in Protenix, the atoms see the latent itself, the pairs the conditioned one.
        c = encoder.add_tokens(context.c, h_s, features)
        p = encoder.add_token_pairs(context.p, narrow, features)
        p = encoder.join(c, p, features)
        first = encoder.atom_transformer
        last = self.atom_attention_decoder.atom_transformer
        pair = first.biases(p, features) + last.biases(p, features)
        conditions = first.conditions(c) + last.conditions(c)
        return Prepared(s, token_bias, c, conditions, pair)

    @torch.jit.export
    def denoise(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """Denoise coordinates.

        Parameters
        ----------
        x_noisy : Tensor [B, A, 3]
            Noisy coordinates, angstrom.
        sigma : Tensor [B]
            Noise level, angstrom.

        Returns
        -------
        Tensor [B, A, 3]
        """
        level = sigma.reshape(-1, 1, 1)
        sd = self.sigma_data
        r = x_noisy / torch.sqrt(sd * sd + level * level)
        update = self.network(r, sigma, prepared, features)
        ratio = level / sd
        scale = 1.0 + ratio * ratio
        return x_noisy / scale + level / torch.sqrt(scale) * update

    @torch.jit.export
    def estimates(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> list[Tensor]:
        """Return the estimates of the denoised coordinates that are trained, the last the best."""
        return [self.denoise(x_noisy, sigma, prepared, features)]

    def network(
        self, r: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """Return the raw network's output F [B, A, 3] for scaled coordinates r."""
        encoder = self.atom_attention_encoder
        decoder = self.atom_attention_decoder
        blocks = len(encoder.atom_transformer.diffusion_transformer.blocks)
        s = self.diffusion_conditioning(prepared.s, sigma)
        q = encoder.add_coordinates(prepared.c, r)
        a, q = encoder(q, prepared.atom_conditions[:blocks], prepared.pair[:blocks], features)
        a = a + self.linear_no_bias_s(self.layernorm_s(s))
        a = self.layernorm_a(self.diffusion_transformer(a, s, prepared.token_bias))
        return decoder(a, q, prepared.atom_conditions[blocks:], prepared.pair[blocks:], features)
