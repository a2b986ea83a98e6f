"""What the decoder keeps of a moved latent while the noise level falls."""

from typing import NamedTuple

from torch import Tensor


class Prepared(NamedTuple):
    """Everything of the decoder that does not depend on the noise level.

    Attributes
    ----------
    s : Tensor [B, N, c_s]
        Token condition without the noise level.
    token_bias : list of Tensor [B, heads, N, N]
        Attention bias of each token block.
    c : Tensor [B, A, c_atom]
        Atom condition.
    atom_conditions : list of Tensor [B, A, *]
        Norm scales, offsets and gates of each atom block, encoder then decoder.
    pair : list of Tensor
        Cartesian configuration: the attention bias [B, T, heads, Q, K] of each atom block.
        Invariant configuration: the atom-pair condition [B, T, Q, K, c_atompair], and the
        context of the atom pairs [1, T, Q, K, c_atompair], which sets the radial functions.
    """

    s: Tensor
    token_bias: list[Tensor]
    c: Tensor
    atom_conditions: list[Tensor]
    pair: list[Tensor]


def repeat_prepared(prepared: Prepared, times: int) -> Prepared:
    """Repeat what the decoder needs of each walker, for several noise levels a walker."""
    return Prepared(
        prepared.s.repeat_interleave(times, 0),
        [bias.repeat_interleave(times, 0) for bias in prepared.token_bias],
        prepared.c.repeat_interleave(times, 0),
        [condition.repeat_interleave(times, 0) for condition in prepared.atom_conditions],
        [
            part if part.shape[0] == 1 else part.repeat_interleave(times, 0)
            for part in prepared.pair
        ],
    )
