"""The screen: good frames pass, and each fault is found, named and located."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest

from atmos_openmm.core import geometry
from atmos_openmm.core.geometry import MIN_CHIRAL_VOLUME
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.openmm_bridge import (
    atom_positions_in_nm,
    bond_lengths_from_system,
    constraint_arrays,
)
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.screening import (
    BONDI_RADII_NM,
    ScreenSpec,
    build_screen,
    check_displacement,
    check_environment,
    inspect_frame,
    screen,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def molecule(sequence):
    topology, positions = build_peptide(sequence)
    features = features_from_topology(topology)
    return topology, features, build_screen(features, topology), positions


def atom(features, token, name):
    return next(
        i
        for i, n in enumerate(features.atom_names)
        if n == name and features.atom_to_token[i] == token
    )


def side_of(spec, i, j):
    """Atoms on j's side of the bond i-j."""
    near = {k: set() for k in range(spec.num_atoms)}
    for a, b in spec.bonds.tolist():
        near[a].add(b)
        near[b].add(a)
    seen, shell = {i, j}, {j}
    while shell:
        shell = {n for k in shell for n in near[k]} - seen
        seen |= shell
    return sorted(seen - {i})


def rotation(axis, angle):
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def turned(spec, positions, i, j, angle):
    """Turn j's side about the bond i-j."""
    frame = positions.copy()
    part = side_of(spec, i, j)
    frame[part] = (frame[part] - frame[i]) @ rotation(frame[j] - frame[i], angle).T + frame[i]
    return frame


# --- what the screen is made of -----------------------------------------------------------------


def test_reference_lengths_come_from_the_system():
    topology, positions = build_peptide("ACE-ALA-NME")
    features = features_from_topology(topology)
    system = app.ForceField("amber14-all.xml").createSystem(topology, constraints=app.HBonds)
    spec = build_screen(features, topology, system)
    lengths = {
        tuple(sorted((features.atom_names[i], features.atom_names[j]))): length
        for (i, j), length in zip(spec.bonds.tolist(), spec.bond_lengths_nm, strict=True)
    }
    # parm99's values: C=O, amide C-N, CT-HC (constrained), N-H (constrained).
    assert lengths["C", "O"] == pytest.approx(0.1229)
    assert lengths["C", "N"] in (pytest.approx(0.1335), pytest.approx(0.1449))
    assert lengths["CB", "HB1"] == pytest.approx(0.109)
    assert lengths["H", "N"] == pytest.approx(0.101)
    free = build_screen(features)
    # Without a System the references are ETKDG's, which are good to about 0.01 nm.
    np.testing.assert_allclose(free.bond_lengths_nm, spec.bond_lengths_nm, atol=0.015)
    assert screen(spec, positions, positions) == screen(free, positions, positions) == "accepted"


def test_torsions_rings_and_pairs():
    topology, features, spec, _ = molecule("ACE-PRO-TRP-ALA-NME")
    names = [[features.atom_names[i] for i in t] for t in spec.cis_trans.tolist()]
    assert names == [
        ["CA", "C", "N", "CA"],  # PRO-TRP; ACE-PRO is free to turn
        ["CA", "C", "N", "CA"],
        ["CA", "C", "N", "C"],
    ]
    assert features.atom_to_token[spec.cis_trans].tolist()[0] == [1, 1, 2, 2]
    assert sorted(len(r) for r in spec.rings) == [5, 5, 6]
    bonded = set(map(tuple, spec.bonds.tolist()))
    for ring in spec.rings:
        for i, j in zip(ring, (*ring[1:], ring[0]), strict=True):
            assert tuple(sorted((i, j))) in bonded
    # Distances along bonds by matrix powers, an independent count.
    a = spec.num_atoms
    step = np.eye(a, dtype=int)
    step[spec.bonds[:, 0], spec.bonds[:, 1]] = step[spec.bonds[:, 1], spec.bonds[:, 0]] = 1
    reach = np.linalg.matrix_power(step, 3) > 0
    np.testing.assert_array_equal(spec.near_pairs, np.argwhere(np.triu(reach, 1)))
    assert spec.radii_nm[atom(features, 1, "N")] == BONDI_RADII_NM[7]


