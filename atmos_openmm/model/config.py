"""Sizes of the network: one code, several configurations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

COORDINATES = ("invariant", "cartesian")


@dataclass(frozen=True)
class ModelConfig:
    """Widths and depths of :class:`~atmos_openmm.model.atmos.AtmosModel`.

    Attributes
    ----------
    coordinates : str
        How coordinates enter. ``invariant``: through distances, directions and handedness, in
        a decoder that is equivariant by construction and reads the molecular graph.
        ``cartesian``: AF3's atom attention on coordinates, learned by augmentation, with
        Protenix's modules, names and numerics.
    c_s, c_z : int
        Widths of the token and token-pair tracks (latent state and context).
    c_atom, c_atompair : int
        Widths of the atom and atom-pair tracks.
    c_token : int
        Width of the token transformer inside the decoder.
    c_noise : int
        Width of the Fourier embeddings of noise level, lag and temperature.
    c_m : int
        Width of the alignment track.
    heads_s, heads_z, heads_atom, heads_token : int
        Attention heads of the single, pair, atom and decoder-token tracks.
    context_atom_blocks, context_blocks : int
        Atom blocks of the input embedder and Pairformer blocks of the context encoder.
    msa_blocks, cycles : int
        Blocks of the alignment module and passes through the trunk (Cartesian only).
    frame_blocks : int
        Atom blocks of the frame encoder.
    transition_blocks : int
        Pairformer blocks of the transition.
    encoder_blocks, token_blocks, decoder_blocks : int
        Blocks of the decoder's atom encoder, token transformer and atom decoder.
    radial_basis : int
        Learned radial functions a pair (invariant only).
    n_queries, n_keys : int
        Local atom attention: atoms a query window and a key window; molecules of at most
        ``n_queries`` atoms are one dense window.
    dropout : float
        Row-wise dropout of the Pairformer blocks while training.
    sigma_data : float
        Standard deviation of the data in angstrom (EDM preconditioning).
    distogram_bins : int
        Distance bins of the distogram head (:mod:`.distogram`).
    torsion_components : int
        Components a block of the torsion head (:mod:`.torsion_head`); 0: the network has none.
    torsion_atom_blocks, torsion_blocks : int
        The head's own blocks over atoms and over torsions.
    """

    coordinates: str = "invariant"
    c_s: int = 96
    c_z: int = 32
    c_atom: int = 128
    c_atompair: int = 32
    c_token: int = 96
    c_noise: int = 64
    c_m: int = 64
    heads_s: int = 8
    heads_z: int = 2
    heads_atom: int = 8
    heads_token: int = 8
    context_atom_blocks: int = 2
    context_blocks: int = 1
    msa_blocks: int = 0
    cycles: int = 1
    frame_blocks: int = 2
    transition_blocks: int = 2
    encoder_blocks: int = 3
    token_blocks: int = 2
    decoder_blocks: int = 3
    radial_basis: int = 30
    n_queries: int = 64
    n_keys: int = 128
    dropout: float = 0.0
    sigma_data: float = 2.0
    distogram_bins: int = 32
    torsion_components: int = 0
    torsion_atom_blocks: int = 1
    torsion_blocks: int = 2

    def __post_init__(self) -> None:
        if self.coordinates not in COORDINATES:
            raise ValueError(f"coordinates is {self.coordinates!r}; expected one of {COORDINATES}.")

    @property
    def caps(self) -> Literal["token", "atoms"]:
        """Tokens of terminal caps: one each, or one a heavy atom, as Protenix has them."""
        return "atoms" if self.coordinates == "cartesian" else "token"

    @property
    def c_s_inputs(self) -> int:
        """Width of the trunk's token inputs: pooled atoms, residue class, profile, deletions."""
        return self.c_s + 65 if self.coordinates == "cartesian" else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ModelConfig:
        """Build a configuration from :meth:`to_dict`'s result.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        known = {field.name for field in fields(ModelConfig)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"Unknown model settings {unknown}; this version knows {sorted(known)}. The file "
                "was probably written by a newer atmos_openmm: upgrade it."
            )
        return ModelConfig(**values)


def small() -> ModelConfig:
    """Return the configuration of the bundled peptide model (a laptop trains it)."""
    return ModelConfig()


def full() -> ModelConfig:
    """Return the widths of the ATMOS paper (its Table 5) and of Protenix's base models."""
    return ModelConfig(
        coordinates="cartesian",
        c_s=384,
        c_z=128,
        c_atom=128,
        c_atompair=16,
        c_token=768,
        c_noise=256,
        heads_s=16,
        heads_z=4,
        heads_atom=4,
        heads_token=16,
        context_atom_blocks=3,
        context_blocks=48,
        msa_blocks=4,
        cycles=4,
        frame_blocks=3,
        transition_blocks=4,
        encoder_blocks=3,
        token_blocks=24,
        decoder_blocks=3,
        n_queries=32,
        n_keys=128,
        dropout=0.25,
        sigma_data=16.0,
        distogram_bins=64,
    )
