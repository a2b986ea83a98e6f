"""Fitting the atoms of a Topology's residue onto a template or a molecule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .comparison import plain_molecule
from .errors import (
    FeatureError,
    MissingAtomsError,
    MissingBondsError,
    UnknownResidueError,
)
from .residue_graph import ResidueGraph
from .residues import (
    ANIONIC_NAMES,
    DISULFIDE_NAMES,
    RESTYPE_UNKNOWN,
    ResidueTemplate,
    default_charge,
    find_template,
)
from .skeleton import NEUTRAL_VALENCE, Skeleton

ADD_HYDROGENS = "Add them with openmm.app.Modeller.addHydrogens(forcefield)."


@dataclass
class Fit:
    """A residue's chemistry settled: which atom is which, hydrogens, charges.

    Attributes
    ----------
    template : ResidueTemplate or None
        the standard residue, None for ligands
    skeleton : Skeleton
        the heavy atoms
    atoms : list of int
        Topology index of each of the skeleton's atoms
    hydrogens, charges : tuple of int
        hydrogens on each, formal charge of each
    outer : tuple of int
        see `chemistry.build_chemistry`
    parent : int
        Protenix's class of the amino acid that a modified residue comes from
    """

    template: ResidueTemplate | None
    skeleton: Skeleton
    atoms: list[int]
    hydrogens: tuple[int, ...]
    charges: tuple[int, ...]
    outer: tuple[int, ...] = field(default=())
    parent: int = RESTYPE_UNKNOWN

    @property
    def restype(self) -> int:
        """Protenix's class of the residue's tokens."""
        return self.parent if self.template is None else self.template.restype


def _match_template(graph: ResidueGraph, template: ResidueTemplate) -> list[int] | None:
    """Fit heavy atoms onto a template by names where they fit, else by the graph."""
    skeleton = Skeleton.from_smiles(template.smiles[0])
    by_name = {graph.names[i]: i for i in graph.heavy}
    want = {frozenset((i, j)) for i, j, _ in skeleton.bonds}
    edges = graph.edges()
    if len(by_name) == len(graph.heavy) and set(by_name) == set(template.names):
        atoms = [by_name[n] for n in template.names]
        number = {a: k for k, a in enumerate(atoms)}
        if {frozenset(number[a] for a in e) for e in edges} == want and all(
            graph.elements[a] == e for a, e in zip(atoms, skeleton.elements, strict=True)
        ):
            return atoms
    matches = match_graph(skeleton, graph)
    if not matches:
        return None

    # Several fits are symmetry; the one that agrees best with the names is taken.
    def agreement(match: list[int]) -> tuple[int, list[str]]:
        names = [graph.names[a] for a in match]
        return -sum(a == b for a, b in zip(names, template.names, strict=True)), names

    return min(matches, key=agreement)


def match_graph(skeleton: Skeleton, graph: ResidueGraph) -> list[list[int]]:
    """Return every fit of a residue's heavy atoms onto a skeleton by elements and bonds."""
    if len(skeleton.elements) != len(graph.heavy) or len(skeleton.bonds) != len(graph.bonds):
        return []
    number = {a: k for k, a in enumerate(graph.heavy)}
    target = plain_molecule(
        [graph.elements[a] for a in graph.heavy],
        [(number[i], number[j]) for i, j in graph.bonds],
    )
    query = plain_molecule(list(skeleton.elements), [(i, j) for i, j, _ in skeleton.bonds])
    found = target.GetSubstructMatches(query, uniquify=False, maxMatches=2000)
    return [[graph.heavy[k] for k in match] for match in found]


