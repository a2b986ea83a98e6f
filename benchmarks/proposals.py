"""Quality of raw proposals: how many generated frames a force field would take.

For each trajectory file, frames of its coldest temperature are origins of one jump each. A
proposal is superposed, screened, constrained, and its energy compared with the window of MD:
mean + 6 standard deviations of the energies of frames of the file. Then the cheapest relaxation
stage is applied to what is outside.

    python benchmarks/proposals.py remd/*.h5 --model capped-amino-acids --proposals 100

Printed for each molecule: the share of proposals that pass the screen, the share in the window
after constraints only and after relaxation, the share right-handed at every stereocentre, the
median energy above the MD mean, the share that crosses phi = 0, and the cost of a proposal.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402
import openmm  # noqa: E402
import torch  # noqa: E402
from openmm import unit  # noqa: E402

from atmos_openmm.evaluation.atoms import AtomTable  # noqa: E402
from atmos_openmm.evaluation.torsions import find_torsions  # noqa: E402
from atmos_openmm.propagator import AtmosPropagator  # noqa: E402
from atmos_openmm.systems.features import features_from_topology  # noqa: E402
from atmos_openmm.systems.screening import build_screen, screen  # noqa: E402
from atmos_openmm.trajectories.layout import TrajectoryFile  # noqa: E402

WINDOW_SD = 6.0


def measure(path: Path, model: str, proposals: int, lag_ps: float, stage: int, seed: int) -> dict:
    """Measure the proposals for the molecule of one trajectory file."""
    rng = np.random.default_rng(seed)
    with TrajectoryFile(path) as file:
        coldest = min(t.temperature_kelvin for t in file.trajectories)
        frames = np.concatenate(
            [t.positions() for t in file.trajectories if t.temperature_kelvin == coldest]
        ).astype(float)
        topology, system, name = file.topology, file.system, file.name
    propagator = AtmosPropagator(model, topology, positions=frames[0], seed=seed)
    features = features_from_topology(topology, positions=frames[0])
    spec = build_screen(features, topology, system)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(
        system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}
    )

    def energy(positions_nm: np.ndarray | None = None) -> float:
        if positions_nm is not None:
            context.setPositions(positions_nm)
            context.applyConstraints(1e-6)
        state = context.getState(energy=True)
        return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)

    picked = frames[rng.choice(len(frames), 200)]
    reference = np.array([energy(x) for x in picked])
    limit = reference.mean() + WINDOW_SD * reference.std()
    origins = frames[rng.choice(len(frames), proposals)]
    propagator.propagate(origins[:2], lag=lag_ps, temperature=coldest, attempt=0)
    begun = time.perf_counter()
    made = propagator.propagate(origins, lag=lag_ps, temperature=coldest, attempt=0)
    batch_ms = 1e3 * (time.perf_counter() - begun) / proposals
    singles = []
    for k in range(6):
        begun = time.perf_counter()
        propagator.propagate(origins[k], lag=lag_ps, temperature=coldest, attempt=k)
        singles.append(1e3 * (time.perf_counter() - begun))
    made_nm = np.asarray(made.value_in_unit(unit.nanometer))
    reasons: dict[str, int] = {}
    raw, relaxed, right, excess = 0, 0, 0, []
    for new, old in zip(made_nm, origins, strict=True):
        reason = screen(spec, new, old)
        reasons[reason] = reasons.get(reason, 0) + 1
        right += screen(spec, new, old, only=["chirality"]) == "accepted"
        if reason != "accepted":
            continue
        value = energy(new)
        excess.append(value - reference.mean())
        if value <= limit:
            raw += 1
            relaxed += 1
            continue
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, stage)
        after = context.getState(positions=True).getPositions(asNumpy=True)
        kept = screen(spec, after.value_in_unit(unit.nanometer), old) == "accepted"
        relaxed += energy() <= limit and kept
    torsions = find_torsions(AtomTable.from_openmm(topology))
    phi_new, phi_ref = (torsions.phi_psi(x)[0].ravel() for x in (made_nm, frames))
    return {
        "molecule": name,
        "screened": reasons.get("accepted", 0) / proposals,
        "raw_in_window": raw / proposals,
        "relaxed_in_window": relaxed / proposals,
        "right_handed": right / proposals,
        "median_excess_kj_per_mol": float(np.median(excess)) if excess else float("nan"),
        "md_sd_kj_per_mol": float(reference.std()),
        "phi_positive": float((phi_new > 0).mean()),
        "phi_positive_md": float((phi_ref > 0).mean()),
        "ms_single": float(np.median(singles)),
        "ms_batch": batch_ms,
        "reasons": reasons,
    }


def main() -> None:
    """Print a row a molecule."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="trajectory files (.h5)")
    parser.add_argument("--model", default="capped-amino-acids")
    parser.add_argument("--proposals", type=int, default=100)
    parser.add_argument("--lag-ps", type=float, default=3000.0)
    parser.add_argument("--stage", type=int, default=20, help="minimiser iterations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(
        f"{'molecule':<14}{'screened':>9}{'raw':>6}{'relaxed':>8}{'L':>6}{'excess':>8}{'sd':>6}"
        f"{'phi>0':>7}{'(MD)':>6}{'ms':>7}{'batch':>7}  reasons"
    )
    for path in arguments.files:
        row = measure(
            path,
            arguments.model,
            arguments.proposals,
            arguments.lag_ps,
            arguments.stage,
            arguments.seed,
        )
        rows.append(row)
        reasons = ", ".join(f"{k} {v}" for k, v in row["reasons"].items() if k != "accepted")
        print(
            f"{row['molecule']:<14}{row['screened']:>9.2f}{row['raw_in_window']:>6.2f}"
            f"{row['relaxed_in_window']:>8.2f}{row['right_handed']:>6.2f}"
            f"{row['median_excess_kj_per_mol']:>8.1f}{row['md_sd_kj_per_mol']:>6.1f}"
            f"{row['phi_positive']:>7.2f}{row['phi_positive_md']:>6.2f}{row['ms_single']:>7.0f}"
            f"{row['ms_batch']:>7.0f}  {reasons}",
            flush=True,
        )
    if arguments.json:
        settings = vars(arguments) | {"files": [str(f) for f in arguments.files], "json": None}
        text = json.dumps({"settings": settings, "rows": rows}, indent=1)
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
