"""Hybrid sampling beside plain MD at equal wall-clock time on one thread.

For each capped residue type and seed, a `HybridSampler` run and plain MD of the same System take
turns of a few seconds, each on its own clock. The hybrid's clock holds network, screens,
relaxation, rejected proposals, the MD between jumps and the writing of its files. Training is not
in it. Plain MD runs as a good user would run it: 4 fs with hydrogen mass repartitioning.

    python benchmarks/hybrid_vs_md.py --types ALA,VAL,TYR --seconds 120 --seeds 1,2,3 \
        --references remd/ --json hybrid_vs_md.json

A reference is a trajectory file (docs/files.md) of kind `exchange` at 300 K:

    atmos-openmm simulate --sequence ACE-VAL-NME --out remd/remd_ace_val_nme.h5 --mode exchange \
        --temperatures 300,360,432,520 --burn-in-ps 20 --length-ps 500

What is counted:
- a transition: phi goes from the core of the basin phi < 0 (160 to -30 degrees, over 180) to that
  of phi > 0 (30 to 100 degrees) or back; frames between the cores belong to the core visited last.
  Only frames of MD count, never raw proposals, so a jump into a basin that the following MD leaves
  before the next frame does not;
- JSD: Jensen-Shannon divergence in nats of the (phi, psi) histogram, 50 x 50 bins, to the
  reference; also with 18 x 18 bins. Its square root is what MDGen calls JSD;
- in window raw: the share of all proposals, those that a screen turned down included, whose energy
  after constraints alone is in the window (mean of the run's MD + 6 standard deviations);
- chirality: the sign of every stereocentre of every accepted frame, computed here from the
  coordinates, apart from the screen of the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Before numpy and torch: one thread each.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402

from atmos_openmm.evaluation.atoms import AtomTable  # noqa: E402
from atmos_openmm.evaluation.divergence import (  # noqa: E402
    jensen_shannon_divergence,
    resampled_divergence,
    torsion_histogram,
)
from atmos_openmm.evaluation.torsions import find_torsions  # noqa: E402
from atmos_openmm.evaluation.transitions import (  # noqa: E402
    count_transitions,
    event_rate,
    rate_ratio,
)

TEMPERATURE_K = 300.0
STEP_PS = 0.004
FRAME_STEPS = 50
REFERENCE_TEMPERATURE_TOLERANCE_K = 0.5
# Bins along phi and psi: as MDGen has them, and coarse ones of 20 degrees, which runs of some
# hundred frames can fill.
FINE_BINS, COARSE_BINS = 50, 18


@dataclass
class Reference:
    """phi and psi of a long equilibrium sample, and its own error."""

    path: str
    frames: int
    ladders: int
    phi: np.ndarray = field(repr=False)
    psi: np.ndarray = field(repr=False)
    halves_nats: tuple[float, float] = (0.0, 0.0)
    ladders_nats: tuple[float, float] | None = None
    positive_phi: float = 0.0


@dataclass
class Trial:
    """One seed of one type. Times in wall-clock seconds, divergences in nats."""

    type: str
    seed: int
    hybrid_seconds: float
    md_seconds: float
    hybrid_cpu_seconds: float
    md_cpu_seconds: float
    load_before: float
    load_after: float
    hybrid_frames: int
    md_frames: int
    cycles: int
    md_steps: int
    seconds_per_md_step: float
    proposed: int
    accepted: int
    reasons: dict[str, int]
    in_window_raw: int
    in_window_first_stage: int
    accepted_stereocentres: int
    accepted_stereocentres_wrong: int
    valid_generated: int
    validated: int
    jump_cost_steps: float
    hybrid_transitions: int
    md_transitions: int
    hybrid_positive_phi: float
    md_positive_phi: float
    hybrid_jsd_nats: float | None
    md_jsd_nats: float | None
    hybrid_jsd_floor_nats: float | None
    md_jsd_floor_nats: float | None
    hybrid_jsd_coarse_nats: float | None
    md_jsd_coarse_nats: float | None


def read_reference(path: Path) -> Reference:
    """Frames at 300 K of an exchange trajectory file."""
    from atmos_openmm.trajectories.layout import TrajectoryFile

    with TrajectoryFile(path) as file:
        torsions = find_torsions(AtomTable.from_openmm(file.topology))
        phis, psis = [], []
        for trajectory in file.trajectories:
            hot = abs(trajectory.temperature_kelvin - TEMPERATURE_K)
            if trajectory.kind != "exchange" or hot > REFERENCE_TEMPERATURE_TOLERANCE_K:
                continue
            phi, psi = torsions.phi_psi(trajectory.positions())
            phis.append(phi[:, 0])
            psis.append(psi[:, 0])
    if not phis:
        raise ValueError(
            f"{path} holds no trajectory of kind exchange at {TEMPERATURE_K:g} K; "
            "make one with atmos-openmm simulate --mode exchange"
        )

    def half(pieces: list, second: bool) -> list:
        return [p[len(p) // 2 :] if second else p[: len(p) // 2] for p in pieces]

    def divergence(first: tuple[list, list], second: tuple[list, list]) -> tuple[float, float]:
        """With fine and coarse bins; each argument a list of phi and one of psi."""
        fine, coarse = (
            jensen_shannon_divergence(
                *(
                    torsion_histogram(np.concatenate(x), np.concatenate(y), n)
                    for x, y in (first, second)
                )
            )
            for n in (FINE_BINS, COARSE_BINS)
        )
        return fine, coarse

    halves = divergence(
        (half(phis, False), half(psis, False)), (half(phis, True), half(psis, True))
    )
    between = None
    if len(phis) > 1:
        between = divergence((phis[::2], psis[::2]), (phis[1::2], psis[1::2]))
    phi, psi = np.concatenate(phis), np.concatenate(psis)
    positive = float(count_transitions(phis).fractions[1])
    return Reference(str(path), len(phi), len(phis), phi, psi, halves, between, positive)


def run_both(
    topology: Any, system: Any, positions: Any, seed: int, options: argparse.Namespace, folder: Path
) -> Any:
    """A hybrid run in the folder and plain MD, in turns; what was measured."""
    from openmm import unit

    from atmos_openmm import AtmosPropagator
    from atmos_openmm.evaluation.side_by_side import plain_md_context, run_in_turns
    from atmos_openmm.sampling.hybrid import HybridSampler

    propagator = AtmosPropagator(options.model, topology, positions=positions * unit.nanometer)
    with HybridSampler(
        topology,
        system,
        positions * unit.nanometer,
        propagator,
        folder,
        temperature=TEMPERATURE_K,
        stepSize=STEP_PS,
        jumpInterval=options.interval,
        reportInterval=min(FRAME_STEPS, options.interval),
        lag=options.lag,
        relaxation=options.relaxation,
        seed=seed,
        platform="CPU",
        threads=1,
    ) as sampler:
        turns = run_in_turns(
            sampler,
            plain_md_context(sampler, seed=seed),
            seconds=options.seconds,
            md_seconds=options.md_seconds,
            frame_steps=FRAME_STEPS,
            progress=_show_progress,
        )
    print(file=sys.stderr)
    return turns


def divergences(runs: dict[str, tuple[Any, Any]], reference: Reference | None) -> dict[str, Any]:
    """Jensen-Shannon divergences of runs (phi, psi) from the reference, by name; None without."""
    found: dict[str, float | None] = dict.fromkeys(
        f"{run}_jsd{kind}_nats" for run in runs for kind in ("", "_floor", "_coarse")
    )
    if reference is None:
        return found
    fine, coarse = (
        torsion_histogram(reference.phi, reference.psi, n) for n in (FINE_BINS, COARSE_BINS)
    )
    for name, (phi, psi) in runs.items():
        found[f"{name}_jsd_nats"] = jensen_shannon_divergence(
            torsion_histogram(phi, psi, FINE_BINS), fine
        )
        found[f"{name}_jsd_coarse_nats"] = jensen_shannon_divergence(
            torsion_histogram(phi, psi, COARSE_BINS), coarse
        )
        found[f"{name}_jsd_floor_nats"] = resampled_divergence(fine, len(phi))
    return found


def run_trial(
    type_: str, seed: int, options: argparse.Namespace, reference: Reference | None, folder: Path
) -> Trial:
    """One seed of one residue type."""
    from atmos_openmm.evaluation.side_by_side import read_hybrid_frames
    from atmos_openmm.jump.proposal import REASONS
    from atmos_openmm.systems.forcefield import create_system
    from atmos_openmm.systems.peptides import build_peptide

    topology, positions = build_peptide(f"ACE-{type_}-NME", seed=1)
    system = create_system(topology, remove_com_motion=False)
    load_before = os.getloadavg()[0]
    turns = run_both(topology, system, positions, seed, options, folder)
    load_after = os.getloadavg()[0]
    hybrid = read_hybrid_frames(folder, turns, topology)
    torsions = find_torsions(AtomTable.from_openmm(topology))
    phi, psi = (angles[:, 0] for angles in torsions.phi_psi(hybrid.positions_nm))
    md_phi, md_psi = (angles[:, 0] for angles in torsions.phi_psi(turns.md_positions_nm))
    ours, plain = count_transitions([phi]), count_transitions([md_phi])

    proposals = hybrid.proposals
    reason = np.array([REASONS[code] for code in proposals["reason"]])
    # An "unstable" proposal was accepted and failed in the MD after it; it was in the window.
    entered = np.isin(reason, ["accepted", "unstable"])
    accepted = reason == "accepted"
    cycles = len(turns.cycle_seconds)
    step = turns.seconds_per_md_step
    proposed = len(reason)
    jump_seconds = turns.hybrid_seconds - cycles * options.interval * step
    centres, wrong = check_handedness(
        topology, positions, proposals["positions_after_nm"][accepted]
    )
    valid, validated = validate(
        topology,
        system,
        turns.md_energies_kj_per_mol,
        proposals["positions_raw_nm"],
        options.validate,
    )
    return Trial(
        type=type_,
        seed=seed,
        hybrid_seconds=turns.hybrid_seconds,
        md_seconds=turns.md_seconds,
        hybrid_cpu_seconds=turns.hybrid_cpu_seconds,
        md_cpu_seconds=turns.md_cpu_seconds,
        load_before=load_before,
        load_after=load_after,
        hybrid_frames=len(phi),
        md_frames=len(md_phi),
        cycles=cycles,
        md_steps=turns.md_steps,
        seconds_per_md_step=step,
        proposed=proposed,
        accepted=int(accepted.sum()),
        reasons={name: int((reason == name).sum()) for name in REASONS if (reason == name).any()},
        in_window_raw=int((entered & (proposals["stage"] == 0)).sum()),
        in_window_first_stage=int((entered & (proposals["stage"] <= 1)).sum()),
        accepted_stereocentres=centres,
        accepted_stereocentres_wrong=wrong,
        valid_generated=valid,
        validated=validated,
        jump_cost_steps=jump_seconds / step / proposed if proposed else float("nan"),
        hybrid_transitions=ours.total,
        md_transitions=plain.total,
        hybrid_positive_phi=float(ours.fractions[1]),
        md_positive_phi=float(plain.fractions[1]),
        **divergences({"hybrid": (phi, psi), "md": (md_phi, md_psi)}, reference),
    )


def check_handedness(topology: Any, start: np.ndarray, frames: np.ndarray) -> tuple[int, int]:
    """Stereocentres looked at in frames [F, A, 3], and those with the wrong sign.

    The sign that is right is that of the start structure, an L residue made from its definition;
    centres are the atoms with four different bonded partners that the features list.
    """
    from atmos_openmm.systems.features import features_from_topology

    centres = features_from_topology(topology).chiral_centers
    if len(centres) == 0 or len(frames) == 0:
        return 0, 0

    def volumes(x: np.ndarray) -> np.ndarray:
        c, a, b, d = (x[:, centres[:, k]] for k in range(4))
        return np.einsum("fck,fck->fc", a - c, np.cross(b - c, d - c))

    right = np.sign(volumes(np.asarray(start)[None]))
    wrong = np.sign(volumes(frames)) != right
    return int(wrong.size), int(wrong.sum())


def validate(
    topology: Any, system: Any, md_energies: np.ndarray, frames: np.ndarray, limit: int
) -> tuple[int, int]:
    """Raw frames that `EnergyValidator` finds valid, as they are or after relaxation; and of how
    many."""
    if limit == 0 or len(frames) == 0:
        return 0, 0
    from atmos_openmm.validation import EnergyValidator
    from atmos_openmm.validation.reference import EnergyReference

    validator = EnergyValidator(
        topology,
        system,
        temperature=TEMPERATURE_K,
        platform="CPU",
        reference=EnergyReference(md_energies, "plain MD"),
    )
    frames = frames[:limit]
    return sum(validator.validate(frame).isValid for frame in frames), len(frames)


def _show_progress(clock: float, state: Any) -> None:
    done = f"{state.reasons['accepted']} of {state.proposed} accepted"
    print(
        f"\r  {clock:6.0f} s  {state.cycle} cycles  {done:<40}", end="", file=sys.stderr, flush=True
    )


def spread(values: list[float | None], digits: int = 3) -> str:
    """Mean and range over seeds."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return "-"
    text = f"{np.mean(known):.{digits}g}"
    if len(known) > 1:
        text += f" ({min(known):.{digits}g} to {max(known):.{digits}g})"
    return text


