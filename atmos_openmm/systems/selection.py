"""Which atoms of a Topology are the solute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Any

from .errors import FeatureError
from .labels import residue_label
from .residues import COFACTORS, LIPIDS, METALS, SOLVENT, find_template


def is_left_out(residue: Any) -> bool:
    """Whether a residue is left out of the solute: water, or one atom without template (an ion)."""
    if residue.name.strip().upper() in SOLVENT:
        return True
    real = [a for a in residue.atoms() if a.element is not None]
    return len(real) <= 1 and find_template(residue.name) is None


def is_environment(residue: Any, known: Container[str] = ()) -> bool:
    """Whether a residue is left to MD: water, ions, membranes' lipids, cofactors, metals.

    A lipid, a cofactor or a residue with a metal in it is part of the solute where its chemistry is
    known: by a molecule for its name, or by the orders of all of its bonds.

    Parameters
    ----------
    residue : openmm.app.Residue
    known : container of str
        Names of residues whose chemistry is known.
    """
    if is_left_out(residue):
        return True
    metal = any(a.element is not None and a.element.symbol in METALS for a in residue.atoms())
    if residue.name in known or not (metal or residue.name.strip().upper() in COFACTORS | LIPIDS):
        return False
    bonds = list(residue.internal_bonds())
    return not bonds or any(b.type is None and b.order is None for b in bonds)


def select_solute(
    topology: Any, solute: Iterable[int] | None, known: Container[str] = ()
) -> set[int]:
    """Return the Topology indices of the solute's atoms, virtual sites left out.

    Parameters
    ----------
    topology : openmm.app.Topology
        the whole system
    solute : iterable of int, optional
        indices of the atoms to model; everything but `is_environment` where it is not given
    known : container of str
        names of residues whose chemistry is known

    Raises
    ------
    FeatureError
        for indices that are not atoms or cut through residues, and where nothing is left
    """
    atoms = list(topology.atoms())
    if solute is None:
        chosen = {
            a.index
            for r in topology.residues()
            if not is_environment(r, known)
            for a in r.atoms()
            if a.element is not None
        }
        if not chosen:
            raise FeatureError(
                f"The Topology's {len(atoms)} atoms are all solvent or ions: nothing to model. "
                "Name the atoms to model in solute=[indices]."
            )
        return chosen
    given = [int(i) for i in solute]
    if not given:
        raise FeatureError("solute is empty; name at least one atom, or leave it out.")
    if len(set(given)) != len(given):
        raise FeatureError("solute names an atom twice; each index may stand in it once.")
    beyond = [i for i in given if not 0 <= i < len(atoms)]
    if beyond:
        raise FeatureError(
            f"solute holds {beyond[0]}, but the Topology's atoms are 0 to {len(atoms) - 1}."
        )
    chosen = set(given)
    for residue in topology.residues():
        inside = [a for a in residue.atoms() if a.element is not None]
        count = sum(a.index in chosen for a in inside)
        # Hydrogens may be left out: heavy-atom models have none.
        heavy = [a for a in inside if a.element.atomic_number > 1]
        if count and any(a.index not in chosen for a in heavy):
            lacking = next(a for a in heavy if a.index not in chosen)
            raise FeatureError(
                f"solute cuts through residue {residue_label(residue)}: atom {lacking.index} "
                f"({lacking.name}) is not in it. Take whole residues."
            )
    return {i for i in chosen if atoms[i].element is not None}


def describe_left_out(topology: Any, known: Container[str] = ()) -> str:
    """Say what stays out of the solute unless it is named, e.g. '2 CL, 62 HOH'; '' for nothing."""
    counts = Counter(r.name.strip() for r in topology.residues() if is_environment(r, known))
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def subset_topology(topology: Any, indices: Iterable[int]) -> Any:
    """Return a Topology of some of the atoms, in their order, with the bonds between them.

    Names and numbers of atoms, residues and chains are kept. It has no box: what is left of a
    periodic system does not fill it.

    Parameters
    ----------
    topology : openmm.app.Topology
    indices : iterable of int
        atoms to keep
    """
    import numpy as np
    from openmm import app, unit

    kept = set(indices)
    modeller = app.Modeller(topology, np.zeros((topology.getNumAtoms(), 3)) * unit.nanometer)
    modeller.delete([atom for atom in topology.atoms() if atom.index not in kept])
    modeller.topology.setPeriodicBoxVectors(None)
    return modeller.topology
