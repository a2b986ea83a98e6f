"""The torsion head behind the integrators' contract: frames by turning torsions, with their ratio.

The module that :mod:`atmos_openmm.model.bound` makes decodes frames by diffusion, and nothing is
known of their density. This one draws torsions from the head's mixtures and turns them, and its
`log_ratio` makes a Metropolis test of its frames exact.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..density.torsion_density import DEFAULT_UNIFORM_WEIGHT
from .bound import BoundNetwork
from .context import Context
from .model_features import ModelFeatures
from .torsion_features import (
    NumberedTorsions,
    TorsionFeatures,
    features_of_torsions,
    measure_torsions,
)
from .torsion_head import TorsionMixture

KINDS = ("all", "residue")
"""What a frame changes: all torsions, or those of one block given all others."""

LARGEST_BLOCK = 12
"""Torsions of a block, 2 to this power images of each normal."""


class BoundTorsions(BoundNetwork):
    """Turn torsions that are drawn from the torsion head, behind the integrators' contract.

    ``propagate(positions [B, A, 3] nm, state [B, 0], noise [B, K], lag [B] ps,
    temperature [B] K) -> (positions [B, A, 3] nm, state [B, 0], log_ratio [B])`` draws torsions
    from the density that the head gives at this lag and temperature, turns what hangs on them, and
    returns ``log_ratio = log q(old | new) - log q(new | old)``. Bond lengths, bond angles and all
    other torsions stay as they are, so that averages are Boltzmann's with the test
    ``min(1, exp(-dU / RT + log_ratio))``. Blocks are drawn in turn, each given those before it, or
    (`kind` "residue") one that the noise chooses, given all others.

    At the lag and temperature that it was made for the network has run already, and a call is
    arithmetic of torsions alone.

    Parameters
    ----------
    model, features, context
        See :class:`BoundNetwork`.
    torsions : TorsionFeatures
        Of one molecule.
    groups : bool array [T, A]
        Which atoms turn with each torsion.
    kind : str
        One of `KINDS`.
    lag_ps, temperature_kelvin : float
        For which the mixtures are kept.
    """

    two_pi: Final[float] = 2.0 * math.pi
    root_half: Final[float] = math.sqrt(0.5)
    log_uniform: Final[float] = math.log(DEFAULT_UNIFORM_WEIGHT)
    log_rest: Final[float] = math.log1p(-DEFAULT_UNIFORM_WEIGHT)
    uniform_weight: Final[float] = DEFAULT_UNIFORM_WEIGHT
    single: Final[bool]
    atoms: int
    blocks: int
    size: int

    def __init__(
        self,
        model: nn.Module,
        features: ModelFeatures,
        context: Context,
        torsions: TorsionFeatures,
        groups: NDArray[np.bool_],
        kind: str,
        lag_ps: float,
        temperature_kelvin: float,
    ) -> None:
        super().__init__(model, features, context)
        for name, part in zip(torsions._fields, torsions, strict=True):
            self.register_buffer("torsion_" + name, part)
        self.register_buffer("groups", torch.from_numpy(groups.astype(np.float64)).unsqueeze(-1))
        self.atoms = int(groups.shape[1])
        self.blocks, self.size = (int(n) for n in torsions.members.shape[1:])
        self.single = kind == "residue"
        flips = list(itertools.product((0.0, 1.0), repeat=self.size))
        self.register_buffer("flips", torch.tensor(flips, dtype=torch.float64))
        lag, temperature = torch.tensor([lag_ps]), torch.tensor([temperature_kelvin])
        self.register_buffer("kept_lag", lag)
        self.register_buffer("kept_temperature", temperature)
        with torch.no_grad():
            kept = self.model.torsion_mixture(lag, temperature, context, features, torsions)
        for name, part in zip(TorsionMixture._fields, kept, strict=True):
            self.register_buffer("kept_" + name, part)

    def torsions(self) -> TorsionFeatures:
        """What the head is told of the torsions."""
        return TorsionFeatures(
            self.torsion_atoms,
            self.torsion_role,
            self.torsion_mask,
            self.torsion_relation,
            self.torsion_members,
            self.torsion_member_mask,
            self.torsion_gates,
            self.torsion_gate_mask,
            self.torsion_gate_earlier,
        )

    @torch.jit.export
    def num_atoms(self) -> int:
        """Atoms of the molecule, A."""
        return self.atoms

    @torch.jit.export
    def state_size(self) -> int:
        """Nothing is remembered, S = 0."""
        return 0

    @torch.jit.export
    def noise_size(self) -> int:
        """Normal random numbers a jump takes, K: for a block, and for each a component and D."""
        return 1 + self.blocks * (1 + self.size)

    @torch.jit.export
    def propagate(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One jump of B walkers."""
        mixture = self.mixture(lag, temperature)
        x = positions.double()
        old = measure_torsions(x, self.torsion_atoms[0])
        numbers = noise.double()
        u = self.uniforms(numbers[:, 0])
        chosen = (u * self.blocks).long().clamp(0, self.blocks - 1)
        new = self.draw(mixture, old, numbers[:, 1:].unflatten(1, [self.blocks, -1]), chosen)
        ratio = self.log_density(mixture, old, new, chosen)
        ratio = ratio - self.log_density(mixture, new, old, chosen)
        return self.turn(x, new - old).to(positions.dtype), state, ratio.to(lag.dtype)

    def forward(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.propagate(positions, state, noise, lag, temperature)

    def mixture(self, lag: Tensor, temperature: Tensor) -> TorsionMixture:
        """The head's mixtures in double precision, of B molecules or of 1 where it was kept."""
        is_kept = torch.equal(lag, self.kept_lag.expand_as(lag))
        if is_kept and torch.equal(temperature, self.kept_temperature.expand_as(temperature)):
            found = TorsionMixture(
                self.kept_means, self.kept_factors, self.kept_sequential, self.kept_conditional
            )
        else:
            found = self.model.torsion_mixture(
                lag, temperature, self.context(), self.features(), self.torsions()
            )
        return TorsionMixture(
            found.means.double(),
            found.factors.double(),
            found.sequential.double(),
            found.conditional.double(),
        )

    def draw(
        self, mixture: TorsionMixture, present: Tensor, numbers: Tensor, chosen: Tensor
    ) -> Tensor:
        """Draw torsions [B, T] from normal numbers [B, R, 1 + D], where they are `present`."""
        at = present
        for k in range(self.blocks):
            members = self.torsion_members[0, k]
            mask = self.torsion_member_mask[0, k].double()
            own = at.index_select(1, members)
            weights = self.log_weights(mixture, k, at).exp()
            u = self.uniforms(numbers[:, k, 0])
            flat = (u < self.uniform_weight).unsqueeze(-1)
            v = ((u - self.uniform_weight) / (1.0 - self.uniform_weight)).unsqueeze(-1)
            last = weights.shape[-1] - 1
            picked = (weights.cumsum(-1) <= v).sum(-1).clamp(0, last)
            row = torch.arange(at.shape[0], device=at.device)
            factors = mixture.factors[:, k].expand(at.shape[0], -1, -1, -1)[row, picked]
            centre = self.centres(mixture, k, own)[row, picked]
            moved = centre + torch.matmul(factors, numbers[:, k, 1:].unsqueeze(-1)).squeeze(-1)
            anywhere = self.two_pi * self.uniforms(numbers[:, k, 1:]) - math.pi
            drawn = torch.where(flat, anywhere, self.wrapped(moved))
            if self.single:
                drawn = torch.where((chosen == k).unsqueeze(-1), drawn, own)
            # Padding names the first torsion; what is added there is nothing.
            at = at.index_add(1, members, (drawn - own) * mask)
        return at

    def log_density(
        self, mixture: TorsionMixture, to: Tensor, present: Tensor, chosen: Tensor
    ) -> Tensor:
        """Log density [B] of drawing the torsions `to` [B, T] where they are `present`."""
        total = torch.zeros_like(to[:, 0])
        eye = torch.eye(self.size, dtype=to.dtype, device=to.device)
        for k in range(self.blocks):
            members = self.torsion_members[0, k]
            mask = self.torsion_member_mask[0, k].double()
            delta = to.index_select(1, members).unsqueeze(1)
            delta = delta - self.centres(mixture, k, present.index_select(1, members))
            delta = (self.wrapped(delta) * mask).unsqueeze(-2)
            # With deviations below 0.69 the nearest image and that on the other side are all.
            images = delta - self.flips * torch.sign(delta) * self.two_pi
            factors = mixture.factors[:, k]
            whiten = torch.linalg.solve_triangular(factors, eye, upper=False).transpose(-1, -2)
            terms = -0.5 * torch.matmul(images, whiten).square().sum(-1)
            terms = terms.masked_fill((self.flips * (1.0 - mask)).sum(-1) > 0.0, float("-inf"))
            log_scale = torch.diagonal(factors, 0, -2, -1).log().sum(-1)
            whole = math.log(self.two_pi) * mask.sum()
            logs = torch.logsumexp(terms, -1) - log_scale - 0.5 * whole
            # Gates look at blocks that are drawn already, or that do not change.
            logs = torch.logsumexp(logs + self.log_weights(mixture, k, to), -1) + self.log_rest
            block = torch.logaddexp(logs, (self.log_uniform - whole).expand_as(logs))
            if self.single:
                block = torch.where(chosen == k, block, torch.zeros_like(block))
            total = total + block
        return total

    def log_weights(self, mixture: TorsionMixture, k: int, at: Tensor) -> Tensor:
        """Logs of the weights of block k's components [B, K + 1], with gates at torsions [B, T]."""
        table = mixture.conditional if self.single else mixture.sequential
        angles = at.index_select(1, self.torsion_gates[0, k])
        inputs = torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1).flatten(1)
        inputs = torch.cat([torch.ones_like(inputs[:, :1]), inputs], dim=-1)
        return torch.log_softmax((table[:, k] * inputs.unsqueeze(1)).sum(-1), dim=-1)

    def centres(self, mixture: TorsionMixture, k: int, own: Tensor) -> Tensor:
        """Centres of block k's components [B, K + 1, D], the local one where it is, `own`."""
        means = mixture.means[:, k].expand(own.shape[0], -1, -1)
        return torch.cat([means, own.unsqueeze(1)], dim=1)

    def uniforms(self, normals: Tensor) -> Tensor:
        """Numbers in (0, 1) from normal ones, by their cumulative distribution."""
        return 0.5 * torch.erfc(-self.root_half * normals)

    def wrapped(self, angles: Tensor) -> Tensor:
        """Angles in [-pi, pi]."""
        return angles - self.two_pi * torch.round(angles / self.two_pi)

    def turn(self, x: Tensor, changes: Tensor) -> Tensor:
        """Positions [B, A, 3] after torsions have changed by `changes` [B, T]."""
        for t in range(changes.shape[1]):
            end = x[:, self.torsion_atoms[0, t, 2]].unsqueeze(1)
            axis = end - x[:, self.torsion_atoms[0, t, 1]].unsqueeze(1)
            axis = axis / torch.linalg.vector_norm(axis, 2.0, [-1], True)
            cosine = torch.cos(changes[:, t]).reshape(-1, 1, 1)
            sine = torch.sin(changes[:, t]).reshape(-1, 1, 1)
            arm = x - end
            along = axis * (axis * arm).sum(-1, keepdim=True)
            across = torch.linalg.cross(axis.expand_as(arm), arm, dim=-1)
            turned = along + cosine * (arm - along) + sine * across
            x = x + self.groups[t] * (turned - arm)
        return x


