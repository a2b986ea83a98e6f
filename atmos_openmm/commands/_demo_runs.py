"""The three runs of `atmos-openmm demo`: exact, filtered and plain MD, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.exact_turns import ExactFrames, ExactTurns, read_exact_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..density import TorsionDensity
    from ..evaluation.side_by_side import HybridFrames, Turns
    from ..propagator import AtmosPropagator

SEQUENCE = "ACE-ALA-NME"
TEMPERATURE_K = 300.0
STEP_PS = 0.004
JUMP_INTERVAL = 100
FRAME_STEPS = 50
RELAXATION = (20,)
#: Of the exact run.
EXACT_INTERVAL = 10
WALKERS = 2
LEAST_CYCLES = 20

Say = Callable[[str, bool], None]


@dataclass(frozen=True)
class ThreeRuns:
    """What the runs left.

    Attributes
    ----------
    exact : ExactFrames
    exact_turns : ExactTurns
    density : TorsionDensity
        What the exact run drew torsions from.
    density_seconds : float
        Wall-clock time that it took to make.
    exact_moves : (int, int)
        Series of trial moves, and those of them that were accepted.
    hybrid : HybridFrames
    turns : Turns
        Of the filtered run and MD.
    energy_limit : float
        Upper edge of the filter's window, kJ/mol.
    """

    exact: ExactFrames
    exact_turns: ExactTurns
    density: TorsionDensity
    density_seconds: float
    exact_moves: tuple[int, int]
    hybrid: HybridFrames
    turns: Turns
    energy_limit: float


def three_runs(
    topology: Any,
    system: Any,
    positions_nm: NDArray[Any],
    propagator: AtmosPropagator,
    output: Path,
    seconds: float,
    seed: int,
    say: Say,
) -> ThreeRuns:
    """Run all three for the same wall-clock time each, in turns of a few seconds."""
    from openmm import unit

    from ..evaluation.side_by_side import plain_md_context, read_hybrid_frames, run_in_turns
    from ..jump.torsion_moves import SERIES
    from ..sampling.exact_storage import read_exact_run
    from ..sampling.hybrid import HybridSampler

    shared: dict[str, Any] = {
        "temperature": TEMPERATURE_K,
        "stepSize": STEP_PS,
        "seed": seed,
        "platform": "CPU",
        "threads": 1,
    }
    start = positions_nm * unit.nanometer
    exact_turns = ExactTurns(time.perf_counter())
    density = _density(topology, system, positions_nm)
    density_seconds = exact_turns.seconds
    # Minimising and equilibrating the starts is in the clock of none of the runs.
    exact_turns.pause()
    with HybridSampler(
        topology,
        system,
        start,
        None,
        output / "exact",
        acceptance="metropolis",
        density=density,
        jumpInterval=EXACT_INTERVAL,
        walkers=WALKERS,
        **shared,
    ) as exact:
        with HybridSampler(
            topology,
            system,
            start,
            propagator,
            output / "hybrid",
            jumpInterval=JUMP_INTERVAL,
            reportInterval=FRAME_STEPS,
            relaxation=RELAXATION,
            **shared,
        ) as filtered:
            md = plain_md_context(filtered, seed=seed)
            say(f"Exact run, filtered run and plain MD in turns, {seconds:.0f} s each", True)

            def progress(clock: float, state: Any) -> None:
                exact_turns.run(exact, min(clock, seconds))
                done = f"{state.reasons['accepted']} of {state.proposed} proposals accepted"
                if not state.proposed:
                    done = "learning the energy window"
                say(
                    f"  {clock:5.0f} of {seconds:.0f} s   {exact.cycle} exact cycles   {done}",
                    False,
                )

            turns = run_in_turns(
                filtered, md, seconds=seconds, frame_steps=FRAME_STEPS, progress=progress
            )
            limit = filtered.walkers[0].energy_limit
        exact_turns.run(exact, turns.hybrid_seconds, LEAST_CYCLES)
    return ThreeRuns(
        read_exact_frames(output / "exact", exact_turns),
        exact_turns,
        density,
        density_seconds,
        read_exact_run(output / "exact").counts().get(SERIES, (0, 0)),
        read_hybrid_frames(output / "hybrid", turns, topology),
        turns,
        limit,
    )


def _density(topology: Any, system: Any, positions_nm: NDArray[Any]) -> TorsionDensity:
    """The density of the bundled torsion head, which needs no frames."""
    from ..model.bundled import TORSION_MODEL
    from ..propagator import AtmosPropagator
    from ..systems.torsions import find_torsions

    propagator = AtmosPropagator(
        TORSION_MODEL, topology, positions=positions_nm, temperature=TEMPERATURE_K
    )
    return propagator.torsionDensity(torsions=find_torsions(topology, system=system))
