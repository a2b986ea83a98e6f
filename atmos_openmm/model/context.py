"""Context encoder e_theta: what does not change along a trajectory, encoded once.

ATMOS inherits AF3's input embedder and Pairformer trunk here (DESIGN of the paper: run once
a trajectory); this form reads the molecular graph instead of an alignment.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .atom_attention import AtomTransformerBlock, atoms_to_tokens
from .config import ModelConfig
from .features import ATOM_FEATURES, PAIR_FEATURES, TOKEN_PAIR_FEATURES, ModelFeatures
from .pairformer import PairformerStack
from .primitives import Transition, linear_no_bias


class Context(NamedTuple):
    """Static embeddings of one molecule (leading axis 1, broadcast over walkers).

    Attributes
    ----------
    c: Tensor [1, A, c_atom]
        Atoms in their chemical surroundings.
    p: Tensor [1, T, Q, K, c_atompair]
        Atom pairs in the windows.
    s: Tensor [1, N, c_s]
        Tokens.
    z: Tensor [1, N, N, c_z]
        Token pairs.
    """

    c: Tensor
    p: Tensor
    s: Tensor
    z: Tensor


class ContextEncoder(nn.Module):
    """Embed the molecular graph: atoms, then tokens, then a Pairformer over tokens.

    ``forward(features) -> Context``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_atom = nn.Linear(ATOM_FEATURES, config.c_atom)
        self.linear_pair = linear_no_bias(PAIR_FEATURES, config.c_atompair)
        self.pair_transition = Transition(config.c_atompair, 2)
        self.atom_blocks = nn.ModuleList(
            [
                AtomTransformerBlock(config.c_atom, config.c_atompair, config.heads_atom)
                for _ in range(config.context_atom_blocks)
            ]
        )
        self.layernorm_c = nn.LayerNorm(config.c_atom)
        self.linear_s = linear_no_bias(config.c_atom, config.c_s)
        self.linear_zinit1 = linear_no_bias(config.c_s, config.c_z)
        self.linear_zinit2 = linear_no_bias(config.c_s, config.c_z)
        self.linear_token_pair = linear_no_bias(TOKEN_PAIR_FEATURES, config.c_z)
        self.pairformer = PairformerStack(
            config.context_blocks,
            config.c_s,
            config.c_z,
            config.heads_s,
            config.heads_z,
            config.dropout,
        )

    def forward(self, features: ModelFeatures) -> Context:
        c0 = self.linear_atom(features.atom).unsqueeze(0)
        p = self.linear_pair(features.pair).unsqueeze(0)
        p = p + self.pair_transition(p)
        c = c0
        for block in self.atom_blocks:
            c = block(c, block.condition(c0), p, features)
        c = self.layernorm_c(c)
        num_tokens = features.token_pair.shape[0]
        s = self.linear_s(atoms_to_tokens(c, features, num_tokens))
        z = self.linear_zinit1(s).unsqueeze(-2) + self.linear_zinit2(s).unsqueeze(-3)
        z = z + self.linear_token_pair(features.token_pair)
        mask = torch.ones_like(z[..., 0])
        s, z = self.pairformer(s, z, mask)
        return Context(c, p, s, z)
