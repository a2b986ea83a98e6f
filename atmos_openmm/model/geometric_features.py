"""What the network sees of coordinates: distances, directions and handedness.

Coordinates enter through quantities that a rotation or translation leaves alone, and leave
as sums of direction vectors, so the decoder is equivariant under rigid motions without
augmentation. Distances know no mirror image; handedness enters through signed volumes: of
the stereocentres here, of attention-weighted directions in :mod:`.geometric_attention`.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .model_features import ModelFeatures
from .primitives import Linear, linear_no_bias, linear_zero
from .windows import add_rows, from_queries, gather_rows, key_mask, to_keys, to_queries

HANDEDNESS_FEATURES = 12

LENGTHS_ANGSTROM = (1.0, 1.25, 1.5, 1.75, 2.05, 2.35, 2.7, 3.2)
"""Where the learned lengths of pairs start: bonds, and distances over two and three bonds."""


def relative_vectors(x: Tensor, features: ModelFeatures) -> tuple[Tensor, Tensor]:
    """Return unit vectors and distances from key atoms to query atoms.

    Parameters
    ----------
    x : Tensor [B, A, 3]
        Coordinates in angstrom.

    Returns
    -------
    tuple[Tensor, Tensor]
        Directions ``(x_q - x_k) / d`` [B, T, Q, K, 3] and distances d [B, T, Q, K]. The
        direction of an atom to itself is zero.
    """
    r = to_queries(x, features).unsqueeze(3) - to_keys(x, features).unsqueeze(2)
    d = torch.sqrt((r * r).sum(-1) + 1e-6)
    return r / d.unsqueeze(-1), d


def signed_volumes(x: Tensor, centers: Tensor, signs: Tensor) -> Tensor:
    """Return the handedness of each centre [B, C], positive when right.

    It is the volume spanned by the unit vectors to the listed neighbours, times the sign of the
    molecule's true handedness: about +0.77 at a tetrahedral centre, negative in a mirror image,
    zero where the centre is flat.

    Parameters
    ----------
    x : Tensor [B, A, 3]
        Coordinates.
    centers : Tensor [1 or B, C, 4] int64
        Centre and three neighbours.
    signs : Tensor [1 or B, C]
        +1 or -1; 0 in the padding.
    """
    c = gather_rows(x, centers[:, :, 0])
    a = F.normalize(gather_rows(x, centers[:, :, 1]) - c, dim=-1, eps=1e-4)
    b = F.normalize(gather_rows(x, centers[:, :, 2]) - c, dim=-1, eps=1e-4)
    d = F.normalize(gather_rows(x, centers[:, :, 3]) - c, dim=-1, eps=1e-4)
    return (a * torch.linalg.cross(b, d, dim=-1)).sum(-1) * signs


def _center_and_neighbours(centers: Tensor) -> Tensor:
    """Return the atoms of all centres in one row each: [B, C, 4] -> [B, 4 C]."""
    return centers.transpose(1, 2).flatten(1)


def _centers_to_atoms(x: Tensor, centers: Tensor, mask: Tensor, volume: Tensor) -> Tensor:
    """Sum what centres know over the atoms at and beside them [B, A, 6]; `mask` [1 or B, C]."""
    there = mask.expand(x.shape[0], -1)
    value = torch.stack([volume, torch.tanh(4.0 * volume), there], dim=-1)
    zeros = torch.zeros_like(value)
    at_center = torch.cat([value, zeros], dim=-1)
    at_neighbour = torch.cat([zeros, value], dim=-1)
    parts = torch.cat([at_center, at_neighbour, at_neighbour, at_neighbour], dim=1)
    out = x.new_zeros([x.shape[0], x.shape[1], 2 * value.shape[-1]])
    return add_rows(out, _center_and_neighbours(centers), parts)


def label_volumes(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return the volumes of centres that only the labels of like atoms make chiral [B, P].

    Which of two like hydrogens is called HB2 is a convention, so the hand that the coordinates
    show is taken as the right one: the volumes' sizes are used as they are.
    """
    return signed_volumes(x, features.label_centers, features.label_mask.to(x.dtype))


