"""Atoms to tokens and back: AF3's atom attention encoder and decoder (Algorithms 5 and 6)."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .atom_transformer import AtomTransformer
from .blocks import atom_blocks_of, blocks_of, in_blocks
from .config import ModelConfig
from .model_features import ModelFeatures
from .primitives import linear_no_bias, linear_zero
from .windows import (
    atoms_to_tokens,
    to_keys,
    to_queries,
    token_pairs_to_windows,
    tokens_to_atoms,
)


class AtomAttentionEncoder(nn.Module):
    """Embed reference conformers, and coordinates where there are any, and pool to tokens.

    Entry points, in the order of Algorithm 5: ``embed_atoms(features) -> c [B, A, c_atom]`` and
    ``embed_pairs(features) -> p [B, T, Q, K, c_atompair]`` (lines 1 to 6); ``add_tokens(c, s)``
    and ``add_token_pairs(p, narrow_pairs(z))`` (lines 9 and 10, with coordinates only);
    ``join(c, p)`` (lines 13 and 14); ``add_coordinates(c, r)`` (line 11); ``forward`` (lines 15
    and 16).

    Parameters
    ----------
    has_coordinates : bool
        Whether there are noisy coordinates and a trunk.
    c_token : int
        Width of the tokens that come out.
    c_atom, c_atompair, c_s, c_z : int
        Widths.
    blocks, heads : int
    """

    element_classes: Final[int] = 128
    name_characters: Final[int] = 64
    has_coordinates: Final[bool]

    def __init__(
        self,
        has_coordinates: bool,
        c_token: int,
        c_atom: int,
        c_atompair: int,
        c_s: int,
        c_z: int,
        blocks: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.has_coordinates = has_coordinates
        self.linear_no_bias_ref_pos = linear_no_bias(3, c_atom)
        self.linear_no_bias_ref_charge = linear_no_bias(1, c_atom)
        inputs = 1 + self.element_classes + 4 * self.name_characters
        self.linear_no_bias_f = linear_no_bias(inputs, c_atom)
        self.linear_no_bias_d = linear_no_bias(3, c_atompair)
        self.linear_no_bias_invd = linear_no_bias(1, c_atompair)
        self.linear_no_bias_v = linear_no_bias(1, c_atompair)
        if has_coordinates:
            self.layernorm_s = nn.LayerNorm(c_s, bias=False)
            self.linear_no_bias_s = linear_zero(c_s, c_atom)
            self.layernorm_z = nn.LayerNorm(c_z, bias=False)
            self.linear_no_bias_z = linear_zero(c_z, c_atompair)
            self.linear_no_bias_r = linear_no_bias(3, c_atom)
        self.linear_no_bias_cl = linear_no_bias(c_atom, c_atompair)
        self.linear_no_bias_cm = linear_no_bias(c_atom, c_atompair)
        self.small_mlp = nn.Sequential(
            nn.ReLU(),
            linear_no_bias(c_atompair, c_atompair),
            nn.ReLU(),
            linear_no_bias(c_atompair, c_atompair),
            nn.ReLU(),
            linear_zero(c_atompair, c_atompair),
        )
        self.atom_transformer = AtomTransformer(blocks, c_atom, c_atompair, heads)
        self.linear_no_bias_q = linear_no_bias(c_atom, c_token)

    @torch.jit.export
    def embed_atoms(self, features: ModelFeatures) -> Tensor:
        """Return the atoms' reference embedding [B, A, c_atom]."""
        weight = self.linear_no_bias_f.weight
        mask = features.ref_mask.to(weight.dtype).unsqueeze(-1)
        charge = torch.arcsinh(features.ref_charge.to(weight.dtype)).unsqueeze(-1)
        c = self.linear_no_bias_ref_pos(features.ref_pos.to(weight.dtype))
        c = c + self.linear_no_bias_ref_charge(charge)
        # Elements and names are classes: their columns are looked up, not multiplied.
        columns = weight.t()
        element = (features.ref_element - 1).clamp(0, self.element_classes - 1)
        chars = features.ref_atom_name_chars.clamp(0, self.name_characters - 1)
        c = c + mask * columns[0] + F.embedding(1 + element, columns)
        for position in range(4):
            offset = 1 + self.element_classes + position * self.name_characters
            c = c + F.embedding(offset + chars[:, :, position], columns)
        return c * mask

    @torch.jit.export
    def embed_pairs(self, features: ModelFeatures) -> Tensor:
        """Return the atom pairs' reference embedding [B, T, Q, K, c_atompair]."""
        dtype = self.linear_no_bias_d.weight.dtype
        ref_pos = features.ref_pos.to(dtype)
        d = to_queries(ref_pos, features).unsqueeze(3) - to_keys(ref_pos, features).unsqueeze(2)
        uid = features.ref_space_uid.unsqueeze(-1)
        same = to_queries(uid, features).unsqueeze(3) == to_keys(uid, features).unsqueeze(2)
        held = (features.window_bias == 0.0).unsqueeze(-1)
        v = (same & held).to(dtype)
        p = self.linear_no_bias_d(d)
        p = p + self.linear_no_bias_invd(1.0 / (1.0 + (d * d).sum(-1, keepdim=True)))
        return (p + self.linear_no_bias_v(torch.ones_like(v))) * v

    @torch.jit.export
    def add_tokens(self, c: Tensor, s: Tensor, features: ModelFeatures) -> Tensor:
        """Add the trunk's tokens s [B, N, c_s] to the atoms."""
        if self.has_coordinates:
            return c + tokens_to_atoms(self.linear_no_bias_s(self.layernorm_s(s)), features)
        return c

    @torch.jit.export
    def narrow_pairs(self, z: Tensor) -> Tensor:
        """Project token pairs z [B, N, N, c_z] to the width of atom pairs."""
        if self.has_coordinates:
            weight = self.linear_no_bias_z.weight
            if not in_blocks(z, weight, self.training):
                return self.linear_no_bias_z(self.layernorm_z(z))
            pairs = z.reshape(-1, z.shape[-1])
            narrow = z.new_empty([pairs.shape[0], weight.shape[0]])
            for start, end in blocks_of(pairs.shape[0], 1, pairs.is_cuda):
                narrow[start:end] = self.linear_no_bias_z(self.layernorm_z(pairs[start:end]))
            return narrow.view(z.shape[:-1] + weight.shape[:1])
        raise ValueError("An encoder without coordinates has no trunk.")

    @torch.jit.export
    def add_token_pairs(self, p: Tensor, narrow: Tensor, features: ModelFeatures) -> Tensor:
        """Add :meth:`narrow_pairs`' token pairs [B, N, N, c_atompair] to the atom pairs."""
        windows = token_pairs_to_windows(narrow, features)
        if in_blocks(windows, p, self.training) and windows.shape[0] >= p.shape[0]:
            return windows.add_(p)
        return windows + p

    @torch.jit.export
    def join(self, c: Tensor, p: Tensor, features: ModelFeatures) -> Tensor:
        """Add both atoms of each pair to the pair, and run the pair's small network."""
        relu = F.relu(c)
        p = p + to_queries(self.linear_no_bias_cl(relu), features).unsqueeze(3)
        keys = to_keys(self.linear_no_bias_cm(relu), features).unsqueeze(2)
        if not in_blocks(p, self.linear_no_bias_cl.weight, self.training):
            p = p + keys
            return p + self.small_mlp(p)
        p.add_(keys)
        pairs = p.view(-1, p.shape[-1])
        for start, end in atom_blocks_of(pairs.shape[0], 1, pairs.is_cuda):
            block = pairs[start:end]
            block.add_(self.small_mlp(block))
        return p

    @torch.jit.export
    def add_coordinates(self, c: Tensor, r: Tensor) -> Tensor:
        """Add scaled noisy coordinates r [B, A, 3] to the atoms."""
        if self.has_coordinates:
            return c + self.linear_no_bias_r(r)
        return c

    def forward(
        self, q: Tensor, conditions: list[Tensor], biases: list[Tensor], features: ModelFeatures
    ) -> tuple[Tensor, Tensor]:
        """Run the atom transformer and pool: tokens [B, N, c_token] and atoms [B, A, c_atom]."""
        q = self.atom_transformer(q, conditions, biases, features)
        return atoms_to_tokens(F.relu(self.linear_no_bias_q(q)), features), q


