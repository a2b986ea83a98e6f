"""Small files of the layouts of public data sets, for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from atmos_openmm.core.geometry import gyration_radius
from atmos_openmm.data.amber_residues import library, split_residues
from atmos_openmm.data.mdcath_checks import rmsf
from atmos_openmm.systems.peptides import build_peptide

SHARED = Path(
    os.environ.get("ATMOS_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)
MDCATH_TEMPERATURES = (320, 450)
MDCATH_REPLICAS = (0, 1)
FRAMES = 12
CHARMM = {
    "ACE": {"CH3": "CAY", "H1": "HY1", "H2": "HY2", "H3": "HY3", "C": "CY", "O": "OY"},
    "NME": {"N": "NT", "H": "HNT", "C": "CAT", "H1": "HT1", "H2": "HT2", "H3": "HT3"},
}
OTHER = {"H": "HN", "HB3": "HB1", "HG13": "HG11"}
ILE = {"CD1": "CD", "HD11": "HD1", "HD12": "HD2", "HD13": "HD3"}


def write_mdcath(path: Path, psf: bool = False) -> Path:
    """ACE-ALA-HIE-ILE-NME in mdCATH's layout: 2 temperatures, 2 replicas, 12 frames each."""
    topology, positions = build_peptide("ACE-ALA-HIE-ILE-NME")
    residues = list(topology.residues())
    atoms: list[tuple[str, str, int, str]] = []  # name, residue, number, element
    for atom in topology.atoms():
        k = atom.residue.index
        owner = residues[min(max(k, 1), 3)]
        names = CHARMM.get(atom.residue.name, ILE if atom.residue.name == "ILE" else {})
        # An alanine's HB3 is a methyl hydrogen.
        other = {} if atom.residue.name == "ALA" and atom.name == "HB3" else OTHER
        name = names.get(atom.name) or other.get(atom.name, atom.name)
        resname = "HSE" if owner.name in ("HIS", "HIE") else owner.name
        atoms.append((name, resname, owner.index, atom.element.symbol))
    z = np.array([a.element.atomic_number for a in topology.atoms()])
    x = np.asarray(positions, float)
    alpha = [
        a.index for a in topology.atoms() if a.name == "CA" and a.residue.name not in ("ACE", "NME")
    ]
    rng = np.random.default_rng(7)
    lines = ["MODEL        1\n"]
    for k, ((name, resname, number, _), p) in enumerate(zip(atoms, x * 10, strict=True)):
        shown = f" {name:<3}" if len(name) < 4 else name
        lines.append(
            f"ATOM  {k + 1:5d} {shown} {resname:<4}0{number:4d}    "
            f"{p[0]:8.3f}{p[1]:8.3f}{p[2]:8.3f}  1.00  0.00      P0  \n"
        )
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = "mdcath-only-protein-v1.0"
        group = file.create_group("1abcA00")
        group.attrs.update(numChains=1, numProteinAtoms=len(z), numResidues=3)
        strings: Any = h5py.string_dtype("ascii")
        group.create_dataset("chain", data=[b"0"] * len(z), dtype=strings)
        group.create_dataset("element", data=[a[3] for a in atoms], dtype=strings)
        group.create_dataset("resname", data=[a[1] for a in atoms], dtype=strings)
        group["resid"] = np.array([a[2] for a in atoms])
        group["z"] = z
        group["pdbProteinAtoms"] = "".join(lines).encode()
        if psf:
            group["psf"] = _psf([a[0] for a in atoms], topology).encode()
        for temperature in MDCATH_TEMPERATURES:
            for replica in MDCATH_REPLICAS:
                run = group.create_group(f"{temperature}/{replica}")
                run.attrs["numFrames"] = FRAMES
                frames = 3.0 + x + rng.normal(0.0, 2e-3, (FRAMES, len(x), 3))
                coords = (frames * 10).astype(np.float32)
                data = run.create_dataset(
                    "coords", data=coords, chunks=(5, len(x), 1), compression="gzip"
                )
                data.attrs["unit"] = "Angstrom"
                run["gyrationRadius"] = gyration_radius(coords[:, z > 1] * 0.1)
                run["rmsf"] = rmsf(coords[:, alpha] * 0.1).astype(np.float32)
                run["rmsd"] = np.zeros(FRAMES, np.float32)
                run["dssp"] = np.full((FRAMES, 3), b" ", dtype="S1")
                run["box"] = np.eye(3) * 6.0
    return path


