"""Samples to molecules: what is held out, the pools of a stage, masks of a molecule's atoms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from data_cases import write_mdcath, write_misato
from trainset_cases import four_sources, memory_sample, own_file

from atmos_openmm.data.frames import ArrayFrames
from atmos_openmm.data.misato import ligand_atoms
from atmos_openmm.data.sources import open_samples
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.feed.frame_batch import ligand_mask, representative_atoms
from atmos_openmm.training.feed.trainset import (
    TrainingSet,
    split,
)
from atmos_openmm.training.training_settings import StageSettings, ValidationSettings


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return open_samples(four_sources(tmp_path_factory.mktemp("sources"))).samples


def names(part: TrainingSet | None) -> list[str]:
    return [m.name for m in part.molecules] if part is not None else []


def test_samples_of_one_source_are_one_molecule(samples) -> None:
    training, held_out = split(samples, ValidationSettings())
    assert held_out is None
    assert names(training) == ["1abcA00", "1ABC", "2xyz", "ACE-SER-NME"]
    counts = [[len(m.of_kind(k)) for k in m.kinds] for m in training.molecules]
    assert counts == [[4], [1], [1], [4, 2]]
    assert training.molecules[3].kinds == ("dynamics", "exchange")
    assert sum(len(m.samples) for m in training.molecules) == len(samples)


def test_frames_stay_on_the_disk(samples, monkeypatch) -> None:
    from atmos_openmm.data.frames import HDF5Frames

    def refused(*_: object) -> None:
        raise AssertionError("frames were read")

    monkeypatch.setattr(HDF5Frames, "read", refused)
    training, _ = split(samples, ValidationSettings(molecules=("2xyz",), runs=(3,)))
    stage = StageSettings("s", 1, shares={"dynamics": 1.0, "exchange": 1.0})
    assert len(training.pools(stage)) == 2


def test_names_are_held_out_by_patterns_of_any_case(samples) -> None:
    training, held_out = split(samples, ValidationSettings(molecules=("1ABC*",)))
    assert names(held_out) == ["1abcA00", "1ABC"]
    assert names(training) == ["2xyz", "ACE-SER-NME"]
    with pytest.raises(ValueError, match=r"names '2hba\*'.*there are 1ABC, 1abcA00, 2xyz"):
        split(samples, ValidationSettings(molecules=("2xyz", "2hba*")))
    with pytest.raises(ValueError, match="All of the data are held out: dynamics of atmos-openmm"):
        split(samples, ValidationSettings(molecules=("*",)))


def test_the_share_depends_on_each_name_alone() -> None:
    every = [memory_sample(f"molecule-{k}/0000") for k in range(2000)]
    share = ValidationSettings(share=0.3)
    training, held_out = split(every, share)
    out = set(names(held_out))
    # A binomial count; five standard deviations.
    assert abs(len(out) - 600) < 5 * np.sqrt(2000 * 0.3 * 0.7)
    for part in (every[:500], every[700:1300][::-1]):
        own_training, own_held_out = split(part, share)
        assert set(names(own_held_out)) == out & {s.name.split("/")[0] for s in part}
        assert not set(names(own_training)) & out
    # A larger share holds out those of a smaller one and more.
    assert out < set(names(split(every, ValidationSettings(share=0.5))[1]))


def test_one_structure_is_held_out_from_all_data_sets() -> None:
    ids = [f"{k % 9 + 1}{chr(97 + k % 26)}{chr(97 + k // 26 % 26)}{k % 10}" for k in range(300)]
    domains = [memory_sample(f"{i}A00/320/0", dataset="mdcath") for i in ids]
    complexes = [memory_sample(i.upper(), dataset="misato") for i in ids]
    entries = [memory_sample(f"{i}-1", kind="static", dataset="structure") for i in ids]
    share = ValidationSettings(share=0.25)
    parts = [split(part, share)[1] for part in (domains, complexes, entries)]
    found = [{n[:4].lower() for n in names(part)} for part in parts]
    assert found[0] == found[1] == found[2] and 30 < len(found[0]) < 120


def test_runs_are_held_out_by_their_number_in_the_file(tmp_path: Path) -> None:
    kinds = ["dynamics", "exchange", "dynamics", "dynamics", "dynamics", "dynamics"]
    path = own_file(tmp_path / "ala.h5", [(kind, 300.0, 4) for kind in kinds])
    found = open_samples([path]).samples
    training, held_out = split(found, ValidationSettings(runs=(0,)))
    assert [s.name[-4:] for s in held_out.molecules[0].samples] == ["0000", "0004"]
    assert [s.name[-4:] for s in training.molecules[0].samples] == ["0001", "0002", "0003", "0005"]
    # A run that cannot be used changes no other's number; replica exchange is never held out.
    _, held_out = split([s for s in found if s.name[-1] != "2"], ValidationSettings(runs=(0, 1)))
    assert [s.name[-4:] for s in held_out.molecules[0].samples] == ["0000", "0004", "0005"]
    replicas = open_samples([write_mdcath(tmp_path / "mdcath_dataset_1abcA00.h5")]).samples
    training, held_out = split(replicas, ValidationSettings(runs=(1,)))
    assert [s.name for s in held_out.molecules[0].samples] == ["1abcA00/320/1", "1abcA00/450/1"]
    assert [s.name for s in training.molecules[0].samples] == ["1abcA00/320/0", "1abcA00/450/0"]


def test_a_molecule_held_out_takes_all_its_samples_along(samples) -> None:
    training, held_out = split(samples, ValidationSettings(molecules=("ACE-*",), runs=(1,)))
    assert len(held_out.molecules[-1].samples) == 6  # exchange and all runs
    assert "ACE-SER-NME" not in names(training)


def test_what_is_no_data_is_refused(samples) -> None:
    with pytest.raises(ValueError, match="name at least one file"):
        split([], ValidationSettings())
    with pytest.raises(ValueError, match="'dynamics' and has 1 frame; a lag needs at least 2"):
        split([memory_sample("one/0000", frames=1)], ValidationSettings())
    two = dataclasses.replace(samples[0], frames=ArrayFrames(np.zeros((3, 2, 3), np.float32)))
    with pytest.raises(ValueError, match="has 2 atoms and .* expected the same"):
        split([samples[1], two], ValidationSettings())


def test_pools_are_kinds_and_data_sets(samples) -> None:
    training, _ = split(samples, ValidationSettings())
    shares = {"dynamics": 2.0, "mdcath": 1.0, "static": 1.0, "misato": 0.0}
    pools = training.pools(StageSettings("s", 1, shares=shares))
    assert [(p.name, p.share, [m.name for m in p.molecules]) for p in pools] == [
        ("dynamics", 2.0, ["1abcA00", "1ABC", "ACE-SER-NME"]),
        ("mdcath", 1.0, ["1abcA00"]),
        ("static", 1.0, ["2xyz"]),
    ]
    assert all(s.kind == "dynamics" for m in pools[0].molecules for s in m.samples)
    (own,) = training.pools(StageSettings("s", 1, shares={"atmos-openmm": 1.0}))
    assert own.molecules[0].kinds == ("dynamics", "exchange")


def test_other_temperatures_are_left_out(samples) -> None:
    training, _ = split(samples, ValidationSettings())
    stage = StageSettings("s", 1, temperature_range_kelvin=(310.0, 420.0))
    found = {p.name: [s for m in p.molecules for s in m.samples] for p in training.pools(stage)}
    assert {s.temperature_kelvin for s in found["dynamics"]} == {320.0}
    assert {s.temperature_kelvin for s in found["exchange"]} == {400.0}
    assert len(found["static"]) == 1  # has none


def test_pools_that_the_data_lack_are_told(samples) -> None:
    moving = [s for s in samples if s.provenance.dataset == "mdcath"]
    training, _ = split(moving, ValidationSettings())
    stage = StageSettings("trajectories", 1, shares={"mdcath": 0.6, "misato": 0.3, "static": 0.1})
    assert [p.name for p in training.pools(stage)] == ["mdcath"] and training.holds(stage)
    note = training.note(stage)
    assert "\n" not in note
    assert "'trajectories': the data have no misato, static; all draws are from mdcath" in note
    assert training.note(StageSettings("s", 1, shares={"mdcath": 1.0})) == ""
    other = StageSettings("other", 1, shares={"exchange": 1.0, "misato": 0.0})
    assert not training.holds(other)
    with pytest.raises(ValueError, match=r"wants exchange, .*dynamics of mdcath \(1 molecule, 48"):
        training.pools(other)
    hot = StageSettings("hot", 1, temperature_range_kelvin=(500.0, 600.0))
    with pytest.raises(ValueError, match="at 500 to 600 K, .* at 320 to 450 K"):
        training.pools(hot)


def test_files_with_other_labels_are_molecules_of_their_own(tmp_path: Path) -> None:
    run = [("dynamics", 300.0, 3)]
    one = own_file(tmp_path / "one.h5", run, "ACE-SER-NME")
    two = own_file(tmp_path / "two.h5", run, "ACE-SER-NME", swap=[("HB2", "HB3")])
    training, _ = split(open_samples([one, two]).samples, ValidationSettings())
    assert names(training) == ["ACE-SER-NME"] * 2
    first, second = (m.features() for m in training.molecules)
    np.testing.assert_array_equal(first.label_centers, second.label_centers)
    beta = [first.atom_names[c] == "CB" for c in first.label_centers[:, 0]]
    assert sum(beta) == 1
    # The hand of the labels is that of the file's own frames.
    np.testing.assert_array_equal(first.label_signs[beta], -second.label_signs[beta])


@pytest.mark.parametrize("atoms", ["all", "heavy"])
@pytest.mark.parametrize("caps", ["token", "atoms"])
def test_representative_atoms(atoms, caps) -> None:
    topology, x = build_peptide("ACE-GLY-ILE-CYS-PRO-NME")
    features = features_from_topology(topology, atoms, positions=x, caps=caps)
    centres = representative_atoms(features)
    assert centres.dtype == np.int64
    np.testing.assert_array_equal(features.atom_to_token[centres], np.arange(features.num_tokens))
    assert (features.ref_element[centres] > 1).all()
    found = dict(
        zip(features.residue_names, (features.atom_names[c] for c in centres), strict=True)
    )
    amino = {name: found[name] for name in ("GLY", "ILE", "CYS", "PRO")}
    assert amino == {"GLY": "CA", "ILE": "CB", "CYS": "CB", "PRO": "CB"}
    assert features.num_tokens == (6 if caps == "token" else 9)


def test_ligands_are_told_from_polymers(tmp_path: Path) -> None:
    (sample,) = open_samples([write_misato(tmp_path / "MD.hdf5")]).samples
    for atoms in ("all", "heavy"):
        features = sample.features(atoms)
        mask = ligand_mask(features)
        expected = np.isin(features.atom_indices, ligand_atoms(sample))
        assert 0 < expected.sum() < len(expected)
        np.testing.assert_array_equal(mask, expected.astype(np.float32))
    # Caps are parts of polymers.
    topology, x = build_peptide("ACE-ALA-NME")
    assert not ligand_mask(features_from_topology(topology, positions=x)).any()
