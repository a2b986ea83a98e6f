"""Adapting a Cartesian model of heavy atoms: hydrogens are placed on what is judged."""

from __future__ import annotations

import dataclasses

import numpy as np
from adapt_cases import alanine_dynamics
from model_support import TINY_CARTESIAN, declaration, network

from atmos_openmm.adapting.adapt import AdaptSettings, adapt
from atmos_openmm.model.model_file import load_model, save_model
from atmos_openmm.model.sampler import default_sampler
from atmos_openmm.propagator import AtmosPropagator


def test_a_heavy_atom_model_is_adapted_and_judged_with_hydrogens(tmp_path) -> None:
    sampler = dataclasses.replace(default_sampler(TINY_CARTESIAN), steps=2)
    made = network(TINY_CARTESIAN)
    made.set_sampler(sampler)
    declared = declaration(
        name="heavy",
        atoms="heavy",
        elements=[6, 7],
        residues=["GLY"],
        trained_on="nothing",
        max_tokens=2,
        max_atoms=5,
        temperature_range_kelvin=(310.0, 320.0),
        denoising_steps=2,
        config=TINY_CARTESIAN.to_dict(),
        extra={"sampler": sampler.to_dict()},
    )
    save_model(tmp_path / "heavy.atmos", made, declared)
    dynamics, told = alanine_dynamics(), []
    found = adapt(
        dynamics,
        load_model(tmp_path / "heavy.atmos"),
        tmp_path / "out",
        AdaptSettings(steps=1, proposals=10, rollout_frames=20, lags_ps=(1.0,)),
        report=told.append,
    )
    numbers = {n.quantity.key: n for n in found.numbers}
    # Frames of dynamics pass with the System, hydrogens and all; random weights make nothing.
    assert numbers["usable@1"].oracle[0] == 1.0 and numbers["usable@1"].after[0] == 0.0
    assert np.isfinite(numbers["loss"].after[0]) and not found.helped
    written = load_model(tmp_path / "out" / "adapted.atmos").capabilities
    assert written.elements == [6, 7, 8] and written.atoms == "heavy"
    assert (written.max_tokens, written.max_atoms) == (6, 10)  # an atom of a cap is a token
    assert written.temperature_range_kelvin == (300.0, 320.0)
    assert any("atomic numbers [8]" in line for line in told)
    assert any("more than the model heavy was made for (2 and 5)" in line for line in told)
    frame = AtmosPropagator(
        tmp_path / "out" / "adapted.atmos", dynamics.topology, lag=1.0
    ).propagate(dynamics.reference_nm)
    assert np.asarray(frame._value).shape == (22, 3)