def bind_torsions(
    network: nn.Module,
    features: ModelFeatures,
    torsions: NumberedTorsions,
    groups: Sequence[NDArray[np.int64]],
    atom_indices: NDArray[np.int64],
    lag_ps: float,
    temperature_kelvin: float,
    kind: str = "all",
) -> torch.jit.ScriptModule:
    """Bind a network with a torsion head to a molecule's torsions and script the result.

    Parameters
    ----------
    network : AtmosModel, eager or scripted
    features : ModelFeatures
        Of the molecule.
    torsions : NumberedTorsions
        Those that are turned, of particles of a System.
    groups : sequence of int64 arrays
        Particles that turn with each.
    atom_indices : int64 array [A]
        The particle of each model atom.
    lag_ps, temperature_kelvin : float
        Where nothing but torsions is computed.
    kind : str
        See :class:`BoundTorsions`.

    Raises
    ------
    ValueError
        If there is no such kind, nothing to turn, or a block of too many torsions.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}.")
    if not torsions.names:
        raise ValueError("The molecule has no torsion to turn, so there is nothing to propose.")
    if max(torsions.block_sizes) > LARGEST_BLOCK:
        raise ValueError(
            f"A residue or ligand has {max(torsions.block_sizes)} torsions, and the module takes "
            f"at most {LARGEST_BLOCK}. Use the density itself (torsionDensity), which has no limit."
        )
    inputs = features_of_torsions(torsions, atom_indices)
    place = {int(particle): k for k, particle in enumerate(atom_indices)}
    turning = np.zeros((len(groups), len(atom_indices)), dtype=np.bool_)
    for row, group in zip(turning, groups, strict=True):
        row[[place[int(particle)] for particle in group]] = True
    model: Any = network.eval()
    with torch.no_grad():
        context = model.context(features)
    bound = torch.jit.script(
        BoundTorsions(
            model, features, context, inputs, turning, kind, lag_ps, temperature_kelvin
        ).eval()
    )
    for parameter in bound.parameters():
        parameter.requires_grad_(False)
    return bound
