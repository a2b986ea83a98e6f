"""Synthetic molecules that move by known rules, for the tests of `evaluation`."""

from __future__ import annotations

import numpy as np
import openmm.app as app

from atmos_openmm.evaluation.atoms import AtomTable
from atmos_openmm.evaluation.ensemble import Ensemble

SEQUENCE = ("ALA", "CYS", "ALA", "ALA", "CYS", "ALA", "ALA", "CYS", "ALA", "ALA")
NOISE_NM = 0.3

HELIX = np.radians([-63.0, -43.0])
SHEET = np.radians([-120.0, 130.0])


def peptide_topology(sequence=SEQUENCE):
    """N, CA, C, O, CB and SG of a chain without hydrogens, bonds included."""
    topology = app.Topology()
    chain = topology.addChain("A")
    carbon = None
    for number, name in enumerate(sequence, start=1):
        residue = topology.addResidue(name, chain, str(number))
        names = ["N", "CA", "C", "O", "CB"] + ["SG"] * (name == "CYS")
        atom = {n: topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in names}
        pairs = [("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", "CB")]
        for a, b in pairs + [("CB", "SG")] * (name == "CYS"):
            topology.addBond(atom[a], atom[b])
        if carbon is not None:
            topology.addBond(carbon, atom["N"])
        carbon = atom["C"]
    return topology


def _place(a, b, c, length, angle, torsion):
    """Atoms [F, 3] bonded to c with the angle b-c-new and the torsion a-b-c-new (NeRF)."""
    axis = (c - b) / np.linalg.norm(c - b, axis=-1, keepdims=True)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    torsion = np.broadcast_to(torsion, len(c))[:, None]
    along, across = -length * np.cos(angle), length * np.sin(angle)
    side = np.cross(normal, axis)
    return c + along * axis + across * (np.cos(torsion) * side + np.sin(torsion) * normal)


def build_peptide(phi, psi, chi, sequence=SEQUENCE):
    """Positions [F, A, 3] in nm of standard geometry with torsions [F, R]."""
    frames = len(phi)
    n = np.zeros((frames, 3))
    ca = np.broadcast_to([0.146, 0.0, 0.0], (frames, 3))
    angle = np.radians(111.0)
    c = ca + 0.152 * np.array([-np.cos(angle), np.sin(angle), 0.0])
    atoms = []
    for r, name in enumerate(sequence):
        following = _place(n, ca, c, 0.133, np.radians(116.6), psi[:, r])
        oxygen = _place(n, ca, c, 0.123, np.radians(120.5), psi[:, r] + np.pi)
        # Of L amino acids: CB lies at -122.6 degrees from C as seen along N-CA.
        beta = _place(c, n, ca, 0.153, np.radians(110.4), np.radians(-122.6))
        atoms += [n, ca, c, oxygen, beta]
        if name == "CYS":
            atoms.append(_place(n, ca, beta, 0.181, np.radians(114.0), chi[:, r]))
        next_ca = _place(ca, c, following, 0.146, np.radians(121.7), np.pi)
        if r + 1 < len(sequence):
            next_c = _place(c, following, next_ca, 0.152, angle, phi[:, r + 1])
            n, ca, c = following, next_ca, next_c
    return np.stack(atoms, axis=1).astype(np.float32)


def ornstein_uhlenbeck(random, frames, columns, time, spread):
    """Stationary paths [frames, columns] that forget in `time` frames."""
    keep = np.exp(-1 / time)
    kicks = spread * np.sqrt(1 - keep**2) * random.standard_normal((frames, columns))
    path = np.empty((frames, columns))
    path[0] = spread * random.standard_normal(columns)
    for t in range(1, frames):
        path[t] = keep * path[t - 1] + kicks[t]
    return path


def two_states(random, frames, stay):
    """A path of states 0 and 1 that are left with probability 1 - stay."""
    jumps = random.random(frames) > stay
    return (int(random.integers(2)) + np.cumsum(jumps)) % 2


def peptide_frames(seed, frames=800, stay=0.97):
    """Torsions wobble; a hinge flips between helix and sheet, slowly; side chains flip fast."""
    random = np.random.default_rng(seed)
    count = len(SEQUENCE)
    phi = HELIX[0] + ornstein_uhlenbeck(random, frames, count, 5.0, 0.12)
    psi = HELIX[1] + ornstein_uhlenbeck(random, frames, count, 5.0, 0.12)
    for residue in (4, 5):
        state = two_states(random, frames, stay)[:, None]
        hinge = np.where(state, SHEET, HELIX)
        phi[:, residue] += hinge[:, 0] - HELIX[0]
        psi[:, residue] += hinge[:, 1] - HELIX[1]
    chi = np.stack(
        [np.where(two_states(random, frames, 0.9), np.pi, -np.pi / 3) for _ in range(count)], axis=1
    )
    chi = chi + ornstein_uhlenbeck(random, frames, count, 3.0, 0.15)
    return build_peptide(phi, psi, chi)