def share(part: list[int], whole: list[int]) -> str:
    """Pooled percentage, with the range over seeds."""
    if sum(whole) == 0:
        return "-"
    each = [100 * p / w for p, w in zip(part, whole, strict=True) if w]
    text = f"{100 * sum(part) / sum(whole):.1f} %"
    return text + (f" ({min(each):.1f} to {max(each):.1f})" if len(each) > 1 else "")


def table(type_: str, trials: list[Trial], reference: Reference | None) -> list[tuple[str, ...]]:
    """Rows of (what, hybrid, plain MD) over all seeds of one type."""

    def of(name: str) -> list:
        return [getattr(trial, name) for trial in trials]

    hybrid_s, md_s = sum(of("hybrid_seconds")), sum(of("md_seconds"))
    hybrid_rate = event_rate(sum(of("hybrid_transitions")), hybrid_s)
    md_rate = event_rate(sum(of("md_transitions")), md_s)
    # Processor time does not see what else the machine was doing.
    hybrid_cpu_rate = event_rate(hybrid_rate.events, sum(of("hybrid_cpu_seconds")))
    md_cpu_rate = event_rate(md_rate.events, sum(of("md_cpu_seconds")))
    proposed = of("proposed")
    rows: list[tuple[str, ...]] = [
        ("wall clock, all seeds (s)", f"{hybrid_s:.0f}", f"{md_s:.0f}"),
        (
            "processor time (s)",
            f"{sum(of('hybrid_cpu_seconds')):.0f}",
            f"{sum(of('md_cpu_seconds')):.0f}",
        ),
        ("phi transitions", str(hybrid_rate.events), str(md_rate.events)),
        ("phi transitions a second, 95 %", str(hybrid_rate), str(md_rate)),
        ("ratio hybrid/MD, 95 %", str(rate_ratio(hybrid_rate, md_rate)), "1"),
        ("  the same by processor time", str(rate_ratio(hybrid_cpu_rate, md_cpu_rate)), "1"),
        ("frames with phi > 0", spread(of("hybrid_positive_phi")), spread(of("md_positive_phi"))),
    ]
    if reference is not None:
        rows += [
            (
                "JSD to reference, 50 x 50 (nats)",
                spread(of("hybrid_jsd_nats")),
                spread(of("md_jsd_nats")),
            ),
            (
                "  of as many independent frames of it",
                spread(of("hybrid_jsd_floor_nats")),
                spread(of("md_jsd_floor_nats")),
            ),
            (
                "JSD to reference, 18 x 18 (nats)",
                spread(of("hybrid_jsd_coarse_nats")),
                spread(of("md_jsd_coarse_nats")),
            ),
        ]
    rows += [
        ("proposals", str(sum(proposed)), ""),
        ("accepted", share(of("accepted"), proposed), ""),
        ("in window raw", share(of("in_window_raw"), proposed), ""),
        ("in window after first stage", share(of("in_window_first_stage"), proposed), ""),
        ("valid raw or relaxed (validator)", share(of("valid_generated"), of("validated")), ""),
        (
            "wrong stereocentres, accepted frames",
            f"{sum(of('accepted_stereocentres_wrong'))} of {sum(of('accepted_stereocentres'))}",
            "",
        ),
        ("accepted jumps a second", spread([t.accepted / t.hybrid_seconds for t in trials]), ""),
        ("cost of a proposal (MD steps)", spread(of("jump_cost_steps")), ""),
        ("MD step (ms)", "", spread([1000 * value for value in of("seconds_per_md_step")])),
    ]
    return rows


