"""Explicit densities of a molecule's torsions, for exact Metropolis moves; without OpenMM.

wrapped_normal   normals wrapped around the torus, their images and conditionals
block_density    the mixture of one block, with weights that depend on other torsions
layout           how torsions are arranged in blocks, and which blocks are neighbours
exact_density    the density of a molecule: exact values and draws
torsion_density  the same with all ways to make, keep and read one
mixture_fit      mixtures by expectation maximisation
gate_fit         how weights depend on neighbours, by maximum likelihood
fitting          blocks fitted to frames; held-out likelihood chooses size and gates
adaptation       refitting to a chain's own frames, with a floor under what was known
model_frames     frames of a model, as material
cache            where densities of models are kept, and by which key
density_file     safetensors with JSON
scoring          how well a density describes frames that it has not seen
"""

from .block_density import BlockDensity, Draws
from .scoring import DensityScore, held_out_score
from .torsion_density import TorsionDensity

__all__ = ["BlockDensity", "DensityScore", "Draws", "TorsionDensity", "held_out_score"]
