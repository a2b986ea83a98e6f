"""Residues that are not standard ones: chemistry from RDKit molecules or from bond orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import FeatureError, MissingAtomsError, MissingBondsError, UnknownResidueError
from .matching import ADD_HYDROGENS, Fit, match_graph
from .modified import modified_molecule, parent_restype
from .residue_graph import ResidueGraph
from .residues import NUCLEOTIDES
from .skeleton import NEUTRAL_VALENCE, Skeleton

ADVICE = (
    "Pass its chemistry as molecules={{'{name}': mol}} with an RDKit Mol (e.g. from SMILES or an "
    "SDF file; systems.inputs.read_molecule takes SDF files), or give every bond of the residue "
    "in the Topology its order (Topology.addBond(..., order=)). A molecule that does not matter "
    "(of a buffer, say) can be taken out with openmm.app.Modeller.delete, or left out of solute=."
)


def fit_ligand(
    graph: ResidueGraph, molecules: Mapping[str, Any] | None, need_hydrogens: bool
) -> Fit:
    """Settle the chemistry of a residue that has no template.

    An RDKit molecule given for the residue's name is used where there is one; else what is known
    of modified amino acids; else the bond orders of the Topology, formal charges following from
    the hydrogens. A residue whose bonds, all taken as single, fill every valence needs neither.

    Raises
    ------
    UnknownResidueError
        where the chemistry is not known
    MissingBondsError
        where the residue has no bonds
    MissingAtomsError
        where hydrogens are missing
    FeatureError
        where molecule and Topology do not fit
    """
    if len(graph.heavy) > 1 and not graph.bonds:
        raise MissingBondsError(
            f"{graph.label()} has no bonds ({graph.atom_list()}). A PDB file needs CONECT records "
            "for it; or give it as an SDF file, systems.inputs.read_molecule([structure, "
            "'ligand.sdf']), which finds its bonds."
        )
    if molecules and graph.residue.name in molecules:
        return _fit_molecule(graph, molecules[graph.residue.name], need_hydrogens)
    known = modified_molecule(graph.residue.name)
    if known is not None:
        return _fit_molecule(graph, known, need_hydrogens, built_in=True)
    if graph.residue.name.strip().upper() in NUCLEOTIDES:
        raise UnknownResidueError(
            f"{graph.label()} is a nucleotide; nucleic acids are not modelled. Name the atoms of "
            "the other molecules in solute=, or take the nucleic acid out of the structure."
        )
    return _fit_orders(graph, need_hydrogens)


@dataclass(frozen=True)
class _Form:
    """A molecule for a residue, as a skeleton: hydrogens on each heavy atom, charges, backbone.

    `nitrogen` and `carbon` are the backbone's atoms in the skeleton, -1 for none; `open_end` says
    that the backbone's carbon has no terminal oxygen, so that it needs a next residue. `soft` are
    acids' oxygens and amines' nitrogens, whose protonation follows from the hydrogens found.
    """

    skeleton: Skeleton
    hydrogens: tuple[int, ...]
    charges: tuple[int, ...]
    nitrogen: int
    carbon: int
    open_end: bool
    soft: frozenset[int]


_BACKBONE = "[#7]-[#6X4]-[#6](=[OX1])"
_AMIDE = "[#7]-[#6]=[OX1]"
_ACID = "[OD1;$(O~[#6,#15,#16]~[OD1])]"
_AMINE = "[$([NX4+]),$([NX3;!$(N-[#6,#15,#16]=[O,N,S])])]"


def chain_forms(molecule: Any) -> list[tuple[Any, int, int, bool]]:
    """Return a molecule, and for an amino acid the same with or without its terminal oxygen.

    The dictionary and SDF files hold amino acids as such (with OXT), chains hold residues.

    Returns
    -------
    list of (RDKit Mol, nitrogen, carbon, open_end)
        heavy atoms only; see `_Form` for the rest
    """
    from rdkit import Chem

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    backbone = mol.GetSubstructMatches(Chem.MolFromSmarts(_BACKBONE))
    if not backbone:
        return [(mol, -1, -1, False)]
    nitrogen, _, carbon, _ = backbone[0]
    amine = mol.GetAtomWithIdx(nitrogen)
    if nitrogen in {m[0] for m in mol.GetSubstructMatches(Chem.MolFromSmarts(_AMIDE))}:
        nitrogen = -1  # of a lactam or formamide: never charged
    elif amine.GetFormalCharge() == 1 and amine.GetTotalNumHs() > 1:
        # The charge of a terminal nitrogen follows from the hydrogens that it has.
        amine.SetNumExplicitHs(amine.GetTotalNumHs() - 1)
        amine.SetNoImplicit(True)
        amine.SetFormalCharge(0)
    acid = [
        n
        for n in mol.GetAtomWithIdx(carbon).GetNeighbors()
        if n.GetAtomicNum() == 8
        and n.GetDegree() == 1
        and mol.GetBondBetweenAtoms(carbon, n.GetIdx()).GetBondTypeAsDouble() == 1
    ]
    other = Chem.RWMol(mol)
    if acid:
        other.RemoveAtom(acid[0].GetIdx())
    elif mol.GetAtomWithIdx(carbon).GetTotalNumHs() == 1:
        oxygen = Chem.Atom(8)
        oxygen.SetFormalCharge(-1)
        other.AddBond(carbon, other.AddAtom(oxygen), Chem.BondType.SINGLE)
        other.GetAtomWithIdx(carbon).SetNumExplicitHs(0)
    else:
        return [(mol, nitrogen, carbon, False)]
    Chem.SanitizeMol(other)
    # Without the oxygen, the atoms behind it have moved up by one.
    gone = acid[0].GetIdx() if acid else mol.GetNumAtoms()
    n, c = (k - (k > gone) for k in (nitrogen, carbon))
    return [(mol, nitrogen, carbon, not acid), (other.GetMol(), n, c, bool(acid))]


def _form(mol: Any, nitrogen: int = -1, carbon: int = -1, open_end: bool = False) -> _Form:
    from rdkit import Chem

    kekule = Chem.Mol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    soft = {
        m[0] for kind in (_ACID, _AMINE) for m in mol.GetSubstructMatches(Chem.MolFromSmarts(kind))
    }
    return _Form(
        Skeleton.from_mol(kekule),
        tuple(a.GetTotalNumHs() for a in mol.GetAtoms()),
        tuple(a.GetFormalCharge() for a in mol.GetAtoms()),
        nitrogen,
        carbon,
        open_end,
        frozenset(soft),
    )


# Charges that a change of protonation may lead to.
_PROTONATION = {7: (0, 1), 8: (-1, 0)}


def _fit_molecule(
    graph: ResidueGraph, molecule: Any, need_hydrogens: bool, built_in: bool = False
) -> Fit:
    """Fit a residue onto a molecule; protonation of built-in ones follows the hydrogens."""
    from rdkit import Chem

    if built_in or graph.partners:
        forms = [_form(*form) for form in chain_forms(molecule)]
    else:
        forms = [_form(Chem.RemoveAllHs(Chem.Mol(molecule)))]
    found = [(form, match) for form in forms for match in match_graph(form.skeleton, graph)]
    if not found:
        raise _explain(graph, molecule, built_in)
    check = need_hydrogens or graph.has_hydrogens
    best: tuple[_Rank, _Form, list[int], list[int], list[int]] | None = None
    for form, match in found:
        hydrogens = [n - graph.num_partners(a) for n, a in zip(form.hydrogens, match, strict=True)]
        charges = list(form.charges)
        faults = changes = 0
        for k, atom in enumerate(match):
            change = len(graph.hydrogens[atom]) - hydrogens[k]
            backbone = k == form.nitrogen and graph.names[atom] == "N"
            if not check:
                # At neutral pH a terminal nitrogen is charged.
                change = 1 if backbone and not graph.num_partners(atom) and not charges[k] else 0
            soft = backbone or (built_in and k in form.soft)
            allowed = _PROTONATION[form.skeleton.elements[k]] if soft else ()
            if change and charges[k] + change in allowed:
                charges[k] += change
                hydrogens[k] += change
                changes += 1
            elif need_hydrogens or (check and change > 0):
                faults += abs(change)
            elif check:
                # A heavy-atom model does without; the molecule says what ought to be there.
                changes += abs(change)
        orders = _other_orders(graph, form.skeleton, match)
        rank = (faults, changes, orders, [graph.names[a] for a in match])
        if best is None or rank < best[0]:
            best = (rank, form, match, hydrogens, charges)
    assert best is not None
    (faults, *_), form, match, hydrogens, charges = best
    if built_in and form.open_end and not graph.num_partners(match[form.carbon]):
        if not graph.hydrogens[match[form.carbon]]:
            raise MissingAtomsError(
                f"{graph.label()} ends at its backbone carbon {graph.names[match[form.carbon]]}: "
                "there is neither a bond to a next residue nor a terminal oxygen (OXT). Add OXT "
                "or a cap (NME), or the missing bond."
            )
    if faults or min(hydrogens) < 0:
        wrong = [
            f"{graph.names[a]} has {len(graph.hydrogens[a])}, expected {max(n, 0)}"
            for a, n in zip(match, hydrogens, strict=True)
            if len(graph.hydrogens[a]) != n
        ]
        source = "that are known of it" if built_in else "of the molecule given for it"
        raise MissingAtomsError(
            f"The hydrogens of {graph.label()} are not those {source}: {'; '.join(wrong)}. "
            "Add hydrogens to the residue (for an SDF file: RDKit's Chem.AddHs(mol, "
            "addCoords=True)), or give the molecule in the Topology's protonation state."
        )
    parent = parent_restype(graph.residue.name)
    return Fit(None, form.skeleton, match, tuple(hydrogens), tuple(charges), parent=parent)


_Rank = tuple[int, int, int, list[str]]
"""What a fit is ranked by: faults, changes of protonation, other bond orders, names."""


def _other_orders(graph: ResidueGraph, skeleton: Skeleton, match: list[int]) -> int:
    """How many bonds have another order in the Topology, where it has one."""
    found = 0
    for i, j, order in skeleton.bonds:
        a, b = sorted((match[i], match[j]))
        known = graph.bonds.get((a, b))
        found += known is not None and known != 1.5 and known != order
    return found


def _explain(graph: ResidueGraph, molecule: Any, built_in: bool) -> FeatureError:
    """Say which atoms of a residue and of the molecule for it find no counterpart."""
    from rdkit import Chem

    from .comparison import unmatched_atoms

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    ours, theirs = unmatched_atoms(graph, mol)
    source = "known for" if built_in else "given for"
    return FeatureError(
        f"The molecule {source} {graph.label()} ({Chem.MolToSmiles(mol)}, {mol.GetNumAtoms()} "
        f"heavy atoms, {mol.GetNumBonds()} bonds) does not fit the Topology's "
        f"{len(graph.heavy)} heavy atoms and {len(graph.bonds)} bonds. Atoms of the residue "
        f"without counterpart: {ours or 'none'}; of the molecule: {theirs or 'none'}. Give the "
        "molecule of this residue, and all of its bonds in the Topology."
    )


def _fit_orders(graph: ResidueGraph, need_hydrogens: bool) -> Fit:
    from rdkit import Chem

    number = {a: k for k, a in enumerate(graph.heavy)}
    known = bool(graph.bonds) and all(order is not None for order in graph.bonds.values())
    types = {1.0: Chem.BondType.SINGLE, 2.0: Chem.BondType.DOUBLE, 3.0: Chem.BondType.TRIPLE}
    unknown = UnknownResidueError(
        f"{graph.label()} is not a standard residue, and its chemistry cannot be told from the "
        f"Topology ({graph.atom_list()}). {ADVICE.format(name=graph.residue.name)}"
    )
    if need_hydrogens is False and not graph.has_hydrogens:
        # Charges and hydrogens would have to be guessed.
        raise unknown
    mol = Chem.RWMol()
    for a in graph.heavy:
        mol.AddAtom(Chem.Atom(graph.elements[a]))
    for (i, j), order in sorted(graph.bonds.items(), key=lambda b: sorted(number[a] for a in b[0])):
        kind = Chem.BondType.SINGLE if not known else types.get(float(order or 1))
        if kind is None:
            kind = Chem.BondType.AROMATIC
            for a in (i, j):
                mol.GetAtomWithIdx(number[a]).SetIsAromatic(True)
        mol.AddBond(number[i], number[j], kind)
    for k, a in enumerate(graph.heavy):
        atom = mol.GetAtomWithIdx(k)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(len(graph.hydrogens[a]) + graph.num_partners(a))
    try:
        Chem.Kekulize(mol, clearAromaticFlags=True)
    except Exception as error:  # RDKit raises several unrelated types here
        raise unknown from error
    skeleton = Skeleton.from_mol(mol)
    charges, wrong = [], []
    for k, a in enumerate(graph.heavy):
        element = graph.elements[a]
        total = skeleton.order_sums()[k] + graph.num_partners(a) + len(graph.hydrogens[a])
        charge = _charge_from_valence(element, total)
        if charge is None or (not known and charge != 0):
            wrong.append(f"{graph.names[a]} ({len(graph.hydrogens[a])} hydrogens)")
        charges.append(charge or 0)
    if wrong and known:
        raise MissingAtomsError(
            f"{graph.label()}: the valences of {', '.join(wrong)} are not filled by the Topology's "
            f"bonds and hydrogens. {ADD_HYDROGENS} {ADVICE.format(name=graph.residue.name)}"
        )
    if wrong:
        raise unknown
    hydrogens = tuple(len(graph.hydrogens[a]) for a in graph.heavy)
    return Fit(None, skeleton, list(graph.heavy), hydrogens, tuple(charges))


def _charge_from_valence(element: int, total: int) -> int | None:
    """Return the formal charge that a sum of bond orders means; None where it means none."""
    if element not in NEUTRAL_VALENCE and element != 15:
        return None
    if element in (7, 8):
        charge = total - NEUTRAL_VALENCE[element]
        # A nitrogen short of a bond has lost a hydrogen far more often than it is an anion.
        allowed = (0, 1) if element == 7 else (-1, 0, 1)
        return charge if charge in allowed else None
    if element == 16:
        return {1: -1, 2: 0, 3: 1, 4: 0, 6: 0}.get(total)
    if element == 15:
        return {3: 0, 4: 1, 5: 0}.get(total)
    if element == 5:
        return {3: 0, 4: -1}.get(total)
    return 0 if total == NEUTRAL_VALENCE[element] else None