def _psf(names: list[str], topology: Any) -> str:
    """A PSF of the molecule and a water, as the set's are of the whole system."""
    lines = ["PSF EXT", "", f"{len(names) + 3:10d} !NATOM"]
    for k, name in enumerate([*names, "OH2", "H1", "H2"]):
        lines.append(f"{k + 1:10d} P0       1        RES      {name:<8} TYPE   0.0   12.0   0")
    pairs = [(b[0].index + 1, b[1].index + 1) for b in topology.bonds()]
    pairs += [(len(names) + 1, len(names) + 2), (len(names) + 1, len(names) + 3)]
    lines += ["", f"{len(pairs):10d} !NBOND: bonds"]
    numbers = [n for pair in pairs for n in pair]
    lines += ["".join(f"{n:10d}" for n in numbers[k : k + 8]) for k in range(0, len(numbers), 8)]
    return "\n".join([*lines, ""])


LIGAND_SMILES = "[NH3+][C@@H](CC(=O)[O-])C(=O)Nc1ccc(Cl)cc1"
"""A zwitterion with an amide and an aromatic ring."""
MISATO_CODES = {
    name: k
    for k, name in enumerate(
        "MOL ACE ALA ARG ASN ASP CYS CYX GLN GLU GLY HIE ILE LEU LYS MET PHE PRO SER THR TRP TYR "
        "VAL".split()
    )
}


def amber_peptide(sequence: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements, residue codes and positions (nm) of a free peptide in Amber's order."""
    topology, x = build_peptide(sequence)
    residues = list(topology.residues())
    names, elements, rows = [], [], []
    for k, residue in enumerate(residues):
        end = "N" if k == 0 else "C" if k == len(residues) - 1 else ""
        name = "HIE" if residue.name == "HIS" else residue.name
        index = {a.name: a.index for a in residue.atoms()}
        index.setdefault("H1", index.get("H", -1))
        want = library(True)[end + name]
        rows += [index[n] for n in want.atom_names]
        names += [name] * len(want.atom_names)
        elements += list(want.elements)
    assert len(split_residues(elements, names)) == len(residues)
    codes = np.array([MISATO_CODES[n] for n in names])
    return np.array(elements), codes, np.asarray(x)[rows]


def ligand_mol(smiles: str = LIGAND_SMILES) -> Any:
    """A molecule with hydrogens and coordinates, the same each time."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=11)
    AllChem.MMFFOptimizeMolecule(mol)
    return mol


def write_misato(path: Path, leaves_at: int | None = None, frames: int = 8) -> Path:
    """Two chains and a ligand in MISATO's layout, entry 1ABC."""
    parts = [amber_peptide("ALA-HIS-GLY"), amber_peptide("PRO-SER-LYS")]
    mol = ligand_mol()
    z = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    x = mol.GetConformer().GetPositions() * 0.1
    parts.append((z, np.zeros(len(z), int), x))
    rng = np.random.default_rng(3)
    moved = []
    for k, (_, _, p) in enumerate(parts):
        # The end of the first chain is not near the start of the second.
        moved.append(p - p.mean(axis=0) + np.array([0.9 * (k == 0), 0.9 * k, 0.0]))
    positions = np.concatenate(moved)
    starts = np.cumsum([0, *(len(p[0]) for p in parts)])[:-1]
    run = positions + rng.normal(0.0, 1e-3, (frames, *positions.shape))
    if leaves_at is not None:
        run[leaves_at:, starts[-1] :, 1] += 3.0
    with h5py.File(path, "w") as file:
        group = file.create_group("1ABC")
        group["atoms_number"] = np.concatenate([p[0] for p in parts])
        group["atoms_residue"] = np.concatenate([p[1] for p in parts])
        group["atoms_element"] = np.zeros(len(positions), int)
        group["atoms_type"] = np.zeros(len(positions), int)
        group["atoms_coordinates_ref"] = positions * 10
        group["molecules_begin_atom_index"] = starts
        group["trajectory_coordinates"] = run * 10
        for name in ("frames_rmsd_ligand", "frames_distance", "frames_bSASA"):
            group[name] = np.zeros(frames)
    return path
