"""StateTransition T_theta (ATMOS Algorithm 2): the latent state moved forward by a lag.

The latent h = (s, z) has one vector a token and one a token pair. The paper prints
``z_ij + s_i + s_j``, whose widths differ; here s is projected to the width of z first.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .context import Context
from .pairformer import LinearGate, pairformer_stack
from .primitives import FourierEmbedding, Linear, linear_no_bias


class TimeEmbedding(nn.Module):
    """tau_theta: Fourier features of the log of the lag and of the temperature.

    ``forward(lag_ps [B], temperature_kelvin [B]) -> [B, c_s]``.
    """

    reference_lag_ps: Final[float] = 1.0
    reference_temperature_kelvin: Final[float] = 300.0

    def __init__(self, c_s: int, c_noise: int) -> None:
        super().__init__()
        self.fourier_lag = FourierEmbedding(c_noise, 1)
        self.fourier_temperature = FourierEmbedding(c_noise, 2)
        self.linear_1 = Linear(2 * c_noise + 2, c_s)
        self.linear_2 = linear_no_bias(c_s, c_s)

    def forward(self, lag_ps: Tensor, temperature_kelvin: Tensor) -> Tensor:
        # log(lag) over four decades and log(T) over a factor of two, both of order one.
        t = torch.log(lag_ps / self.reference_lag_ps) / math.log(1e4)
        u = torch.log(temperature_kelvin / self.reference_temperature_kelvin) / math.log(2.0)
        x = torch.cat(
            [
                self.fourier_lag(0.5 * t),
                self.fourier_temperature(0.25 * u),
                t.unsqueeze(-1),
                u.unsqueeze(-1),
            ],
            dim=-1,
        )
        return self.linear_2(F.silu(self.linear_1(x)))


class StateUpdate(nn.Module):
    """Take an encoded frame into the latent: h_t from (h_t, E_theta(x_t)).

    ``forward(h_s, h_z, frame_s, frame_z) -> (h_s, h_z)``, bounded by 1 in size.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_s = linear_no_bias(config.c_s, config.c_s)
        self.linear_z = linear_no_bias(config.c_z, config.c_z)
        self.gate_s = LinearGate(config.c_s)
        self.gate_z = LinearGate(config.c_z)

    def forward(
        self, h_s: Tensor, h_z: Tensor, frame_s: Tensor, frame_z: Tensor
    ) -> tuple[Tensor, Tensor]:
        s = self.gate_s(h_s, frame_s + self.linear_s(h_s))
        z = self.gate_z(h_z, frame_z + self.linear_z(h_z))
        return s, z


class StateTransition(nn.Module):
    """Pairformer step of the latent, conditioned on context, lag and temperature.

    ``forward(h_s [B, N, c_s], h_z [B, N, N, c_z], lag_ps [B], temperature_kelvin [B],
    context) -> (h_s, h_z)``. Line 4 of Algorithm 2 is
    ``z_ij + W s_i + W' s_j``; the result passes a gate that keeps every component within
    [-1, 1] over any number of steps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.time = TimeEmbedding(config.c_s, config.c_noise)
        self.linear_state_s = linear_no_bias(config.c_s, config.c_s)
        self.linear_state_z = linear_no_bias(config.c_z, config.c_z)
        self.linear_zi = linear_no_bias(config.c_s, config.c_z)
        self.linear_zj = linear_no_bias(config.c_s, config.c_z)
        self.pairformer = pairformer_stack(config, config.transition_blocks)
        self.gate_s = LinearGate(config.c_s)
        self.gate_z = LinearGate(config.c_z)

    def forward(
        self,
        h_s: Tensor,
        h_z: Tensor,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
        token_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        tau = self.time(lag_ps, temperature_kelvin).unsqueeze(1)
        s = context.s + self.linear_state_s(h_s) + tau
        z = context.z + self.linear_state_z(h_z)
        z = z + self.linear_zi(s).unsqueeze(-2) + self.linear_zj(s).unsqueeze(-3)
        s, z = self.pairformer(s, z, token_mask)
        return self.gate_s(h_s, s), self.gate_z(h_z, z)
