"""Adapting: nothing held out is trained on, a kill changes nothing, and verdicts are earned."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import numpy as np
import pytest
import torch
from adapt_cases import SPACING_PS, alanine_dynamics, tiny_model
from model_support import TINY, network

from atmos_openmm.adapting.adapt import AdaptSettings, adapt
from atmos_openmm.adapting.before_after import compare, overall
from atmos_openmm.adapting.data import Run
from atmos_openmm.adapting.fine_tune import (
    adapting_samples,
    adapting_settings,
    fine_tune,
    lag_range,
)
from atmos_openmm.adapting.folder import AdaptationFolder
from atmos_openmm.adapting.held_out_loss import held_out_batches
from atmos_openmm.adapting.measure import JudgeSettings, ModelJudge
from atmos_openmm.adapting.split import split_runs
from atmos_openmm.model.model_file import load_model
from atmos_openmm.model.sampler import SamplerSettings
from atmos_openmm.propagator import AtmosPropagator, load_named_model
from atmos_openmm.training.weights.pretrained import network_from_model

QUICK = AdaptSettings(
    steps=5, proposals=10, rollout_frames=20, seed=3, lags_ps=(1.0,), without_memory=0.5
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.atmos")


@pytest.fixture(scope="module")
def adaptation(tmp_path_factory, model_file):
    """One that was never interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("adapted")
    told = []
    found = adapt(alanine_dynamics(), load_model(model_file), folder, QUICK, report=told.append)
    return found, folder, told


def _split(correlation=3.0):
    return split_runs(alanine_dynamics().runs, 0.25, correlation)


def _settings(steps=2):
    dynamics, split = alanine_dynamics(), _split()
    lags = lag_range([dynamics.runs[k] for k in split.runs], split.training)
    return adapting_settings(
        TINY, "all", lags, steps=steps, learning_rate=1e-3, without_memory=0.5, seed=5
    )


def _with_frames(change):
    """The dynamics with `change(run number, frames [F, A, 3])` applied to a copy of each run."""
    dynamics = alanine_dynamics()
    runs = []
    for number, run in enumerate(dynamics.runs):
        x = run.positions_nm.copy()
        change(number, x)
        runs.append(dataclasses.replace(run, positions_nm=x))
    return dataclasses.replace(dynamics, runs=tuple(runs))


# A model file and the network in it ---------------------------------------------------------------


def test_network_of_a_model_file_makes_the_same_proposals(tmp_path) -> None:
    """Weights and sampler go from the archive to a network and back without a change."""
    from atmos_openmm.model.model_file import save_model

    path = tiny_model(tmp_path / "first.atmos")
    first = load_model(path)
    again = save_model(tmp_path / "second.atmos", network_from_model(first), first.capabilities)
    assert again.weights_sha256 == first.capabilities.weights_sha256
    dynamics = alanine_dynamics()
    frames = dynamics.runs[0].positions_nm[:2].astype(float)
    proposals = [
        AtmosPropagator(p, dynamics.topology, seed=4).propagate(frames, attempt=0)
        for p in (path, tmp_path / "second.atmos")
    ]
    np.testing.assert_array_equal(*(np.asarray(p._value) for p in proposals))


def test_declared_sampler_must_be_the_one_inside(tmp_path) -> None:
    other = SamplerSettings(steps=9).to_dict()
    path = tiny_model(tmp_path / "other.atmos", extra={"sampler": other})
    with pytest.raises(ValueError, match="declares a sampler .* other than the one inside it"):
        network_from_model(path)


# The split ----------------------------------------------------------------------------------------


def test_parts_follow_each_other_with_gaps() -> None:
    split = _split(correlation=4.0)
    for k, train, valid, held, gap in zip(
        split.runs, split.training, split.validation, split.held_out, split.gaps, strict=True
    ):
        frames = len(alanine_dynamics().runs[k])
        assert train[0] == 0 and held[1] == frames
        assert held[1] - held[0] == round(0.25 * frames)
        assert train[0] < train[1] < valid[0] < valid[1] < held[0]
        assert held[0] - valid[1] == gap == 4
    assert not split.notes


def test_a_gap_shorter_than_memory_is_told() -> None:
    split = _split(correlation=np.inf)
    assert set(split.gaps) == {6}  # a tenth of 60 frames
    assert "does not forget its start" in split.notes[0]


