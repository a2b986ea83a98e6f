"""Draws: frames at the reported lags, what is centred, cropped and masked, what is left out."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from model_support import TINY_CARTESIAN
from trainset_cases import (
    MISSING,
    four_sources,
    memory_sample,
    own_file,
    settings,
    structure_file,
)

from atmos_openmm.data.crop import choose_crop
from atmos_openmm.data.faults import DataFileError
from atmos_openmm.data.frames import HDF5Frames
from atmos_openmm.data.sources import open_samples
from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.training.feed import draws
from atmos_openmm.training.feed.draws import Drawer
from atmos_openmm.training.feed.picking import (
    COLDEST_SHARE,
    EQUILIBRIUM_LAGS_PS,
    pick_dynamics,
    pick_exchange,
    pick_static,
    read_picks,
)
from atmos_openmm.training.feed.seen import Seen
from atmos_openmm.training.feed.trainset import split
from atmos_openmm.training.training_settings import ValidationSettings

ATOM = np.zeros(1, np.int64)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return open_samples(four_sources(tmp_path_factory.mktemp("sources"))).samples


def training_set(samples, **validation):
    return split(samples, ValidationSettings(**validation))[0]


def tensors(batch) -> list[torch.Tensor]:
    return batch.tensors


def assert_equal(one, two) -> None:
    assert one.name == two.name
    for a, b in zip(tensors(one), tensors(two), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def distance_from(values: np.ndarray, cdf) -> float:
    """Kolmogorov and Smirnov's distance of a sample from a distribution."""
    x = np.sort(values)
    steps = np.arange(len(x) + 1) / len(x)
    return float(np.max([np.abs(cdf(x) - steps[:-1]), np.abs(cdf(x) - steps[1:])]))


def bound(count: int) -> float:
    """What the distance exceeds once in a million (Dvoretzky, Kiefer, Wolfowitz; Massart)."""
    return float(np.sqrt(np.log(2e6) / (2 * count)))


# Lags and starts, on frames that hold their own number.


def picked(rng, runs, jumps, rollouts, lag_range_ps):
    picks = pick_dynamics(rng, runs, jumps, rollouts, lag_range_ps)
    number = read_picks(picks, ATOM)[..., 0, 0]
    np.testing.assert_array_equal(number, picks.frame)
    return picks, number


def test_lags_are_log_uniform_and_reported_as_they_are() -> None:
    run = memory_sample("a/0000", frames=20001, spacing_ps=0.5)
    picks, frame = picked(np.random.default_rng(1), [run], 2, 3000, (10.0, 1000.0))
    np.testing.assert_array_equal(picks.lag_ps, 0.5 * np.diff(frame, axis=0))
    lag = picks.lag_ps.reshape(-1)
    assert picks.lag_range_ps == (10.0, 1000.0) and lag.min() >= 10.0 and lag.max() <= 1000.0
    # Rounding to frames moves a lag by half a frame of at least 20.
    rounding = np.log(20.5 / 20.0) / np.log(100.0)
    found = distance_from(lag, lambda x: np.log(x / 10.0) / np.log(100.0))
    assert found < bound(len(lag)) + rounding
    assert (picks.temperature_kelvin == 300.0).all()


def test_a_lag_longer_than_the_run_biases_neither_lags_nor_starts() -> None:
    frames = 2001
    run = memory_sample("a/0000", frames=frames)
    picks, frame = picked(np.random.default_rng(2), [run], 2, 4000, (20.0, 1e6))
    lag = picks.lag_ps.reshape(-1)
    # The longest of which two fit; log-uniform up to there, nothing piles up at the end.
    assert picks.lag_range_ps == (20.0, 1000.0) and lag.max() <= 1000.0
    rounding = np.log(20.5 / 20.0) / np.log(50.0)
    found = distance_from(lag, lambda x: np.log(x / 20.0) / np.log(50.0))
    assert found < bound(len(lag)) + rounding
    # Each start from which a rollout fits is as likely as any other.
    places = frames - (frame[-1] - frame[0])
    assert (frame[0] >= 0).all() and (frame[-1] < frames).all()
    spread = np.random.default_rng(3).random(places.shape)  # of a start, over its place
    within = (frame[0] + spread) / places
    assert distance_from(within, lambda x: np.clip(x, 0, 1)) < bound(len(within))


