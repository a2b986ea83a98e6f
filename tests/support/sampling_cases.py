"""Small Systems and bound modules that the sampling tests share.

The test that kills a run also executes this file as a program, so that the run happens in a process
of its own.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import app, unit

from atmos_openmm.jump.identity import Identity

STEP_PS = 0.002


class TorsionJump(Identity):
    """Turns part of a molecule about one bond, then the whole at random.

    A jump keeps every bond length and angle. One proposal in a few is spoilt with noise, so that
    runs hold rejections. The state remembers the last angle and shifts the next, so that a state
    that is not restored shows in the trajectory.
    """

    def __init__(
        self,
        axis: tuple[int, int],
        moving: list[bool],
        spoil: float,
        width: float,
        noise_nm: float = 0.05,
    ):
        super().__init__(len(moving))
        self.register_buffer("moving", torch.tensor(moving))
        self.first: int = axis[0]
        self.second: int = axis[1]
        self.spoil: float = spoil
        self.width: float = width
        self.noise_nm: float = noise_nm

    @torch.jit.export
    def state_size(self) -> int:
        return 2

    @torch.jit.export
    def noise_size(self) -> int:
        return 6 + 3 * self.atoms

    def turn(self, x: torch.Tensor, axis: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Rodrigues' rotation of x [B, A, 3] about unit axes [B, 3] by angles [B]."""
        k = axis[:, None, :].expand_as(x)
        cos = torch.cos(angle)[:, None, None]
        sin = torch.sin(angle)[:, None, None]
        return x * cos + torch.cross(k, x, dim=2) * sin + k * (k * x).sum(2, True) * (1 - cos)

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        angle = self.width * noise[:, 0] + 0.1 * state[:, 0]
        origin = positions[:, self.second]
        axis = origin - positions[:, self.first]
        axis = axis / torch.linalg.vector_norm(axis, 2.0, [1], True)
        turned = self.turn(positions - origin[:, None], axis, angle) + origin[:, None]
        x = torch.where(self.moving[None, :, None], turned, positions)
        spoilt = (noise[:, 1] < self.spoil).to(x.dtype)[:, None, None]
        x = x + self.noise_nm * spoilt * noise[:, 6:].reshape(x.shape)
        tumble = noise[:, 2:5] / torch.linalg.vector_norm(noise[:, 2:5], 2.0, [1], True)
        x = self.turn(x, tumble, math.pi * noise[:, 5])
        return x, torch.stack([angle, state[:, 1] + 1.0], dim=1), noise[:, 0] - noise[:, 1]


class Fixed(Identity):
    """Answers in one hard-wired way: for adversarial cases."""

    def __init__(self, atoms: int, kind: str, noise: int = 1):
        super().__init__(atoms)
        self.kind: str = kind
        self.noise: int = noise

    @torch.jit.export
    def state_size(self) -> int:
        return 1

    @torch.jit.export
    def noise_size(self) -> int:
        return self.noise

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = positions
        if self.kind == "nan":
            x = x * float("nan")
        elif self.kind == "nan state":
            state = state * float("nan")
        elif self.kind == "far":
            x = x + 100.0
        elif self.kind == "coincident":
            x = x * 0.0
        elif self.kind == "squeezed":
            x = 0.5 * x
        elif self.kind == "mirrored":
            x = x * torch.tensor([1.0, 1.0, -1.0])
        elif self.kind == "shape":
            x = x[:, :-1]
        elif self.kind == "state shape":
            state = torch.zeros(x.shape[0], 5)
        elif self.kind == "raise":
            raise ValueError("the propagator is out of order")
        return x, state + 1.0, torch.zeros(x.shape[0])


def script(module: torch.nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.script(module.eval())


@lru_cache
def dipeptide() -> tuple[app.Topology, openmm.System, np.ndarray]:
    """Alanine dipeptide in vacuum (0.05 ms a step on Reference), minimised."""
    from atmos_openmm.systems.peptides import build_peptide

    topology, positions = build_peptide("ACE-ALA-NME")
    system = app.ForceField("amber14-all.xml").createSystem(
        topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.amu
    )
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    positions = context.getState(positions=True).getPositions(asNumpy=True)._value
    return topology, system, np.array(positions)


def phi_module(
    spoil: float = -0.5, width: float = 0.3, noise_nm: float = 0.05
) -> torch.jit.ScriptModule:
    """A TorsionJump about phi (N-CA) of the dipeptide."""
    topology, _, _ = dipeptide()
    atoms = list(topology.atoms())
    n = next(a.index for a in atoms if a.name == "N" and a.residue.name == "ALA")
    ca = next(a.index for a in atoms if a.name == "CA")
    neighbours: dict[int, set[int]] = {a.index: set() for a in atoms}
    for bond in topology.bonds():
        neighbours[bond[0].index].add(bond[1].index)
        neighbours[bond[1].index].add(bond[0].index)
    moving, shell = {ca}, {ca}
    while shell:
        shell = {k for i in shell for k in neighbours[i]} - moving - {n}
        moving |= shell
    flags = [a.index in moving for a in atoms]
    return script(TorsionJump((n, ca), flags, spoil, width, noise_nm))


@lru_cache
def screen():
    from atmos_openmm.systems.features import features_from_topology
    from atmos_openmm.systems.screening import build_screen

    topology, system, positions = dipeptide()
    return build_screen(features_from_topology(topology, positions=positions), topology, system)


def context(integrator: openmm.Integrator, seed: int = 1) -> openmm.Context:
    """A Reference Context of the dipeptide with velocities at 300 K."""
    _, system, positions = dipeptide()
    made = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    made.setPositions(positions)
    made.setVelocitiesToTemperature(300.0, seed)
    return made


def langevin(seed: int = 7) -> openmm.LangevinMiddleIntegrator:
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(seed)
    return integrator


def phase_point(made: openmm.Context) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities [P, 3] in nm and nm/ps."""
    state = made.getState(positions=True, velocities=True)
    return (
        np.array(state.getPositions(asNumpy=True)._value),
        np.array(state.getVelocities(asNumpy=True)._value),
    )


def hybrid_sampler(folder: str | Path, module=None, **changes):
    """A small hybrid run on Reference: two walkers, ten steps between jumps."""
    from atmos_openmm.sampling.hybrid import HybridSampler

    topology, system, positions = dipeptide()
    arguments = {
        "temperature": 300.0,
        "stepSize": STEP_PS,
        "walkers": 2,
        "jumpInterval": 10,
        "reportInterval": 5,
        "lag": 50.0,
        "windowSamples": 4,
        "seed": 11,
        "platform": "Reference",
        "minimize": False,
        "equilibrationSteps": 20,
        "commitSeconds": 0.0,
    }
    arguments.update(changes)
    return HybridSampler(topology, system, positions, module or phi_module(), folder, **arguments)


if __name__ == "__main__":
    # python sampling_cases.py FOLDER CYCLES: a run that says each cycle on stdout.
    with hybrid_sampler(sys.argv[1]) as sampler:
        sampler.run(cycles=int(sys.argv[2]), progress=lambda p: print("cycle", p.cycle, flush=True))
