"""The whole network and its sampler, with the entry points that a host calls."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from .activation_checkpointing import set_checkpointing
from .config import ModelConfig
from .context import Context
from .diffusion import DiffusionModule
from .distogram import DistogramHead
from .frame_encoder import FrameEncoder
from .geometric_diffusion import GeometricDiffusionModule
from .geometric_encoder import GeometricFrameEncoder
from .geometric_features import signed_volumes
from .graph_context import GraphContextEncoder
from .model_features import ModelFeatures
from .prepared import Prepared
from .sampler import SamplerSettings, default_sampler
from .torsion_features import TorsionFeatures
from .torsion_head import TorsionHead, TorsionMixture
from .transition import StateTransition, StateUpdate
from .trunk import Trunk
from .windows import centred


def hand(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return -1 for frames whose stereocentres are left on the whole, 1 for others [B, 1, 1]."""
    signs = features.chiral_signs.to(x.dtype)
    volume = signed_volumes(x, features.chiral_centers, signs).sum(1)
    return torch.where(volume < 0.0, -1.0, 1.0).to(x.dtype).reshape(-1, 1, 1)


def rotation_from_normals(q: Tensor) -> Tensor:
    """Return uniformly distributed rotation matrices [B, 3, 3] from normal numbers [B, 4].

    The direction of four normal numbers is a unit quaternion without a preferred one
    (Shoemake 1992).
    """
    q = q / torch.linalg.vector_norm(q, 2.0, [-1], True).clamp(min=1e-12)
    w, x, y, z = q.unbind(-1)
    rows = [
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, [3, 3])


