"""Parameters for ligands: what an OpenMM ForceField takes them from, where it has none."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .comparison import plain_molecule
from .errors import ForceFieldError
from .ligand_cache import LigandKey, keep_parameters, kept_parameters
from .ligand_parameters import make_parameters

if TYPE_CHECKING:
    from openmm.app import ForceField

__all__ = ["register_ligands"]

CHARGES = {"nagl": "NAGL", "am1bcc": "AM1-BCC"}
ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
"""What OpenFF, GAFF and both charge methods know."""

_NAME = re.compile(r"openff-2\.\d+\.\d+|gaff-2\.\d+(\.\d+)?")


def register_ligands(
    forcefield: ForceField,
    molecules: Mapping[str, Any],
    *,
    name: str = "openff-2.2.1",
    charges: str = "nagl",
    cache: Path | None = None,
    progress: Callable[[str], object] | None = None,
) -> list[str]:
    """Let a force field take parameters for ligands from OpenFF or GAFF.

    Nothing is made, and no package needed, before the force field meets a residue that it has no
    template for. The residue is matched to a molecule by elements and bonds: neither the order
    nor the names of its atoms matter, nor bond orders in the Topology, but all hydrogens and bonds
    have to be there. Parameters are kept in the user's cache by molecule, force field and charge
    method.

    Parameters
    ----------
    forcefield : openmm.app.ForceField
        Gets a template generator.
    molecules : mapping from str to RDKit Mol
        Ligands by residue name, with bond orders, formal charges and stereochemistry. Hydrogens
        may be implicit; coordinates are not used.
    name : str
        As "openff-2.2.1" or "gaff-2.11"; any version 2 of the two that openmmforcefields has.
    charges : str
        "nagl" (a network that was trained on AM1-BCC; seconds) or "am1bcc" (AmberTools' sqm;
        seconds to many minutes, by the size of the molecule).
    cache : Path, optional
        A folder in place of that of the user's cache.
    progress : callable, optional
        Called with a line of text before work that takes longer.

    Returns
    -------
    list of str
        A line for each ligand on what its parameters will be, and what else there is to know.

    Raises
    ------
    ForceFieldError
        Force field or charge method is none of those above. Raised by the force field's
        `createSystem`: a package is missing (with the line that installs it), a ligand has
        elements without parameters, is a radical or several molecules, differs from its residue,
        or the force field or charge method fails for it.
    """
    if not _NAME.fullmatch(name):
        raise ForceFieldError(
            f"{name} is no force field for ligands; expected a version 2 of OpenFF or GAFF, as "
            "openff-2.2.1, openff-2.3.0, gaff-2.11 or gaff-2.2.20."
        )
    if charges not in CHARGES:
        raise ForceFieldError(
            f"{charges} is no charge method for ligands; expected {' or '.join(CHARGES)}."
        )
    ligands = {key: _Ligand.from_mol(mol) for key, mol in molecules.items()}
    forcefield.registerTemplateGenerator(_LigandTemplates(ligands, name, charges, cache, progress))
    notes = [
        f"{key}: {ligand.formula}, {name} with {CHARGES[charges]} charges."
        for key, ligand in ligands.items()
    ]
    return notes + _alike(ligands)


@dataclass(frozen=True)
class _Ligand:
    """A molecule: its canonical SMILES, its formula, and all atoms with bonds of no order."""

    smiles: str
    formula: str
    graph: Any

    @classmethod
    def from_mol(cls, mol: Any) -> _Ligand:
        from rdkit import Chem
        from rdkit.Chem.rdMolDescriptors import CalcMolFormula

        bare = Chem.RemoveAllHs(Chem.Mol(mol))
        for atom in bare.GetAtoms():
            atom.SetAtomMapNum(0)
            atom.SetIsotope(0)
        smiles = Chem.MolToSmiles(bare)
        whole = Chem.AddHs(Chem.MolFromSmiles(smiles))
        graph = plain_molecule(
            [a.GetAtomicNum() for a in whole.GetAtoms()],
            [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in whole.GetBonds()],
        )
        return cls(smiles, CalcMolFormula(whole), graph)

    def check(self, label: str) -> None:
        """Refuse what no force field here can have parameters for.

        Raises
        ------
        ForceFieldError
        """
        from rdkit import Chem

        mol = Chem.MolFromSmiles(self.smiles)
        advice = "Give a force field file with its parameters."
        strange = sorted({a.GetSymbol() for a in mol.GetAtoms()} - set(ELEMENTS))
        if strange:
            raise ForceFieldError(
                f"{label} ({self.smiles}) has the elements {', '.join(strange)}; OpenFF and GAFF "
                f"have parameters for {', '.join(ELEMENTS)}. {advice}"
            )
        if any(a.GetNumRadicalElectrons() for a in mol.GetAtoms()):
            raise ForceFieldError(f"{label} ({self.smiles}) is a radical. {advice}")
        if "." in self.smiles:
            raise ForceFieldError(
                f"{label} ({self.smiles}) is several molecules; give each as a residue of its own."
            )


class _LigandTemplates:
    """The template generator, as `openmm.app.ForceField.registerTemplateGenerator` takes it."""

    def __init__(
        self,
        ligands: dict[str, _Ligand],
        name: str,
        charges: str,
        cache: Path | None,
        progress: Callable[[str], object] | None,
    ) -> None:
        self._ligands = ligands
        self._name, self._charges = name, charges
        self._cache = cache
        self._progress = progress or (lambda text: None)

    def __call__(self, forcefield: ForceField, residue: Any) -> bool:
        named = self._ligands.get(residue.name)
        label = f"{residue.name} {residue.id}".strip()
        if next(residue.external_bonds(), None) is not None:
            if named is None:
                return False
            raise ForceFieldError(
                f"{label} is bonded to other residues; only whole molecules get parameters of "
                f"{self._name}. Give a force field file for it."
            )
        graph = _residue_graph(residue)
        fitting = [k for k, ligand in self._ligands.items() if _same(ligand.graph, graph)]
        if not fitting:
            if named is None:
                return False
            raise ForceFieldError(_difference(label, graph, named))
        key = residue.name if residue.name in fitting else fitting[0]
        self._ligands[key].check(label)
        forcefield.loadFile(io.StringIO(self._parameters(label, self._ligands[key])))
        return True

    def _parameters(self, label: str, ligand: _Ligand) -> str:
        """XML from the cache, or made and kept there."""
        key = LigandKey(ligand.smiles, self._name, self._charges)
        xml = kept_parameters(key, self._cache)
        if xml is None:
            atoms = ligand.graph.GetNumAtoms()
            self._progress(
                f"{label} ({atoms} atoms): {self._name} with {CHARGES[self._charges]} charges"
            )
            xml = make_parameters(ligand.smiles, self._name, self._charges)
            try:
                keep_parameters(key, self._cache, xml)
            except OSError as error:
                self._progress(f"{label}: the parameters are not kept for the next time ({error})")
        return xml


def _residue_graph(residue: Any) -> Any:
    number = {atom: k for k, atom in enumerate(residue.atoms())}
    return plain_molecule(
        [0 if atom.element is None else atom.element.atomic_number for atom in number],
        [(number[a], number[b]) for a, b in residue.internal_bonds()],
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two molecules without bond orders are one."""
    sizes = {(m.GetNumAtoms(), m.GetNumBonds()) for m in (one, other)}
    return len(sizes) == 1 and bool(one.HasSubstructMatch(other))


