"""Tokens, chains and bonds are those that Protenix's own featuriser makes of the same atoms.

Needs protenix (`tests/protenix/install.sh`) and, beside it or in the environment, biotite, which
its featuriser is written in: `pip install --no-deps --target $ATMOS_PROTENIX biotite==1.6.0
biotraj==1.2.2 msgpack`. Of its other requirements only names are looked at.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types

import numpy as np
import pytest
from protenix_reference import needs_protenix, reference_folder
from systems_support import SHARED, embedded, index_of, joined, phosphoserine, rebuild, write_sdf

from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.residues import RESTYPES

# What the Chemical Component Dictionary says of the residues here, which its files would tell.
PARENTS = {**{name: name for name in RESTYPES}, "SEP": "SER"}
ABSENT = ("pandas", "sklearn", "ml_collections", "joblib", "configs")
FIELDS = (
    "restype",
    "residue_index",
    "asym_id",
    "entity_id",
    "sym_id",
    "token_bonds",
    "ref_atom_name_chars",
    "ref_space_uid",
    "atom_to_token",
)


@pytest.fixture(scope="module")
def featuriser():
    """Protenix's classes Featurizer, AtomArrayTokenizer and AddAtomArrayAnnot."""
    folder = reference_folder()
    assert folder is not None
    saved_path, saved = list(sys.path), dict(sys.modules)
    sys.path.append(str(folder))
    os.environ["LAYERNORM_TYPE"] = "torch"
    if importlib.util.find_spec("biotite") is None:
        sys.path[:] = saved_path
        pytest.skip("needs biotite beside protenix, see the top of the file")

    class Names(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    # Tables and trees that the functions used here do not touch; files that are not there.
    for name in (
        *ABSENT,
        "sklearn.neighbors",
        "ml_collections.config_dict",
        "configs.configs_data",
    ):
        sys.modules[name] = Names(name)
    files = (
        "ccd_components_file",
        "ccd_components_rdkit_mol_file",
        "pdb_cluster_file",
        "obsolete_release_data_csv",
    )
    vars(sys.modules["configs.configs_data"])["data_configs"] = dict.fromkeys(files, "")
    try:
        from protenix.data.core.featurizer import Featurizer
        from protenix.data.core.parser import AddAtomArrayAnnot
        from protenix.data.tokenizer import AtomArrayTokenizer

        yield Featurizer, AtomArrayTokenizer, AddAtomArrayAnnot
    finally:
        sys.path[:] = saved_path
        for name in set(sys.modules) - set(saved):
            if name.split(".")[0] in (*ABSENT, "protenix"):
                del sys.modules[name]
        sys.modules.update(saved)


def reference_features(featuriser, topology, model, chains, entities):
    """What Protenix makes of the atoms `model`; chain of each Topology residue, entity of each."""
    import biotite.structure as struc

    make, tokenise, annotate = featuriser
    atoms = list(topology.atoms())
    number = {int(i): k for k, i in enumerate(model)}
    array = struc.AtomArray(len(model))
    counts: dict[str, dict[int, int]] = {}
    for k, i in enumerate(model):
        residue = atoms[i].residue
        chain = chains(residue)
        seen = counts.setdefault(chain, {})
        array.chain_id[k] = chain
        array.res_id[k] = seen.setdefault(residue.index, len(seen) + 1)
        array.res_name[k] = residue.name
        array.atom_name[k] = atoms[i].name
        array.element[k] = atoms[i].element.symbol.upper()
    pairs = [(b[0].index, b[1].index) for b in topology.bonds()]
    inner = [(number[i], number[j], 1) for i, j in pairs if i in number and j in number]
    array.bonds = struc.BondList(len(array), np.array(inner))
    names = array.res_name.tolist()
    standard = np.isin(names, RESTYPES)
    for category, values in {
        "mol_type": ["protein" if n in PARENTS else "ligand" for n in names],
        "cano_seq_resname": [PARENTS.get(n, "UNK") for n in names],
        "centre_atom_mask": np.where(standard, array.atom_name == "CA", True).astype(int),
        "label_entity_id": [entities[c] for c in array.chain_id.tolist()],
    }.items():
        array.set_annotation(category, np.array(values))
    array = annotate.add_ref_space_uid(annotate.unique_chain_and_add_ids(array))
    tokens = tokenise(array).get_token_array()
    maker = make(tokens, array, include_discont_poly_poly_bonds=True)
    found = {k: v.numpy() for k, v in maker.get_token_features().items()}
    found["restype"] = found["restype"].argmax(-1)
    found["token_bonds"] = maker.get_bond_features()["token_bonds"].numpy()
    chars = make.ref_atom_name_chars_encoded(array.atom_name).numpy()
    found["ref_atom_name_chars"] = chars.argmax(-1)
    found["ref_space_uid"] = array.ref_space_uid
    found["atom_to_token"] = np.full(len(array), -1)
    for place, token in enumerate(tokens):
        found["atom_to_token"][token.atom_indices] = place
    return found


def disulfide_of_neighbours():
    topology, _ = build_peptide("CCGG")
    bridged, _ = rebuild(topology, drop={index_of(topology, r, "HG") for r in (0, 1)})
    atoms = list(bridged.atoms())
    bridged.addBond(*(atoms[index_of(bridged, r, "SG")] for r in (0, 1)))
    return bridged


def ring():
    topology, _ = build_peptide("GAGA")
    ends = {index_of(topology, 3, "OXT")} | {index_of(topology, 0, n) for n in ("H2", "H3")}
    closed, _ = rebuild(topology, drop=ends)
    atoms = list(closed.atoms())
    closed.addBond(atoms[index_of(closed, 3, "C")], atoms[index_of(closed, 0, "N")])
    return closed


def three_chains():
    return joined(*(build_peptide(s) for s in ("GLY-HID-ALA", "GLY-HIS-SER", "GLY-HIE-ALA")))


CASES = {
    "modified residue and caps": (phosphoserine, {"A": "1"}),
    "disulfide of neighbours": (disulfide_of_neighbours, {"A": "1"}),
    "cyclic peptide": (ring, {"A": "1"}),
    "three chains": (three_chains, {"A": "1", "B": "2", "C": "1"}),
}


@needs_protenix
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_built_molecules_have_protenix_s_features(featuriser, name):
    make, entities = CASES[name]
    topology = make()
    features = features_from_topology(topology, "heavy", caps="atoms")
    letters = sorted(entities)
    expected = reference_features(
        featuriser, topology, features.atom_indices, lambda r: letters[r.chain.index], entities
    )
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(features, field), expected[field], err_msg=field)


@needs_protenix
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_trypsin_and_benzamidine_have_protenix_s_features(featuriser, tmp_path):
    # Chains and entities as the file itself gives them (label_asym_id, label_entity_id).
    sdf = write_sdf(tmp_path / "ben.sdf", embedded("NC(=[NH2+])c1ccccc1"))
    molecule = read_molecule([SHARED / "structures" / "3ptb.cif", sdf])
    features = molecule.features("heavy")
    expected = reference_features(
        featuriser,
        molecule.topology,
        features.atom_indices,
        lambda r: r.chain.id,
        {"A": "1", "C": "3"},
    )
    assert expected["token_bonds"].sum() / 2 == 9 + 6
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(features, field), expected[field], err_msg=field)