@pytest.mark.parametrize(
    ("lag_range", "expected"), [((1.0, 8.0), 100.0), ((5e5, 1e6), 900.0), ((250.0, 250.0), 200.0)]
)
def test_lags_that_a_run_has_not(lag_range, expected) -> None:
    """Shorter than a frame: one frame. Longer than the run: the longest that fits."""
    run = memory_sample("a/0000", frames=20, spacing_ps=100.0)
    picks, _ = picked(np.random.default_rng(0), [run], 2, 50, lag_range)
    assert (picks.lag_ps == expected).all() and picks.lag_range_ps == (expected, expected)


def test_runs_are_drawn_in_proportion_to_their_frames() -> None:
    runs = [memory_sample(f"a/{k:04d}", frames=n) for k, n in enumerate((100, 300, 2))]
    picks, _ = picked(np.random.default_rng(4), runs, 3, 4000, (1.0, 4.0))
    counts = np.bincount(picks.sample[0], minlength=3)
    assert (picks.sample == picks.sample[0]).all()
    assert counts[2] == 0  # two frames have no three jumps
    assert abs(counts[0] - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_runs_too_short_for_the_rollout_shorten_it() -> None:
    runs = [memory_sample(f"a/{k:04d}", frames=n) for k, n in enumerate((2, 4))]
    picks, frame = picked(np.random.default_rng(5), runs, 8, 20, (1.0, 100.0))
    assert picks.lag_ps.shape == (3, 20)
    np.testing.assert_array_equal(frame, np.tile(np.arange(4)[:, None], (1, 20)))


def test_exchange_frames_are_independent_and_of_one_temperature() -> None:
    ladder = [
        memory_sample(f"a/{k:04d}", frames=n, kind="exchange", kelvin=kelvin, spacing_ps=None)
        for k, (n, kelvin) in enumerate([(50, 300.0), (150, 300.0), (80, 400.0), (80, 500.0)])
    ]
    count = 4000
    picks = pick_exchange(np.random.default_rng(6), ladder, 2, count)
    kelvin = np.array([s.temperature_kelvin for s in ladder])
    assert picks.frame.shape == (3, count)
    assert (kelvin[picks.sample] == picks.temperature_kelvin[0]).all()
    cold = picks.temperature_kelvin[0] == 300.0
    expected = COLDEST_SHARE + (1 - COLDEST_SHARE) / 2  # two of four samples are the coldest
    assert abs(cold.mean() - expected) < 5 * np.sqrt(0.25 / count)
    # Frames of both ladders at 300 K, each as often as any other.
    first = picks.sample[:, cold] == 0
    assert abs(first.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / first.size)
    within = (picks.frame + 0.5) / np.array([50, 150, 80, 80])[picks.sample]
    assert distance_from(within.reshape(-1), lambda x: x) < bound(within.size) + 0.5 / 50
    pair = np.corrcoef(within[0], within[1])[0, 1]
    assert abs(pair) < 5 / np.sqrt(count)
    low, high = EQUILIBRIUM_LAGS_PS
    found = distance_from(picks.lag_ps.reshape(-1), lambda x: np.log(x / low) / np.log(high / low))
    assert found < bound(picks.lag_ps.size) and picks.lag_range_ps == EQUILIBRIUM_LAGS_PS


def test_a_structure_is_one_jump_without_history() -> None:
    entries = [memory_sample("a", frames=1, kind="static")]
    picks = pick_static(np.random.default_rng(7), entries, 5)
    assert picks.frame.shape == picks.lag_ps.shape == (1, 5) and (picks.frame == 0).all()
    assert (picks.temperature_kelvin == 300.0).all()
    assert ((picks.lag_ps >= 1e3) & (picks.lag_ps <= 1e4)).all()


# Batches.


def own_frames(samples) -> dict[str, np.ndarray]:
    """All heavy-atom frames of the own file by sample, centred, angstrom."""
    found = {}
    for sample in samples:
        if sample.provenance.dataset == "atmos-openmm":
            x = sample.positions_nm(slice(None), sample.features("heavy")).astype(float)
            found[sample.name] = 10 * (x - x.mean(axis=1, keepdims=True))
    return found


def test_frames_are_the_trajectorys_at_the_reported_lags(samples) -> None:
    drawer = Drawer(
        training_set(samples),
        settings(shares={"atmos-openmm": 1.0}, rollouts=3, jumps=((0, 1), (5, 2)), draws=2),
    )
    frames = own_frames(samples)
    kinds = set()
    for number in range(20):
        draw = drawer.draw(number, number // 2)
        batch = draw.batch
        kinds.add(draw.kind)
        assert batch.jumps == (2 if number >= 10 else 1) and batch.has_history
        for b in range(3):
            found = []
            for x in batch.positions[:, b].numpy():
                matches = [
                    (name, int(f))
                    for name, run in frames.items()
                    for f in np.flatnonzero(np.abs(run - x).max(axis=(1, 2)) < 1e-4)
                ]
                assert len(matches) == 1
                found += matches
            kelvin = 300.0 if draw.kind == "dynamics" else batch.temperature_kelvin[0, b]
            assert (batch.temperature_kelvin[:, b] == kelvin).all()
            if draw.kind == "dynamics":
                assert len({name for name, _ in found}) == 1
                np.testing.assert_array_equal(np.diff([f for _, f in found]), batch.lag_ps[:, b])
            else:
                at = {name for name, _ in found}
                assert at == {"ACE-SER-NME/0004" if kelvin == 300.0 else "ACE-SER-NME/0005"}
                assert ((batch.lag_ps >= 1e3) & (batch.lag_ps <= 1e4)).all()
    assert kinds == {"dynamics", "exchange"}


def test_only_the_frames_of_the_rollouts_are_read_in_one_read_a_sample(samples, monkeypatch):
    drawer = Drawer(training_set(samples), settings(shares={"dynamics": 1.0}, jumps=((0, 3),)))
    for number in range(3):
        drawer.draw(number, 0)  # features are there from now on
    reads = []
    read = HDF5Frames.read

    def counted(self, frames=slice(None)):
        found = read(self, frames)
        reads.append((self.dataset, len(found)))
        return found

    monkeypatch.setattr(HDF5Frames, "read", counted)
    for number in range(3):
        drawer.draw(number, 0)
        assert len({name for name, _ in reads}) == len(reads)
        assert sum(rows for _, rows in reads) == 4 * drawer.stage.rollouts
        reads.clear()


@pytest.mark.parametrize("config", [None, TINY_CARTESIAN], ids=["invariant", "cartesian"])
def test_draws_of_all_sources(samples, config) -> None:
    shares = {"mdcath": 1.0, "misato": 1.0, "structure": 1.0, "atmos-openmm": 1.0}
    told = settings(shares=shares)
    if config is not None:
        told = type(told)(told.stages, model=config, atoms="heavy")
    drawer = Drawer(training_set(samples), told)
    by_pool = {}
    for number in range(40):
        draw = drawer.draw(number, 0)
        batch = draw.batch
        by_pool.setdefault(draw.pool, draw)
        assert all(t.device.type == "cpu" for t in tensors(batch))
        atoms, tokens = batch.positions.shape[2], len(batch.centres)
        assert batch.features.atom_mask.shape == (1, atoms)
        assert batch.features.token_mask.shape == (1, tokens)
        for value in (batch.positions, batch.lag_ps, batch.temperature_kelvin, batch.ligand):
            assert value.dtype == torch.float32
        assert batch.bonds.dtype == batch.centres.dtype == torch.int64
        seen = batch.resolved > 0
        assert batch.positions[:, :, seen].mean(dim=2).abs().max() < 1e-4
        ends = batch.positions[..., batch.bonds, :]
        length = (ends[..., 0, :] - ends[..., 1, :]).norm(dim=-1)
        assert 1.0 < length.min() and length.max() < 2.2  # heavy atoms, disulfides the longest
    assert set(by_pool) == set(shares)
    assert by_pool["mdcath"].batch.lag_ps.unique().tolist() == [1000.0]
    assert by_pool["misato"].batch.lag_ps.unique().tolist() == [80.0]
    assert by_pool["misato"].batch.ligand.sum() == 16  # heavy atoms of the ligand
    static = by_pool["structure"].batch
    assert static.positions.shape[:2] == (1, 2) and static.jumps == 1 and not static.has_history
    assert int((static.resolved == 0).sum()) == len(MISSING)
    assert all((by_pool[p].batch.resolved == 1).all() for p in ("mdcath", "misato"))


def test_atoms_that_were_not_seen_are_those_missing_in_the_file(tmp_path: Path) -> None:
    (sample,) = open_samples([structure_file(tmp_path / "2xyz.pdb", MISSING)]).samples
    batch = Drawer(training_set([sample]), settings()).draw(0, 0).batch
    features = sample.features("heavy")
    masked = {
        (features.atom_names[k], int(features.residue_index[features.atom_to_token[k]]))
        for k in np.flatnonzero(batch.resolved.numpy() == 0)
    }
    assert masked == set(MISSING)
    x = 10 * sample.positions_nm(0, features).astype(float)
    seen = batch.resolved.numpy() > 0
    np.testing.assert_allclose(batch.positions[0, 0], x - x[seen].mean(axis=0), atol=1e-4)


def test_crops_keep_their_parts_together(samples) -> None:
    told = settings(shares={"misato": 1.0, "structure": 1.0}, crop_tokens=5, jumps=((0, 2),))
    training = training_set(samples)
    whole = Drawer(training, settings(shares={"misato": 1.0, "structure": 1.0}, jumps=((0, 2),)))
    drawer = Drawer(training, told)
    parts = set()
    for number in range(30):
        part, full = drawer.draw(number, 0).batch, whole.draw(number, 0).batch
        assert part.name == full.name and torch.equal(part.lag_ps, full.lag_ps)
        tokens, atoms = len(part.centres), len(part.resolved)
        assert tokens == 5 == int(part.features.token_mask.sum())
        token = part.features.atom_to_token[0]
        assert token.unique().tolist() == list(range(5)) and atoms == len(token)
        assert torch.equal(token[part.centres], torch.arange(5))
        # The crop's atoms are atoms of the molecule, the same in all frames and rollouts.
        place = _places(part.positions[0, 0], full.positions[0, 0])
        assert len(set(place)) == atoms
        shift = part.positions - full.positions[:, :, place]
        np.testing.assert_allclose(shift, shift[:, :, :1].expand_as(shift), atol=1e-4)
        for name in ("ref_element", "ref_charge", "ref_atom_name_chars"):
            mine, theirs = getattr(part.features, name)[0], getattr(full.features, name)[0]
            assert torch.equal(mine, theirs[place])
        assert torch.equal(part.resolved, full.resolved[place])
        assert torch.equal(part.ligand, full.ligand[place])
        # Bonds of the crop: those of the molecule with both ends in it.
        position = {k: n for n, k in enumerate(place)}
        expected = {
            (position[i], position[j])
            for i, j in full.bonds.tolist()
            if i in position and j in position
        }
        assert {tuple(sorted(b)) for b in part.bonds.tolist()} == {
            tuple(sorted(b)) for b in expected
        }
        assert part.positions[:, :, part.resolved > 0].mean(dim=2).abs().max() < 1e-4
        parts.add((part.name, tuple(place)))
    assert len(parts) > 10  # another crop with each draw


def _places(part: torch.Tensor, full: torch.Tensor) -> list[int]:
    """Which atom of the whole each atom of a crop is, by the places of one frame."""
    for start in range(len(full)):
        gaps = torch.cdist((part - part[0] + full[start]).double(), full.double())
        if gaps.min(dim=1).values.max() < 1e-3:
            return gaps.argmin(dim=1).tolist()
    raise AssertionError("the crop is no part of the molecule")


def test_a_crop_of_a_structure_holds_something_that_was_seen(tmp_path, monkeypatch) -> None:
    """A stretch of a chain may lie where nothing was seen: such a one is not taken."""
    path = structure_file(
        tmp_path / "2xyz.pdb", residues=range(3, 12), sequence="-".join(["ALA"] * 13)
    )
    (sample,) = open_samples([path]).samples
    features = sample.features("heavy")
    assert features.num_tokens == 13
    seen = np.bincount(features.atom_to_token, sample.resolved(features))
    assert (seen == 0).sum() == 9
    empty = []

    def recorded(*arguments, **options):
        chosen = choose_crop(*arguments, **options)
        empty.append(seen[chosen].sum() == 0)
        return chosen

    monkeypatch.setattr(draws, "choose_crop", recorded)
    drawer = Drawer(training_set([sample]), settings(crop_tokens=4))
    for number in range(60):
        batch = drawer.draw(number, 0).batch
        assert int(batch.resolved.sum()) >= 4 and torch.isfinite(batch.positions).all()
    assert sum(empty) > 0


def test_a_draw_is_the_same_in_any_order_and_process_memory(samples) -> None:
    told = settings(crop_tokens=4, jumps=((0, 2),), draws=3)
    training = training_set(samples)
    drawer = Drawer(training, told)
    expected = [drawer.draw(number, 0) for number in range(16)]
    others = [
        Drawer(training, told, cache_bytes=0),  # forgets all but the last molecule
        pickle.loads(pickle.dumps(drawer)),
    ]
    for other in others:
        for number in np.random.default_rng(0).permutation(16).tolist():
            found = other.draw(number, 0)
            assert_equal(found.batch, expected[number].batch)
            assert found[:3] == expected[number][:3] and found.seen == expected[number].seen
    assert len(others[0]._known) == 1 and len(drawer._known) == 4
    differ = [Drawer(training, told, seed=2), Drawer(training, settings(seed=3, crop_tokens=4))]
    for other in differ:
        batches = [other.draw(n, 0).batch for n in range(16)]
        assert any(
            b.lag_ps.shape != e.batch.lag_ps.shape or not torch.equal(b.lag_ps, e.batch.lag_ps)
            for b, e in zip(batches, expected, strict=True)
        )


def test_kept_features_are_bounded_by_memory(samples) -> None:
    drawer = Drawer(training_set(samples), settings())
    for number in range(30):
        drawer.draw(number, 0)
    sizes = [known.nbytes for known in drawer._known.values()]
    assert len(sizes) == 4
    for known in drawer._known.values():
        assert known.nbytes > sum(t.nbytes for t in known.whole) > 0
    limit = sum(sizes) - 1
    small = Drawer(training_set(samples), settings(), cache_bytes=limit)
    for number in range(30):
        small.draw(number, 0)
        assert sum(k.nbytes for k in small._known.values()) <= limit


def test_held_out_molecules_and_runs_are_never_drawn(samples) -> None:
    told = settings(shares={"dynamics": 1.0, "atmos-openmm": 1.0})
    training, held_out = split(samples, ValidationSettings(molecules=("1abc",), runs=(3,)))
    run = own_frames(samples)["ACE-SER-NME/0003"]

    def is_held_out(x: torch.Tensor) -> bool:
        return bool((np.abs(run - x.numpy()).max(axis=(1, 2)) < 1e-4).any())

    names = set()
    for number in range(30):
        draw = Drawer(training, told).draw(number, 0)
        names.add(draw.batch.name)
        if draw.batch.name == "ACE-SER-NME":
            assert not any(map(is_held_out, draw.batch.positions.flatten(0, 1)))
    assert names == {"1abcA00", "ACE-SER-NME"}
    drawn = [Drawer(held_out, told).draw(number, 0) for number in range(10)]
    assert {d.batch.name for d in drawn} == {"1ABC", "ACE-SER-NME"}
    for draw in drawn:
        if draw.batch.name == "ACE-SER-NME":
            assert all(map(is_held_out, draw.batch.positions.flatten(0, 1)))


# What cannot be used.


def damaged(path: Path, change) -> Path:
    """A trajectory file whose positions were changed after they were written."""
    own_file(path, [("dynamics", 300.0, 6)], "ACE-SER-NME", name=path.stem)
    with h5py.File(path, "r+") as file:
        x = file["trajectories/0000/positions"]
        x[...] = change(x[...])
    return path


def without_hydrogens(path: Path) -> Path:
    """A trajectory file of heavy atoms, of which features of all atoms cannot be made."""
    import openmm
    from openmm import app, unit

    from atmos_openmm.systems.peptides import build_peptide
    from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

    topology, x = build_peptide("ACE-ALA-NME")
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
    heavy = np.array(modeller.positions.value_in_unit(unit.nanometer)) + np.zeros((5, 1, 1))
    heavy = heavy + 0.001 * np.random.default_rng(0).standard_normal(heavy.shape)
    data = TrajectoryData(heavy, np.arange(1.0, 6.0), "dynamics", 300.0, "built", 0)
    system = openmm.XmlSerializer.serialize(openmm.System())
    write_trajectory_file(path, path.stem, modeller.topology, system, {}, [data])
    return path


def split_by_the_box(x: np.ndarray) -> np.ndarray:
    x[3:, x.shape[1] // 2 :, 0] += 2.0
    return x


def not_finite(x: np.ndarray) -> np.ndarray:
    x[3:, 2] = np.nan
    return x


def mirrored(x: np.ndarray) -> np.ndarray:
    x[3:] *= -1.0
    return x


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (not_finite, "nonfinite", "not finite"),
        (split_by_the_box, "broken", "are bonded and .* nm apart"),
        (mirrored, "inconsistent", "other hand"),
    ],
)
def test_frames_that_are_none_of_the_molecule_are_refused(tmp_path, change, kind, words) -> None:
    found = open_samples([damaged(tmp_path / "bad.h5", change)]).samples
    drawer = Drawer(training_set(found), settings("all", rollouts=1, lag_range_ps=(1.0, 1.0)))
    outcomes = set()
    for number in range(40):
        try:
            batch = drawer.draw(number, 0).batch
        except DataFileError as error:
            assert error.fault.kind == kind and "frame " in str(error)
            with pytest.raises(DataFileError, match=words):
                raise
            outcomes.add("refused")
        else:
            assert torch.isfinite(batch.positions).all()
            outcomes.add("drawn")  # of the whole frames before
    assert outcomes == {"refused", "drawn"}


def test_labels_that_change_within_a_file_are_refused(tmp_path: Path) -> None:
    runs = [("dynamics", 300.0, 8)] * 2
    path = own_file(
        tmp_path / "two.h5", runs, "ACE-SER-NME", swap=[("HB2", "HB3")], swapped_runs=[1]
    )
    found = open_samples([path]).samples
    Drawer(training_set(found[:1]), settings("all")).draw(0, 0)
    drawer = Drawer(training_set(found[1:]), settings("all"))
    with pytest.raises(DataFileError, match="CB of SER .* other hand"):
        drawer.draw(0, 0)
    # Without hydrogens the runs are alike.
    Drawer(training_set(found[1:]), settings("heavy")).draw(0, 0)


def test_a_molecule_that_cannot_be_used_stops_or_is_replaced(tmp_path: Path) -> None:
    good = [
        own_file(tmp_path / f"good{k}.h5", [("dynamics", 300.0, 12)], name=f"good{k}", seed=k)
        for k in range(4)
    ]
    bad = without_hydrogens(tmp_path / "bad.h5")
    training = training_set(open_samples([*good[:2], bad, *good[2:]]).samples)
    told = settings("all", draws=5)
    strict = Drawer(training, told)
    epoch = [training.molecules[strict.schedule.draw(n)[1]].name for n in range(5)]
    assert sorted(epoch) == ["bad", "good0", "good1", "good2", "good3"]
    turn = epoch.index("bad")
    with pytest.raises(FeatureError, match="no hydrogens"):
        strict.draw(turn, 0)
    following = epoch[(turn + 1) % 5]
    lenient = Drawer(training, told, on_error="skip")
    drawn = [lenient.draw(n, 0) for n in range(5)]
    assert [d.batch.name for d in drawn] == [following if n == "bad" else n for n in epoch]
    assert [len(d.faults) for d in drawn] == [int(n == "bad") for n in epoch]
    fault = drawn[turn].faults[0]
    assert fault.path == str(bad) and fault.entry == "bad" and "no hydrogens" in fault.message
    # It is told each time, and whoever makes the draw gets the same.
    again = Drawer(training, told, on_error="skip").draw(turn, 0)
    assert_equal(again.batch, drawn[turn].batch)
    assert lenient.draw(turn, 0).faults == again.faults == (fault,)
    for n in range(5):
        if n != turn:  # the others are not changed by it
            assert_equal(strict.draw(n, 0).batch, drawn[n].batch)


def test_where_all_of_a_pool_is_faulty_nothing_is_made_up(tmp_path: Path) -> None:
    found = open_samples([without_hydrogens(tmp_path / "bad.h5")]).samples
    drawer = Drawer(training_set(found), settings("all"), on_error="skip")
    with pytest.raises(DataFileError, match="none of the 1 molecules of the pool can be used"):
        drawer.draw(0, 0)
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        Drawer(training_set(found), settings(), on_error="ignore")


# What a model may declare.


def test_what_was_seen(samples) -> None:
    told = settings(lag_range_ps=(2.0, 1e5), jumps=((0, 2),), crop_tokens=4)
    drawer = Drawer(training_set(samples), told)
    seen: dict[str, Seen] = {}
    for number in range(60):
        draw = drawer.draw(number, 0)
        key = f"{draw.batch.name}/{draw.kind}"
        seen[key] = seen.get(key, Seen()).merged(draw.seen)
    domain = seen["1abcA00/dynamics"]
    assert domain.lag_range_ps == (1000.0, 5000.0)  # 12 frames, 1 ns apart, two jumps
    assert domain.temperature_range_kelvin == (320.0, 450.0)
    assert domain.residues == {"ACE", "ALA", "HIS", "ILE", "NME"}
    features = samples[0].features("heavy")
    assert (domain.max_tokens, domain.max_atoms) == (features.num_tokens, features.num_atoms)
    assert seen["ACE-SER-NME/dynamics"].lag_range_ps == (2.0, 14.0)
    assert seen["ACE-SER-NME/exchange"].lag_range_ps == EQUILIBRIUM_LAGS_PS
    assert seen["ACE-SER-NME/exchange"].temperature_range_kelvin == (300.0, 400.0)
    static = seen["2xyz/static"]
    assert static.lag_range_ps is None and static.temperature_range_kelvin is None
    total = Seen.of_all(seen.values())
    assert total.molecules == {"1abcA00", "1ABC", "2xyz", "ACE-SER-NME"}
    assert total.elements == {6, 7, 8, 17} and total.kinds == {"dynamics", "exchange", "static"}
    assert total.lag_range_ps == (2.0, 10000.0)
    assert total.describe()["has_exchange"] and not static.describe()["has_exchange"]
    # A structure's made-up temperature and lag are declared where there is nothing else.
    assert static.describe()["temperature_range_kelvin"] == [300.0, 300.0]
    assert static.describe()["lag_range_ps"] == list(EQUILIBRIUM_LAGS_PS)
    merged = static.merged(domain)
    assert merged.describe()["temperature_range_kelvin"] == [320.0, 450.0]
    assert merged.describe()["lag_range_ps"] == [1000.0, 5000.0]
    # The order in which ranks are merged, and merging twice, change nothing.
    parts = list(seen.values())
    one, two, three = parts[0], parts[1], parts[2]
    assert one.merged(two) == two.merged(one)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert total.merged(one) == total == Seen.of_all(reversed(parts))
    assert Seen.from_dict(json.loads(json.dumps(total.to_dict()))) == total
    assert Seen.from_dict(json.loads(json.dumps(Seen().to_dict()))) == Seen()
    with pytest.raises(ValueError, match="no record of what training saw"):
        Seen.from_dict({"molecules": []})


def test_no_warning_is_given_for_sound_data(samples) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Drawer(training_set(samples), settings()).draw(0, 0)
    assert not told