def test_too_few_frames_say_how_many_there_are() -> None:
    run = alanine_dynamics().runs[0]
    short = dataclasses.replace(run, positions_nm=run.positions_nm[:30])
    with pytest.raises(ValueError, match=r"30 frames in all: \d+ would be trained on and 8 held"):
        split_runs([short], 0.25, 1.0)
    with pytest.raises(ValueError, match="share to hold out is 1; expected between 0 and 0.9"):
        split_runs([run], 1.0, 1.0)
    tiny = dataclasses.replace(run, positions_nm=run.positions_nm[:5])
    split = split_runs([*alanine_dynamics().runs, tiny], 0.25, 1.0)
    assert split.runs == (0, 1) and "fewer than 12 frames: ALA/1" in split.notes[0]


def test_training_sees_no_held_out_frame(tmp_path) -> None:
    """Whatever stands in held-out frames and gaps, training ends at the same weights, bit by bit.

    And the other way round: the loss that judges reads held-out frames alone.
    """
    split = _split()

    def spoil(number, x):
        known = np.zeros(len(x), bool)
        for part in (split.training[number], split.validation[number]):
            known[slice(*part)] = True
        x[~known] = np.nan

    def keep_held_out(number, x):
        held = np.zeros(len(x), bool)
        held[slice(*split.held_out[number])] = True
        x[~held] = np.nan

    weights = []
    for name, dynamics in (("whole", alanine_dynamics()), ("spoilt", _with_frames(spoil))):
        # Features need a first frame, which is one of training.
        samples = adapting_samples(dynamics, split, True)
        tuned = fine_tune(network(), samples, _settings(), tmp_path / name, lambda line: None)
        assert tuned.finished and tuned.step > 0
        weights.append(tuned.network.state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]) and value.isfinite().all()
    start = network().state_dict()
    assert any(not torch.equal(value, start[key]) for key, value in weights[0].items())

    features = alanine_dynamics().features()
    batches = [
        held_out_batches(d.runs, split.held_out, features, TINY, (0.1, 1.0), 1)
        for d in (alanine_dynamics(), _with_frames(keep_held_out))
    ]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.positions, other.positions)


# Going on -----------------------------------------------------------------------------------------


def test_stopped_and_continued_is_as_unbroken(adaptation, tmp_path, model_file) -> None:
    whole, _, _ = adaptation
    trainers = []

    @contextlib.contextmanager
    def running(trainer):
        trainers.append(trainer)
        yield

    def stop_early(line):
        if trainers and line.startswith("step "):
            trainers[-1].stop()

    base = load_model(model_file)
    folder = tmp_path / "again"
    first = adapt(alanine_dynamics(), base, folder, QUICK, report=stop_early, running=running)
    assert first is None and 0 < trainers[0].step < QUICK.steps
    assert not (folder / "adapted.atmos").exists()
    found = adapt(alanine_dynamics(), base, folder, QUICK, report=lambda line: None)
    assert found.tuned.steps == QUICK.steps
    assert found.declared.weights_sha256 == whole.declared.weights_sha256
    np.testing.assert_array_equal(
        [n.after for n in found.numbers], [n.after for n in whole.numbers]
    )
    assert found.sentence == whole.sentence


def test_another_adaptation_in_the_folder_is_refused(adaptation, model_file) -> None:
    _, folder, _ = adaptation
    other = dataclasses.replace(QUICK, learning_rate=1e-5)
    with pytest.raises(ValueError, match="other settings: learning_rate: 0.0003 there, 1e-05 now"):
        adapt(alanine_dynamics(), load_model(model_file), folder, other, report=lambda line: None)

    def warmer(number, x):
        x *= 1.001

    with pytest.raises(ValueError, match="other settings: data_sha256"):
        adapt(_with_frames(warmer), load_model(model_file), folder, QUICK, report=lambda _: None)


# What comes out -----------------------------------------------------------------------------------


def test_adapted_model_declares_what_it_saw_and_runs(adaptation, model_file) -> None:
    found, folder, told = adaptation
    declared = load_model(folder / "adapted.atmos").capabilities
    assert declared.residues == ["ACE", "ALA", "GLY", "NME"]
    assert declared.name == "tiny adapted to ALA"
    # The gap before the validation part follows from how fast the dynamics forgets, and the
    # rounding of a platform decides that.
    frames = found.split.count("training")
    assert 40 <= frames < 90
    assert declared.trained_on.startswith(
        f"nothing; then adapted on {frames} frames of ALA (2 traj"
    )
    # Lags of the data, from one frame on, those without memory, and the original's.
    assert declared.lag_range_ps == (0.04, 1.0e4)
    assert declared.extra["adapted_from"]["name"] == "tiny"
    assert any("never saw ALA" in line for line in told)
    dynamics = alanine_dynamics()
    propagator = AtmosPropagator(folder / "adapted.atmos", dynamics.topology, lag=1.0)
    frame = propagator.propagate(dynamics.reference_nm)
    assert np.isfinite(np.asarray(frame._value)).all()


