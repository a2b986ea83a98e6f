"""The whole network and its sampler, with the entry points that a host calls."""

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .context import Context, ContextEncoder
from .diffusion import DiffusionModule, Prepared, noise_levels
from .distogram import DistogramHead
from .features import ModelFeatures
from .frame_encoder import FrameEncoder
from .geometry import signed_volumes
from .transition import StateUpdate, Transition


def hand(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return -1 for frames whose stereocentres are left on the whole, 1 for others [B, 1, 1]."""
    volume = signed_volumes(x, features.chiral_centers, features.chiral_signs).sum(1)
    return torch.where(volume < 0.0, -1.0, 1.0).to(x.dtype).reshape(-1, 1, 1)


class AtmosModel(nn.Module):
    """ATMOS: a state-space model of molecular trajectories (arXiv 2603.17633).

    A latent h = (s, z) takes in the frame x_t (E_theta), is moved forward by a lag at a
    temperature (T_theta) and decoded to the next frame by diffusion (D_theta). Lengths in
    angstrom, lags in ps, temperatures in kelvin. Every method is a TorchScript entry point.

    The sampler is AF3's (Algorithm 18; EDM's Algorithm 2 without the second-order correction):
    before each step the noise is raised by the factor ``1 + churn`` with fresh noise, which lets
    later steps mend what earlier ones got wrong, and the step towards the denoised frame is
    longer by ``step_scale``. The noise is an argument: the network draws none.
    """

    c_s: int
    c_z: int
    steps: int
    sigma_max: float
    sigma_min: float
    rho: float
    churn: float
    step_scale: float

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_s = config.c_s
        self.c_z = config.c_z
        self.steps = 16
        self.sigma_max = 10.0
        self.sigma_min = 0.03
        self.rho = 7.0
        self.churn = 0.8
        self.step_scale = 1.2
        self.context_encoder = ContextEncoder(config)
        self.frame_encoder = FrameEncoder(config)
        self.state_update = StateUpdate(config)
        self.transition = Transition(config)
        self.diffusion = DiffusionModule(config)
        self.distogram = DistogramHead(config)

    @torch.jit.export
    def context(self, features: ModelFeatures) -> Context:
        """e_theta: encode what does not change along the trajectory."""
        return self.context_encoder(features)

    @torch.jit.export
    def encode(
        self, x: Tensor, h_s: Tensor, h_z: Tensor, context: Context, features: ModelFeatures
    ) -> tuple[Tensor, Tensor]:
        """E_theta: take the frame x [B, A, 3] into the latent h."""
        frame_s, frame_z = self.frame_encoder(x, context, features)
        return self.state_update(h_s, h_z, frame_s, frame_z)

    @torch.jit.export
    def advance(
        self,
        h_s: Tensor,
        h_z: Tensor,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
    ) -> tuple[Tensor, Tensor]:
        """T_theta: move the latent forward by the lag [B] at the temperature [B]."""
        return self.transition(h_s, h_z, lag_ps, temperature_kelvin, context)

    @torch.jit.export
    def prepare(
        self, h_s: Tensor, h_z: Tensor, context: Context, features: ModelFeatures
    ) -> Prepared:
        """Everything of the decoder that does not depend on the noise level."""
        return self.diffusion.prepare(h_s, h_z, context, features)

    @torch.jit.export
    def denoise(
        self, x_noisy: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """D_theta at one noise level: coordinates [B, A, 3] from noisy ones."""
        return self.diffusion.denoise(x_noisy, sigma, prepared, features)[0]

    @torch.jit.export
    def noise_size(self, num_atoms: int) -> int:
        """Number of normal random numbers that :meth:`sample` takes for a walker."""
        return 3 * num_atoms * (1 + self.steps)

    @torch.jit.export
    def sample(self, noise: Tensor, prepared: Prepared, features: ModelFeatures) -> Tensor:
        """Decode a frame.

        Parameters
        ----------
        noise: Tensor [B, noise_size]
            Standard normal numbers.

        Returns
        -------
        Tensor [B, A, 3]
            Coordinates in angstrom, centred, in an arbitrary orientation.
        """
        batch = noise.shape[0]
        num_atoms = features.atom_to_token.shape[0]
        draws = noise.reshape(batch, -1, num_atoms, 3)
        sigmas = noise_levels(self.steps, self.sigma_max, self.sigma_min, self.rho, noise.device)
        x = draws[:, 0] * sigmas[0]
        x = x - x.mean(1, keepdim=True)
        for i in range(self.steps):
            sigma = sigmas[i] * (1.0 + self.churn)
            extra = draws[:, 1 + i]
            extra = extra - extra.mean(1, keepdim=True)
            x = x + torch.sqrt(sigma * sigma - sigmas[i] * sigmas[i]) * extra
            slope = (x - self.denoise_either_hand(x, sigma, prepared, features)) / sigma
            x = x + self.step_scale * (sigmas[i + 1] - sigma) * slope
        x = x - x.mean(1, keepdim=True)
        return x * hand(x, features)

    def denoise_either_hand(
        self, x: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """Denoise frames as right-handed ones, mirrored where they look left-handed.

        Which hand a frame will have is open while the noise is large. The mirror image of a frame
        has the same distances and is reflected at the end, so that both hands lead to a frame of
        the molecule, and none is stuck halfway between them.
        """
        turn = hand(x, features)
        level = sigma.expand(x.shape[0])
        return turn * self.diffusion.denoise(turn * x, level, prepared, features)[0]

    @torch.jit.export
    def propagate(
        self,
        x: Tensor,
        h_s: Tensor,
        h_z: Tensor,
        noise: Tensor,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
        features: ModelFeatures,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One jump: encode the frame, move the latent, decode the next frame."""
        h_s, h_z = self.encode(x, h_s, h_z, context, features)
        h_s, h_z = self.advance(h_s, h_z, lag_ps, temperature_kelvin, context)
        prepared = self.prepare(h_s, h_z, context, features)
        return self.sample(noise, prepared, features), h_s, h_z