def print_table(type_: str, trials: list[Trial], reference: Reference | None) -> None:
    """One table a type, in Markdown."""
    print(f"\n### {type_}, {len(trials)} seed(s): {', '.join(str(t.seed) for t in trials)}\n")
    if reference is not None:
        error = "; between its halves {:.3f} and {:.3f} nats".format(*reference.halves_nats)
        if reference.ladders_nats is not None:
            error += ", between its ladders {:.3f} and {:.3f}".format(*reference.ladders_nats)
        print(
            f"Reference: {reference.path}, {reference.frames} frames of {reference.ladders} "
            f"ladders at 300 K; phi > 0 in {reference.positive_phi:.4f}. JSD with 50 x 50 and "
            f"18 x 18 bins{error}.\n"
        )
    rejected: dict[str, int] = {}
    for trial in trials:
        for name, count in trial.reasons.items():
            rejected[name] = rejected.get(name, 0) + count
    print("| | hybrid | plain MD |\n|---|---|---|")
    for row in table(type_, trials, reference):
        print("| " + " | ".join(row) + " |")
    print(
        "\nOutcomes: "
        + ", ".join(
            f"{name} {count}" for name, count in sorted(rejected.items(), key=lambda item: -item[1])
        )
    )
    sys.stdout.flush()


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    from importlib import metadata

    import openmm
    import torch

    cpu = platform.processor()
    with_names = Path("/proc/cpuinfo")
    if with_names.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in with_names.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    try:
        own = metadata.version("atmos-openmm")
    except metadata.PackageNotFoundError:
        own = "source tree"
    return {
        "atmos-openmm": own,
        "openmm": openmm.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": str(os.cpu_count()),
    }


