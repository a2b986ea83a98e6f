"""Small rollouts that the tests share.

The tests that kill a rollout also execute this file as a program, so that it happens in a process
of its own.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import sampling_cases as cases
import torch
from model_support import TINY, declaration, network

from atmos_openmm.jump.identity import Identity

WIDE = 20_000
SEED = 11


class Wide(Identity):
    """A module with a large state that stays bounded, and frames that jitter a little."""

    def __init__(self, atoms: int, width: int):
        super().__init__(atoms)
        self.width: int = width

    @torch.jit.export
    def state_size(self) -> int:
        return self.width

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
        # Turned as a whole by a small angle, which superposition takes back.
        axis = 0.01 * noise[:, None, :].expand_as(positions)
        x = positions + torch.cross(axis, positions, dim=2)
        return x, 0.5 * state + 0.5 * torch.tanh(noise[:, :1]), torch.zeros_like(lag)


@lru_cache
def bound(kind: str) -> torch.jit.ScriptModule:
    """A bound module of the dipeptide: "torsion" (a third of frames fail), "network", "wide"."""
    if kind == "torsion":
        return cases.phi_module()
    if kind == "wide":
        return cases.script(Wide(22, WIDE))
    from atmos_openmm.model.bound import bind_network
    from atmos_openmm.systems.features import features_from_topology

    topology, _, positions = cases.dipeptide()
    features = features_from_topology(topology, positions=positions)
    return bind_network(network(), features.tensors(), TINY)


def model_file(folder: Path, **changes) -> Path:
    """A model file with random weights, for the dipeptide."""
    from atmos_openmm.model.model_file import save_model

    path = folder / "tiny.atmos"
    save_model(path, network(), declaration(**changes))
    return path


def rollout(folder: str | Path, module=None, kind: str = "torsion", **changes):
    """A small rollout of the dipeptide with two walkers; "network" keeps frames that fail."""
    from atmos_openmm.sampling import Rollout

    topology, _, positions = cases.dipeptide()
    arguments = {
        "temperature": 300.0,
        "lag": 50.0,
        "walkers": 2,
        "seed": SEED,
        "onInvalid": "keep" if kind == "network" else "retry",
        "commitSeconds": 0.0,
    }
    arguments.update(changes)
    return Rollout(topology, positions, module or bound(kind), folder, **arguments)


if __name__ == "__main__":
    # python rollout_cases.py KIND FOLDER FRAMES: a rollout that says each frame on stdout.
    with rollout(sys.argv[2], kind=sys.argv[1]) as made:
        made.run(int(sys.argv[3]), progress=lambda p: print("frame", p.frame, flush=True))
