"""mmCIF files, parsed once: the Topology is OpenMM's, the tables are the file's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from data_cases import SHARED
from openmm import app, unit

from atmos_openmm.systems.mmcif import read_block, table
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.structure_files import read_structure

REAL = SHARED / "structures" / "3ptb.cif"

CONNECTED = """data_X
#
_cell.length_a 30.0
_cell.length_b 40.0
_cell.length_c 50.0
_cell.angle_alpha 90
_cell.angle_beta 100
_cell.angle_gamma 90
#
loop_
_struct_conn.id
_struct_conn.conn_type_id
_struct_conn.ptnr1_label_asym_id
_struct_conn.ptnr1_label_seq_id
_struct_conn.ptnr1_label_atom_id
_struct_conn.ptnr2_label_asym_id
_struct_conn.ptnr2_label_seq_id
_struct_conn.ptnr2_label_atom_id
c1 covale A 1 SG B . C1
h1 hydrog A 1 N B . O1
#
loop_
_chem_comp_bond.comp_id
_chem_comp_bond.atom_id_1
_chem_comp_bond.atom_id_2
_chem_comp_bond.value_order
LIG C1 "O1'" doub
LIG C1 C2 sing
#
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.auth_seq_id
_atom_site.auth_comp_id
_atom_site.auth_asym_id
_atom_site.auth_atom_id
ATOM 1 N N . CYS A 1 ? 0.0 0.0 0.0 7 CYS A N
ATOM 2 C CA . CYS A 1 ? 1.5 0.0 0.0 7 CYS A CA
ATOM 3 C CB . CYS A 1 ? 2.0 1.4 0.0 7 CYS A CB
ATOM 4 S SG . CYS A 1 ? 3.8 1.4 0.0 7 CYS A SG
ATOM 5 N N . GLY A 2 A 1.5 3.0 0.0 7 GLY A N
HETATM 6 C C1 . LIG B . ? 4.5 3.0 0.0 101 LIG A C1
HETATM 7 O "O1'" . LIG B . ? 5.5 3.5 0.0 101 LIG A "O1'"
HETATM 8 C C2 . LIG B . ? 4.0 4.0 1.0 101 LIG A C2
HETATM 9 ZN ZN . ZN C . ? 9.0 9.0 9.0 201 ZN A ZN
#
"""


def described(topology: Any) -> tuple[Any, ...]:
    """All that a Topology holds."""
    return (
        [c.id for c in topology.chains()],
        [(r.name, r.id, r.insertionCode, r.chain.index) for r in topology.residues()],
        [(a.name, a.element, a.id, a.residue.index) for a in topology.atoms()],
        sorted(
            (*sorted((b[0].index, b[1].index)), str(b.type), str(b.order)) for b in topology.bonds()
        ),
        str(topology.getPeriodicBoxVectors()),
    )


def peptide_text() -> str:
    topology, x = build_peptide("ACE-CYS-HIE-NME")
    buffer = io.StringIO()
    app.PDBxFile.writeFile(topology, x * unit.nanometer, buffer, keepIds=True)
    return buffer.getvalue()


@pytest.mark.parametrize("case", ["peptide", "connected", "real"])
def test_the_topology_is_that_of_openmm(case: str):
    if case == "real" and not REAL.exists():
        pytest.skip("no real structures")
    text = {"peptide": peptide_text, "connected": lambda: CONNECTED, "real": REAL.read_text}[case]()
    file = read_structure(text, "made.cif")
    made, labels = file.topology, list(file.chain_names)
    wanted = app.PDBxFile(io.StringIO(text))
    assert described(made) == described(wanted.topology)
    assert len(labels) == made.getNumChains()
    if case == "connected":
        assert labels == ["A", "B", "C"] and made.getNumBonds() == 6
    positions = np.array(wanted.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    np.testing.assert_allclose(file.positions_nm, positions, atol=1e-12)


def test_tables_are_read_without_their_quotes():
    block = read_block(CONNECTED)
    rows = table(block, "chem_comp_bond")
    assert rows[0] == {
        "comp_id": "LIG",
        "atom_id_1": "C1",
        "atom_id_2": "O1'",
        "value_order": "doub",
    }
    assert table(block, "struct_conn")[0]["ptnr2_label_seq_id"] == ""
    assert table(block, "pdbx_struct_oper_list") == []
    for text, says in (("nothing", "cannot be parsed as mmCIF"), ("", "no data block")):
        with pytest.raises(ValueError, match=says):
            read_block(text)
