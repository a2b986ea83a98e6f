"""A small molecule and small TorchScript modules for the tests of the integrator."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import openmm
import torch
from openmm import unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes
from atmos_openmm.systems.screening import ScreenSpec

TEMPERATURE = 300.0
STEP_PS = 0.002
LAG_PS = 50.0

# A chiral centre 0 with the neighbours 1 to 4, and a hydrogen 5 on 4 whose bond is constrained.
# Turning 5 about the bond 0-4 changes nothing but a weak torsion.
MASSES = (12.0, 14.0, 16.0, 19.0, 12.0, 1.0)
BONDS = ((0, 1), (0, 2), (0, 3), (0, 4), (4, 5))
BOND_LENGTHS = (0.15, 0.15, 0.15, 0.15, 0.11)
ANGLES = ((1, 0, 2), (1, 0, 3), (1, 0, 4), (2, 0, 3), (2, 0, 4), (3, 0, 4), (0, 4, 5))
TETRAHEDRAL = math.acos(-1.0 / 3.0)
NUM_ATOMS = len(MASSES)


def molecule_positions() -> np.ndarray:
    """Positions [6, 3] in nm with every bond and angle at its reference."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
    positions = np.zeros((NUM_ATOMS, 3))
    positions[1:5] = 0.15 * corners
    positions[5] = positions[4] - 0.11 * corners[0]
    return positions


def add_molecule(system: openmm.System) -> None:
    """Add the molecule's particles and the forces inside it to a System."""
    first = system.getNumParticles()
    for mass in MASSES:
        system.addParticle(mass)
    bonds = openmm.HarmonicBondForce()
    for (i, j), length in zip(BONDS[:-1], BOND_LENGTHS[:-1], strict=True):
        bonds.addBond(first + i, first + j, length, 2.0e5)
    system.addConstraint(first + 4, first + 5, BOND_LENGTHS[-1])
    angles = openmm.HarmonicAngleForce()
    for i, j, k in ANGLES:
        angles.addAngle(first + i, first + j, first + k, TETRAHEDRAL, 400.0)
    torsion = openmm.PeriodicTorsionForce()
    torsion.addTorsion(first + 1, first, first + 4, first + 5, 3, 0.0, 3.0)
    for force in (bonds, angles, torsion):
        system.addForce(force)


def molecule_system() -> openmm.System:
    """The molecule alone, in vacuum."""
    system = openmm.System()
    add_molecule(system)
    return system


def molecule_screen(**changes: object) -> ScreenSpec:
    """The screen of the molecule; any field can be replaced."""
    x = molecule_positions()
    volume = np.dot(x[1] - x[0], np.cross(x[2] - x[0], x[3] - x[0]))
    fields: dict = {
        "bonds": np.array(BONDS, dtype=np.int64),
        "bond_lengths_nm": np.array(BOND_LENGTHS),
        "chiral_centers": np.array([[0, 1, 2, 3]], dtype=np.int64),
        "chiral_signs": np.array([np.sign(volume)]),
        "cis_trans": np.zeros((0, 4), dtype=np.int64),
        "rings": (),
        "radii_nm": np.array([0.17, 0.155, 0.152, 0.147, 0.17, 0.12]),
    }
    return ScreenSpec(**{**fields, **changes})


def no_screen(num_atoms: int) -> ScreenSpec:
    """A screen that checks nothing of the geometry."""
    return ScreenSpec(
        bonds=np.zeros((0, 2), dtype=np.int64),
        bond_lengths_nm=np.zeros(0),
        chiral_centers=np.zeros((0, 4), dtype=np.int64),
        chiral_signs=np.zeros(0),
        cis_trans=np.zeros((0, 4), dtype=np.int64),
        rings=(),
        radii_nm=np.zeros(num_atoms),
    )


class Rotor(Identity):
    """Turns atom 5 about the bond 0-4 and the whole frame about z; sometimes stretches a bond.

    The angle depends on the noise and on the state; the state decays and takes up noise. A large
    first noise stretches the constrained bond beyond the screen, so that runs hold accepted and
    rejected jumps.
    """

    def __init__(self, num_atoms: int = NUM_ATOMS, reject_above: float = 1.0) -> None:
        super().__init__(num_atoms)
        self.reject_above = reject_above

    @torch.jit.export
    def state_size(self) -> int:
        return 2

    @torch.jit.export
    def noise_size(self) -> int:
        return 3

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        axis = positions[:, 4] - positions[:, 0]
        axis = axis / torch.linalg.vector_norm(axis, dim=1, keepdim=True)
        arm = positions[:, 5] - positions[:, 4]
        angle = (2.0 * noise[:, 0] + state[:, 0]).unsqueeze(1)
        along = (arm * axis).sum(dim=1, keepdim=True) * axis
        turned = (
            along
            + torch.cos(angle) * (arm - along)
            + torch.sin(angle) * torch.linalg.cross(axis, arm)
        )
        stretch = 1.0 + 2.0 * (noise[:, 1] > self.reject_above).to(positions.dtype).unsqueeze(1)
        moved = positions.clone()
        moved[:, 5] = positions[:, 4] + stretch * turned
        c = torch.cos(noise[:, 2])
        s = torch.sin(noise[:, 2])
        frame = torch.stack(
            [
                c.unsqueeze(1) * moved[:, :, 0] - s.unsqueeze(1) * moved[:, :, 1],
                s.unsqueeze(1) * moved[:, :, 0] + c.unsqueeze(1) * moved[:, :, 1],
                moved[:, :, 2],
            ],
            dim=2,
        )
        new_state = 0.5 * state + 0.5 * noise[:, :2]
        return frame, new_state, 0.1 * noise[:, 0]


@cache
def rotor_bytes() -> bytes:
    """The archive of a Rotor, scripted once."""
    return module_bytes(Rotor())


def make_integrator(
    module: bytes | None = None, *, interval: int = 10, mode: str = "none", seed: int = 7
) -> AtmosIntegrator:
    """An integrator for the molecule; with the Rotor unless another module is given."""
    integrator = AtmosIntegrator(
        TEMPERATURE * unit.kelvin, 1.0 / unit.picosecond, STEP_PS * unit.picosecond
    )
    integrator.setRandomNumberSeed(11)
    integrator.setModule(rotor_bytes() if module is None else module, range(NUM_ATOMS))
    integrator.setScreen(molecule_screen())
    integrator.setJumpInterval(interval)
    integrator.setLag(LAG_PS)
    integrator.setAcceptanceMode(mode)
    integrator.setWindowSamples(5)
    integrator.setJumpSeed(seed)
    return integrator


def make_context(integrator: openmm.Integrator, platform: str = "Reference") -> openmm.Context:
    """A Context of the molecule with positions and velocities."""
    context = openmm.Context(
        molecule_system(), integrator, openmm.Platform.getPlatformByName(platform)
    )
    context.setPositions(molecule_positions())
    context.setVelocitiesToTemperature(TEMPERATURE, 3)
    return context


def phase_point(context: openmm.Context) -> np.ndarray:
    """Positions and velocities of a Context, [2, N, 3]."""
    state = context.getState(positions=True, velocities=True)
    return np.array(
        [
            state.getPositions(asNumpy=True)._value,
            state.getVelocities(asNumpy=True)._value,
        ]
    )