def test_cap_of_a_cyclic_backbone_has_no_small_ring():
    # A disulphide closes a ring of 14 atoms or more, which a chain may pass through.
    topology, _ = build_peptide("CGGC")
    copy = app.Modeller(topology, np.zeros((topology.getNumAtoms(), 3)) * unit.nanometer)
    atoms = list(copy.topology.atoms())
    copy.delete([a for a in atoms if a.name == "HG"])
    sulfurs = [a for a in copy.topology.atoms() if a.name == "SG"]
    copy.topology.addBond(*sulfurs)
    spec = build_screen(features_from_topology(copy.topology))
    assert spec.rings == ()


# --- good frames --------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", ["ACE-TRP-NME", "ACE-ARG-NME", "ACE-PRO-NME"])
def test_dynamics_passes(sequence):
    topology, positions = build_peptide(sequence)
    features = features_from_topology(topology)
    system = app.ForceField("amber14-all.xml").createSystem(topology, constraints=app.HBonds)
    spec = build_screen(features, topology, system)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(5)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 10, 100)
    context.setVelocitiesToTemperature(300, 5)
    before, frames = None, []
    for _ in range(40):
        integrator.step(50)
        frame = context.getState(positions=True).getPositions(asNumpy=True)._value
        before = frame if before is None else before
        frames.append(np.array(frame))
    assert [screen(spec, frame, before) for frame in frames] == ["accepted"] * 40


@pytest.mark.skipif(not (SHARED / "md").is_dir(), reason="needs ../shared/data")
def test_frames_of_long_dynamics_of_all_residues_pass():
    rejected, total = 0, 0
    for pdb in sorted((SHARED / "md").glob("ace_*_nme.pdb")):
        topology = app.PDBFile(str(pdb)).topology
        spec = build_screen(features_from_topology(topology))
        for run in sorted((SHARED / "md").glob(f"{pdb.stem}_?.npz")):
            frames = np.load(run)["positions_nm"][::25]
            reasons = [screen(spec, frame, frames[0]) for frame in frames]
            rejected += sum(r != "accepted" for r in reasons)
            total += len(frames)
    assert total > 1000
    assert rejected <= 0.001 * total


def test_verdict_ignores_rotation_and_translation():
    _, _, spec, positions = molecule("ACE-PHE-NME")
    rng = np.random.default_rng(11)
    for _ in range(5):
        moved = positions @ rotation(rng.normal(size=3), rng.uniform(0, 3)).T + rng.normal(size=3)
        assert screen(spec, moved, positions) == "accepted"
        assert screen(spec, moved * [1, 1, -1], positions) == "chirality"


# --- each fault ---------------------------------------------------------------------------------


def test_nonfinite():
    _, features, spec, positions = molecule("ACE-ALA-NME")
    frame = positions.copy()
    frame[7, 1] = np.nan
    verdict = inspect_frame(spec, frame, positions)
    assert (verdict.reason, verdict.atoms, verdict.count) == ("nonfinite", (7,), 1)
    frame[9] = np.inf
    assert inspect_frame(spec, frame).count == 2
    assert "not finite" in verdict.describe(features)


@pytest.mark.parametrize("sign", [1, -1])
def test_stretched_bond(sign):
    _, features, spec, positions = molecule("ACE-ALA-NME")
    i, j = atom(features, 1, "CA"), atom(features, 1, "C")
    k = [tuple(b) for b in spec.bonds.tolist()].index((min(i, j), max(i, j)))
    direction = positions[j] - positions[i]
    direction /= np.linalg.norm(direction)
    current = np.linalg.norm(positions[j] - positions[i]) - spec.bond_lengths_nm[k]
    part = side_of(spec, i, j)
    for beyond, expected in ((-0.001, "accepted"), (0.001, "bonds")):
        wanted = sign * (spec.bond_tolerance_nm + beyond)
        frame = positions.copy()
        frame[part] += (wanted - current) * direction
        assert screen(spec, frame, positions, only=["bonds"]) == expected
    verdict = inspect_frame(spec, frame, positions)
    assert verdict.reason == "bonds" and set(verdict.atoms) == {i, j} and verdict.count == 1
    assert abs(verdict.value - verdict.limit) == pytest.approx(0.051, abs=1e-6)
    assert "CA of ALA" in verdict.describe(features)


