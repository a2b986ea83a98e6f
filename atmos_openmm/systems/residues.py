"""The standard residues: names, heavy-atom skeletons, protonation defaults.

Each skeleton is a SMILES string whose atoms stand in the order of the names beside it, written
without charges and with Kekule bonds. Hydrogen counts and formal charges are not part of it: they
follow from the hydrogens of the Topology by valence (`chemistry.assign_valences`). Where one
skeleton has several Kekule forms that protonation tells apart (histidine, arginine,
carboxylates), all are listed, the conventional one first.

Stereochemistry is that of the L amino acids, (2S,3S)-isoleucine and (2S,3R)-threonine. Names are
those of the wwPDB (version 3), which Amber shares for heavy atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

RESTYPE_UNKNOWN = 20
"""Protenix's class of anything that is not one of the twenty amino acids (here: caps, ligands)."""

RESTYPES = (
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE",
    "LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL",
)  # fmt: skip
"""The twenty amino acids in the order of Protenix's classes 0 to 19."""

SOLVENT = frozenset(
    "HOH WAT H2O DOD TIP TIP2 TIP3 TIP4 TIP5 T3P T4P SPC SOL OPC OPC3 TP3 TP4 SPCE".split()
)
"""Residue names of water."""

METALS = frozenset(
    "Li Be Na Mg Al K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga As Rb Sr Y Zr Mo Ru Rh Pd Ag Cd In Sn Cs "
    "Ba La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Yb Lu Hf W Re Os Ir Pt Au Hg Tl Pb Bi U".split()
)
"""Elements whose bonds to other residues are coordination: a matter of the force field."""

COFACTORS = frozenset(
    "NAD NAI NAP NDP NDE FAD FDA FMN FNR ADP ATP AMP ANP ACP AGS GDP GTP GMP GNP GSP GCP CTP CDP "
    "UTP UDP UMP TTP COA ACO SAM SAH PLP PMP TPP TDP BTN B12 COB CNC H4B THG HEM HEA HEB HEC HEO "
    "HDD SRM CLA CHL BCL BPH PHO PQN UQ1 UQ2 U10 SF4 F3S FES FS4 CUA MGD MTE PCD BCR LHG".split()
)
"""Cofactors by the wwPDB's names: left to MD where nothing tells their chemistry."""


@dataclass(frozen=True)
class ResidueTemplate:
    """Heavy-atom skeleton of a standard residue or cap.

    Attributes
    ----------
    name : str
        canonical three-letter name, e.g. HIS for HID, HIE and HIP
    names : tuple of str
        names of the heavy atoms in the order of the SMILES strings
    smiles : tuple of str
        the Kekule forms, the conventional one first
    parent : str
        the amino acid whose class it has, where that is another one (MET for MSE)
    """

    name: str
    names: tuple[str, ...]
    smiles: tuple[str, ...]
    parent: str = ""

    @property
    def is_amino_acid(self) -> bool:
        """Whether the skeleton has a backbone (caps have none)."""
        return (self.parent or self.name) in RESTYPES

    @property
    def restype(self) -> int:
        """Protenix's residue class."""
        known = self.parent or self.name
        return RESTYPES.index(known) if self.is_amino_acid else RESTYPE_UNKNOWN

    def with_terminal_oxygen(self) -> ResidueTemplate:
        """Return the C-terminal form: OXT appended to the backbone carbon."""
        # Every amino acid's SMILES ends in the backbone's "C=O".
        stems = [s.removesuffix("C=O") for s in self.smiles]
        forms = [stem + "C(=O)O" for stem in stems] + [stem + "C(O)=O" for stem in stems]
        return ResidueTemplate(self.name, (*self.names, "OXT"), tuple(forms), self.parent)


def _template(name: str, names: str, *smiles: str, parent: str = "") -> ResidueTemplate:
    return ResidueTemplate(name, tuple(names.split()), smiles, parent)


TEMPLATES = {
    t.name: t
    for t in (
        _template("ALA", "N CA CB C O", "N[C@@H](C)C=O"),
        _template(
            "ARG",
            "N CA CB CG CD NE CZ NH1 NH2 C O",
            "N[C@@H](CCCNC(N)=N)C=O",
            "N[C@@H](CCCNC(=N)N)C=O",
            "N[C@@H](CCCN=C(N)N)C=O",
        ),
        _template("ASN", "N CA CB CG OD1 ND2 C O", "N[C@@H](CC(=O)N)C=O"),
        _template("ASP", "N CA CB CG OD1 OD2 C O", "N[C@@H](CC(=O)O)C=O", "N[C@@H](CC(O)=O)C=O"),
        _template("CYS", "N CA CB SG C O", "N[C@@H](CS)C=O"),
        _template("GLN", "N CA CB CG CD OE1 NE2 C O", "N[C@@H](CCC(=O)N)C=O"),
        _template(
            "GLU", "N CA CB CG CD OE1 OE2 C O", "N[C@@H](CCC(=O)O)C=O", "N[C@@H](CCC(O)=O)C=O"
        ),
        _template("GLY", "N CA C O", "NCC=O"),
        _template(
            "HIS",
            "N CA CB CG CD2 NE2 CE1 ND1 C O",
            "N[C@@H](CC1=CNC=N1)C=O",
            "N[C@@H](CC1=CN=CN1)C=O",
        ),
        _template("ILE", "N CA CB CG2 CG1 CD1 C O", "N[C@@H]([C@@H](C)CC)C=O"),
        _template("LEU", "N CA CB CG CD1 CD2 C O", "N[C@@H](CC(C)C)C=O"),
        _template("LYS", "N CA CB CG CD CE NZ C O", "N[C@@H](CCCCN)C=O"),
        _template("MET", "N CA CB CG SD CE C O", "N[C@@H](CCSC)C=O"),
        # Structures with selenomethionine are those of proteins with methionine; AF3 (supplement
        # 2.1) and Protenix rename it. Here its selenium stays what it is.
        _template("MSE", "N CA CB CG SE CE C O", "N[C@@H](CC[Se]C)C=O", parent="MET"),
        _template("PHE", "N CA CB CG CD1 CE1 CZ CE2 CD2 C O", "N[C@@H](CC1=CC=CC=C1)C=O"),
        _template("PRO", "N CA CB CG CD C O", "N1[C@@H](CCC1)C=O"),
        _template("SER", "N CA CB OG C O", "N[C@@H](CO)C=O"),
        _template("THR", "N CA CB OG1 CG2 C O", "N[C@@H]([C@H](O)C)C=O"),
        _template(
            "TRP",
            "N CA CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2 C O",
            "N[C@@H](CC1=CNC2=CC=CC=C12)C=O",
        ),
        _template("TYR", "N CA CB CG CD1 CE1 CZ OH CE2 CD2 C O", "N[C@@H](CC1=CC=C(O)C=C1)C=O"),
        _template("VAL", "N CA CB CG1 CG2 C O", "N[C@@H](C(C)C)C=O"),
        _template("ACE", "CH3 C O", "CC=O"),
        _template("FOR", "C O", "C=O"),
        _template("NME", "N C", "NC"),
        _template("NH2", "N", "N"),
    )
}
"""Templates by canonical residue name."""