def test_a_model_beside_itself_is_no_different(adaptation, model_file, tmp_path) -> None:
    """The same seeds give the same numbers, whatever was measured before."""
    judge = adaptation[0].judge
    original = load_model(model_file)
    first, second = (
        judge.measure(original, tmp_path / name, lambda line: None) for name in ("one", "two")
    )
    assert first == second
    assert {n.verdict for n in compare(first, second, judge.oracle(original))} <= {
        "no difference",
        "",
    }


def test_files_say_what_was_found(adaptation) -> None:
    from atmos_openmm.report.adaptation_page import write_adaptation

    found, folder, _ = adaptation
    page = write_adaptation(found, folder, "atmos-openmm adapt ...").read_text()
    document = json.loads((folder / "adaptation.json").read_text())
    assert document["format"] == "atmos-openmm-adaptation"
    assert document["sentence"] == found.sentence and document["helped"] == found.helped
    keys = [n["key"] for n in document["numbers"]]
    assert {"loss", "usable@1", "screen@1", "handed@1", "energy_shift@1"} <= set(keys)
    loss = document["numbers"][keys.index("loss")]
    assert loss["before"]["value"] > 0 and loss["difference_standard_error"] > 0
    usable = document["numbers"][keys.index("usable@1")]
    assert usable["molecular_dynamics"]["value"] == 1.0  # real frames pass, energies included
    assert found.sentence.split(":")[0] in page and "denoising loss" in page
    parts = document["frames"]
    assert parts["held_out"] == [[45, 60], [45, 60]]


# Verdicts -----------------------------------------------------------------------------------------


def _measured(**values):
    from atmos_openmm.adapting.before_after import Measurement

    samples = {k: v for k, v in values.items() if not isinstance(v, tuple)}
    summaries = {k: v for k, v in values.items() if isinstance(v, tuple)}
    return Measurement(
        {k.replace("_at_", "@"): list(v) for k, v in samples.items()},
        {k.replace("_at_", "@"): v for k, v in summaries.items()},
    )


def _verdicts(before, after):
    return {n.quantity.key: n.verdict for n in compare(before, after, _measured())}


def test_verdicts_of_known_differences() -> None:
    random = np.random.default_rng(0)
    noise = random.standard_normal(200)
    half = (np.arange(200) % 2).astype(float)
    before = _measured(
        loss=1 + 0.1 * noise, usable_at_3=half, energy_shift_at_3=3 + noise, torsions=(0.5, 0.02)
    )
    # What both share cancels: a shift of 0.01 is plain where each error alone is as large.
    after = _measured(
        loss=0.99 + 0.1 * noise,
        usable_at_3=1 - half,
        energy_shift_at_3=-3.0 - noise,
        torsions=(0.53, 0.02),
    )
    found = compare(before, after, _measured())
    told = {n.quantity.key: n for n in found}
    assert told["loss"].verdict == "better"
    assert told["loss"].difference_error == pytest.approx(0.0, abs=1e-12)
    assert told["loss"].before[1] == pytest.approx(0.1 / np.sqrt(200), rel=0.5)
    assert told["usable@3"].verdict == "no difference"  # the same share, other proposals
    assert told["energy_shift@3"].verdict == "no difference"  # as far below as it was above
    assert told["torsions"].verdict == "no difference"  # 0.03 within 2 hypot(0.02, 0.02)
    assert _verdicts(_measured(torsions=(0.5, 0.01)), _measured(torsions=(0.53, 0.01))) == {
        "torsions": "worse"
    }
    assert _verdicts(after, before)["loss"] == "worse"


def test_independent_noise_is_no_difference_about_nineteen_times_in_twenty() -> None:
    """Two standard errors of a bootstrap of 20 blocks hold a normal difference in 94 %."""
    random = np.random.default_rng(1)
    told = [
        _verdicts(*(_measured(loss=random.standard_normal(100)) for _ in range(2)))["loss"]
        for _ in range(100)
    ]
    # Binomial, 100 trials with 0.06: four standard deviations above its mean are 15.5.
    assert told.count("no difference") >= 84


