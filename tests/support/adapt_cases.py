"""Short molecular dynamics and model files for the tests of adapting."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import openmm
from model_support import declaration, network
from openmm import unit

from atmos_openmm.adapting.data import MolecularDynamics, Run
from atmos_openmm.model.model_file import save_model
from atmos_openmm.model.sampler import SamplerSettings
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.peptides import build_peptide

SPACING_PS = 0.04


@lru_cache
def alanine_dynamics(runs: int = 2, frames: int = 60) -> MolecularDynamics:
    """Real dynamics of alanine dipeptide, 0.04 ps between frames, each run from another seed."""
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    system = create_system(topology, rigid_water=True)
    found = []
    for seed in range(1, runs + 1):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.004)
        integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatform("CPU")
        context = openmm.Context(system, integrator, platform, {"Threads": "1"})
        context.setPositions(positions_nm)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
        context.setVelocitiesToTemperature(300.0, seed)
        integrator.step(100)
        kept = []
        for _ in range(frames):
            integrator.step(round(SPACING_PS / 0.004))
            state = context.getState(positions=True)
            kept.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        x = np.stack(kept).astype(np.float32)
        found.append(Run(f"ALA/{seed}", "dynamics", x, 300.0, SPACING_PS))
    return MolecularDynamics("ALA", topology, {}, tuple(found), system)


SAMPLER = SamplerSettings(steps=3, churn=0.3)


def tiny_model(path, **declared):
    """A model file of a tiny network with random weights and a sampler of its own."""
    made = network()
    made.set_sampler(SAMPLER)
    values = {
        "residues": ["ACE", "GLY", "NME"],
        "trained_on": "nothing",
        "max_atoms": 22,
        "lag_range_ps": (0.1, 10.0),
        "temperature_range_kelvin": (300.0, 300.0),
        "denoising_steps": SAMPLER.steps,
        "extra": {"sampler": SAMPLER.to_dict()},
    }
    save_model(path, made, declaration(**(values | declared)))
    return path
