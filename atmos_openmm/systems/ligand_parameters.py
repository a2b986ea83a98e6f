"""Parameters of one molecule as force field XML, made by openmmforcefields and AmberTools."""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from .errors import ForceFieldError

__all__ = ["make_parameters"]

NAGL_MODEL = "openff-gnn-am1bcc-1.0.0.pt"

INSTALL = (
    'Install what ligands need with: pip install "atmos-openmm[ligands]"  (or with conda: conda '
    "install -c conda-forge openmmforcefields openff-nagl ambertools)."
)

_CHARGE_SLACK = 1e-3
_CLASSES = ("class", "class1", "class2", "class3", "class4")
_one_at_a_time = threading.Lock()


def make_parameters(smiles: str, forcefield: str, charges: str) -> str:
    """Make the parameters of a molecule.

    Parameters
    ----------
    smiles : str
        The molecule, with its stereochemistry. Nothing else decides the outcome.
    forcefield : str
        As "openff-2.2.1" or "gaff-2.11".
    charges : str
        "nagl" or "am1bcc".

    Returns
    -------
    str
        XML for `openmm.app.ForceField.loadFile`, with a template of the molecule.

    Raises
    ------
    ForceFieldError
        A package is missing (the message has the line that installs it), or the force field or
        the charge method fails for the molecule.
    """
    with _one_at_a_time, _surroundings():
        try:
            xml = _template(smiles, forcefield, charges)
        except ForceFieldError:
            raise
        except ImportError as error:
            raise ForceFieldError(
                f"Parameters of {forcefield} with {charges} charges need the package "
                f"{error.name or error}, which is not installed. {INSTALL}"
            ) from error
        except Exception as error:  # the packages raise dozens of types
            raise ForceFieldError(
                f"{forcefield} with {charges} charges fails for {smiles}: {_first_lines(error)} "
                "Choose another force field or charge method, or give a force field file of the "
                "molecule."
            ) from error
    root = ElementTree.fromstring(xml)
    if forcefield.startswith("gaff"):
        _mend_gaff(root, forcefield)
    _check(root, smiles, forcefield, charges)
    return ElementTree.tostring(root, encoding="unicode")


def _template(smiles: str, forcefield: str, charges: str) -> str:
    from openff.toolkit import Molecule
    from openmmforcefields.generators import GAFFTemplateGenerator, SMIRNOFFTemplateGenerator
    from rdkit import Chem

    gaff = forcefield.startswith("gaff")
    if gaff or charges == "am1bcc":
        _need_programs("antechamber", "parmchk2" if gaff else "sqm")
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    molecule = Molecule.from_rdkit(mol, allow_undefined_stereo=True, hydrogens_are_explicit=True)
    _assign_charges(molecule, charges)
    kind = GAFFTemplateGenerator if gaff else SMIRNOFFTemplateGenerator
    xml: str = kind(forcefield=forcefield).generate_residue_template(molecule)
    return xml


def _assign_charges(molecule: Any, charges: str) -> None:
    if charges == "nagl":
        import openff.nagl  # noqa: F401 - the wrapper does not say what it lacks
        import openff.nagl_models  # noqa: F401
        from openff.toolkit.utils.nagl_wrapper import NAGLToolkitWrapper

        molecule.assign_partial_charges(NAGL_MODEL, toolkit_registry=NAGLToolkitWrapper())
    else:
        from openff.toolkit.utils.ambertools_wrapper import AmberToolsToolkitWrapper

        molecule.assign_partial_charges("am1bcc", toolkit_registry=AmberToolsToolkitWrapper())


def _need_programs(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ForceFieldError(
            f"The program {missing[0]} of AmberTools is not installed, or not on the PATH. "
            f"{INSTALL}"
        )


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Programs of this Python's environment found, temporary files removed, no warnings.

    The environment's programs are on the PATH only where it was activated; openmmforcefields
    leaves a folder behind for each molecule.
    """
    path, kept = os.environ.get("PATH", ""), tempfile.tempdir
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        os.environ["PATH"] = os.pathsep.join([path, sysconfig.get_path("scripts")])
        tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ["PATH"], tempfile.tempdir = path, kept


def _mend_gaff(root: ElementTree.Element, forcefield: str) -> None:
    """Make GAFF's XML give the energies of Amber's own programs, beside whatever else is loaded.

    openmmforcefields does not say in which order impropers list their atoms, which changes the
    energy of torsions by per cents. Types get the force field's name, since other files may have
    types of the same names.
    """
    for torsions in root.iter("PeriodicTorsionForce"):
        torsions.set("ordering", "amber")
    for element in root.iter():
        names = (*_CLASSES, "name") if element.tag == "Type" else (*_CLASSES, "type")
        for name in names:
            if element.get(name):
                element.set(name, f"{forcefield}:{element.get(name)}")


def _check(root: ElementTree.Element, smiles: str, forcefield: str, charges: str) -> None:
    """Refuse charges that do not add up, and bonds and angles without parameters."""
    from rdkit import Chem

    total = sum(float(atom.get("charge", "nan")) for atom in root.iter("Atom") if atom.get("name"))
    formal = Chem.GetFormalCharge(Chem.MolFromSmiles(smiles))
    if not abs(total - formal) < _CHARGE_SLACK:
        raise ForceFieldError(
            f"The {charges} charges of {smiles} add up to {total:.4f}, its formal charges to "
            f"{formal}. Choose another charge method."
        )
    for kind in ("Bond", "Angle"):
        for term in root.iter(kind):
            if term.get("k") and float(term.get("k", "nan")) <= 0:
                classes = "-".join(term.get(name, "").split(":")[-1] for name in _CLASSES[1:4])
                raise ForceFieldError(
                    f"{forcefield} has no parameters for the {kind.lower()} {classes.strip('-')} "
                    f"of {smiles}. Choose another force field."
                )


def _first_lines(error: Exception) -> str:
    """What an error of the packages says, without the files that it quotes."""
    text = " ".join(str(error).split("----------")[0].split()) or type(error).__name__
    return text[:300] + ("..." if len(text) > 300 else "." if text[-1] not in ".!?" else "")
