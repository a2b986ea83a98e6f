"""A validation of frames with known faults, and its page."""

from __future__ import annotations

import numpy as np
import pytest
import validation_cases as cases

SEQUENCE = "AGV"


@pytest.fixture(scope="session")
def frames():
    """Twelve frames of dynamics; 3 has a stretched bond, 5 a mirrored centre, 8 lost an atom."""
    topology, _, _ = cases.peptide(SEQUENCE)
    x = cases.dynamics(SEQUENCE, 40)[:12].copy()
    ca, cb = cases.atom(topology, "VAL", "CA"), cases.atom(topology, "VAL", "CB")
    x[3] = cases.stretched(topology, x[3], ca, cb, 0.1)
    x[5] = x[5] * [-1, 1, 1]
    x[8, 4] = np.nan
    return x


@pytest.fixture(scope="session")
def report(frames):
    topology, system, minimum = cases.peptide(SEQUENCE)
    from atmos_openmm.validation import EnergyValidator

    validator = EnergyValidator(
        topology,
        system,
        reference=cases.dynamics(SEQUENCE, 40)[12:],
        relaxationIterations=5,
        nativePositions=minimum,
    )
    return validator.validateTrajectory(frames, keepFrames=False)


@pytest.fixture(scope="session")
def page(frames, report, tmp_path_factory):
    pytest.importorskip("matplotlib")
    from atmos_openmm.report.validation_page import write_validation_page

    topology, system, minimum = cases.peptide(SEQUENCE)
    return write_validation_page(
        report,
        tmp_path_factory.mktemp("page") / "report.html",
        topology,
        frames,
        system=system,
        native_nm=minimum,
        reference_frames=cases.dynamics(SEQUENCE, 40)[12:],
        command="atmos-openmm validate <x>.",
    )