def test_mirrored_and_flat_centres():
    _, features, spec, positions = molecule("ACE-ILE-NME")
    mirror = inspect_frame(spec, positions * [-1, 1, 1], positions)
    assert mirror.reason == "chirality" and mirror.count == 2
    assert mirror.value < -0.5 and "wrong hand" in mirror.describe(features)
    # Flatten CA: bring it into the plane of its three neighbours, then a little to either side.
    # `only` is needed, since such a centre's bonds are wrong as well.
    row = next(k for k, c in enumerate(spec.chiral_centers) if features.atom_names[c[0]] == "CA")
    c, a, b, d = spec.chiral_centers[row].tolist()
    x = positions
    normal = np.cross(x[b] - x[a], x[d] - x[a])
    normal /= np.linalg.norm(normal)
    height = np.dot(x[c] - x[a], normal)
    for share, expected in (
        (1.0, "accepted"),
        (0.5, "accepted"),
        (0.0, "chirality"),
        (-0.5, "chirality"),
    ):
        frame = positions.copy()
        frame[c] -= (1 - share) * height * normal
        verdict = inspect_frame(spec, frame, positions, only=["chirality"])
        assert verdict.reason == expected
    assert verdict.limit == MIN_CHIRAL_VOLUME and verdict.atoms == (c, a, b, d)
    frame = positions.copy()
    frame[c] = frame[a]
    assert screen(spec, frame, only=["chirality"]) == "chirality"


def test_cis_flip_of_a_peptide_bond():
    _, features, spec, positions = molecule("ACE-ALA-NME")
    c, n = atom(features, 1, "C"), atom(features, 2, "N")
    frame = turned(spec, positions, c, n, np.pi)
    verdict = inspect_frame(spec, frame, positions, only=["bonds", "chirality", "cis_trans"])
    assert verdict.reason == "cis_trans" and verdict.atoms[1:3] == (c, n)
    assert abs(abs(verdict.limit) - np.pi) < 0.4 and abs(verdict.value) < 0.4
    # The other way round is a fault as well; the class before is what counts.
    assert screen(spec, positions, frame, only=["cis_trans"]) == "cis_trans"
    assert screen(spec, frame, frame, only=["cis_trans"]) == "accepted"
    assert screen(spec, frame, None, only=["cis_trans"]) == "accepted"
    small = turned(spec, positions, c, n, np.radians(40))
    assert screen(spec, small, positions, only=["cis_trans"]) == "accepted"


def test_proline_may_turn_to_cis():
    _, features, spec, positions = molecule("ACE-PRO-NME")
    c, n = atom(features, 0, "C"), atom(features, 1, "N")
    frame = turned(spec, positions, n, c, np.pi)
    torsion = np.array([[atom(features, 0, "CH3"), c, n, atom(features, 1, "CA")]])
    before, after = (geometry.torsion_cosines(x[None], torsion)[0, 0] for x in (positions, frame))
    assert before * after < 0
    assert screen(spec, frame, positions, only=["chirality", "cis_trans"]) == "accepted"


def threaded():
    """Two peptides, a C-H bond of the second through the first one's aromatic ring."""
    first, x = build_peptide("ACE-PHE-NME")
    second, y = build_peptide("ACE-ALA-NME")
    modeller = app.Modeller(first, x * unit.nanometer)
    modeller.add(second, (y + [5.0, 0, 0]) * unit.nanometer)
    features = features_from_topology(modeller.topology)
    spec = build_screen(features, modeller.topology)
    positions = atom_positions_in_nm(modeller.positions)
    ring = positions[list(spec.rings[0])]
    center = ring.mean(axis=0)
    normal = np.cross(ring[1] - ring[0], ring[2] - ring[1])
    normal /= np.linalg.norm(normal)
    i, j = atom(features, 4, "CB"), atom(features, 4, "HB1")
    guest = np.arange(len(x), len(positions))
    bond = positions[j] - positions[i]
    # Turn the guest so that its bond stands on the ring, and put the bond's middle in the centre.
    axis = np.cross(bond, normal)
    angle = np.arctan2(np.linalg.norm(axis), np.dot(bond, normal))
    frame = positions.copy()
    middle = 0.5 * (positions[i] + positions[j])
    frame[guest] = (frame[guest] - middle) @ rotation(axis, angle).T + center
    return features, spec, positions, frame, guest, normal, (i, j)