def test_energies_that_overflow_and_values_that_are_missing() -> None:
    infinite = [np.inf] * 8 + [1.0] * 2
    finite = [1.0] * 10
    assert _verdicts(
        _measured(energy_shift_at_3=finite), _measured(energy_shift_at_3=infinite)
    ) == {"energy_shift@3": "worse"}
    nothing = compare(
        _measured(loss=finite), _measured(loss=finite, torsions=(0.3, 0.1)), _measured()
    )
    assert [n.verdict for n in nothing] == ["no difference", ""]
    assert np.isnan(nothing[1].before[0])


@pytest.mark.parametrize(
    ("loss", "torsions", "shift", "helped", "says"),
    [
        (0.5, 0.3, 0.0, True, "It helped: denoising loss 1 to 0.500"),
        (1.0, 0.3, 0.0, False, "No deciding number changed"),
        (0.5, 0.9, 0.0, False, "keep the original. Worse: torsion JSD 0.300 to 0.900"),
        (2.0, 0.3, 0.0, False, "keep the original. Worse: denoising loss"),
        (0.5, 0.3, 9.0, True, "Worse, without deciding: energy above MD, lag 3 ps"),
    ],
)
def test_the_whole_helps_where_something_is_better_and_nothing_worse(
    loss, torsions, shift, helped, says
) -> None:
    before = _measured(loss=[1.0] * 20, torsions=(0.3, 0.01), energy_shift_at_3=[0.0] * 20)
    after = _measured(loss=[loss] * 20, torsions=(torsions, 0.01), energy_shift_at_3=[shift] * 20)
    found, sentence = overall(compare(before, after, _measured()))
    assert found is helped and says in sentence
    assert sentence.startswith("It helped: " if helped else "It did not help: keep the original.")


def test_a_model_without_usable_proposals_did_not_help() -> None:
    """A loss that falls from absurd to bad is no help to anybody."""
    before = _measured(loss=[900.0] * 20, usable_at_3=[0.0] * 20)
    after = _measured(loss=[20.0] * 20, usable_at_3=[0.0] * 19 + [0.5])
    found, sentence = overall(compare(before, after, _measured()))
    assert not found and "Hardly any proposal is usable (2 % at best)" in sentence
    assert "Better: denoising loss" in sentence


def test_a_sabotaged_model_is_told_to_be_worse(tmp_path) -> None:
    """The bundled model against itself with noise on its weights, on alanine dipeptide."""
    from atmos_openmm.model.model_file import save_model

    base = load_named_model("capped-amino-acids")
    spoilt = network_from_model(base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in spoilt.diffusion.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.3 * parameter.std(correction=0) * noise
        save_model(tmp_path / "spoilt.atmos", spoilt, base.capabilities)
    split = _split()
    judge = ModelJudge(
        alanine_dynamics(),
        split,
        JudgeSettings((3000.0,), (1.0, 2.0), 12, 4, 2),
        base,
        _settings().stages[0],
    )
    told = []
    before = judge.measure(base, tmp_path / "before", told.append)
    after = judge.measure(load_model(tmp_path / "spoilt.atmos"), tmp_path / "after", told.append)
    assert any("rollout" in line for line in told)
    numbers = compare(before, after, judge.oracle(base))
    verdicts = {n.quantity.key: n.verdict for n in numbers}
    assert verdicts["loss"] == verdicts["usable@3000"] == "worse"
    helped, sentence = overall(numbers)
    assert not helped and sentence.startswith("It did not help: keep the original. Worse: ")


def test_measurements_survive_the_file(tmp_path) -> None:
    with AdaptationFolder(tmp_path, {"seed": 1}) as folder:
        kept = _measured(
            usable_at_3=[0.0, 1.0], energy_shift_at_3=[np.inf, 2.5], torsions=(0.5, float("nan"))
        )
        folder.keep("before", kept)
        found = folder.measurement("before")
    assert found.samples == kept.samples
    assert found.summaries["torsions"][0] == 0.5 and np.isnan(found.summaries["torsions"][1])


def test_short_lag_range_of_short_runs() -> None:
    runs = [Run("a", "dynamics", np.zeros((9, 1, 3), np.float32), 300.0, 2.0)]
    assert lag_range(runs, [(0, 9)]) == (2.0, 8.0)
    assert lag_range(runs, [(0, 2)]) == (2.0, 2.0)
    exchange = [dataclasses.replace(runs[0], kind="exchange", spacing_ps=None)]
    assert lag_range(exchange, [(0, 9)]) == (1.0e3, 1.0e4)
    assert SPACING_PS == pytest.approx(alanine_dynamics().runs[0].spacing_ps)