def main() -> None:
    """Parse the command line, run all trials, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", default="ALA,VAL,TYR", help="three-letter codes, by commas")
    parser.add_argument("--seeds", default="1,2,3", help="by commas")
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="wall-clock time of each run, hybrid and MD"
    )
    parser.add_argument(
        "--md-seconds",
        type=float,
        default=None,
        help="longer plain MD, for a better estimate of its rate",
    )
    parser.add_argument("--model", default="capped-amino-acids", help="name or .atmos file")
    parser.add_argument(
        "--references",
        type=Path,
        default=None,
        help="folder with reference_ace_<type>_nme.h5 or remd_ace_<type>_nme.h5, or one such file",
    )
    parser.add_argument("--interval", type=int, default=100, help="MD steps between jumps")
    parser.add_argument("--lag", type=float, default=None, help="ps; the model's longest")
    parser.add_argument("--relaxation", default="20", help="minimiser iterations of each stage")
    parser.add_argument(
        "--validate", type=int, default=100, help="raw proposals a trial that the validator judges"
    )
    parser.add_argument("--runs", type=Path, default=None, help="keep the folders of the runs here")
    parser.add_argument("--json", type=Path, default=None, help="file to write")
    options = parser.parse_args()
    options.relaxation = tuple(int(n) for n in options.relaxation.split(",") if n)

    import torch

    torch.set_num_threads(1)
    results: dict = {
        "command": "python benchmarks/hybrid_vs_md.py " + shlex.join(sys.argv[1:]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": {key: str(value) for key, value in vars(options).items()},
        "versions": versions(),
        "references": {},
        "trials": [],
        "tables": {},
    }
    print(results["command"])
    print(json.dumps(results["versions"]))
    with tempfile.TemporaryDirectory() as temporary:
        base = options.runs or Path(temporary)
        for type_ in options.types.upper().split(","):
            reference = None
            if options.references is not None:
                path = options.references
                if path.is_dir():
                    names = [f"{kind}_ace_{type_.lower()}_nme.h5" for kind in ("reference", "remd")]
                    path = next((path / n for n in names if (path / n).exists()), path / names[-1])
                reference = read_reference(path)
                results["references"][type_] = {
                    key: value
                    for key, value in asdict(reference).items()
                    if key not in ("phi", "psi")
                }
            trials = []
            for seed in options.seeds.split(","):
                trials.append(
                    run_trial(type_, int(seed), options, reference, base / f"{type_}_{seed}")
                )
                results["trials"].append(asdict(trials[-1]))
                if options.json is not None:
                    options.json.write_text(json.dumps(results, indent=1) + "\n")
            print_table(type_, trials, reference)
            results["tables"][type_] = table(type_, trials, reference)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
