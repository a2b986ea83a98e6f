"""What a model was trained on, and what it is asked for: said where they differ.

A network takes any molecule whose elements it can tell apart, and any lag and temperature. Outside
of what it was trained on its frames may be poor, which the screen and the energy notice; that is a
warning. Refused is what it cannot take in.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..systems.residues import find_template

if TYPE_CHECKING:
    from ..model.model_file import Capabilities, LoadedModel
    from ..systems.molecule_features import MoleculeFeatures

LARGEST_PAIR_TABLE_BYTES = 16 * 2**30
"""What the network's tables of pairs may take, each."""

CARTESIAN_ELEMENTS = 128
"""Atomic numbers that the Cartesian configuration tells apart (Protenix's one-hot code)."""


class OutOfDomainWarning(UserWarning):
    """A molecule, lag or temperature outside of what a model was trained on.

    Parameters
    ----------
    message : str
    kinds : iterable of str
        In what: "elements", "residues", "tokens", "atoms", "ends", "lag", "temperature".
    """

    def __init__(self, message: str, kinds: Any = ()) -> None:
        super().__init__(message)
        self.kinds = tuple(kinds)


def warn_of(message: str, kinds: Any) -> None:
    """Warn of what lies outside of the training, at the line that called the package."""
    package, level = __name__.split(".", 1)[0], 1
    frame = sys._getframe(0)
    while frame.f_back is not None and _is_of(package, frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(OutOfDomainWarning(message, kinds), stacklevel=level)


def _is_of(package: str, module: Mapping[str, Any]) -> bool:
    return str(module.get("__name__", "")).split(".", 1)[0] == package


def refuse_unworkable(model_name: str, loaded: LoadedModel, features: MoleculeFeatures) -> None:
    """Refuse a molecule that a network cannot take in.

    Raises
    ------
    ValueError
        With what it cannot represent, and what to do.
    """
    from ..model.graph import ELEMENTS, PAIR_FEATURES

    config, faults = loaded.config, []
    invariant = config.coordinates == "invariant"
    known = set(ELEMENTS if invariant else range(1, CARTESIAN_ELEMENTS + 1))
    known |= set(loaded.capabilities.elements)
    strange = sorted({int(z) for z in features.ref_element} - known)
    if strange:
        faults.append(
            f"it has no code for elements with atomic numbers {strange} and was not trained on them"
        )
    tables = [("tokens", features.num_tokens, config.c_z)]
    if invariant:
        tables.append(("atoms", features.num_atoms, PAIR_FEATURES))
    for what, count, width in tables:
        size = 4 * width * count**2
        if size > LARGEST_PAIR_TABLE_BYTES:
            most = int((LARGEST_PAIR_TABLE_BYTES / 4 / width) ** 0.5)
            faults.append(
                f"its pairs of {count} {what} take {size / 2**30:.0f} GiB; up to {most} {what} fit"
            )
    if faults:
        raise ValueError(
            f"The model {model_name!r} cannot work on this molecule: " + "; ".join(faults) + ". "
            "Take another model, or name a smaller part with solute=[...]."
        )


def outside_of_training(capabilities: Capabilities, features: MoleculeFeatures) -> dict[str, str]:
    """Say in what a molecule differs from those that a model was trained on.

    Returns
    -------
    dict of str to str
        A clause for each kind of difference, by the kinds of `OutOfDomainWarning`; empty where the
        molecule is within.
    """
    found: dict[str, str] = {}
    elements = sorted({int(z) for z in features.ref_element} - set(capabilities.elements))
    if elements:
        found["elements"] = (
            f"elements with atomic numbers {elements} (it knows {list(capabilities.elements)})"
        )
    known = {_canonical(name) for name in capabilities.residues}
    residues = sorted({name for name in features.residue_names if _canonical(name) not in known})
    if residues:
        found["residues"] = "residues " + ", ".join(residues[:10])
        if len(residues) > 10:
            found["residues"] += f" and {len(residues) - 10} more"
    for kind, count, most in (
        ("tokens", features.num_tokens, capabilities.max_tokens),
        ("atoms", features.num_atoms, capabilities.max_atoms),
    ):
        if count > most:
            found[kind] = f"{count} {kind} (at most {most})"
    if has_charged_ends(features) and _saw_caps_only(capabilities):
        found["ends"] = "charged ends of chains (capped ones)"
    return found


def has_charged_ends(features: MoleculeFeatures) -> bool:
    """Whether a chain of amino acids ends in an ammonium or a carboxylate."""
    import numpy as np

    charged = np.flatnonzero(features.ref_charge)
    for atom in charged.tolist():
        code = features.ref_atom_name_chars[atom]
        name = "".join(chr(int(c) + 32) for c in code).strip()
        residue = features.residue_names[int(features.atom_to_token[atom])]
        template = find_template(residue)
        at_end = (name == "N" and features.ref_charge[atom] > 0) or name == "OXT"
        if at_end and template is not None and template.is_amino_acid:
            return True
    return False


def _saw_caps_only(capabilities: Capabilities) -> bool:
    """Whether every molecule of the training is named as one with both caps."""
    names = capabilities.extra.get("data", {}).get("molecules", ())
    return bool(names) and all(
        name.startswith("ACE-") and name.endswith(("-NME", "-NH2")) for name in names
    )


def _canonical(residue_name: str) -> str:
    template = find_template(residue_name)
    return residue_name if template is None else template.name