def handedness_features(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return what each atom knows of handedness [B, A, HANDEDNESS_FEATURES].

    Signed volumes summed where the atom is the centre and where it is a neighbour; first of the
    stereocentres, then, without sign, of the centres that labels make.
    """
    signs = features.chiral_signs.to(x.dtype)
    volume = signed_volumes(x, features.chiral_centers, signs)
    chiral = _centers_to_atoms(x, features.chiral_centers, signs.abs(), volume)
    size = label_volumes(x, features).abs()
    label = _centers_to_atoms(x, features.label_centers, features.label_mask.to(x.dtype), size)
    return torch.cat([chiral, label], dim=-1)


def _handedness_vectors(x: Tensor, centers: Tensor, signs: Tensor) -> Tensor:
    c = gather_rows(x, centers[:, :, 0])
    a = gather_rows(x, centers[:, :, 1]) - c
    b = gather_rows(x, centers[:, :, 2]) - c
    d = gather_rows(x, centers[:, :, 3]) - c
    sign = signs.unsqueeze(-1)
    to_a = sign * F.normalize(torch.linalg.cross(b, d, dim=-1), dim=-1, eps=1e-4)
    to_b = sign * F.normalize(torch.linalg.cross(d, a, dim=-1), dim=-1, eps=1e-4)
    to_d = sign * F.normalize(torch.linalg.cross(a, b, dim=-1), dim=-1, eps=1e-4)
    parts = torch.cat([-(to_a + to_b + to_d) / 3.0, to_a, to_b, to_d], dim=1)
    return add_rows(torch.zeros_like(x), _center_and_neighbours(centers), parts)


def handedness_vectors(x: Tensor, features: ModelFeatures) -> Tensor:
    """Return the directions that make each centre less flat and right-handed [B, A, 2, 3].

    They are the gradients of the signed volumes with respect to the atoms, each of unit length
    (the centre's is the mean of its neighbours', turned round), summed over the centres of an
    atom: first the stereocentres, then the centres that labels make, each in the hand that it
    has. Sums of directions between atoms can turn a centre over only by passing atoms through
    each other; these can at once.
    """
    chiral = _handedness_vectors(x, features.chiral_centers, features.chiral_signs.to(x.dtype))
    own_hand = torch.sign(label_volumes(x, features))
    label = _handedness_vectors(x, features.label_centers, own_hand)
    return torch.stack([chiral, label], dim=2)


class RadialEmbedding(nn.Module):
    """Distances in learned Gaussian bases whose centres and widths depend on the atom pair.

    A bonded pair and a far pair need different resolution, so centre and width of each basis
    function are an offset plus a linear map of the static pair embedding. Beside them are
    deviations from learned lengths in units of the noise level, so that what is left to correct
    is of order one at every level, down to the stiffest bonds and angles.

    ``forward(d [B, T, Q, K], static [1 or B, T, Q, K, c_pair], noise [B, c_noise], sigma [B])
    -> [B, T, Q, K, c_pair]``, without the static part; `sigma` in angstrom.
    """

    finest_angstrom: Final[float] = 0.03

    def __init__(self, c_pair: int, c_noise: int, basis: int) -> None:
        super().__init__()
        self.linear_center = linear_zero(c_pair, basis, bias=True)
        self.linear_log_width = linear_zero(c_pair, basis, bias=True)
        with torch.no_grad():
            grid = torch.linspace(0.0, 1.0, basis)
            self.linear_center.bias.copy_(0.8 + 9.0 * grid**1.5)
            self.linear_log_width.bias.copy_(torch.log(0.15 + 0.8 * grid))
        self.linear_length = linear_zero(c_pair, len(LENGTHS_ANGSTROM), bias=True)
        with torch.no_grad():
            self.linear_length.bias.copy_(torch.tensor(LENGTHS_ANGSTROM))
        self.linear_deviation = linear_zero(len(LENGTHS_ANGSTROM), c_pair)
        self.linear_radial = linear_no_bias(basis + 2, c_pair)
        self.linear_static = linear_no_bias(c_pair, c_pair)
        self.linear_noise = linear_no_bias(c_noise, c_pair)
        self.linear_out = linear_no_bias(c_pair, c_pair)

    def forward(self, d: Tensor, static: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        center = self.linear_center(static)
        inverse_width = torch.exp(-self.linear_log_width(static))
        u = (d.unsqueeze(-1) - center) * inverse_width
        radial = torch.exp(-0.5 * u * u)
        far = torch.stack([torch.log1p(d), 1.0 / (1.0 + d)], dim=-1)
        hidden = self.linear_radial(torch.cat([radial, far], dim=-1)) + self.linear_static(static)
        hidden = hidden + self.linear_noise(noise).unsqueeze(1).unsqueeze(1).unsqueeze(1)
        scale = torch.sqrt(sigma * sigma + self.finest_angstrom * self.finest_angstrom)
        deviation = d.unsqueeze(-1) - self.linear_length(static)
        deviation = F.softsign(deviation / scale.reshape(-1, 1, 1, 1, 1))
        hidden = hidden + self.linear_deviation(deviation)
        return self.linear_out(F.silu(hidden))


class RelativeUpdate(nn.Module):
    """Displacement of each atom: a sum over directions to other atoms and of handedness.

    ``forward(q [B, A, c], p [B, T, Q, K, c_pair], unit_1, unit_2 [B, T, Q, K, 3],
    turn_1, turn_2 [B, A, 2, 3]) -> [B, A, 3]``: two sets of directions between atoms
    (:func:`relative_vectors`), weighted by the two atoms and their pair, and two of handedness
    (:func:`handedness_vectors`), weighted by the atom.
    """

    def __init__(self, c_atom: int, c_pair: int, c_hidden: int) -> None:
        super().__init__()
        self.layernorm_q = nn.LayerNorm(c_atom)
        self.linear_query = Linear(c_atom, c_hidden)
        self.linear_key = linear_no_bias(c_atom, c_hidden)
        self.linear_pair = linear_no_bias(c_pair, c_hidden)
        self.linear_weight = linear_zero(c_hidden, 2)
        self.linear_turn = linear_zero(c_atom, 4, bias=True)

    def forward(
        self,
        q: Tensor,
        p: Tensor,
        unit_1: Tensor,
        unit_2: Tensor,
        turn_1: Tensor,
        turn_2: Tensor,
        features: ModelFeatures,
    ) -> Tensor:
        q = self.layernorm_q(q)
        h_q = to_queries(self.linear_query(q), features)
        h_k = to_keys(self.linear_key(q), features)
        h = h_q.unsqueeze(3) + h_k.unsqueeze(2)
        w = self.linear_weight(F.silu(h + self.linear_pair(p)))
        w = w * key_mask(features).to(w.dtype).unsqueeze(-1)
        update = (w[..., 0:1] * unit_1 + w[..., 1:2] * unit_2).sum(3)
        update = from_queries(update, q.shape[1])
        turns = torch.cat([turn_1, turn_2], dim=2)
        return update + (self.linear_turn(q).unsqueeze(-1) * turns).sum(2)
