"""Panels: an MD replica ranks above bad generators; AlphaFlow's script gives the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_cases import (
    bad_generators,
    check_ranks,
    complex_frames,
    complex_topology,
    native_peptide,
    peptide_ensemble,
    ring,
)

from atmos_openmm.evaluation.atoms import AtomTable
from atmos_openmm.evaluation.bootstrap import block_bootstrap
from atmos_openmm.evaluation.ensemble import Ensemble
from atmos_openmm.evaluation.evaluate import evaluate
from atmos_openmm.evaluation.ligand import collisions, contact_map, coverage, ligand_geometry
from atmos_openmm.evaluation.panel import NotApplicable, Settings
from atmos_openmm.evaluation.panels import PANELS, find_panel
from atmos_openmm.evaluation.validity import alpha_gaps, chirality, peptide_gaps, residue_minimum


@pytest.fixture(scope="module")
def peptide():
    """Native, reference of two replicas, oracle, bad generators."""
    native = native_peptide()
    oracle = peptide_ensemble(7, "oracle")
    return native, peptide_ensemble(1, replicas=2), oracle, bad_generators(oracle, native)


# Every panel but those that need a ligand or a System, which have tests of their own below.
@pytest.mark.parametrize(
    "name", ["mdcath", "peptide", "validity", "dynamics", "rollout", "str2str"]
)
def test_bad_generators_rank_below_a_replica(peptide, name):
    native, reference, oracle, bad = peptide
    panel = find_panel(name)(reference, Settings(native, lag_ps=50.0, macrostates=5))
    checked = check_ranks(panel, reference, oracle, bad)
    assert checked == [metric.key for metric in panel.metrics]


def test_bad_generators_rank_below_a_replica_in_the_atlas_panel():
    native = native_peptide()
    # A fast hinge: few frames, which the surfaces ask for, have to hold the whole distribution.
    reference, oracle = (
        peptide_ensemble(s, frames=1200, stay=0.7).spread(n).taken() for s, n in ((1, 150), (7, 80))
    )
    panel = find_panel("atlas")(reference, Settings(native))
    bad = {n: e for n, e in bad_generators(oracle, native).items() if n in ("frozen", "noise")}
    # Ten residues without a core have no buried side chain; test_evaluation_ranks.py has some.
    checked = check_ranks(panel, reference, oracle, bad, ("exposed_mi_rho",))
    assert set(checked) == {m.key for m in panel.metrics} - {"exposed_j", "exposed_mi_rho"}


def test_atlas_panel_gives_what_alphaflows_steps_give(peptide):
    """The steps of scripts/analyze_ensembles.py by mdtraj, scikit-learn and SciPy."""
    import mdtraj
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import pearsonr
    from sklearn.decomposition import PCA

    native, reference, oracle, _ = peptide
    reference, generated = reference.spread(90).taken(), oracle.spread(40).taken()
    found = find_panel("atlas")(reference, Settings(native)).values(generated)

    top = reference.atoms.to_mdtraj()
    crystal = mdtraj.Trajectory(native[None].astype(np.float32), top)
    ref, gen = (mdtraj.Trajectory(e.positions_nm.copy(), top) for e in (reference, generated))
    state = np.random.RandomState(137)
    rand1, rand2, rand1k = (state.randint(0, 90, n) for n in (40, 40, 1000))
    ref.superpose(crystal)
    gen.superpose(crystal)
    alpha = [a.index for a in top.atoms if a.name == "CA"]
    ref_ca, gen_ca, crystal_ca = (t.atom_slice(alpha) for t in (ref, gen, crystal))
    ref_ca.superpose(crystal_ca)
    gen_ca.superpose(crystal_ca)
    x, y = (t.xyz.astype(np.float64).reshape(len(t), -1) for t in (ref_ca, gen_ca))
    size = np.sqrt(len(alpha))

    def w2(p, q):
        squares = ((p[:, None] - q[None]) ** 2).sum(-1)
        return 10 * np.sqrt(squares[linear_sum_assignment(squares)].mean()) / size

    pca, joint = PCA(2).fit(x), PCA(2).fit(np.concatenate([x[rand1], y]))
    own = PCA(2).fit(y)
    expected = {
        "pca_w2": w2(pca.transform(x[rand1]), pca.transform(y)),
        "joint_pca_w2": w2(joint.transform(x[rand1]), joint.transform(y)),
        "pc_similarity": abs(pca.components_[0] @ own.components_[0]),
        "rmsf_r": pearsonr(mdtraj.rmsf(gen[:], crystal), mdtraj.rmsf(ref[:], crystal))[0],
        "pairwise_rmsd": 10 * np.linalg.norm(y[:, None] - y[None], axis=-1).mean() / size,
        "rmwd_translation": 10
        * np.sqrt(((ref.xyz[rand1k].mean(0) - gen.xyz.mean(0)) ** 2).sum(-1).mean()),
    }
    crystal_contact, ref_share, gen_share = (
        (np.linalg.norm(f[:, None] - f[:, :, None], axis=-1) < 0.8).mean(0)
        for f in (crystal_ca.xyz, ref_ca.xyz[rand1], gen_ca.xyz)
    )
    native_contact = crystal_contact > 0
    for key, sets in (
        ("weak_j", [native_contact & (s < 0.9) for s in (ref_share, gen_share)]),
        ("transient_j", [~native_contact & (s > 0.1) for s in (ref_share, gen_share)]),
    ):
        expected[key] = (sets[0] & sets[1]).sum() / (sets[0] | sets[1]).sum()
    # The references superpose in single precision.
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=2e-3), key


def test_panels_say_what_they_cannot_do(peptide):
    native, reference, _, _ = peptide
    for name in ("ligand", "energy"):
        with pytest.raises(NotApplicable):
            PANELS[name](reference, Settings(native))
    untimed = replace(reference, spacing_ps=None)
    for name in ("peptide", "dynamics"):
        with pytest.raises(NotApplicable, match="no order in time"):
            PANELS[name](untimed, Settings(native))
    with pytest.raises(ValueError, match="choose from mdcath"):
        find_panel("atlantis")
    keys = [(p.name, m.key) for p in PANELS.values() for m in p.metrics]
    assert len(set(keys)) == len(keys)
    assert all(m.catches for p in PANELS.values() for m in p.metrics)


@pytest.mark.parametrize("name", ["mdcath", "str2str", "rollout", "validity"])
def test_what_is_kept_of_frames_for_one_reference_is_not_taken_for_anothers(peptide, name):
    native, reference, oracle, _ = peptide
    other = reference.with_segments([(0, 100)]).restarted()
    turned = replace(other, positions_nm=1.05 * other.positions_nm)
    find_panel(name)(reference, Settings(native)).values(oracle)
    again = find_panel(name)(turned, Settings(1.05 * native)).values(oracle)
    fresh = find_panel(name)(turned, Settings(1.05 * native)).values(oracle.taken())
    assert again == pytest.approx(fresh, nan_ok=True)


def test_a_trajectory_without_return_has_no_markov_model(peptide):
    native, reference, _, _ = peptide
    panel = find_panel("peptide")(reference, Settings(native, lag_ps=10.0, macrostates=3))
    states = panel._assigned(reference)
    pair = np.flatnonzero(states[1:] != states[:-1])[0]
    short = Ensemble(
        "short",
        reference.atoms,
        reference.positions_nm[pair : pair + 2],
        (),
        10.0,
        reference.topology,
    )
    values = panel.values(short)
    assert values["jsd_states"] > 0
    assert np.isnan([values[k] for k in ("jsd_msm", "flux_rho", "transition_error")]).all()


def test_metrics_of_dynamics_count_real_time(peptide):
    """Every second frame of the same motion, with twice the spacing, is the same motion."""
    native, reference, oracle, _ = peptide
    panel = find_panel("dynamics")(reference, Settings(native, lag_ps=50.0))
    thin = Ensemble("thin", oracle.atoms, oracle.positions_nm[::2], (), 20.0)
    wrong = replace(thin, name="wrong", spacing_ps=10.0)
    whole, thinned, hasty = (panel.values(e) for e in (oracle, thin, wrong))
    assert thinned["time_backbone"] == pytest.approx(whole["time_backbone"], rel=0.1)
    assert hasty["time_backbone"] == pytest.approx(whole["time_backbone"] / 2, rel=0.1)
    assert np.isnan(thinned["step"])  # it has no frames 10 ps apart
    # Frames further apart than the reference's curves reach tell nothing of them.
    coarse = replace(oracle, name="coarse", spacing_ps=3000.0)
    assert np.isnan(list(panel.values(coarse).values())).all()
    assert "coarse: frames 3000 ps apart" in panel.notes[-1] and panel.arrays(coarse) == {}
    markov = find_panel("peptide")(reference, Settings(native, lag_ps=50.0, macrostates=3))
    assert np.isnan(markov.values(coarse)["jsd_msm"])
    assert "does not divide the lag of 50 ps" in markov.notes[-1]
    assert not np.isnan(markov.values(thin.extended(400))["jsd_tica0"])
    dense = find_panel("dynamics")(thin, Settings(native, lag_ps=50.0)).values(oracle)
    assert dense["step_w1"] < 0.05 * whole["step"]


def test_bootstrap_of_a_mean_is_its_standard_error(peptide):
    """Of blocks of 120 nearly independent frames: sd/sqrt(frames), within 4 sd of the estimate,
    whose relative error is 1/sqrt(2 min(blocks, draws))."""
    _, _, oracle, _ = peptide
    values = np.random.default_rng(9).standard_normal(oracle.num_frames)

    def mean(ensemble):
        return {"mean": float(values[ensemble.frames].mean())}

    error = block_bootstrap(mean, oracle, resamples=200)["mean"]
    expected = 1 / np.sqrt(oracle.num_frames)
    assert abs(error / expected - 1) < 4 / np.sqrt(2 * 10)
    slow = np.repeat(np.random.default_rng(9).standard_normal(10), oracle.num_frames // 10)
    error = block_bootstrap(
        lambda e: {"mean": float(slow[e.frames].mean())}, oracle, resamples=200
    )["mean"]
    assert error > 5 * expected  # correlated frames do not count as many


def test_validity_by_hand():
    native = native_peptide()
    atoms = peptide_ensemble(1, frames=2).atoms
    stretched = native.copy()
    tail = atoms.residue >= 5
    stretched[tail] += 0.05 * np.array([1.0, 0, 0])
    frames = np.stack([native, stretched, native * [1, 1, -1]])
    gaps, bonds = alpha_gaps(frames, atoms), peptide_gaps(frames, atoms)
    assert gaps.shape == bonds.shape == (3, 9)
    np.testing.assert_allclose(bonds[0], 0.133, atol=1e-6)
    # The chain was cut between its residues 5 and 6, nowhere else.
    assert np.flatnonzero(np.abs(bonds[1] - bonds[0]) > 1e-6).tolist() == [4]
    assert np.flatnonzero(np.abs(gaps[1] - gaps[0]) > 1e-6).tolist() == [4]
    hand = chirality(frames, atoms)
    assert (hand[0] > 0.5).all() and np.allclose(hand[2], -hand[0])
    moved = native.copy()
    carbonyl, nitrogen = atoms.named("O")[1], atoms.named("N")[8]
    moved[nitrogen] = moved[carbonyl] + [0.05, 0, 0]
    closest = residue_minimum(moved[None], atoms.backbone, atoms.residue, 3, 0.1)
    assert closest[0] == pytest.approx(0.05)
    assert np.isinf(residue_minimum(moved[None], atoms.backbone, atoms.residue, 8, 0.1)[0])


@pytest.fixture(scope="module")
def bound():
    topology = complex_topology()
    atoms = AtomTable.from_openmm(topology)
    reference, oracle = (
        Ensemble(name, atoms, complex_frames(seed), (), 10.0, topology)
        for name, seed in (("MD", 11), ("oracle", 12))
    )
    native = np.concatenate([native_peptide(), reference.positions_nm[0, -7:]])
    return native, reference, oracle


def test_bad_generators_rank_below_a_replica_in_the_ligand_panel(bound):
    native, reference, oracle = bound
    panel = find_panel("ligand")(reference, Settings(native))
    checked = check_ranks(panel, reference, oracle, bad_generators(oracle, native))
    assert checked == [metric.key for metric in panel.metrics]
    assert "LIG, 7 heavy atoms" in panel.notes[0]


def test_ligand_metrics_by_hand(bound):
    native, reference, _ = bound
    atoms = reference.atoms
    ligand = atoms.ligand()
    assert [atoms.names[i] for i in ligand] == [f"C{k}" for k in range(7)]
    geometry = ligand_geometry(atoms, ligand)
    assert geometry.bonds.shape == (7, 2)
    assert geometry.angles.shape == (8, 3)  # six of the ring, two at the methyl
    # 21 pairs: 7 bonds, 8 at two bonds' distance, 6 beyond.
    assert geometry.apart.shape == (6, 2)
    # Without bonds in the topology the same are found from distances.
    protein = ~np.isin(atoms.bonds, ligand).any(axis=1)
    unbonded = replace(atoms, bonds=atoms.bonds[protein])
    found = ligand_geometry(unbonded, ligand, native)
    assert {tuple(b) for b in found.bonds.tolist()} == {tuple(b) for b in geometry.bonds.tolist()}
    with pytest.raises(ValueError, match="no bonds"):
        ligand_geometry(unbonded, ligand)
    shape = ring()[None]
    lengths = np.sort(geometry.bond_lengths(shape)[0])
    np.testing.assert_allclose(lengths, [0.139] * 6 + [0.151], atol=1e-12)
    angles = np.degrees(np.sort(geometry.bond_angles(shape)[0]))
    np.testing.assert_allclose(angles, 120, atol=1e-9)
    assert geometry.inner_collisions(shape)[0] == 0
    assert geometry.inner_collisions(0.3 * shape)[0] == 1
    frame = native.copy()
    frame[ligand] = ring() + [50.0, 0, 0]
    assert not contact_map(frame[None], atoms, ligand).any()
    target = atoms.protein_heavy[3]
    frame[ligand[6]] = frame[target] + [0.1, 0, 0]
    touching = contact_map(frame[None], atoms, ligand)[0]
    assert touching[:, 6].any() and not touching[:, :6].any()
    assert touching[atoms.residue[target], 6]
    assert collisions(frame[None], atoms, ligand)[0] > 0
    with pytest.raises(ValueError, match="named XYZ"):
        atoms.ligand("XYZ")


def test_coverage_by_hand():
    """Frames at 0, 1 and 5 of one coordinate against frames at 0.1 and 9, radius 0.2."""
    first = np.zeros((3, 2, 3))
    first[:, :, 0] = np.array([0.0, 1.0, 5.0])[:, None]
    second = np.zeros((2, 2, 3))
    second[:, :, 0] = np.array([0.1, 9.0])[:, None]
    precision, recall, f1 = coverage(first, second)
    assert (precision, recall) == pytest.approx((1 / 3, 1 / 2))
    assert f1 == pytest.approx(0.4)


def wells(temperature_kelvin, seed, frames=500, particles=40):
    """Frames of particles in harmonic wells of 1000 kJ/mol/nm^2, and the System."""
    import openmm

    system = openmm.System()
    force = openmm.CustomExternalForce("500*((x-a)^2+y^2+z^2)")
    force.addPerParticleParameter("a")
    for k in range(particles):
        system.addParticle(12.0)
        force.addParticle(k, [float(k)])
    system.addForce(force)
    random = np.random.default_rng(seed)
    thermal = 0.0083144626 * temperature_kelvin
    x = np.sqrt(thermal / 1000) * random.standard_normal((frames, particles, 3))
    x[:, :, 0] += np.arange(particles)
    return x.astype(np.float32), system


def test_energies_of_harmonic_wells():
    """Energies at T follow kT/2 chi^2 of 3N degrees: mean 3N kT/2, sd sqrt(3N/2) kT. Those of
    another T are the same scaled, so their W1 is the difference of the means."""
    import openmm

    from atmos_openmm.evaluation.energy import energy_difference, potential_energies

    cold, system = wells(300, 1)
    hot, _ = wells(450, 2)
    cold_energies, hot_energies = (potential_energies(x, system, "Reference") for x in (cold, hot))
    thermal = 0.0083144626 * 300
    sd = np.sqrt(60) * thermal
    assert cold_energies.mean() == pytest.approx(60 * thermal, abs=4 * sd / np.sqrt(500))
    assert cold_energies.std() == pytest.approx(sd, rel=4 / np.sqrt(1000))
    found = energy_difference(hot_energies, cold_energies)
    gap = 30 * thermal  # 60 (450/300 - 1) kT
    assert found["energy_w1"] == pytest.approx(gap, abs=4 * 2.5 * sd / np.sqrt(500))
    assert found["energy_shift"] == pytest.approx(gap / sd, rel=0.15)
    assert found["energy_spread"] == pytest.approx(1.5, rel=4 * np.sqrt(2 / 1000))
    # The definition of the energy distance, written out.
    a, b = hot_energies, cold_energies
    pairs = [np.abs(x[:, None] - y[None]).mean() for x, y in ((a, b), (a, a), (b, b))]
    assert found["energy_distance"] == pytest.approx(np.sqrt(2 * pairs[0] - pairs[1] - pairs[2]))
    repulsion = openmm.CustomExternalForce("1/x")
    repulsion.addParticle(0)
    system.addForce(repulsion)
    hot[0, 0, 0] = 0
    assert np.flatnonzero(np.isinf(potential_energies(hot, system, "Reference"))).tolist() == [0]
    with pytest.raises(NotApplicable, match="39 atoms"):
        potential_energies(hot[:, :39], system, "Reference")


def test_bad_generators_rank_below_a_replica_in_the_energy_panel(peptide):
    _, reference, _, _ = peptide
    frames, system = wells(300, 1, particles=len(reference.atoms))
    again, _ = wells(300, 2, particles=len(reference.atoms))
    ours, oracle = (Ensemble(n, reference.atoms, x) for n, x in (("MD", frames), ("oracle", again)))
    native = np.zeros((len(reference.atoms), 3))
    native[:, 0] = np.arange(len(native))
    panel = find_panel("energy")(ours, Settings(native, system=system, platform="Reference"))
    checked = check_ranks(panel, ours, oracle, bad_generators(oracle, native))
    assert checked == [metric.key for metric in panel.metrics]
    # Another order of the same atoms is put right, and a generator without some has no energies.
    order = np.lexsort((np.random.default_rng(3).random(len(native)), reference.atoms.residue))
    mixed = Ensemble("mixed", reference.atoms.subset(order), again[:, order])
    part = Ensemble("part", reference.atoms.subset(order[:-1]), again[:, order[:-1]])
    rows = (
        evaluate(
            ours,
            [mixed, part],
            settings=Settings(native, system=system, platform="Reference"),
            oracles=[oracle],
            panels=["energy"],
            resamples=0,
        )
        .panel("energy")
        .rows
    )
    assert rows[2].values == pytest.approx(rows[1].values, rel=1e-9)
    assert np.isnan(list(rows[3].values.values())).all()