def _explain_mismatch(graph: ResidueGraph, template: ResidueTemplate) -> FeatureError:
    """Say why heavy atoms do not fit a standard residue."""
    listed = [graph.names[i] for i in graph.heavy]
    names = set(listed)
    twice = sorted(n for n in names if listed.count(n) > 1)
    if twice:
        return FeatureError(
            f"{graph.label()} has several atoms named {', '.join(twice)}. Give each a name of its "
            f"own, those of {template.name}."
        )
    if template.is_amino_acid and "OXT" in names - set(template.names):
        template = template.with_terminal_oxygen()
    missing = [n for n in template.names if n not in names]
    extra = sorted(names - set(template.names) - {"OXT"})
    if len(graph.heavy) < len(template.names):
        return MissingAtomsError(
            f"{graph.label()} lacks {len(template.names) - len(graph.heavy)} of its "
            f"{len(template.names)} heavy atoms ({', '.join(missing) or 'by count'} not found). "
            "Rebuild them first, e.g. with PDBFixer (findMissingAtoms, addMissingAtoms)."
        )
    if extra:
        return UnknownResidueError(
            f"{graph.label()} does not have the heavy atoms of {template.name}: unexpected "
            f"{', '.join(extra)}; not found {', '.join(missing) or 'none'}. Give a modified "
            "residue a name of its own, and its chemistry in molecules={name: RDKit Mol}."
        )
    skeleton = Skeleton.from_smiles(template.smiles[0])
    by_name = {graph.names[i]: i for i in graph.heavy}
    edges = graph.edges()
    absent = [
        f"{template.names[i]}-{template.names[j]}"
        for i, j, _ in skeleton.bonds
        if template.names[i] in by_name
        and template.names[j] in by_name
        and frozenset((by_name[template.names[i]], by_name[template.names[j]])) not in edges
    ]
    wanted = {frozenset((template.names[i], template.names[j])) for i, j, _ in skeleton.bonds}
    surplus = sorted(
        "-".join(sorted(pair))
        for pair in (frozenset(graph.names[a] for a in e) for e in edges)
        if pair not in wanted
    )
    return MissingBondsError(
        f"The bonds of {graph.label()} are not those of {template.name}: missing "
        f"{', '.join(absent) or 'none'}; unexpected {', '.join(surplus) or 'none'}. Call "
        "topology.createStandardBonds() on a Topology with standard atom names, or mend its bonds."
    )


def _valence_faults(
    graph: ResidueGraph,
    template: ResidueTemplate,
    skeleton: Skeleton,
    atoms: list[int],
) -> tuple[list[int], list[tuple[str, int, int]]]:
    """Work out formal charges from hydrogens; return them with (atom, found, expected) faults."""
    resname = graph.residue.name.strip().upper()
    sums = skeleton.order_sums()
    double_oxygen = {
        c
        for i, j, order in skeleton.bonds
        for c, o in ((i, j), (j, i))
        if order == 2 and skeleton.elements[o] == 8
    }
    neighbours: dict[int, list[int]] = {k: [] for k in range(len(atoms))}
    for i, j, _ in skeleton.bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    thiol = "SG" if template.name == "CYS" and resname not in DISULFIDE_NAMES else ""
    charges, faults = [], []
    for k, atom in enumerate(atoms):
        name, element = template.names[k], skeleton.elements[k]
        found = len(graph.hydrogens[atom])
        used = sums[k] + graph.num_partners(atom)
        excess = used + found - NEUTRAL_VALENCE[element]
        carboxylate = (
            element == 8 and sums[k] == 1 and any(n in double_oxygen for n in neighbours[k])
        )
        anionic = carboxylate or name in (ANIONIC_NAMES.get(resname), thiol)
        if excess == 0 and template.name == "ARG" and name.startswith("N") and name != "N":
            # A neutral arginine is rarer than a lost hydrogen: it has to be named ARN.
            charges.append(0)
            continue
        if excess == 0 or (excess == 1 and element == 7) or (excess == -1 and anionic):
            charges.append(excess)
            continue
        charges.append(0)
        expected = NEUTRAL_VALENCE[element] - used
        expected += default_charge(resname, name, graph.num_partners(atom) > 0) * (
            1 if element == 7 else 0
        )
        faults.append((graph.names[atom], found, max(expected, 0)))
    if (
        not faults
        and template.name == "ARG"
        and resname != "ARN"
        and not any(
            q for q, n in zip(charges, template.names, strict=True) if n in ("NE", "NH1", "NH2")
        )
    ):
        faults.append(
            (
                "NH1, NH2",
                sum(len(graph.hydrogens[atoms[template.names.index(n)]]) for n in ("NH1", "NH2")),
                4,
            )
        )
    return charges, faults


def _default_state(
    graph: ResidueGraph,
    template: ResidueTemplate,
    skeleton: Skeleton,
    atoms: list[int],
) -> tuple[list[int], list[int]]:
    """Return hydrogens and charges at neutral pH, for residues without hydrogens."""
    charges = [
        default_charge(graph.residue.name, n, graph.num_partners(a) > 0)
        for n, a in zip(template.names, atoms, strict=True)
    ]
    hydrogens = []
    for k, atom in enumerate(atoms):
        element = skeleton.elements[k]
        valence = NEUTRAL_VALENCE[element] + (charges[k] if element != 6 else 0)
        hydrogens.append(valence - skeleton.order_sums()[k] - graph.num_partners(atom))
    if any(h < 0 for h in hydrogens):
        names = [graph.names[a] for a, h in zip(atoms, hydrogens, strict=True) if h < 0]
        raise MissingBondsError(
            f"{graph.label()} has too many bonds at {', '.join(names)}. Mend the Topology's bonds."
        )
    return hydrogens, charges


