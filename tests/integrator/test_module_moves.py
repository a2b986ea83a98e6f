"""Moves that a module proposes with its log_ratio: exact where the ratio is true."""

import math

import numpy as np
import openmm
import pytest
import torch
import torsion_cases as cases
from exact_cases import system_of_phi
from head_cases import head_network, molecule
from model_support import peptide
from torch import Tensor

from atmos_openmm.core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.model.bound_torsions import bind_torsions
from atmos_openmm.sampling.driver import HybridDriver

KT = GAS_CONSTANT_KJ_PER_MOL_K * 300.0
POTENTIAL = "6*(1-cos(t1-0.4))"


class Turn(torch.nn.Module):
    """Turns the last of four atoms, to a torsion from a normal around `centre` or from anywhere.

    `wrong` is added to what it says of the density (in nats) on the side of positive torsions.
    """

    centre: float
    width: float
    wrong: float
    state: int
    fault: str

    def __init__(
        self, centre: float, width: float, wrong: float = 0.0, state: int = 0, fault: str = ""
    ) -> None:
        super().__init__()
        self.centre, self.width, self.wrong = centre, width, wrong
        self.state, self.fault = state, fault

    @torch.jit.export
    def num_atoms(self) -> int:
        return 4

    @torch.jit.export
    def state_size(self) -> int:
        return self.state

    @torch.jit.export
    def noise_size(self) -> int:
        return 2

    def torsion(self, x: Tensor) -> Tensor:
        a, b, c = x[:, 1] - x[:, 0], x[:, 2] - x[:, 1], x[:, 3] - x[:, 2]
        first, second = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
        sine = b.norm(2, dim=-1) * (a * second).sum(-1)
        return torch.atan2(sine, (first * second).sum(-1))

    def log_q(self, t: Tensor) -> Tensor:
        total = torch.full_like(t, 0.5 / 6.283185307179586)
        for image in range(-3, 4):
            z = (t - self.centre + 6.283185307179586 * image) / self.width
            total = total + 0.5 * torch.exp(-0.5 * z * z) / (self.width * 2.5066282746310002)
        return torch.log(total) + self.wrong * (t > 0.0).to(t.dtype)

    @torch.jit.export
    def propagate(
        self, positions: Tensor, state: Tensor, noise: Tensor, lag: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, z = positions.double(), noise.double()
        anywhere = 3.141592653589793 * torch.erf(z[:, 1] / 1.4142135623730951)
        new = torch.where(z[:, 0] > 0.0, self.centre + self.width * z[:, 1], anywhere)
        old = self.torsion(x)
        axis = x[:, 2] - x[:, 1]
        axis = axis / axis.norm(2, dim=-1, keepdim=True)
        arm = x[:, 3] - x[:, 2]
        along = axis * (axis * arm).sum(-1, keepdim=True)
        turn = (new - old).unsqueeze(-1)
        turned = along + torch.cos(turn) * (arm - along)
        turned = turned + torch.sin(turn) * torch.linalg.cross(axis, arm)
        after = torch.cat([x[:, :3], (x[:, 2] + turned).unsqueeze(1)], dim=1)
        new = self.torsion(after)
        ratio = self.log_q(old) - self.log_q(new)
        if self.fault == "stretched":
            after = after * 1.01
        if self.fault == "nan":
            ratio = ratio * float("nan")
        # Turned as a whole, as any orientation will do.
        after = torch.stack([-after[..., 1], after[..., 0], after[..., 2]], dim=-1)
        return after.to(positions.dtype), state, ratio.to(positions.dtype)


def turner(*arguments, **more):
    return torch.jit.script(Turn(*arguments, **more).eval())


def chain_run(engine, module, interval=2, moves=3):
    torsions = cases.chain_torsions(4, (1,))
    system = cases.chain(4, POTENTIAL)
    start = cases.chain_positions([1.5])
    return cases.ExactRun(
        engine, system, start, torsions, None, interval=interval, moves=moves, module=module
    )


def energy(t):
    return 6 * (1 - np.cos(t - 0.4))


FUNCTIONS = [lambda t: (t > 0) & (t < 1), lambda t: t < 0, np.cos, np.sin, lambda t: np.cos(2 * t)]


@pytest.mark.parametrize("engine", cases.ENGINES)
def test_averages_are_right_for_a_module_that_prefers_the_wrong_side(engine):
    run = chain_run(engine, turner(-1.2, 0.7))
    t = run.sample(2000)[:, 0]
    for f, expected in zip(FUNCTIONS, cases.quadrature(energy, FUNCTIONS), strict=True):
        cases.assert_agrees(f(t), expected)
    proposed, accepted = run.tests()
    assert proposed == 3 * (2100 - 1) and 0.1 < accepted / proposed < 0.9


@pytest.mark.parametrize("wrong", [0.5, -0.5])
def test_a_log_ratio_that_is_wrong_by_half_a_kt_is_seen(wrong):
    # On the way from positive torsions log_ratio is larger by that: they are left more often than
    # they should be, and the log odds of that side fall by just as much.
    run = chain_run("compiled", turner(-1.2, 0.7, wrong), interval=1, moves=4)
    t = run.sample(2500)[:, 0]
    (share,) = cases.quadrature(energy, [lambda t: t > 0])
    odds = math.log(share / (1 - share)) - wrong
    shifted = 1 / (1 + math.exp(-odds))
    mean, error = cases.estimate(t > 0)
    # Dynamics in between, of a femtosecond or two, pulls towards the true share; what it does is
    # little beside four moves.
    assert abs(mean - shifted) < abs(mean - share) / 3
    assert abs(mean - share) > cases.WIDE * error


def test_the_head_of_a_network_is_exact_in_the_integrator():
    topology, system, positions, torsions = system_of_phi(5.0)
    features = molecule("ACE-ALA-NME")[0]
    atoms = peptide("ACE-ALA-NME")[0].atom_indices
    module = bind_torsions(
        head_network(), features, torsions, torsions.groups, atoms, cases.LAG_PS, 300.0
    )
    run = cases.ExactRun(
        "compiled", system, positions, torsions, None, interval=2, moves=2, step_ps=0.001,
        module=module,
    )  # fmt: skip
    t = run.sample(2000)
    functions = [lambda t: t > 0, np.cos, np.sin]
    for f, expected in zip(
        functions, cases.quadrature(lambda t: 5 * (1 - np.cos(t + 0.8)), functions), strict=True
    ):
        cases.assert_agrees(f(t[:, 0]), expected)
    cases.assert_agrees(np.cos(t[:, 1]), 0.0)
    proposed, accepted = run.tests()
    assert accepted / proposed > 0.05


def test_the_two_engines_agree():
    # One after the other: on Reference all Contexts of a process share one random generator, which
    # the creation of a Context seeds.
    ends, tests = [], []
    for engine in ("driver", "compiled"):
        run = chain_run(engine, turner(-1.2, 0.7))
        for _ in range(20):
            run.advance()
        ends.append(run.positions())
        tests.append(run.tests())
    assert tests[0] == tests[1] and 0 < tests[0][1] < tests[0][0]
    # The module rounds to 6e-8 nm, and 40 fs of dynamics follow.
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize("fault, reason", [("stretched", "constraints"), ("nan", "nonfinite")])
def test_a_frame_that_cannot_be_tested_is_turned_down_and_counted(engine, fault, reason):
    torsions = cases.chain_torsions(4, (1,))
    system = cases.chain(4, POTENTIAL)
    for k in range(3):
        system.addConstraint(k, k + 1, _length(cases.chain_positions([1.5]), k))
    run = cases.ExactRun(
        engine, system, cases.chain_positions([1.5]), torsions, None, interval=2, moves=3,
        module=turner(-1.2, 0.7, 0.0, 0, fault),
    )  # fmt: skip
    for _ in range(5):
        run.advance()
    assert run.tests() == (12, 0)
    if engine == "driver":
        assert run._actor.getReasons() == {reason: 12}
    else:
        assert run.integrator.getRejections() == {reason: 12}


def _length(x, k):
    return float(np.linalg.norm(x[k + 1] - x[k]))


def test_a_module_with_a_memory_is_refused():
    module = turner(-1.2, 0.7, 0.0, 3)
    with pytest.raises(openmm.OpenMMException, match="remembers a state of 3 numbers"):
        chain_run("compiled", module)
    with pytest.raises(ValueError, match="remembers a state of 3 numbers"):
        chain_run("driver", module)


def test_a_module_needs_a_lag_in_the_driver():
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
    context = openmm.Context(cases.chain(4), integrator, openmm.Platform.getPlatform("Reference"))
    with pytest.raises(ValueError, match="no lag for it"):
        HybridDriver(context, turner(0.0, 1.0), acceptance="metropolis")


def test_without_module_and_torsions_the_integrator_says_so():
    integrator = AtmosIntegrator(300.0, 1.0, 0.002)
    integrator.setAcceptanceMode("metropolis")
    integrator.setJumpInterval(5)
    platform = openmm.Platform.getPlatform("Reference")
    with pytest.raises(openmm.OpenMMException, match="no torsions to move: call setTorsionMoves"):
        openmm.Context(cases.chain(4), integrator, platform)
