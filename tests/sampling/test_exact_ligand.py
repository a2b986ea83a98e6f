"""Exact runs of a small molecule: its rotatable bonds, against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from ligand_cases import energy, glycerol, springs
from torsion_cases import assert_agrees, quadrature

from atmos_openmm.sampling import read_exact_run
from atmos_openmm.sampling.hybrid import HybridSampler


@pytest.mark.parametrize("trials", [1, 4])
def test_rotatable_bonds_of_a_ligand_reach_their_distribution(tmp_path, trials):
    molecule = glycerol(tmp_path)
    system, torsions = springs(molecule)
    assert len(torsions) == 5  # two between carbons, three hydroxyls
    arguments = {
        "acceptance": "metropolis", "molecules": molecule.molecules, "temperature": 300.0,
        "stepSize": 0.001, "walkers": 2, "jumpInterval": 2, "moves": 4, "trials": trials,
        "seed": 3, "platform": "Reference", "equilibrationSteps": 20, "commitSeconds": 1e9,
    }  # fmt: skip
    with HybridSampler(
        molecule.topology, system, molecule.positions_nm, None, tmp_path / "run", **arguments
    ) as sampler:
        sampler.run(cycles=600)
    frames = read_exact_run(tmp_path / "run").frames
    t = frames["torsions"][np.lexsort((frames["frame"], frames["walker"]))]
    functions = [lambda t: t > 0, np.cos, np.sin, lambda t: np.cos(2 * t)]
    for f, expected in zip(functions, quadrature(energy, functions), strict=True):
        assert_agrees(f(t[:, 0]), expected)
    # The other bonds turn freely.
    for k in range(1, 5):
        assert_agrees(np.cos(t[:, k]), 0.0)
        assert_agrees(np.sin(t[:, k]), 0.0)