def atom_encoder(
    config: ModelConfig, has_coordinates: bool, c_token: int, blocks: int
) -> AtomAttentionEncoder:
    """Return an encoder of a configuration's widths."""
    c = config
    return AtomAttentionEncoder(
        has_coordinates, c_token, c.c_atom, c.c_atompair, c.c_s, c.c_z, blocks, c.heads_atom
    )


class AtomAttentionDecoder(nn.Module):
    """Tokens to a displacement of each atom (AF3 Algorithm 6).

    ``forward(a [B, N, c_token], q [B, A, c_atom], conditions, biases, features) -> [B, A, 3]``
    with the encoder's atoms q.
    """

    def __init__(self, c_token: int, c_atom: int, c_atompair: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.linear_no_bias_a = linear_no_bias(c_token, c_atom)
        self.layernorm_q = nn.LayerNorm(c_atom, bias=False)
        self.linear_no_bias_out = linear_zero(c_atom, 3)
        self.atom_transformer = AtomTransformer(blocks, c_atom, c_atompair, heads)

    def forward(
        self,
        a: Tensor,
        q: Tensor,
        conditions: list[Tensor],
        biases: list[Tensor],
        features: ModelFeatures,
    ) -> Tensor:
        q = q + tokens_to_atoms(self.linear_no_bias_a(a), features)
        q = self.atom_transformer(q, conditions, biases, features)
        return self.linear_no_bias_out(self.layernorm_q(q))