def test_threaded_ring():
    features, spec, positions, frame, guest, normal, bond = threaded()
    assert screen(spec, positions, positions) == "accepted"
    verdict = inspect_frame(spec, frame, positions)
    assert verdict.reason == "rings" and verdict.atoms[-2:] == tuple(sorted(bond))
    assert "through the ring" in verdict.describe(features)
    # Just above the ring nothing is threaded; half of a C-H bond is 0.055 nm.
    frame[guest] -= 0.08 * normal
    assert inspect_frame(spec, frame, positions, only=["rings"]).atoms[-2:] != tuple(sorted(bond))


def test_ring_crossings_agree_with_a_solved_linear_system():
    rng = np.random.default_rng(2)
    ring = tuple(range(6))
    angles = np.arange(6) * np.pi / 3
    corners = 0.14 * np.stack([np.cos(angles), np.sin(angles), 0.1 * np.cos(3 * angles)], axis=1)
    ends = rng.uniform(-0.25, 0.25, size=(400, 3))
    x = np.concatenate([corners, ends])
    bonds = np.arange(6, 406).reshape(-1, 2)
    found = geometry.ring_crossings(x[None], ring, bonds)[0]
    expected = []
    center = corners.mean(axis=0)
    for i, j in bonds:
        hit = False
        for k in range(6):
            # center + u e1 + v e2 = x_i + t (x_j - x_i)
            matrix = np.stack(
                [corners[k] - center, corners[(k + 1) % 6] - center, x[i] - x[j]], axis=1
            )
            u, v, t = np.linalg.solve(matrix, x[i] - center)
            hit |= u >= 0 and v >= 0 and u + v <= 1 and 0 <= t <= 1
        expected.append(hit)
    assert 20 < sum(expected) < 180
    np.testing.assert_array_equal(found, expected)
    # The screen looks only at bonds near the ring; that must not change its answer.
    features_free = ScreenSpec(
        bonds=bonds,
        bond_lengths_nm=np.zeros(200),
        chiral_centers=np.zeros((0, 4), np.int64),
        chiral_signs=np.zeros(0),
        cis_trans=np.zeros((0, 4), np.int64),
        rings=(ring,),
        radii_nm=np.full(406, 0.1),
    )
    assert inspect_frame(features_free, x, only=["rings"]).count == sum(expected)


def test_clash_limit_is_sharp():
    topology, features, spec, positions = molecule("ACE-ALA-NME")
    i, j = atom(features, 0, "CH3"), atom(features, 2, "C")
    limit = spec.clash_factor * (spec.radii_nm[i] + spec.radii_nm[j])
    lonely = np.array([[k, 0.0, 0.0] for k in range(spec.num_atoms)])
    for distance, expected in ((limit + 1e-6, "accepted"), (limit - 1e-6, "clash")):
        frame = lonely.copy()
        frame[j] = frame[i] + [0, distance, 0]
        verdict = inspect_frame(spec, frame, only=["clash"])
        assert verdict.reason == expected
    assert set(verdict.atoms) == {i, j} and verdict.value == pytest.approx(distance)
    # Three bonds apart is no clash, however near.
    frame = lonely.copy()
    frame[atom(features, 0, "O")] = frame[atom(features, 1, "CA")] + [0, 0.01, 0]
    assert screen(spec, frame, only=["clash"]) == "accepted"


def test_clashes_agree_with_all_pairs():
    _, _, spec, positions = molecule("ACE-ARG-NME")
    rng = np.random.default_rng(4)
    for shrunk, scale in ((1.0, 0.0), (0.6, 0.02), (0.3, 0.05)):
        frame = shrunk * positions + rng.normal(scale=scale, size=positions.shape)
        far = np.triu(np.ones((spec.num_atoms, spec.num_atoms), bool), 1)
        far[tuple(spec.near_pairs.T)] = False
        pairs = np.argwhere(far)
        d = np.linalg.norm(frame[pairs[:, 0]] - frame[pairs[:, 1]], axis=1)
        share = d / spec.radii_nm[pairs].sum(axis=1)
        verdict = inspect_frame(spec, frame, only=["clash"])
        assert verdict.count == (share < spec.clash_factor).sum()
        if verdict.count:
            assert verdict.atoms == tuple(pairs[share.argmin()])
    assert verdict.count > 5


def test_folded_chain_clashes_with_its_bonds_intact():
    _, features, spec, positions = molecule("ACE-ALA-ALA-ALA-NME")
    reasons = set()
    for phi in np.radians(range(0, 360, 30)):
        for psi in np.radians(range(0, 360, 30)):
            frame = positions
            for token in (1, 2, 3):
                n, ca, c = (atom(features, token, k) for k in ("N", "CA", "C"))
                frame = turned(spec, turned(spec, frame, n, ca, phi), ca, c, psi)
            reasons.add(screen(spec, frame, positions))
    assert reasons == {"accepted", "clash"}


