"""Densities in files, of models, and in the cache."""

from __future__ import annotations

import numpy as np
import pytest
from density_cases import START, FakePropagator, OneTorsion, two_residues

from atmos_openmm.density import TorsionDensity, held_out_score
from atmos_openmm.density.cache import cache_folder
from atmos_openmm.density.model_frames import draw_frames


def same(first, second):
    assert first.names == second.names and first.notes == second.notes
    assert first.block_sizes == second.block_sizes and first.previous == second.previous
    assert first.uniform_weight == second.uniform_weight
    for a, b in zip(first.blocks, second.blocks, strict=True):
        for name in ("means", "covariances", "gate_torsions", "sequential", "conditional"):
            x, y = getattr(a, name), getattr(b, name)
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        assert a.has_local == b.has_local
        if a.has_local:
            assert (a.local_covariance == b.local_covariance).all()


@pytest.mark.parametrize("local", [False, True])
def test_files_hold_every_bit(tmp_path, local):
    density = two_residues(local=local)
    density.save(tmp_path / "a.safetensors")
    same(density, TorsionDensity.load(tmp_path / "a.safetensors", density.names))


def test_a_uniform_density_has_a_file(tmp_path):
    density = TorsionDensity.uniform(("a", "b"), (1, 1), (-1, 0))
    density.save(tmp_path / "a")
    same(density, TorsionDensity.load(tmp_path / "a"))


def test_another_molecule_is_refused_with_the_differences(tmp_path):
    two_residues().save(tmp_path / "a")
    other = ("ALA2 phi", "ALA2 psi", "VAL3 phi", "VAL3 psi", "LEU3 chi1")
    with pytest.raises(ValueError, match=r"lacks VAL3 phi, VAL3 psi; it has LEU3 phi, LEU3 psi"):
        TorsionDensity.load(tmp_path / "a", other)
    with pytest.raises(ValueError, match="order"):
        two_residues().check(two_residues().names[::-1])


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a"
    two_residues().save(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in (0, 5, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole.replace(b"means", b"meens", 1), whole.replace(b"block_sizes", b"block_sises")]
    damaged += [whole.replace(b'\\"version\\": 1', b'\\"version\\": 9')]
    damaged += [whole[:-400] + b"\xff" * 400]
    for data in damaged:
        assert data != whole
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a cannot be read as a density of torsions"):
            TorsionDensity.load(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        TorsionDensity.load(tmp_path / "b")


def test_frames_of_anyone():
    frames = FakePropagator().propagate(np.tile(START, (400, 1, 1)), attempt=1000)
    density = TorsionDensity.from_frames(frames, OneTorsion())
    angles = OneTorsion().measure(frames)
    # A normal of 0.3 rad has an entropy of 0.215, the fit loses some 0.01 and 2 %.
    assert held_out_score(density, angles).mean == pytest.approx(-0.215, abs=0.12)
    with pytest.raises(ValueError, match=r"expected \[frames, particles, 3\]"):
        TorsionDensity.from_frames(np.zeros((3, 8)), OneTorsion())


def test_frames_that_are_of_no_use_are_left_out():
    propagator = FakePropagator(mirrored=range(3, 200, 10), failing=range(0, 200, 50))
    drawn = draw_frames(propagator, OneTorsion(), START[None], 100.0, 300.0, 100)
    assert len(drawn.angles) == 112 and drawn.trajectories == (7,) * 16
    assert drawn.refused >= 18
    assert (np.abs(drawn.angles - 1.0) < 1.5).all()  # 5 sd; a mirrored one has -1.0


@pytest.mark.parametrize(
    ("broken", "message"), [("mirrored", "wrong handedness"), ("failing", "not finite")]
)
def test_a_model_of_no_use_is_an_error(broken, message):
    propagator = FakePropagator(**{broken: range(100_000)})
    with pytest.raises(RuntimeError, match=message):
        draw_frames(propagator, OneTorsion(), START[None], 100.0, 300.0, 20)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATMOS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def made(propagator, **options):
    return TorsionDensity.from_model(propagator, OneTorsion(), START, frames=40, **options)


def test_the_cache_is_hit_by_the_same_and_missed_by_others(cache):
    first, again = FakePropagator(), FakePropagator()
    seen = []
    density = made(first, progress=lambda done, total: seen.append((done, total)))
    same(density, made(again))
    assert first.calls == 5 and again.calls == 0
    assert seen[-1] == (40, 40) and seen[0] == (0, 40)
    assert density.notes == ("48 frames of the model at 100 ps and 300 K",)
    for change in (
        {"lag": 10.0},
        {"temperature": 310.0},
        {"seed": 1},
        {"max_components": 3},
    ):
        other = FakePropagator()
        made(other, **change)
        assert other.calls == 5, change
    other = FakePropagator(fingerprint="another")
    made(other)
    assert other.calls == 5
    moved = FakePropagator()
    TorsionDensity.from_model(moved, OneTorsion(), START + 0.01, frames=40)
    assert moved.calls == 5
    assert len(list((cache / "densities").iterdir())) == 7


def test_no_cache_where_none_is_wanted(cache):
    made(FakePropagator(), cache=False)
    assert not cache.exists()


def test_a_damaged_cache_is_made_anew(cache):
    density = made(FakePropagator())
    (path,) = (cache / "densities").iterdir()
    path.write_bytes(path.read_bytes()[:200])
    again = FakePropagator()
    found = made(again)
    assert again.calls == 5
    assert found.notes[0] == density.notes[0]
    assert found.notes[1].startswith("made anew") and "cannot be read" in found.notes[1]
    same(density, made(FakePropagator()))


def test_a_cache_that_cannot_be_written_is_done_without(cache):
    cache.write_text("a file, no folder")
    assert "not kept in the cache" in made(FakePropagator()).notes[1]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("ATMOS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "atmos_openmm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "atmos_openmm"
