"""mdCATH files: layout, caps, lazy frames, and the file's own statistics."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from data_cases import MDCATH_REPLICAS, MDCATH_TEMPERATURES, SHARED, write_mdcath

from atmos_openmm.core.geometry import gyration_radius, superpose
from atmos_openmm.data import mdcath, mdcath_checks
from atmos_openmm.data.faults import DataFileError
from atmos_openmm.data.frames import ArrayFrames, HDF5Frames, KeptArrays, close_files
from atmos_openmm.data.mdcath_checks import rmsf

REAL = SHARED / "mdcath" / "mdcath_dataset_2hbaA00_partial.h5"
real = pytest.mark.skipif(not REAL.exists(), reason="no real mdCATH file")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_mdcath(tmp_path / "mdcath_dataset_1abcA00.h5")


def rounding_nm(positions_nm: np.ndarray) -> float:
    """How far two roundings to float32 (angstrom in the file, nm elsewhere) move an atom."""
    return 2 * np.sqrt(3) * 2.0**-24 * float(np.abs(positions_nm).max())


def test_every_temperature_and_replica_is_a_sample(path: Path):
    entries = mdcath.inspect(path)
    assert [e.faults for e in entries] == [()] * len(entries)
    samples = [e.sample for e in entries]
    assert [s.name for s in samples] == [
        f"1abcA00/{t}/{r}" for t in MDCATH_TEMPERATURES for r in MDCATH_REPLICAS
    ]
    assert [s.temperature_kelvin for s in samples[:: len(MDCATH_REPLICAS)]] == [320.0, 450.0]
    for sample in samples:
        assert (sample.kind, sample.spacing_ps) == ("dynamics", 1000.0)
        assert sample.molecule() is samples[0].molecule()  # read once for all of them


def test_frames_are_in_nm_and_read_when_asked_for(path: Path):
    sample = mdcath.inspect(path)[1].sample
    with h5py.File(path) as file:
        coords = file["1abcA00/320/1/coords"][...]
    assert sample.num_frames == len(coords)
    for frames in (slice(None), slice(3, 9, 2), 5, -1, np.array([7, 2, 7, 0])):
        # One product in float32.
        np.testing.assert_allclose(sample.frames.read(frames), coords[frames] * 0.1, rtol=2.0**-22)
    assert sample.frames.read(4).shape == (sample.num_atoms, 3)
    for wrong in (len(coords), -len(coords) - 1, np.array([True, False]), np.array([0.5])):
        with pytest.raises(IndexError):
            sample.frames.read(wrong)


def test_samples_travel_between_processes(path: Path):
    sample = mdcath.inspect(path)[0].sample
    assert pickle.loads(pickle.dumps(sample)) == sample
    bad = HDF5Frames(str(path), "/1abcA00/320/9/coords", 5, sample.num_atoms)
    with pytest.raises(DataFileError, match="320/9") as caught:
        bad.read(0)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_caps_are_residues_of_their_own(path: Path):
    sample = mdcath.inspect(path)[0].sample
    molecule = sample.molecule()
    residues = list(molecule.topology.residues())
    assert [r.name for r in residues] == ["ACE", "ALA", "HIS", "ILE", "NME"]
    assert [a.name for a in residues[0].atoms()] == ["CH3", "H1", "H2", "H3", "C", "O"]
    assert [a.name for a in residues[-1].atoms()] == ["N", "H", "C", "H1", "H2", "H3"]
    features = sample.features()
    assert features.residue_names == ("ACE", "ALA", "HIS", "ILE", "NME")
    assert features.num_atoms == sample.num_atoms
    # One chain, bonded through: atoms of a molecule without rings but histidine's have A bonds.
    assert len(features.bonds) == sample.num_atoms and set(features.asym_id) == {0}
    assert len(features.chiral_signs) == 4  # three alpha carbons and isoleucine's CB
    heavy = sample.features("heavy")
    assert sample.positions_nm(0, heavy).shape == (heavy.num_atoms, 3)
    assert "CD1" in heavy.atom_names and "CD" not in heavy.atom_names  # CHARMM's name for it


def test_bonds_of_a_psf_are_used(tmp_path: Path):
    path = write_mdcath(tmp_path / "a.h5", psf=True)
    with_psf = mdcath.inspect(path)[0].sample.features()
    without = mdcath.inspect(write_mdcath(tmp_path / "b.h5"))[0].sample.features()
    np.testing.assert_array_equal(with_psf.bonds, without.bonds)
    with h5py.File(path, "r+") as file:
        psf = file["1abcA00/psf"][()].decode()
        del file["1abcA00/psf"]
        cut = psf.replace("!NBOND", "!NOTHING")
        file["1abcA00/psf"] = cut.encode()
    with pytest.raises(DataFileError, match="not in the PSF"):
        mdcath.inspect(path)[0].sample.source.load()


def test_own_statistics_are_reproduced(path: Path):
    sample = mdcath.inspect(path)[0].sample
    assert mdcath_checks.check_statistics(sample) == []
    close_files()
    with h5py.File(path, "r+") as file:
        file["1abcA00/320/0/gyrationRadius"][3] += 0.01
        file["1abcA00/320/0/rmsf"][...] *= 10.0
    faults = mdcath_checks.check_statistics(sample)
    assert [f.kind for f in faults] == ["inconsistent"] * 2
    assert "gyrationRadius" in faults[0].message and "rmsf" in faults[1].message


@real
def test_statistics_of_a_real_file():
    (entry,) = mdcath.inspect(REAL)
    sample = entry.sample
    assert (sample.num_frames, sample.num_atoms, entry.faults) == (500, 834, ())
    positions = sample.frames.read()
    heavy, alpha = mdcath_checks.selections(sample)
    with h5py.File(REAL) as file:
        run = file[sample.name]
        told = run["gyrationRadius"][...], run["rmsf"][...], run["rmsd"][...]
    assert (len(heavy), len(alpha)) == (403, 52)
    # Moving no atom by more than d moves neither value by more than d (both are norms over atoms).
    tolerance = rounding_nm(positions)
    np.testing.assert_allclose(
        gyration_radius(positions[:, heavy]), told[0], rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(rmsf(positions[:, alpha]), told[1], rtol=0, atol=tolerance)
    assert mdcath_checks.check_statistics(sample) == []
    # rmsd there: heavy atoms to the first frame, alpha carbons superposed.
    fit = superpose(positions, positions[0], alpha)[:, heavy]
    rmsd = np.sqrt(((fit - positions[0, heavy]) ** 2).sum(-1).mean(-1))
    # The stored ones were superposed in float32: a rotation off by its rounding moves atoms by it.
    np.testing.assert_allclose(rmsd, told[2], rtol=0, atol=4 * tolerance)


@real
def test_features_of_a_real_file():
    sample = mdcath.inspect(REAL)[0].sample
    features = sample.features("heavy")
    assert features.num_tokens == 54 and features.num_atoms == 403
    assert features.residue_names[:2] == ("ACE", "MET") and features.residue_names[-1] == "NME"
    x = sample.positions_nm(slice(0, 500, 50), features)
    lengths = np.linalg.norm(x[:, features.bonds[:, 0]] - x[:, features.bonds[:, 1]], axis=-1)
    assert 0.115 < lengths.min() and lengths.max() < 0.2  # C=O 0.12, C-S 0.18


@pytest.mark.parametrize(
    "change, kind, says",
    [
        ("truncate", "unreadable", "truncated"),
        ("layout", "layout", "reads 'mdcath-only-protein-v1.0'"),
        ("pdb", "missing", "pdbProteinAtoms"),
        ("short pdb", "inconsistent", "atoms, the arrays have"),
        ("order", "inconsistent", "the order of the atoms differs"),
        ("coords", "missing", "no coords"),
        ("shape", "shape", "expected (frames"),
    ],
)
def test_faulty_files_are_named(path: Path, change: str, kind: str, says: str):
    if change == "truncate":
        path.write_bytes(path.read_bytes()[:4000])
    else:
        with h5py.File(path, "r+") as file:
            group = file["1abcA00"]
            pdb = group["pdbProteinAtoms"][()].decode().splitlines(keepends=True)
            if change == "layout":
                file.attrs["layout"] = "mdcath-only-protein-v9"
            elif change == "coords":
                del group["320/0/coords"]
            elif change == "shape":
                del group["320/0/coords"]
                group["320/0/coords"] = np.zeros((5, 7, 3), np.float32)
            else:
                del group["pdbProteinAtoms"]
            if change == "short pdb":
                group["pdbProteinAtoms"] = "".join(pdb[:-1]).encode()
            elif change == "order":
                group["pdbProteinAtoms"] = "".join([pdb[0], pdb[2], pdb[1], *pdb[3:]]).encode()
    entries = mdcath.inspect(path)
    faults = [f for e in entries for f in e.faults]
    assert [f.kind for f in faults] == [kind] and says in str(faults[0])
    assert str(path) in str(faults[0])
    left = [e.sample for e in entries if e.sample is not None]
    # A fault of one trajectory leaves the others.
    assert len(left) == (3 if change in ("coords", "shape") else 0)


def test_frames_that_cannot_be_read_are_named(path: Path):
    sample = mdcath.inspect(path)[0].sample
    with h5py.File(path) as file:
        offset = file["1abcA00/320/0/coords"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=r"1abcA00/320/0.*truncated or damaged"):
        sample.frames.read()


def test_arrays_are_kept_up_to_a_number_of_bytes():
    kept, made = KeptArrays(3 * 8), []

    def get(key: int) -> int:
        def make() -> tuple[np.ndarray]:
            made.append(key)
            return (np.array([key]),)

        return int(kept.get((key,), make)[0][0])

    assert [get(k) for k in (1, 2, 3, 1, 4, 1, 3, 2)] == [1, 2, 3, 1, 4, 1, 3, 2]
    assert made == [1, 2, 3, 4, 2]  # 4 took the place of 2, which was not used for longest
    kept.clear()
    assert get(1) == 1 and made[-1] == 1
    big = KeptArrays(1)
    assert big.get((0,), lambda: (np.zeros(9),)) is big.get((0,), lambda: (np.ones(9),))


def test_arrays_are_frames_too():
    x = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    frames = ArrayFrames(x, np.array([True, False, True, True, True]))
    assert (frames.num_frames, frames.num_atoms) == (4, 5)
    np.testing.assert_array_equal(frames.read([2, -4]), x[[2, 0]])
    np.testing.assert_array_equal(frames.read(1), x[1])
    assert frames.resolved().tolist() == [True, False, True, True, True]


def test_fluctuations_of_a_known_motion():
    rng = np.random.default_rng(5)
    base = rng.normal(size=(6, 3))
    # Two mirror-image displacements along one direction: each atom is d from its mean.
    d = 1e-4 * rng.normal(size=(6, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    frames = np.stack([base + d, (base - d) @ turn.T + 5.0])
    # Superposition takes the rigid part of d away, nothing else (to first order in d).
    centred = base - base.mean(axis=0)
    basis = [np.tile(np.eye(3)[k], (6, 1)) for k in range(3)]
    basis += [np.cross(np.eye(3)[k], centred) for k in range(3)]
    q, _ = np.linalg.qr(np.stack([b.ravel() for b in basis], axis=1))
    internal = (d.ravel() - q @ (q.T @ d.ravel())).reshape(6, 3)
    np.testing.assert_allclose(rmsf(frames), np.linalg.norm(internal, axis=1), atol=2e-7)
    fitted = superpose(frames, frames[0])
    np.testing.assert_allclose(fitted[1], frames[0] - 2 * internal, atol=1e-6)
    assert np.allclose(
        gyration_radius(frames[:1]), np.sqrt(((frames[0] - frames[0].mean(0)) ** 2).sum(-1).mean())
    )