def _difference(label: str, graph: Any, ligand: _Ligand) -> str:
    formula, theirs = _formula(graph), _formula(ligand.graph)
    start = f"{label} of the Topology is not the molecule given for it ({ligand.smiles}): "
    if formula != theirs:
        return (
            f"{start}its atoms are {formula}, expected {theirs}. Add the atoms that are missing "
            "(hydrogens most often), or give the molecule in the Topology's protonation state."
        )
    return (
        f"{start}the atoms are those, the bonds are not ({graph.GetNumBonds()}, expected "
        f"{ligand.graph.GetNumBonds()}). Give the Topology all bonds of the residue (CONECT records"
        " of a PDB file), or the molecule of this residue."
    )


def _formula(graph: Any) -> str:
    counts = Counter(atom.GetSymbol() for atom in graph.GetAtoms())
    return " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))


def _alike(ligands: dict[str, _Ligand]) -> list[str]:
    """Say which ligands differ in what templates do not see."""
    notes = []
    items = list(ligands.items())
    for k, (first, one) in enumerate(items):
        for second, other in items[k + 1 :]:
            if one.smiles != other.smiles and _same(one.graph, other.graph):
                notes.append(
                    f"{first} and {second} differ in stereochemistry or bond orders alone: both "
                    "get the parameters of the one that comes first in the Topology."
                )
    return notes
