"""Explicit densities of a molecule's torsions, for exact Metropolis moves; without OpenMM.

wrapped_normal   normals wrapped around the torus, their images and conditionals
block_density    the mixture of one block, with weights that depend on other torsions
torsion_density  the density of a molecule: exact values and draws
"""

from .block_density import BlockDensity
from .torsion_density import TorsionDensity

__all__ = ["BlockDensity", "TorsionDensity"]
