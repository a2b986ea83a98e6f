"""Metrics of structure against independent implementations and values known by calculation."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_cases import native_peptide, peptide_ensemble, peptide_topology

from atmos_openmm.core.geometry import gyration_radius, rmsd, superpose
from atmos_openmm.evaluation.atoms import AtomTable, common_atoms
from atmos_openmm.evaluation.contacts import contact_sets, contacts, jaccard
from atmos_openmm.evaluation.distances import (
    bin_numbers,
    far_distances,
    histograms,
    mean_distance,
    value_range,
)
from atmos_openmm.evaluation.exposure import mutual_information, side_chain_surface
from atmos_openmm.evaluation.pca import fit_components, similarity
from atmos_openmm.evaluation.rmsf import fluctuations, pearson
from atmos_openmm.evaluation.torsions import find_torsions, pair_distances, torsion_distances
from atmos_openmm.evaluation.wasserstein import (
    AtomGaussians,
    atom_gaussians,
    cloud_w2,
    root_mean_w2,
)

# Single precision of mdtraj on coordinates of some nm.
SINGLE = dict(rtol=2e-4, atol=2e-5)


@pytest.fixture(scope="module")
def trajectory():
    import mdtraj

    ensemble = peptide_ensemble(3, frames=60)
    return ensemble, mdtraj.Trajectory(ensemble.positions_nm, ensemble.atoms.to_mdtraj())


def test_superposition_rmsd_and_rmsf_agree_with_mdtraj(trajectory):
    import mdtraj

    ensemble, theirs = trajectory
    native = native_peptide()
    reference = mdtraj.Trajectory(native[None].astype(np.float32), theirs.topology)
    heavy = np.arange(5, 40)
    np.testing.assert_allclose(
        rmsd(ensemble.positions_nm, native, heavy),
        mdtraj.rmsd(theirs, reference, atom_indices=heavy),
        **SINGLE,
    )
    np.testing.assert_allclose(
        fluctuations(superpose(ensemble.positions_nm, native)),
        mdtraj.rmsf(theirs[:], reference),
        **SINGLE,
    )


def test_fluctuations_of_known_gaussians():
    """RMSF of isotropic displacements of width s is s sqrt(3), within 4 standard errors."""
    random = np.random.default_rng(1)
    widths = np.array([0.01, 0.05, 0.2])
    frames = 4000
    x = np.array([1.0, 2.0, 3.0]) + widths[:, None] * random.standard_normal((frames, 3, 3))
    expected = widths * np.sqrt(3)
    assert np.abs(fluctuations(x) / expected - 1).max() < 4 / np.sqrt(6 * frames)
    assert not fluctuations(np.repeat(x[:1], 5, axis=0).astype(np.float32)).any()


def test_pearson_agrees_with_numpy_and_has_none_of_a_flat_profile():
    random = np.random.default_rng(2)
    a, b = random.standard_normal((2, 50))
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert np.isnan(pearson(a, np.ones(50)))
    with pytest.raises(ValueError, match="50 and 49"):
        pearson(a, b[:-1])


def test_gaussian_w2_agrees_with_scipys_matrix_root():
    from scipy.linalg import sqrtm

    random = np.random.default_rng(3)
    factors = random.standard_normal((2, 6, 3, 3))
    covariances = factors @ np.swapaxes(factors, -1, -2)
    means = random.standard_normal((2, 6, 3))
    found = root_mean_w2(*(AtomGaussians(m, c) for m, c in zip(means, covariances, strict=True)))
    squares = [
        np.trace(a + b - 2 * np.real(sqrtm(a @ b))) for a, b in zip(*covariances, strict=True)
    ]
    assert found.variance**2 == pytest.approx(np.mean(squares), rel=1e-6)
    shift = ((means[0] - means[1]) ** 2).sum(axis=-1).mean()
    assert found.translation**2 == pytest.approx(shift)
    assert found.total**2 == pytest.approx(shift + np.mean(squares), rel=1e-6)


def test_gaussian_w2_of_scaled_and_shifted_frames():
    """Scaling a Gaussian by c moves it by |c - 1| sqrt(tr S); a shift adds its length."""
    x = np.random.default_rng(4).standard_normal((500, 4, 3))
    x -= x.mean(axis=0)
    gaussians = atom_gaussians(x)
    gap = root_mean_w2(gaussians, atom_gaussians(1.5 * x + [3.0, 0, 0]))
    spread = np.trace(gaussians.covariances, axis1=1, axis2=2).mean()
    assert gap.variance == pytest.approx(0.5 * np.sqrt(spread), rel=1e-9)
    assert gap.translation == pytest.approx(3.0, rel=1e-9)


def test_cloud_w2_on_known_cases():
    from scipy.stats import wasserstein_distance

    random = np.random.default_rng(5)
    cloud = random.standard_normal((80, 2))
    # Nothing moves a cloud by v more cheaply than moving every point by v.
    moved = random.permutation(cloud + [0.3, -0.4])
    assert cloud_w2(cloud, moved) == pytest.approx(0.5, rel=1e-9)
    # On a line the best plan sorts.
    a, b = random.standard_normal((2, 80, 1))
    sorted_plan = np.sqrt(((np.sort(a, axis=0) - np.sort(b, axis=0)) ** 2).mean())
    assert cloud_w2(a, b) == pytest.approx(sorted_plan, rel=1e-9)
    assert cloud_w2(a, b) >= wasserstein_distance(a[:, 0], b[:, 0])
    with pytest.raises(ValueError, match="as many points"):
        cloud_w2(a, b[:-1])


@pytest.mark.parametrize("frames", [30, 400])
def test_components_agree_with_scikit_learn(frames):
    """Both ways: fewer frames than coordinates, and more."""
    from sklearn.decomposition import PCA

    random = np.random.default_rng(6)
    x = random.standard_normal((frames, 20, 3)) * np.linspace(3, 1, 60).reshape(20, 3)
    theirs = PCA(n_components=2).fit(x.reshape(frames, -1))
    ours = fit_components(x)
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_, rtol=1e-8)
    cosines = np.abs((ours.components * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-8)
    projected = np.abs(theirs.transform(x.reshape(frames, -1)))
    np.testing.assert_allclose(np.abs(ours.project(x)), projected, atol=1e-8)
    assert similarity(ours, ours) == pytest.approx(1)
    still = fit_components(np.repeat(x[:1], 5, axis=0))
    assert similarity(ours, still) == 0


def test_contacts_agree_with_mdtraj(trajectory):
    import mdtraj

    ensemble, theirs = trajectory
    alpha = ensemble.atoms.alpha_carbons
    i, j = np.triu_indices(len(alpha), k=1)
    distances = mdtraj.compute_contacts(theirs, list(zip(i, j, strict=True)), scheme="ca")[0]
    found = contacts(ensemble.positions_nm[:, alpha])
    clear = np.abs(distances - 0.8) > 1e-5
    assert np.array_equal(found[clear], (distances < 0.8)[clear])
    assert 0 < found.mean() < 1


def test_weak_and_transient_contacts_by_hand():
    native = np.array([True, True, True, False, False])
    shares = np.array([0.95, 0.89, 0.0, 0.10, 0.11])
    sets = contact_sets(native, shares)
    assert sets.weak.tolist() == [False, True, True, False, False]
    assert sets.transient.tolist() == [False, False, False, False, True]
    assert jaccard(sets.weak, np.array([False, True, False, False, True])) == pytest.approx(1 / 3)
    assert np.isnan(jaccard(np.zeros(3, bool), np.zeros(3, bool)))


def test_str2str_distances_agree_with_scipy():
    """As published: np.histogram on the reference's range, 1e-6 on top, `jensenshannon`."""
    from scipy.spatial.distance import jensenshannon

    random = np.random.default_rng(7)
    a, b = random.standard_normal((300, 7, 3)), 1.2 * random.standard_normal((200, 7, 3))
    theirs = []
    mine, other = far_distances(a), far_distances(b)
    assert mine.shape == (300, 10)
    for column in range(10):
        span = (mine[:, column].min(), mine[:, column].max())
        p, q = (np.histogram(x[:, column], 50, span)[0] + 1e-6 for x in (mine, other))
        theirs.append(jensenshannon(p, q))
    assert mean_distance(other, mine) == pytest.approx(np.mean(theirs), rel=1e-6)
    assert mean_distance(mine, mine) == pytest.approx(0, abs=1e-7)
    inside = histograms(bin_numbers(mine, *value_range(mine)))
    assert inside.sum() == pytest.approx(3000 + 500e-6)
    # Nothing in the reference's range: a flat histogram of pseudo-counts must not look good.
    assert mean_distance(other + 100, mine) == pytest.approx(np.sqrt(np.log(2)))


