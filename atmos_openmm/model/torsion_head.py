"""The torsion head: an explicit density of torsions decoded from the latent.

Once for a molecule, a lag and a temperature. For each block of torsions (a residue, a ligand) it
gives a mixture of normals, wrapped around the torus, whose weights depend on the neighbours'
backbone, and a component that is centred on where the torsions are: the density of
:mod:`atmos_openmm.density`, which is exact whatever the network says.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig
from .context import Context
from .geometric_attention import GraphAtomBlock
from .graph import ATOM_FEATURES
from .model_features import ModelFeatures
from .primitives import Linear, Transition, attention, linear_no_bias, linear_zero
from .torsion_features import GATES, RELATIONS, ROLES, TorsionFeatures
from .transition import TimeEmbedding
from .windows import gather_rows

WIDEST, NARROWEST = 0.68, 0.04
"""Bounds of the marginal standard deviations in radians; wrapping is exact below 0.69."""

COUPLING = 3.0
"""Bound of an entry of the Cholesky factors before their rows are scaled, diagonals being 1."""

FACTORS = 8
"""Numbers a torsion that its covariances with the others of its block come from."""

BASINS = {
    "phi": (-75.0, -140.0, 60.0),
    "psi": (-40.0, 145.0, 30.0),
    "other": (-150.0, -90.0, -30.0, 30.0, 90.0, 150.0),
}
STAGGERED = (-60.0, 60.0, 180.0)


class TorsionMixture(NamedTuple):
    """Mixtures of B molecules in R blocks of at most D torsions; K components and a local one.

    Attributes
    ----------
    means : Tensor [B, R, K, D]
        Radians, of any period.
    factors : Tensor [B, R, K + 1, D, D]
        Cholesky factors (lower) of the covariances, the local component's last; the identity in
        the padding.
    sequential, conditional : Tensor [B, R, K + 1, 9]
        Logits of the components, and what is added to them per cosine and sine of each gate.
    """

    means: Tensor
    factors: Tensor
    sequential: Tensor
    conditional: Tensor


class TorsionBlock(nn.Module):
    """Attention over the torsions of a molecule, biased by their relation, and a transition.

    ``forward(x [B, T, c], torsions) -> [B, T, c]``
    """

    heads: Final[int]

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.layernorm = nn.LayerNorm(c)
        self.linear_qkv = linear_no_bias(c, 3 * c)
        self.relation = nn.Embedding(RELATIONS, heads)
        nn.init.zeros_(self.relation.weight)
        self.linear_o = linear_zero(c, c)
        self.transition = Transition(c, 2)

    def forward(self, x: Tensor, torsions: TorsionFeatures) -> Tensor:
        q, k, v = self.linear_qkv(self.layernorm(x)).chunk(3, dim=-1)
        bias = self.relation(torsions.relation).movedim(-1, 1)
        bias = bias + (1e10 * (torsions.mask - 1.0)).to(x.dtype).unsqueeze(1).unsqueeze(1)
        x = x + self.linear_o(attention(q, k, v, bias.to(q.dtype), self.heads))
        return x + self.transition(x)


class TorsionHead(nn.Module):
    """Decode the context, and the latent that T_theta makes of no history, to a density.

    ``forward(h_s [B, N, c_s], lag_ps [B], temperature_kelvin [B], context, features, torsions)
    -> TorsionMixture``; context, features and torsions have a leading axis of B or 1.
    """

    components: Final[int]
    widest: Final[float] = WIDEST
    narrowest: Final[float] = NARROWEST
    coupling: Final[float] = COUPLING
    factors: Final[int] = FACTORS
    gates: Final[int] = 1 + 2 * GATES

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c, count = config.c_atom, config.torsion_components
        self.components = count
        self.linear_c = linear_no_bias(c, c)
        self.linear_graph = linear_no_bias(ATOM_FEATURES, c)
        self.atom_blocks = nn.ModuleList(
            [
                GraphAtomBlock(c, config.c_atompair, config.heads_atom)
                for _ in range(config.torsion_atom_blocks)
            ]
        )
        self.layernorm_a = nn.LayerNorm(c)
        self.linear_atoms = Linear(4 * c, c)
        self.role = nn.Embedding(len(ROLES), c)
        self.linear_s = linear_no_bias(config.c_s, c)
        self.linear_h = linear_no_bias(config.c_s, c)
        self.time = TimeEmbedding(c, config.c_noise)
        self.blocks = nn.ModuleList(
            [TorsionBlock(c, config.heads_atom) for _ in range(config.torsion_blocks)]
        )
        self.layernorm_x = nn.LayerNorm(c)
        self.component = nn.Parameter(torch.randn(count + 1, c))
        self.linear_block = linear_no_bias(c, c)
        self.linear_member = Linear(c, c)
        self.component_transition = Transition(c, 2)
        self.layernorm_out = nn.LayerNorm(c)
        self.linear_shape = linear_zero(c, 2, bias=True)
        self.linear_factors = linear_no_bias(c, 2 * FACTORS)
        self.linear_logits = linear_zero(c, 2 * self.gates, bias=True)
        self.start = nn.Parameter(_starts(count))

    def forward(
        self,
        h_s: Tensor,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
        features: ModelFeatures,
        torsions: TorsionFeatures,
    ) -> TorsionMixture:
        x = self.encode(h_s, lag_ps, temperature_kelvin, context, features, torsions)
        return self.decode(x, torsions)

    def encode(
        self,
        h_s: Tensor,
        lag_ps: Tensor,
        temperature_kelvin: Tensor,
        context: Context,
        features: ModelFeatures,
        torsions: TorsionFeatures,
    ) -> Tensor:
        """Embed the torsions [B, T, c]: their atoms, their tokens, lag and temperature."""
        a = self.linear_c(context.c) + self.linear_graph(features.graph_atom.to(context.c.dtype))
        condition = a
        for block in self.atom_blocks:
            a = block(a, block.condition(condition), context.p, features)  # type: ignore[operator]
        a = self.layernorm_a(a)
        ends = gather_rows(a, torsions.atoms.flatten(1)).unflatten(1, [-1, 4]).flatten(2)
        x = self.linear_atoms(ends) + self.role(torsions.role)
        token = features.atom_to_token
        if token.shape[0] < torsions.atoms.shape[0]:
            token = token.expand(torsions.atoms.shape[0], -1)
        at = torch.gather(token, 1, torsions.atoms[:, :, 2].expand(token.shape[0], -1))
        s = self.linear_s(context.s) + self.linear_h(h_s)
        x = x + gather_rows(s, at)
        x = x + self.time(lag_ps, temperature_kelvin).unsqueeze(1)
        for block in self.blocks:
            x = block(x, torsions)
        return self.layernorm_x(x)

    def decode(self, x: Tensor, torsions: TorsionFeatures) -> TorsionMixture:
        """Return the mixtures of embedded torsions."""
        shape = torsions.members.shape
        mask = torsions.member_mask.to(x.dtype).unsqueeze(-1)
        x = gather_rows(x, torsions.members.flatten(1)).unflatten(1, shape[1:])  # [B, R, D, c]
        count = mask.sum(2).clamp(min=1.0)
        whole = self.linear_block((x * mask).sum(2) / count).unsqueeze(2) + self.component
        # Of each component and torsion [B, R, K + 1, D, c].
        y = F.silu(self.linear_member(x).unsqueeze(2) + whole.unsqueeze(3))
        y = self.layernorm_out(y + self.component_transition(y))
        shift, width = self.linear_shape(y).unbind(-1)
        role = gather_rows(torsions.role.unsqueeze(-1), torsions.members.flatten(1))
        start = (
            self.start[:, role.flatten()].movedim(0, 1).reshape(shape[0], shape[1], shape[2], -1)
        )
        means = start.movedim(-1, 2) + shift[:, :, :-1]
        factors = self.cholesky(self.linear_factors(y), width, mask.squeeze(-1))
        pooled = (y * mask.unsqueeze(2)).sum(3) / count.unsqueeze(2)
        sequential, conditional = self.linear_logits(pooled).chunk(2, dim=-1)
        held = torsions.gate_mask.to(x.dtype)
        earlier = held * torsions.gate_earlier.to(x.dtype)
        return TorsionMixture(
            means,
            factors,
            sequential * with_offset(earlier).unsqueeze(2),
            conditional * with_offset(held).unsqueeze(2),
        )

    def cholesky(self, factors: Tensor, width: Tensor, mask: Tensor) -> Tensor:
        """Return Cholesky factors [B, R, K + 1, D, D] with bounded marginal deviations.

        Rows of length 1 are scaled by the deviations, so that these are what was bounded.
        """
        u, v = factors.chunk(2, dim=-1)
        products = torch.matmul(u, v.transpose(-1, -2)) / math.sqrt(self.factors)
        pairs = mask.unsqueeze(-1) * mask.unsqueeze(-2)
        lower = torch.tril(self.coupling * torch.tanh(products), -1) * pairs.unsqueeze(2)
        eye = torch.eye(mask.shape[-1], dtype=lower.dtype, device=lower.device)
        rows = lower + eye
        rows = rows / torch.linalg.vector_norm(rows, 2.0, [-1], True)
        sd = self.narrowest + (self.widest - self.narrowest) * torch.sigmoid(width)
        held = mask.unsqueeze(2)
        return rows * (held * sd + (1.0 - held)).unsqueeze(-1)


def with_offset(gate_mask: Tensor) -> Tensor:
    """Return the mask [..., 1 + 2 G] of an offset and the cosines and sines of G gates."""
    offset = torch.ones_like(gate_mask[..., :1])
    return torch.cat([offset, gate_mask.repeat_interleave(2, -1)], dim=-1)


def _starts(count: int) -> Tensor:
    """Where the components' means start, for each role [K, ROLES]: drawn among usual basins."""
    generator = torch.Generator().manual_seed(7)
    columns = []
    for role in ROLES:
        basins = torch.deg2rad(torch.tensor(BASINS.get(role, STAGGERED)))
        chosen = torch.randint(len(basins), [count], generator=generator)
        columns.append(basins[chosen] + 0.2 * torch.randn(count, generator=generator))
    return torch.stack(columns, dim=1)