def fit_standard(graph: ResidueGraph, need_hydrogens: bool) -> Fit | None:
    """Settle a standard residue's chemistry; None where its name is no standard residue's.

    Parameters
    ----------
    graph : ResidueGraph
        the residue
    need_hydrogens : bool
        whether hydrogens must be there. Where not, a residue without any gets the protonation of
        its name at neutral pH; where polar ones alone are there, the protonation that they tell

    Raises
    ------
    MissingAtomsError, MissingBondsError, UnknownResidueError
    """
    try:
        return _fit_template(graph, need_hydrogens)
    except MissingAtomsError:
        if need_hydrogens or not graph.has_hydrogens:
            raise
        plain = _fit_template(replace(graph, hydrogens={a: [] for a in graph.heavy}), False)
        assert plain is not None
        usual = dict(zip(plain.atoms, plain.hydrogens, strict=True))
        # -1 stands for a hydrogen of a carbon that the Topology does not have.
        filled = {
            a: found + [-1] * (usual[a] - len(found)) * (graph.elements[a] == 6)
            for a, found in graph.hydrogens.items()
        }
        try:
            return _fit_template(replace(graph, hydrogens=filled), False)
        except MissingAtomsError:
            if all(len(found) <= usual[a] for a, found in graph.hydrogens.items()):
                return plain
            raise


def _fit_template(graph: ResidueGraph, need_hydrogens: bool) -> Fit | None:
    """Settle a standard residue's chemistry from all of its hydrogens, or from none."""
    from .residues import DELTA_NAMES

    template = find_template(graph.residue.name)
    if template is None:
        return None
    if len(template.names) > 1 and not graph.bonds:
        raise MissingBondsError(
            f"{graph.label()} has no bonds. Call topology.createStandardBonds(), or load the "
            "structure with a reader that makes bonds."
        )
    if template.is_amino_acid and len(graph.heavy) == len(template.names) + 1:
        template = template.with_terminal_oxygen()
    atoms = _match_template(graph, template)
    if atoms is None:
        raise _explain_mismatch(graph, template)

    outer = tuple(k for k, n in enumerate(template.names) if template.name == "PRO" and n == "N")
    if not need_hydrogens and not graph.has_hydrogens:
        form = 1 if graph.residue.name.strip().upper() in DELTA_NAMES else 0
        skeleton = Skeleton.from_smiles(template.smiles[form])
        _check_links(graph, template, skeleton, atoms)
        hydrogens, charges = _default_state(graph, template, skeleton, atoms)
        return Fit(template, skeleton, atoms, tuple(hydrogens), tuple(charges), outer)

    best: list[tuple[str, int, int]] | None = None
    for smiles in template.smiles:
        skeleton = Skeleton.from_smiles(smiles)
        _check_links(graph, template, skeleton, atoms)
        charges, faults = _valence_faults(graph, template, skeleton, atoms)
        if not faults:
            counts = tuple(len(graph.hydrogens[a]) for a in atoms)
            return Fit(template, skeleton, atoms, counts, tuple(charges), outer)
        if best is None or len(faults) < len(best):
            best = faults
    assert best is not None
    listing = "; ".join(f"{name} has {found}, expected {want}" for name, found, want in best)
    if all(found <= want for _, found, want in best):
        raise MissingAtomsError(
            f"{graph.label()} lacks hydrogens: {listing}. {ADD_HYDROGENS}"
            + (
                " A CYS without HG in a disulfide needs the S-S bond in the Topology: call "
                "topology.createDisulfideBonds(positions)."
                if template.name == "CYS"
                else ""
            )
        )
    raise MissingBondsError(
        f"{graph.label()} has hydrogens that its bonds leave no room for: {listing}. Mend its "
        "hydrogens or bonds."
    )


def _check_links(
    graph: ResidueGraph,
    template: ResidueTemplate,
    skeleton: Skeleton,
    atoms: list[int],
) -> None:
    """Check that a backbone carbon has its fourth neighbour: the next residue or OXT."""
    if "C" not in template.names or template.name in ("NME", "FOR"):
        return
    k = template.names.index("C")
    bonded = skeleton.order_sums()[k] + graph.num_partners(atoms[k])
    bonded += len(graph.hydrogens[atoms[k]])
    if bonded < 4:
        raise MissingAtomsError(
            f"{graph.label()} ends at its backbone carbon {graph.names[atoms[k]]}: there is "
            "neither a bond to a next residue nor a terminal oxygen (OXT). Add OXT or a cap "
            "(NME), or the missing bond (topology.createStandardBonds())."
        )