def test_first_fault_in_the_contracts_order_is_named():
    _, _, spec, positions = molecule("ACE-PHE-NME")
    frame = positions * [1, 1, -1] * 0.4
    assert screen(spec, frame, positions) == "bonds"
    assert screen(spec, frame, positions, only=["clash", "chirality"]) == "chirality"
    assert screen(spec, frame, positions, only=["clash"]) == "clash"


def test_displacement():
    _, _, spec, positions = molecule("ACE-ALA-NME")
    centered = positions - positions.mean(axis=0)
    assert check_displacement(spec, centered + [0.99, 0, 0])
    verdict = check_displacement(spec, centered + [0, 1.01, 0])
    assert verdict.reason == "displaced" and verdict.value == pytest.approx(1.01)


def test_environment_uses_the_nearest_image():
    _, features, spec, positions = molecule("ACE-ALA-NME")
    box = np.array([[3.0, 0, 0], [0.5, 3.0, 0], [0.3, 0.4, 3.0]])
    far = positions.mean(axis=0) + [[1.5, 0, 0]]
    assert check_environment(spec, positions, far)
    near = positions[4:5] + [[0, 0.11, 0]]
    # Away from the other atoms' reach, only atom 4 matters within 0.12 nm of the image.
    for shift in ([0, 0, 0], box[0], box[1], box[2] - box[1], -box[2] + box[0]):
        verdict = check_environment(spec, positions, near + shift, box)
        assert verdict.reason == "environment" and verdict.value <= 0.11 + 1e-9
        open_space = check_environment(spec, positions, near + shift)
        assert bool(open_space) == bool(np.any(shift))
    assert check_environment(spec, positions, np.zeros((0, 3)))
    assert "outside the solute" in verdict.describe(features)


# --- arguments ----------------------------------------------------------------------------------


def test_arguments_are_checked():
    topology, features, spec, positions = molecule("ACE-ALA-NME")
    with pytest.raises(ValueError, match=r"shape \(21, 3\).*\[22, 3\]"):
        screen(spec, positions[:-1], positions)
    with pytest.raises(ValueError, match="Unknown test 'shape'"):
        screen(spec, positions, only=["shape"])
    other, _ = build_peptide("ACE-GLY-NME")
    with pytest.raises(ValueError, match="Make the features from this Topology"):
        build_screen(features, other)
    with pytest.raises(ValueError, match="System of this Topology"):
        build_screen(features, topology, openmm.System())
    with pytest.raises(ValueError, match="chiral_signs"):
        ScreenSpec(
            bonds=spec.bonds,
            bond_lengths_nm=spec.bond_lengths_nm,
            chiral_centers=spec.chiral_centers,
            chiral_signs=np.zeros(1),
            cis_trans=spec.cis_trans,
            rings=(),
            radii_nm=spec.radii_nm,
        )
    tight = build_screen(features, clash_factor=0.7)
    assert tight.clash_factor == 0.7 and tight.bond_tolerance_nm == spec.bond_tolerance_nm


def test_bridge_reads_a_system_with_virtual_sites():
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    oxygen = topology.addAtom("O", app.element.oxygen, residue)
    for n in ("H1", "H2"):
        topology.addBond(oxygen, topology.addAtom(n, app.element.hydrogen, residue))
    water = app.Modeller(topology, np.zeros((3, 3)) * unit.nanometer)
    field = app.ForceField("amber14/tip4pew.xml")
    water.addExtraParticles(field)
    system = field.createSystem(water.topology, rigidWater=True)
    pairs, lengths = constraint_arrays(system)
    assert len(pairs) == 3 and sorted(lengths)[0] == pytest.approx(0.09572)
    known = bond_lengths_from_system(system)
    assert known[0, 1] == pytest.approx(0.09572) and known[1, 2] == pytest.approx(0.15139, abs=1e-4)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        atom_positions_in_nm([1.0, 2.0, 3.0, 4.0])
    listed = [openmm.Vec3(0.1, 0, 0), openmm.Vec3(1, 2, 3)] * unit.angstrom
    np.testing.assert_allclose(atom_positions_in_nm(listed)[1], [0.1, 0.2, 0.3])