def test_gyration_radius_agrees_with_mdtraj(trajectory):
    import mdtraj

    ensemble, theirs = trajectory
    alpha = ensemble.atoms.alpha_carbons
    expected = mdtraj.compute_rg(theirs.atom_slice(alpha), masses=np.ones(len(alpha)))
    np.testing.assert_allclose(gyration_radius(ensemble.positions_nm[:, alpha]), expected, **SINGLE)


def test_surface_of_a_lone_side_chain_is_that_of_its_spheres():
    """CB far from everything: 4 pi (r + probe)^2 with r of carbon = 0.17 nm; then buried."""
    topology = peptide_topology(("ALA", "ALA"))
    atoms = AtomTable.from_openmm(topology)
    spread = np.arange(len(atoms))[:, None] * np.array([5.0, 0, 0])
    lone = side_chain_surface(spread[None], atoms)[0]
    np.testing.assert_allclose(lone, 4 * np.pi * (0.17 + 0.28) ** 2, rtol=1e-5)
    beta = atoms.named("CB")
    spread[beta[1]] = spread[beta[0]] + [0.3, 0, 0]
    near = side_chain_surface(spread[None], atoms)[0]
    # Two equal spheres d apart: each keeps 2 pi R (R + d/2).
    radius = 0.17 + 0.28
    np.testing.assert_allclose(near, 2 * np.pi * radius * (radius + 0.15), rtol=0.02)


