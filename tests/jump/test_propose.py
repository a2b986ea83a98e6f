"""One call of a bound module: centring, noise by number, superposition, frames that are broken."""

import numpy as np
import pytest
import sampling_cases as cases

from atmos_openmm.core.geometry import centroid, superpose
from atmos_openmm.jump.module_call import call_module
from atmos_openmm.jump.noise import proposal_noise
from atmos_openmm.jump.propose import propose_frames

LAG_PS, TEMPERATURE_K = 10.0, 300.0


def frames_of_dipeptide(count):
    _, _, positions = cases.dipeptide()
    shaken = 0.002 * np.random.default_rng(2).normal(size=(count, 22, 3))
    return positions + shaken + [[[3.0, -1.0, 2.0]]]


def test_frames_are_centred_called_and_superposed():
    module, before = cases.phi_module(), frames_of_dipeptide(1)
    states = np.zeros((1, 2), np.float32)
    found = propose_frames(module, before, states, [(7, 4)], LAG_PS, TEMPERATURE_K)
    centred = (before[0] - centroid(before[0])).astype(np.float32)[None]
    noise = proposal_noise(7, 4, 6 + 3 * 22)[None]
    raw, new_states, log_ratios = call_module(module, centred, states, noise, LAG_PS, TEMPERATURE_K)
    np.testing.assert_array_equal(found.centred_nm, raw)
    np.testing.assert_array_equal(found.states, new_states)
    np.testing.assert_array_equal(found.log_ratios, log_ratios)
    np.testing.assert_array_equal(found.positions_nm[0], superpose(raw[0], before[0]))
    np.testing.assert_allclose(centroid(found.positions_nm), centroid(before), atol=1e-12)


def test_each_frame_takes_its_own_noise():
    module, before = cases.phi_module(), np.repeat(frames_of_dipeptide(1), 3, axis=0)
    states = np.zeros((3, 2), np.float32)
    draws = [(7, 4), (7, 5), (8, 4)]
    found = propose_frames(module, before, states, draws, LAG_PS, TEMPERATURE_K).centred_nm
    for row, draw in enumerate(draws):
        alone = propose_frames(
            module, before[:1], states[:1], [draw], LAG_PS, TEMPERATURE_K
        ).centred_nm
        # Batched tensor arithmetic in single precision (6e-8 relative, 0.5 nm).
        np.testing.assert_allclose(found[row], alone[0], atol=1e-6)
    assert all(np.abs(found[0] - found[row]).max() > 1e-3 for row in (1, 2))


def test_frames_that_are_not_finite_have_no_place():
    before = frames_of_dipeptide(2)
    states = np.zeros((2, 1), np.float32)
    module = cases.script(cases.Fixed(22, "nan"))
    found = propose_frames(module, before, states, [(1, 0)] * 2, LAG_PS, TEMPERATURE_K)
    assert not np.isfinite(found.centred_nm).all(axis=(1, 2)).any()
    assert np.isnan(found.positions_nm).all()
    with pytest.raises(RuntimeError, match="out of order"):
        propose_frames(
            cases.script(cases.Fixed(22, "raise")), before, states, [(1, 0)] * 2, 1.0, 300.0
        )
