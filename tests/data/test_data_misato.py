"""MISATO files: names from elements, the ligand's chemistry, and the faults that users report."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from data_cases import LIGAND_SMILES, SHARED, ligand_mol, write_misato
from openmm import app, unit

from atmos_openmm.data import misato, misato_checks
from atmos_openmm.data.faults import DataFileError
from atmos_openmm.data.frames import close_files
from atmos_openmm.systems.ligand_perception import (
    PerceptionError,
    perceive,
    with_template,
)

REAL = SHARED / "misato"
real = pytest.mark.skipif(not (REAL / "tiny_qm.hdf5").exists(), reason="no real MISATO files")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_misato(tmp_path / "MD.hdf5")


def smiles(mol) -> str:
    from rdkit import Chem

    return Chem.MolToSmiles(Chem.RemoveHs(mol))


def change(path: Path, key: str, value, entry: str = "1ABC") -> None:
    close_files()
    with h5py.File(path, "r+") as file:
        group = file[entry]
        del group[key]
        if value is not None:
            group[key] = value


def test_a_complex_is_read_with_names_and_chemistry(path: Path):
    (entry,) = misato.inspect(path)
    sample = entry.sample
    assert entry.faults == () and sample.name == "1ABC"
    assert (sample.kind, sample.spacing_ps, sample.temperature_kelvin) == ("dynamics", 80.0, 300.0)
    with h5py.File(path) as file:
        stored = file["1ABC/trajectory_coordinates"][...]
    np.testing.assert_allclose(sample.frames.read([3, 1]), stored[[3, 1]] * 0.1, rtol=2.0**-23)
    molecule = sample.molecule()
    residues = [[r.name for r in c.residues()] for c in molecule.topology.chains()]
    assert residues == [["ALA", "HIE", "GLY"], ["PRO", "SER", "LYS"], ["MOL"]]
    assert smiles(molecule.molecules["MOL"]) == LIGAND_SMILES
    features = sample.features()
    assert features.num_atoms == sample.num_atoms
    # Two free peptides (histidine neutral, lysine charged) and a zwitterion.
    assert features.ref_charge.sum() == 1.0
    ligand = misato.ligand_atoms(sample)
    with h5py.File(path) as file:
        assert ligand[0] == file["1ABC/molecules_begin_atom_index"][-1]
    # Each ligand heavy atom is a token; bonds have the orders of the molecule.
    assert features.residue_names.count("MOL") == 16
    inside = np.isin(features.bonds, ligand).all(axis=1)
    assert sorted(features.bond_order[inside]).count(1.5) == 6


def test_names_are_where_the_force_field_has_them(path: Path):
    """The force field that the library belongs to accepts every protein residue as named."""
    sample = misato.inspect(path)[0].sample
    molecule = sample.molecule()
    modeller = app.Modeller(molecule.topology, molecule.positions_nm * unit.nanometer)
    modeller.delete([r for r in molecule.topology.residues() if r.name == "MOL"])
    system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(modeller.topology)
    assert system.getNumParticles() == sample.num_atoms - len(misato.ligand_atoms(sample))


def test_the_charge_or_the_smiles_of_a_ligand_can_be_given(path: Path):
    def load(**options):
        return misato.inspect(path, **options)[0].sample.source.load()

    assert smiles(load(charges={"1abc": 0}).molecules["MOL"]) == LIGAND_SMILES
    neutral = "N[C@@H](CC(=O)O)C(=O)Nc1ccc(Cl)cc1"
    for options, says in (
        ({"charges": {"1ABC": 1}}, r"chemistry cannot be told.*total charge \+1"),
        ({"smiles": {"1ABC": neutral}}, "has 3 hydrogens, in .* it has 2"),
        ({"smiles": {"1ABC": "CCO"}}, "heavy atoms and bonds are not those of CCO"),
        ({"smiles": {"1ABC": "no smiles"}}, "cannot be read"),
    ):
        with pytest.raises(DataFileError, match=says) as error:
            load(**options)
        assert error.value.fault.kind == "chemistry"
    given = load(smiles={"1ABC": LIGAND_SMILES.replace("@@", "")}).molecules["MOL"]
    assert smiles(given) == LIGAND_SMILES  # handedness comes from the coordinates


DRUG_GROUPS = (
    "CC(=O)[O-] C[NH3+] NC(N)=[NH2+] CC(N)=[NH2+] C[N+](C)(C)C Cc1ccc[n+](C)c1 c1cc[nH+]cc1 "
    "c1ccncc1 c1c[nH]c[nH+]1 O=c1cc[nH]c(=O)[nH]1 Nc1ncnc2c1nc[nH]2 c1ccsc1 O=C1C=CC(=O)C=C1 "
    "CS(N)(=O)=O CS(=O)(=O)[O-] COS(=O)(=O)[O-] CS(C)=O CSSC C[S-] C[S+](C)C CC(N)=S CN=C=S "
    "CP(=O)([O-])[O-] COP(=O)([O-])[O-] C[P+](C)(C)C COP(=O)(OC)OC OB(O)c1ccccc1 C[O-] "
    "C[N+](=O)[O-] Cc1ccc([N+](=O)[O-])cc1 C[n+]1ccccc1 [O-][n+]1ccccc1 CC#N C[N+]#[C-] "
    "CN=[N+]=[N-] CC=[N+]=[N-] O=C1[N-]S(=O)(=O)c2ccccc21 FC(F)(F)c1ccccc1Br Ic1ccccc1"
).split()


@pytest.mark.parametrize("text", DRUG_GROUPS)
def test_groups_of_drugs_are_perceived(text: str):
    from rdkit import Chem

    mol = ligand_mol(text)
    z = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    x = mol.GetConformer().GetPositions() * 0.1
    rng = np.random.default_rng(len(z))
    for order in (np.arange(len(z)), rng.permutation(len(z))):
        assert smiles(perceive(z[order], x[order])) == Chem.CanonSmiles(text)
        known = with_template(z[order], x[order], Chem.MolFromSmiles(text))
        assert smiles(known) == Chem.CanonSmiles(text)


def test_what_is_no_molecule_is_refused():
    mol = ligand_mol("CCO")
    z = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    x = mol.GetConformer().GetPositions() * 0.1
    kept = np.delete(np.arange(len(z)), 3)  # without a hydrogen of the methyl group
    apart = x.copy()
    apart[0] += 5.0
    for elements, positions, says in (
        (z, apart, "separate molecules"),
        (z[:3], x[:3], "no hydrogens"),
        (z[kept], x[kept], "no bond orders fit"),  # a radical
        (z, np.full_like(x, np.nan), "not finite"),
    ):
        with pytest.raises(PerceptionError, match=says):
            perceive(elements, positions)


@pytest.mark.parametrize(
    "what, kind, fatal, says",
    [
        ("truncated", "unreadable", True, "truncated"),
        ("key", "missing", True, "atoms_residue"),
        ("shape", "shape", True, "differ in their number of atoms"),
        ("trajectory", "shape", True, r"expected \(frames, 114, 3\)"),
        ("frames", "inconsistent", False, "frames_distance has 5 frames"),
        ("gone", "ligand-gone", True, "the ligand is\\s*gone"),
        ("no mol", "no-mol", False, "none of the 27 atoms"),
        ("early mol", "order", True, "stand before atom 87"),
        ("begins", "inconsistent", True, "increasing"),
    ],
)
def test_faults_of_the_arrays_are_named(path: Path, what: str, kind: str, fatal: bool, says: str):
    with h5py.File(path) as file:
        residue = file["1ABC/atoms_residue"][...]
        begins = file["1ABC/molecules_begin_atom_index"][...]
        run = file["1ABC/trajectory_coordinates"][...]
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif what == "key":
        change(path, "atoms_residue", None)
    elif what == "shape":
        change(path, "atoms_residue", residue[:-1])
    elif what == "trajectory":
        change(path, "trajectory_coordinates", run[:, :-1])
    elif what == "frames":
        change(path, "frames_distance", np.zeros(5))
    elif what == "gone":
        change(path, "molecules_begin_atom_index", np.append(begins[:-1], len(residue)))
        change(path, "atoms_residue", np.where(residue == 0, 2, residue))
    elif what == "no mol":
        change(path, "atoms_residue", np.where(residue == 0, 2, residue))
    elif what == "early mol":
        change(path, "atoms_residue", np.where(np.arange(len(residue)) == 5, 0, residue))
    elif what == "begins":
        change(path, "molecules_begin_atom_index", begins[::-1])
    (entry,) = misato.inspect(path)
    (fault,) = entry.faults
    assert (fault.kind, fault.fatal) == (kind, fatal) and str(path) in str(fault)
    assert re.search(says, fault.message)
    assert (entry.sample is None) == fatal


def test_atoms_in_another_order_are_noticed(path: Path):
    with h5py.File(path) as file:
        numbers = file["1ABC/atoms_number"][...]
        run = file["1ABC/trajectory_coordinates"][...]
    swapped = numbers.copy()
    swapped[[4, 5]] = swapped[[5, 4]]  # alanine's CA and HA
    assert swapped[4] != numbers[4]
    change(path, "atoms_number", swapped)
    with pytest.raises(DataFileError, match=r"residue 0, ALA\) are N H H H H C.*Amber's ALA") as e:
        misato.inspect(path)[0].sample.source.load()
    assert e.value.fault.kind == "order"
    # Elements in order, coordinates in another.
    change(path, "atoms_number", numbers)
    moved = run.copy()
    moved[:, 4:87] = run[:, 4:87][:, ::-1]
    change(path, "trajectory_coordinates", moved)
    with pytest.raises(DataFileError, match="another order than the elements") as e:
        misato.inspect(path)[0].sample.source.load()
    assert e.value.fault.kind == "order"


def test_a_peptide_ligand_is_a_chain(path: Path):
    with h5py.File(path) as file:
        starts = file["1ABC/molecules_begin_atom_index"][...]
        arrays = {
            k: file["1ABC"][k][...]
            for k in (
                "atoms_number",
                "atoms_residue",
                "atoms_coordinates_ref",
                "trajectory_coordinates",
            )
        }
    end = starts[-1]
    for key, value in arrays.items():
        change(path, key, value[:, :end] if value.ndim == 3 else value[:end])
    change(path, "molecules_begin_atom_index", starts[:-1])
    (entry,) = misato.inspect(path)
    assert [(f.kind, f.fatal) for f in entry.faults] == [("no-mol", False)]
    molecule = entry.sample.source.load()
    assert [c.index for c in molecule.topology.chains()] == [0, 1]
    assert "read as a peptide" in molecule.notes[0]
    change(path, "molecules_begin_atom_index", starts[:1])
    (entry,) = misato.inspect(path)
    assert entry.sample is None and entry.faults[0].kind == "ligand-gone"
    (entry,) = misato.inspect(path, require_ligand=False)
    assert entry.sample is not None and not entry.faults[0].fatal


def test_a_ligand_that_leaves_is_reported(tmp_path: Path):
    stays = misato.inspect(write_misato(tmp_path / "a.hdf5"))[0].sample
    assert misato_checks.check_ligand(stays) == []
    leaves = misato.inspect(write_misato(tmp_path / "b.hdf5", leaves_at=5))[0].sample
    (fault,) = misato_checks.check_ligand(leaves)
    assert (fault.kind, fault.fatal) == ("ligand-gone", False)
    assert "frame 5 (400 ps) on it is away in 3 of 8" in fault.message
    gaps = misato_checks.contact_distances(leaves, [0, 7])
    # 3 angstrom sideways; the noise of the frames is a thousandth of that.
    assert gaps[0] < misato_checks.CONTACT_NM < 2.0 < gaps[1]


def test_an_order_that_differs_from_the_pdb_is_reported(path: Path, tmp_path: Path):
    sample = misato.inspect(path)[0].sample
    molecule = sample.molecule()
    with h5py.File(path) as file:
        reference = file["1ABC/atoms_coordinates_ref"][...] * 0.1
    pdb = tmp_path / "1abc.pdb"

    def write(topology, positions):
        with open(pdb, "w") as file:
            app.PDBFile.writeFile(topology, positions * unit.nanometer, file)

    write(molecule.topology, reference)
    assert misato_checks.compare_with_pdb(sample, pdb) == []
    packed = tmp_path / "1abc.pdb.gz"
    packed.write_bytes(gzip.compress(pdb.read_bytes()))
    assert misato_checks.compare_with_pdb(sample, packed) == []
    write(molecule.topology, reference + 1.0)
    (fault,) = misato_checks.compare_with_pdb(sample, pdb)
    assert "6 of 6 alpha carbons are elsewhere" in fault.message
    modeller = app.Modeller(molecule.topology, reference * unit.nanometer)
    modeller.delete([list(molecule.topology.residues())[1]])
    write(modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer)))
    (fault,) = misato_checks.compare_with_pdb(sample, pdb)
    assert (fault.kind, fault.fatal) == ("order", False)
    assert "residue 1 is HIS here and GLY there (6 and 5 residues)" in fault.message


def test_entries_are_chosen_by_name(path: Path):
    entries = misato.inspect(path, ["1abc", "9ZZZ"])
    assert entries[0].sample.name == "1ABC"
    assert entries[1].sample is None and "no such entry" in entries[1].faults[0].message


@real
def test_real_static_files():
    (entry,) = misato.inspect(REAL / "all_atoms_11GS.hdf5")
    assert entry.sample is None and entry.faults[0].kind == "ligand-gone"
    (entry,) = misato.inspect(REAL / "all_atoms_11GS.hdf5", require_ligand=False)
    sample = entry.sample
    assert (sample.kind, sample.num_frames, sample.num_atoms) == ("static", 1, 6534)
    chains = [len(list(c.residues())) for c in sample.molecule().topology.chains()]
    assert chains == [208, 208]  # glutathione S-transferase, a homodimer
    (entry,) = misato.inspect(REAL / "inference_for_MD.hdf5")
    assert [f.kind for f in entry.faults] == ["no-mol"]
    assert len(list(entry.sample.molecule().topology.residues())) == 416


@real
def test_a_real_complex(tmp_path: Path):
    """The last frame of a real run of 11GS, in the layout of MD.hdf5."""
    with np.load(REAL / "misato_11GS_lastframe.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in ("coords_A", "z", "residue", "begin")}
    path = tmp_path / "MD.hdf5"
    with h5py.File(path, "w") as file:
        group = file.create_group("11GS")
        group["atoms_number"] = arrays["z"]
        group["atoms_residue"] = arrays["residue"]
        group["molecules_begin_atom_index"] = arrays["begin"]
        group["atoms_coordinates_ref"] = arrays["coords_A"].astype(float)
        group["trajectory_coordinates"] = np.stack([arrays["coords_A"]] * 2).astype(float)
    charges = misato.read_charges(REAL / "tiny_qm.hdf5", ["11gs"])
    assert charges == {"11GS": -2}
    guessed = misato.inspect(path)[0].sample
    told = misato.inspect(path, charges=charges)[0].sample
    found = [smiles(s.molecule().molecules["MOL"]) for s in (guessed, told)]
    # Ethacrynic acid bound to glutathione.
    assert found[0] == found[1] and found[0].count("[O-]") == 3 and "Cl" in found[0]
    assert misato_checks.contact_distances(guessed, 0)[0] < 0.4
    features = guessed.features("heavy")
    assert features.residue_names.count("MOL") == 39 and features.num_tokens == 416 + 39


@real
def test_charges_of_real_ligands():
    from rdkit import Chem

    with h5py.File(REAL / "tiny_qm.hdf5") as file:
        for name, group in file.items():
            z = group["atom_properties/atom_names"][...].astype(int)
            x = group["atom_properties/atom_properties_values"][:, :3] * 0.1
            charge = misato.read_charges(REAL / "tiny_qm.hdf5", [name])[name.upper()]
            assert Chem.GetFormalCharge(perceive(z, x)) == charge, name