ALIASES = {
    "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS",
    "HISD": "HIS", "HISE": "HIS", "HISH": "HIS",
    "CYX": "CYS", "CYM": "CYS", "CYS2": "CYS",
    "ASH": "ASP", "ASPH": "ASP", "GLH": "GLU", "GLUH": "GLU",
    "LYN": "LYS", "LSN": "LYS", "ARN": "ARG", "TYM": "TYR",
    "NMA": "NME", "NHE": "NH2",
}  # fmt: skip
"""Names of protonation states and dialects, to canonical names."""

LIPIDS = frozenset(
    "POPC POPE POPS POPG POPA DPPC DPPE DOPC DOPE DOPS DMPC DMPE DLPC DLPE DSPC DSPE DPPG DOPG "
    "CHL1 CLOL PA PC PE PS PGR OL MY".split()
)
"""Lipids of membranes, by the names of CHARMM and Amber: environment, as water is."""

NUCLEOTIDES = frozenset(
    f"{kind}{base}{end}"
    for kind, bases in (("", "ACGUIN"), ("R", "ACGU"), ("D", "ACGTUIN"))
    for base in bases
    for end in ("", "3", "5")
)
"""Names of nucleotides in the wwPDB's and Amber's dialects."""

NEUTRAL_NAMES = frozenset({"ASH", "ASPH", "GLH", "GLUH", "LYN", "LSN", "ARN"})
"""Names that ask for a neutral side chain where the Topology has no hydrogens to tell."""

DELTA_NAMES = frozenset({"HID", "HSD", "HISD"})
"""Names of histidine with its hydrogen on ND1, for Topologies without hydrogens."""

DOUBLE_NAMES = frozenset({"HIP", "HSP", "HISH"})
"""Names of protonated histidine, for Topologies without hydrogens."""

ANIONIC_NAMES = {"CYM": "SG", "TYM": "OH"}
"""Residue names whose named atom is a thiolate or phenolate. A TYR without that hydrogen is taken
to lack it, since that is nearly always what has happened."""

DISULFIDE_NAMES = frozenset({"CYX", "CYS2"})
"""Names of a disulfide's halves: one without HG and without bond lacks the bond."""


def find_template(residue_name: str) -> ResidueTemplate | None:
    """Return the template of a residue name (any protonation state), or None."""
    name = residue_name.strip().upper()
    # Amber's terminal residues: NALA, CALA.
    if len(name) == 4 and name[0] in "NC" and name not in ALIASES:
        name = name[1:]
    return TEMPLATES.get(ALIASES.get(name, name))


def element_symbol(atom_name: str) -> str:
    """The element of a standard residue's heavy atom, which its name says."""
    return "Se" if atom_name == "SE" else atom_name[0]


def default_charge(residue_name: str, atom_name: str, has_partner: bool) -> int:
    """Formal charge of an atom at neutral pH, where no hydrogens tell.

    Parameters
    ----------
    residue_name : str
        as it stands in the Topology, so that ASH, HIP and the like are honoured
    atom_name : str
        template name of the heavy atom
    has_partner : bool
        whether the atom has a bond to another residue
    """
    name = residue_name.strip().upper()
    if len(name) == 4 and name[0] in "NC" and name not in ALIASES:
        name = name[1:]
    canonical = ALIASES.get(name, name)
    template = TEMPLATES.get(canonical)
    if atom_name == "N" and template is not None and template.is_amino_acid:
        return 0 if has_partner else 1
    if atom_name == "OXT":
        return -1
    if has_partner or name in NEUTRAL_NAMES:
        return 0
    if ANIONIC_NAMES.get(name) == atom_name:
        return -1
    if name in DOUBLE_NAMES and atom_name == "ND1":
        return 1
    charges = {
        ("ASP", "OD2"): -1,
        ("GLU", "OE2"): -1,
        ("LYS", "NZ"): 1,
        ("ARG", "NH2"): 1,
    }
    return charges.get((canonical, atom_name), 0)
