"""Residues that are not standard ones: chemistry from RDKit molecules or from bond orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .chemistry import NEUTRAL_VALENCE, Skeleton
from .errors import FeatureError, MissingAtomsError, UnknownResidueError
from .matching import ADD_HYDROGENS, Fit, ResidueGraph, match_graph

ADVICE = (
    "Pass its chemistry as molecules={{'{name}': mol}} with an RDKit Mol (e.g. from SMILES or an "
    "SDF file), or give every bond of the residue in the Topology its order "
    "(Topology.addBond(..., order=))."
)


def fit_ligand(
    graph: ResidueGraph, molecules: Mapping[str, Any] | None, need_hydrogens: bool
) -> Fit:
    """Settle the chemistry of a residue that has no template.

    An RDKit molecule given for the residue's name is used where there is one; else the bond
    orders of the Topology, formal charges following from the hydrogens. A residue whose bonds, all
    taken as single, fill every valence needs neither.

    Raises
    ------
    UnknownResidueError
        where the chemistry is not known
    MissingAtomsError
        where hydrogens are missing
    FeatureError
        where molecule and Topology do not fit
    """
    if molecules and graph.residue.name in molecules:
        return _fit_molecule(graph, molecules[graph.residue.name], need_hydrogens)
    return _fit_orders(graph, need_hydrogens)


def _partner_counts(graph: ResidueGraph) -> dict[int, int]:
    counts = dict.fromkeys(graph.heavy, 0)
    for atom, _ in graph.partners:
        counts[atom] += 1
    return counts


def _fit_molecule(graph: ResidueGraph, molecule: Any, need_hydrogens: bool) -> Fit:
    from rdkit import Chem

    mol = Chem.RemoveAllHs(Chem.Mol(molecule))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    skeleton = Skeleton.from_mol(mol)
    expected_h = [a.GetTotalNumHs() for a in mol.GetAtoms()]
    charges = tuple(a.GetFormalCharge() for a in mol.GetAtoms())
    matches = match_graph(skeleton, graph)
    if not matches:
        raise FeatureError(
            f"The molecule given for {graph.label()} ({Chem.MolToSmiles(mol)}, {mol.GetNumAtoms()} "
            f"heavy atoms, {mol.GetNumBonds()} bonds) does not fit the Topology's "
            f"{len(graph.heavy)} heavy atoms and {len(graph.bonds)} bonds. Give the molecule of "
            "this residue, and all of its bonds in the Topology."
        )
    counts = _partner_counts(graph)
    best: tuple[int, list[str], list[int]] | None = None
    check = need_hydrogens or graph.has_hydrogens
    for match in matches:
        faults = 0
        if check:
            for atom, number in zip(match, expected_h, strict=True):
                faults += abs(number - counts[atom] - len(graph.hydrogens[atom]))
        names = [graph.names[a] for a in match]
        if best is None or (faults, names) < best[:2]:
            best = (faults, names, match)
    assert best is not None
    faults, _, match = best
    if faults:
        wrong = [
            f"{graph.names[a]} has {len(graph.hydrogens[a])}, expected {n - counts[a]}"
            for a, n in zip(match, expected_h, strict=True)
            if len(graph.hydrogens[a]) != n - counts[a]
        ]
        raise MissingAtomsError(
            f"The hydrogens of {graph.label()} are not those of the molecule given for it: "
            f"{'; '.join(wrong)}. {ADD_HYDROGENS} Or give the molecule in the Topology's "
            "protonation state."
        )
    hydrogens = tuple(n - counts[a] for a, n in zip(match, expected_h, strict=True))
    return Fit(None, skeleton, match, hydrogens, charges)


def _fit_orders(graph: ResidueGraph, need_hydrogens: bool) -> Fit:
    from rdkit import Chem

    counts = _partner_counts(graph)
    number = {a: k for k, a in enumerate(graph.heavy)}
    known = bool(graph.bonds) and all(order is not None for order in graph.bonds.values())
    types = {1.0: Chem.BondType.SINGLE, 2.0: Chem.BondType.DOUBLE, 3.0: Chem.BondType.TRIPLE}
    unknown = UnknownResidueError(
        f"{graph.label()} is not a standard residue, and its chemistry cannot be told from the "
        f"Topology. {ADVICE.format(name=graph.residue.name)}"
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
        atom.SetNumExplicitHs(len(graph.hydrogens[a]) + counts[a])
    try:
        Chem.Kekulize(mol, clearAromaticFlags=True)
    except Exception as error:  # RDKit raises several unrelated types here
        raise unknown from error
    skeleton = Skeleton.from_mol(mol)
    charges, wrong = [], []
    for k, a in enumerate(graph.heavy):
        element = graph.elements[a]
        total = skeleton.order_sums()[k] + counts[a] + len(graph.hydrogens[a])
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