class AtmosModel(nn.Module):
    """ATMOS: a state-space model of molecular trajectories (arXiv 2603.17633).

    A latent h = (s, z) takes in the frame x_t (E_theta), is moved forward by a lag at a
    temperature (T_theta) and decoded to the next frame by diffusion (D_theta). Lengths in
    angstrom, lags in ps, temperatures in kelvin. Every method is a TorchScript entry point.

    The sampler is AF3's (Algorithm 18). The noise is an argument: the network draws none.

    Parameters
    ----------
    config : ModelConfig
        Widths, depths and how coordinates enter.
    sampler : SamplerSettings, optional
        The sampler's settings; those of :func:`~.sampler.default_sampler` otherwise.
    """

    motion_numbers: Final[int] = 7  # of a rigid motion: a quaternion and a translation
    c_s: int
    c_z: int
    steps: int
    sigmas: list[float]
    churns: list[float]
    noise_scale: float
    step_scale: float
    augment: bool
    mirrors: Final[bool]

    def __init__(self, config: ModelConfig, sampler: SamplerSettings | None = None) -> None:
        super().__init__()
        self.c_s = config.c_s
        self.c_z = config.c_z
        # Only the invariant decoder can be told a frame's hand by reflecting it.
        self.mirrors = config.coordinates == "invariant"
        self.set_sampler(default_sampler(config) if sampler is None else sampler)
        if config.coordinates == "invariant":
            self.context_encoder: Any = GraphContextEncoder(config)
            self.frame_encoder: Any = GeometricFrameEncoder(config)
        else:
            self.context_encoder = Trunk(config)
            self.frame_encoder = FrameEncoder(config)
        self.state_update = StateUpdate(config)
        self.transition = StateTransition(config)
        if config.coordinates == "invariant":
            self.diffusion: Any = GeometricDiffusionModule(config)
        else:
            self.diffusion = DiffusionModule(config)
        self.distogram = DistogramHead(config)
        self.torsion_head: Any = TorsionHead(config) if config.torsion_components > 0 else None

    @torch.jit.unused
    def set_sampler(self, settings: SamplerSettings) -> None:
        """Take the sampler's settings; before the network is scripted."""
        self.steps = settings.steps
        self.sigmas = settings.noise_levels()
        self.churns = settings.churns()
        self.noise_scale = settings.noise_scale
        self.step_scale = settings.step_scale
        self.augment = settings.augment

    @torch.jit.unused
    def set_checkpointing(self, enabled: bool) -> None:
        """Make activations of blocks anew in the backward pass, or keep them (the default).

        A step of training takes a third more arithmetic and far less memory; values and gradients
        are the same. Nothing changes in ``eval()``, without gradients and in TorchScript modules.
        """
        set_checkpointing(self, enabled)

    @torch.jit.export
    def context(self, features: ModelFeatures) -> Context:
        """e_theta: encode what does not change along the trajectory."""
        if self.mirrors:
            return self.context_encoder(features)
        else:
            s_inputs, s, z = self.context_encoder(features)
            c, p = self.diffusion.embed(features)
            return Context(s_inputs, s, z, c, p)

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
        features: ModelFeatures,
    ) -> tuple[Tensor, Tensor]:
        """T_theta: move the latent forward by the lag [B] at the temperature [B]."""
        return self.transition(h_s, h_z, lag_ps, temperature_kelvin, context, features.token_mask)

    @torch.jit.export
    def torsion_mixture(
        self,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
        features: ModelFeatures,
        torsions: TorsionFeatures,
    ) -> TorsionMixture:
        """Decode what T_theta makes of no history to densities of torsions; lag and T [B]."""
        if self.torsion_head is None:
            raise RuntimeError("The network has no torsion head.")
        else:
            batch, tokens = lag_ps.shape[0], features.token_mask.shape[1]
            h_s = torch.zeros([batch, tokens, self.c_s], dtype=lag_ps.dtype, device=lag_ps.device)
            h_z = torch.zeros(
                [batch, tokens, tokens, self.c_z], dtype=lag_ps.dtype, device=lag_ps.device
            )
            h_s, h_z = self.advance(h_s, h_z, lag_ps, temperature_kelvin, context, features)
            return self.torsion_head(h_s, lag_ps, temperature_kelvin, context, features, torsions)

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
        return self.diffusion.denoise(x_noisy, sigma, prepared, features)

    @torch.jit.export
    def noise_size(self, num_atoms: int) -> int:
        """Number of normal random numbers that :meth:`sample` takes for a walker."""
        motions = self.motion_numbers * self.steps if self.augment else 0
        return 3 * num_atoms * (1 + self.steps) + motions

    @torch.jit.export
    def sample(self, noise: Tensor, prepared: Prepared, features: ModelFeatures) -> Tensor:
        """Decode a frame.

        Parameters
        ----------
        noise : Tensor [B, noise_size]
            Standard normal numbers: those of the first frame, of each step's fresh noise, and,
            with `augment`, of each step's rotation (four) and translation (three).

        Returns
        -------
        Tensor [B, A, 3]
            Coordinates in angstrom, centred, in an arbitrary orientation.
        """
        batch = noise.shape[0]
        num_atoms = features.atom_mask.shape[1]
        split = 3 * num_atoms * (1 + self.steps)
        draws = noise[:, :split].reshape(batch, 1 + self.steps, num_atoms, 3)
        x = self.sigmas[0] * draws[:, 0]
        if not self.augment:
            x = centred(x, features)
        for i in range(self.steps):
            before = self.sigmas[i]
            level = before * (1.0 + self.churns[i])
            extra = draws[:, 1 + i]
            if self.augment:
                at = split + self.motion_numbers * i
                motion = noise[:, at : at + self.motion_numbers]
                turned = centred(x, features) @ rotation_from_normals(motion[:, :4]).mT
                x = turned + motion[:, 4:].unsqueeze(1)
            else:
                extra = centred(extra, features)
            raised = (level * level - before * before) ** 0.5
            x = x + self.noise_scale * raised * extra
            sigma = torch.full([batch], level, dtype=x.dtype, device=x.device)
            slope = (x - self.denoise_either_hand(x, sigma, prepared, features)) / level
            x = x + self.step_scale * (self.sigmas[i + 1] - level) * slope
        x = centred(x, features)
        if self.mirrors:
            x = x * hand(x, features)
        return x

    def denoise_either_hand(
        self, x: Tensor, sigma: Tensor, prepared: Prepared, features: ModelFeatures
    ) -> Tensor:
        """Denoise frames; with `mirrors`, as right-handed ones, mirrored where they look left.

        Which hand a frame will have is open while the noise is large. The mirror image of a frame
        has the same distances and is reflected at the end, so that both hands lead to a frame of
        the molecule, and none is stuck halfway between them.
        """
        if self.mirrors:
            turn = hand(x, features)
            return turn * self.diffusion.denoise(turn * x, sigma, prepared, features)
        return self.diffusion.denoise(x, sigma, prepared, features)

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
        h_s, h_z = self.advance(h_s, h_z, lag_ps, temperature_kelvin, context, features)
        prepared = self.prepare(h_s, h_z, context, features)
        return self.sample(noise, prepared, features), h_s, h_z
