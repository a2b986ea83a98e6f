"""Context encoder e_theta of the invariant configuration: the molecular graph, encoded once."""

from torch import Tensor, nn

from .config import ModelConfig
from .context import Context
from .geometric_attention import GraphAtomBlock
from .graph import ATOM_FEATURES, PAIR_FEATURES, TOKEN_PAIR_FEATURES
from .model_features import ModelFeatures
from .pairformer import pairformer_stack
from .primitives import Linear, Transition, linear_no_bias
from .windows import atoms_to_tokens, key_mask, query_mask


class GraphContextEncoder(nn.Module):
    """Embed the molecular graph: atoms, then tokens, then a Pairformer over tokens.

    ``forward(features) -> Context``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_atom = Linear(ATOM_FEATURES, config.c_atom)
        self.linear_pair = linear_no_bias(PAIR_FEATURES, config.c_atompair)
        self.pair_transition = Transition(config.c_atompair, 2)
        self.atom_blocks = nn.ModuleList(
            [
                GraphAtomBlock(config.c_atom, config.c_atompair, config.heads_atom)
                for _ in range(config.context_atom_blocks)
            ]
        )
        self.layernorm_c = nn.LayerNorm(config.c_atom)
        self.linear_s = linear_no_bias(config.c_atom, config.c_s)
        self.linear_zinit1 = linear_no_bias(config.c_s, config.c_z)
        self.linear_zinit2 = linear_no_bias(config.c_s, config.c_z)
        self.linear_token_pair = linear_no_bias(TOKEN_PAIR_FEATURES, config.c_z)
        self.pairformer = pairformer_stack(config, config.context_blocks)

    def forward(self, features: ModelFeatures) -> Context:
        c0 = self.linear_atom(features.graph_atom)
        # Outside of the molecule's windows nothing is known, and nothing may grow large.
        held = query_mask(features).unsqueeze(-1) * key_mask(features)
        p = self.linear_pair(features.graph_pair * held.unsqueeze(-1))
        p = p + self.pair_transition(p)
        c = c0
        for block in self.atom_blocks:
            c = block(c, block.condition(c0), p, features)
        c = self.layernorm_c(c)
        s = self.linear_s(atoms_to_tokens(c, features))
        z = self.pairs(s, features)
        s, z = self.pairformer(s, z, features.token_mask)
        return Context(s[:, :, :0], s, z, c, p)

    def pairs(self, s: Tensor, features: ModelFeatures) -> Tensor:
        """Return the token pairs before the Pairformer [B, N, N, c_z]."""
        z = self.linear_zinit1(s).unsqueeze(-2) + self.linear_zinit2(s).unsqueeze(-3)
        return z + self.linear_token_pair(features.graph_token_pair)