def test_mutual_information_agrees_with_scikit_learn():
    from sklearn.metrics import mutual_info_score

    random = np.random.default_rng(8)
    exposed = random.random((120, 4)) < [0.2, 0.5, 0.9, 1.0]
    exposed[:, 1] ^= exposed[:, 0]
    found = mutual_information(exposed)
    for i in range(4):
        for j in range(4):
            expected = 0 if i == j else mutual_info_score(exposed[:, i], exposed[:, j])
            assert found[i, j] == pytest.approx(expected, abs=1e-12)


def test_torsions_agree_with_mdtraj(trajectory):
    import mdtraj

    ensemble, theirs = trajectory
    torsions = find_torsions(ensemble.atoms)
    angles = torsions.angles(ensemble.positions_nm)
    kinds = np.array([name.split()[0] for name in torsions.names])
    for kind, function in (
        ("phi", mdtraj.compute_phi),
        ("psi", mdtraj.compute_psi),
        ("chi1", mdtraj.compute_chi1),
    ):
        indices, expected = function(theirs)
        assert np.array_equal(np.sort(torsions.atoms[kinds == kind], axis=0), np.sort(indices, 0))
        difference = (angles[:, kinds == kind] - expected + np.pi) % (2 * np.pi) - np.pi
        assert np.abs(difference).max() < 2e-3
    assert len(torsions.pairs) == 8
    with pytest.raises(ValueError, match="no torsion"):
        find_torsions(ensemble.atoms.subset(ensemble.atoms.alpha_carbons))


def test_side_chain_torsions_of_every_amino_acid_are_those_of_mdtraj():
    import mdtraj
    import openmm.app as app

    from atmos_openmm.systems.residues import TEMPLATES

    topology = app.Topology()
    chain = topology.addChain()
    for name in sorted(name for name, found in TEMPLATES.items() if found.is_amino_acid):
        residue = topology.addResidue(name, chain)
        for atom in TEMPLATES[name].names:
            topology.addAtom(atom, app.Element.getBySymbol(atom[0]), residue)
    assert topology.getNumResidues() >= 20
    atoms = AtomTable.from_openmm(topology)
    torsions = find_torsions(atoms)
    theirs = mdtraj.Trajectory(np.zeros((1, len(atoms), 3), np.float32), atoms.to_mdtraj())
    for number in range(1, 6):
        kind = np.array([name.startswith(f"chi{number}") for name in torsions.names])
        mine = {tuple(row) for row in torsions.atoms[kind].tolist()}
        expected = getattr(mdtraj, f"compute_chi{number}")(theirs)[0]
        assert mine == {tuple(row) for row in expected.tolist()}, number


def test_torsion_distances_agree_with_scipy():
    from scipy.spatial.distance import jensenshannon

    ensemble = peptide_ensemble(3, frames=200)
    torsions = find_torsions(ensemble.atoms)
    angles = torsions.angles(ensemble.positions_nm)
    first, second = angles[:100], angles[100:]
    span = (-np.pi, np.pi)
    for k, found in enumerate(torsion_distances(first, second)):
        p, q = (np.histogram(x[:, k], 100, span)[0] for x in (first, second))
        assert found == pytest.approx(jensenshannon(p, q), abs=1e-7)
    for (i, j), found in zip(torsions.pairs, pair_distances(first, second, torsions), strict=True):
        p, q = (
            np.histogram2d(x[:, i], x[:, j], 50, [span, span])[0].ravel() for x in (first, second)
        )
        assert found == pytest.approx(jensenshannon(p, q), abs=1e-7)


def test_common_atoms_match_a_backbone_model_and_refuse_another_protein():
    whole = AtomTable.from_openmm(peptide_topology())
    backbone = whole.subset(whole.backbone.reshape(-1, 4)[:, ::-1].ravel())
    first, second = common_atoms([whole, backbone])
    assert [whole.names[i] for i in first] == [backbone.names[i] for i in second]
    assert first.tolist() == whole.backbone.tolist()
    # A name that a residue has twice (a cap counted to it) is two atoms, not one.
    twice = replace(whole, names=tuple("N" if n == "CB" else n for n in whole.names))
    assert [len(found) for found in common_atoms([twice, twice])] == [len(whole)] * 2
    other = AtomTable.from_openmm(peptide_topology(("ALA",) * 10))
    with pytest.raises(ValueError, match="differ from residue 2 on"):
        common_atoms([whole, other])