def native_peptide():
    """The helix."""
    phi, psi = (np.full((1, len(SEQUENCE)), angle) for angle in HELIX)
    return build_peptide(phi, psi, np.full_like(phi, -np.pi / 3))[0].astype(np.float64)


def peptide_ensemble(seed, name="MD", frames=800, replicas=1, **options):
    """An ensemble of replicas at 10 ps between frames."""
    topology = peptide_topology()
    positions = [peptide_frames(seed + 1000 * k, frames, **options) for k in range(replicas)]
    segments = tuple((k * frames, (k + 1) * frames) for k in range(replicas))
    return Ensemble(
        name, AtomTable.from_openmm(topology), np.concatenate(positions), segments, 10.0, topology
    )


def bad_generators(oracle, native_nm, seed=5):
    """Frozen, noisy, shuffled and drifting versions of an ensemble, by name."""
    random = np.random.default_rng(seed)
    frames = oracle.positions_nm[oracle.frames]
    noise = NOISE_NM * random.standard_normal(frames.shape)
    growth = np.linspace(0, 1, len(frames))[:, None, None]
    positions = {
        "frozen": np.repeat(frames[:1], len(frames), axis=0),
        "noise": native_nm + noise,
        "shuffled": frames[random.permutation(len(frames))],
        "drifting": frames + growth * noise,
    }
    return {
        name: Ensemble(
            name, oracle.atoms, np.asarray(x, np.float32), (), oracle.spacing_ps, oracle.topology
        )
        for name, x in positions.items()
    }


def check_ranks(panel, reference, oracle, bad, but=()):
    """Every metric that the oracle has a value of ranks the bad generators it should below it.

    Returns the metrics that were checked.
    """
    own, good = panel.values(reference), panel.values(oracle)
    values = {name: panel.values(ensemble) for name, ensemble in bad.items()}
    checked, wrong = [], []
    for metric in panel.metrics:
        if np.isnan(good[metric.key]) or metric.key in but:
            continue
        limit = metric.badness(good[metric.key], own[metric.key])
        for name in metric.catches & bad.keys():
            if not metric.badness(values[name][metric.key], own[metric.key]) > limit:
                wrong.append((metric.key, name, good[metric.key], values[name][metric.key]))
        checked.append(metric.key)
    assert not wrong, wrong
    return checked


def complex_topology():
    """The peptide and a ring of six carbons with a methyl, residue LIG."""
    topology = peptide_topology()
    chain = topology.addChain("B")
    residue = topology.addResidue("LIG", chain, "1")
    atoms = [topology.addAtom(f"C{k}", app.element.carbon, residue) for k in range(7)]
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 6)]:
        topology.addBond(atoms[a], atoms[b])
    return topology


def ring():
    """The ligand's shape, nm, [7, 3]."""
    turns = np.arange(6) * np.pi / 3
    hexagon = 0.139 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    return np.concatenate([hexagon, [[0.290, 0.0, 0.0]]])


def complex_frames(seed, frames=400, leaves=True):
    """A stiff peptide, a ligand that wobbles beside it and is away for a third of the time."""
    random = np.random.default_rng(seed)
    count = len(SEQUENCE)
    wobble = [ornstein_uhlenbeck(random, frames, count, 5.0, 0.06) for _ in range(2)]
    protein = build_peptide(HELIX[0] + wobble[0], HELIX[1] + wobble[1], wobble[0] - np.pi / 3)
    native = native_peptide()
    from atmos_openmm.core.geometry import superpose

    protein = superpose(protein, native)
    axis = native[1::5].mean(axis=0)
    centre = axis + np.array([0.0, 0.0, 0.62])
    path = ornstein_uhlenbeck(random, frames, 3, 4.0, 0.04)
    turn = ornstein_uhlenbeck(random, frames, 1, 4.0, 0.15)[:, 0]
    rotation = np.zeros((frames, 3, 3))
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(turn)
    rotation[:, 0, 1], rotation[:, 1, 0] = -np.sin(turn), np.sin(turn)
    rotation[:, 2, 2] = 1
    ligand = np.einsum("fij,aj->fai", rotation, ring()) + centre + path[:, None]
    if leaves:
        away = np.cumsum(random.random(frames) < 0.05) % 3 == 2
        ligand[away] += np.array([0.0, 0.0, 2.0])
    ligand += 0.003 * random.standard_normal(ligand.shape)
    return np.concatenate([protein, ligand], axis=1).astype(np.float32)
