"""What the context encoder e_theta makes of a molecule, once a trajectory."""

from typing import NamedTuple

from torch import Tensor


class Context(NamedTuple):
    """Static embeddings of molecules; a leading axis of 1 is shared by all walkers.

    Attributes
    ----------
    s_inputs : Tensor [B, N, c_s_inputs]
        Token inputs before the trunk (width 0 in the invariant configuration).
    s : Tensor [B, N, c_s]
        Tokens.
    z : Tensor [B, N, N, c_z]
        Token pairs.
    c : Tensor [B, A, c_atom]
        Atoms, as the decoder starts from them.
    p : Tensor [B, T, Q, K, c_atompair]
        Atom pairs in the windows, as the decoder starts from them.
    """

    s_inputs: Tensor
    s: Tensor
    z: Tensor
    c: Tensor
    p: Tensor
