"""Modified amino acids that are known by name: their chemistry and the residue they come from.

The names are those of the wwPDB's Chemical Component Dictionary. Each SMILES string is the residue
as it stands inside a chain, with hydrogens in the places of its neighbours (NH2-CHR-CHO), at
neutral pH. Residues are tokenised as AlphaFold 3 does it (Abramson et al., Nature 630, 493, 2024,
supplement 2.6): a token for each heavy atom, with the class of the amino acid they come from.
Selenomethionine alone is taken for methionine and is one token (`residues.TEMPLATES`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .residues import RESTYPE_UNKNOWN, RESTYPES, TEMPLATES

# Name: parent, SMILES.
_MODIFIED = {
    "SEP": ("SER", "N[C@@H](COP(=O)([O-])[O-])C=O"),
    "TPO": ("THR", "N[C@@H]([C@H](OP(=O)([O-])[O-])C)C=O"),
    "PTR": ("TYR", "N[C@@H](Cc1ccc(OP(=O)([O-])[O-])cc1)C=O"),
    "TYS": ("TYR", "N[C@@H](Cc1ccc(OS(=O)(=O)[O-])cc1)C=O"),
    "HYP": ("PRO", "N1[C@@H](C[C@@H](O)C1)C=O"),
    "PCA": ("GLN", "N1[C@@H](CCC1=O)C=O"),
    "CGU": ("GLU", "N[C@@H](CC(C(=O)[O-])C(=O)[O-])C=O"),
    "CSO": ("CYS", "N[C@@H](CSO)C=O"),
    "OCS": ("CYS", "N[C@@H](CS(=O)(=O)[O-])C=O"),
    "CME": ("CYS", "N[C@@H](CSSCCO)C=O"),
    "SMC": ("CYS", "N[C@@H](CSC)C=O"),
    "MLZ": ("LYS", "N[C@@H](CCCC[NH2+]C)C=O"),
    "MLY": ("LYS", "N[C@@H](CCCC[NH+](C)C)C=O"),
    "M3L": ("LYS", "N[C@@H](CCCC[N+](C)(C)C)C=O"),
    "ALY": ("LYS", "N[C@@H](CCCCNC(=O)C)C=O"),
    "KCX": ("LYS", "N[C@@H](CCCCNC(=O)[O-])C=O"),
    "ORN": ("ALA", "N[C@@H](CCC[NH3+])C=O"),
    "NLE": ("LEU", "N[C@@H](CCCC)C=O"),
    "ABA": ("ALA", "N[C@@H](CC)C=O"),
    "AIB": ("ALA", "NC(C)(C)C=O"),
    "FME": ("MET", "N(C=O)[C@@H](CCSC)C=O"),
}

# D amino acids by the name of their mirror image; AF3 has a token for each of their atoms.
_MIRROR_IMAGES = {
    "DAL": "ALA", "DAR": "ARG", "DSG": "ASN", "DAS": "ASP", "DCY": "CYS", "DGN": "GLN",
    "DGL": "GLU", "DHI": "HIS", "DIL": "ILE", "DLE": "LEU", "DLY": "LYS", "MED": "MET",
    "DPN": "PHE", "DPR": "PRO", "DSN": "SER", "DTH": "THR", "DTR": "TRP", "DTY": "TYR",
    "DVA": "VAL",
}  # fmt: skip

# What those side chains that are charged at neutral pH look like then.
_CHARGED = {
    "ARG": "N[C@@H](CCCNC(N)=[NH2+])C=O",
    "ASP": "N[C@@H](CC(=O)[O-])C=O",
    "GLU": "N[C@@H](CCC(=O)[O-])C=O",
    "LYS": "N[C@@H](CCCC[NH3+])C=O",
}


def _mirrored(smiles: str) -> str:
    return smiles.replace("@@", "%").replace("@", "@@").replace("%", "@")


@lru_cache(maxsize=256)
def modified_molecule(residue_name: str) -> Any | None:
    """Return the RDKit molecule of a modified amino acid inside a chain; None for other names."""
    name = residue_name.strip().upper()
    if name in _MIRROR_IMAGES:
        mirror = _MIRROR_IMAGES[name]
        smiles = _mirrored(_CHARGED.get(mirror, TEMPLATES[mirror].smiles[0]))
    elif name in _MODIFIED:
        smiles = _MODIFIED[name][1]
    elif name == "MSE":
        smiles = TEMPLATES[name].smiles[0]
    else:
        return None
    from rdkit import Chem

    return Chem.MolFromSmiles(smiles)


def parent_restype(residue_name: str) -> int:
    """Return Protenix's class of the amino acid that a modified one comes from; unknown: 20."""
    name = residue_name.strip().upper()
    parent = _MIRROR_IMAGES.get(name) or _MODIFIED.get(name, ("",))[0]
    return RESTYPES.index(parent) if parent else RESTYPE_UNKNOWN
