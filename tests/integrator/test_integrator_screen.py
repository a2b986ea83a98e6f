"""The compiled screen against the Python one, test by test, on frames of random noise."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from integrator_support import no_screen

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes
from atmos_openmm.systems import screening

NUM_ATOMS = 9
PROPOSALS = 150

# A six-membered ring (0 to 5) that a chain 6-7-8 leaves at atom 0.
RING = (0, 1, 2, 3, 4, 5)
BONDS = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [0, 5], [0, 6], [6, 7], [7, 8]])


class _Shaker(Identity):
    """Adds noise of a given size (nm) to every coordinate."""

    def __init__(self, num_atoms: int, size: float) -> None:
        super().__init__(num_atoms)
        self.size = size

    @torch.jit.export
    def noise_size(self) -> int:
        return 3 * self.atoms

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        moved = positions + self.size * noise.reshape(positions.shape)
        return moved - moved.mean(dim=1, keepdim=True), state, torch.zeros(1)


def _start():
    angle = np.arange(6) * np.pi / 3
    ring = 0.14 * np.stack([np.cos(angle), np.sin(angle), 0.3 * (-1.0) ** np.arange(6)], axis=1)
    # The end of the chain is near the middle of the ring, so that noise makes it cross.
    chain = [[0.25, 0.0, 0.12], [0.14, 0.02, 0.17], [0.02, 0.03, 0.04]]
    return np.concatenate([ring, chain])


def _spec(**changes):
    return screening.ScreenSpec(
        **{
            **vars(no_screen(NUM_ATOMS)),
            "bonds": BONDS,
            "bond_lengths_nm": np.linalg.norm(
                _start()[BONDS[:, 0]] - _start()[BONDS[:, 1]], axis=1
            ),
            "bond_tolerance_nm": 10.0,
            **changes,
        }
    )


def _free_particles(masses, positions, others=(), box=None):
    """Particles without forces; the model's atoms first."""
    system = openmm.System()
    for mass in masses:
        system.addParticle(mass)
    for _ in others:
        system.addParticle(10.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(0.3)
        for _ in range(system.getNumParticles()):
            force.addParticle(0.0, 0.1, 0.0)
        system.addForce(force)
    return system, np.concatenate([positions, np.reshape(others, (-1, 3))])


def _records(spec, size, system, positions, model_atoms):
    """Proposals from one and the same frame: its energy turns each down at the latest."""
    integrator = AtmosIntegrator(0.0, 0.0, 1e-9)
    integrator.setModule(module_bytes(_Shaker(model_atoms, size)), range(model_atoms))
    integrator.setScreen(spec)
    integrator.setJumpInterval(1)
    integrator.setJumpSeed(3)
    integrator.setProposalRecording(PROPOSALS, True)
    # A window below every energy of a System without forces.
    integrator.setWindowStatistics(10**9, -1.0, 0.0)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    integrator.step(PROPOSALS + 1)
    records = integrator.takeProposals()
    assert len(records) == PROPOSALS
    return records


@pytest.mark.parametrize(
    "reason, size, changes",
    [
        ("bonds", 0.02, {"bond_tolerance_nm": 0.05}),
        (
            "chirality",
            0.04,
            {"chiral_centers": np.array([[0, 1, 5, 6]]), "chiral_signs": np.array([-1.0])},
        ),
        ("cis_trans", 0.05, {"cis_trans": np.array([[5, 0, 6, 7], [0, 6, 7, 8]])}),
        ("rings", 0.03, {"rings": (RING,)}),
        ("clash", 0.03, {"radii_nm": np.full(NUM_ATOMS, 0.13), "clash_factor": 0.55}),
    ],
)
def test_geometry_agrees_with_the_python_screen(reason, size, changes):
    spec = _spec(**changes)
    system, positions = _free_particles([12.0] * NUM_ATOMS, _start())
    records = _records(spec, size, system, positions, NUM_ATOMS)
    found = [record.reason for record in records]
    expected = [
        screening.screen(spec, record.positions_raw_nm, record.positions_before_nm)
        for record in records
    ]
    expected = ["energy" if verdict == "accepted" else verdict for verdict in expected]
    assert found == expected
    # The comparison means something only where the test decides both ways.
    assert set(found) == {reason, "energy"}
    assert min(found.count(reason), found.count("energy")) >= PROPOSALS // 20


def test_tests_come_in_their_order():
    # With every test on and much noise, the first that fails names the proposal in both screens.
    spec = _spec(
        bond_tolerance_nm=0.12,
        chiral_centers=np.array([[0, 1, 5, 6]]),
        chiral_signs=np.array([-1.0]),
        cis_trans=np.array([[5, 0, 6, 7]]),
        rings=(RING,),
        radii_nm=np.full(NUM_ATOMS, 0.13),
    )
    system, positions = _free_particles([12.0] * NUM_ATOMS, _start())
    records = _records(spec, 0.045, system, positions, NUM_ATOMS)
    for record in records:
        verdict = screening.screen(spec, record.positions_raw_nm, record.positions_before_nm)
        assert record.reason == ("energy" if verdict == "accepted" else verdict)
    assert len({record.reason for record in records}) >= 4


@pytest.mark.parametrize("periodic", [False, True])
def test_environment_agrees_with_all_distances(periodic):
    rng = np.random.default_rng(4)
    box = np.array([[1.0, 0.0, 0.0], [0.3, 0.9, 0.0], [-0.2, 0.25, 0.8]])
    others = rng.uniform(0, 1, (40, 3)) @ box
    start = _start() + 0.5 * box.sum(axis=0)
    spec = _spec(environment_distance_nm=0.15)
    # The nearest ones are left out, so that noise decides.
    near = np.linalg.norm(_images(others, start, box, periodic), axis=-1).min(axis=(0, 1))
    others = others[near > 0.16]
    # A solute that has drifted through several boxes sees the same surroundings.
    drift = np.array([2, -3, 1]) @ box if periodic else np.zeros(3)
    system, positions = _free_particles(
        [12.0] * NUM_ATOMS, start + drift, others, box if periodic else None
    )
    records = _records(spec, 0.03, system, positions, NUM_ATOMS)
    found = [record.reason for record in records]
    expected = []
    for record in records:
        delta = _images(others, record.positions_raw_nm - drift, box, periodic)
        close = np.linalg.norm(delta, axis=-1).min() < spec.environment_distance_nm
        expected.append("environment" if close else "energy")
    assert found == expected
    assert min(found.count("environment"), found.count("energy")) >= PROPOSALS // 20


def _images(others, solute, box, periodic):
    """Differences [images, atoms, others, 3] to every image within two boxes."""
    n = np.arange(-2, 3) if periodic else np.zeros(1)
    shifts = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 3) @ box
    return others[None, None] - solute[None, :, None] + shifts[:, None, None]
