"""Biological assemblies: which chains, moved how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..systems.mmcif import Table

__all__ = ["Assembly", "assemblies_of_cif", "assemblies_of_pdb"]


@dataclass(frozen=True)
class Assembly:
    """A biological assembly.

    Attributes
    ----------
    name : str
        Its number in the file.
    parts : tuple of (chains, operators)
        Chain names (label_asym_id in mmCIF, the chain's letter in PDB files), and operators
        [K, 3, 4] that are applied to all of them: rotation, and translation in nm.
    """

    name: str
    parts: tuple[tuple[frozenset[str], NDArray[np.float64]], ...]

    @property
    def identity(self) -> bool:
        """Whether it moves and repeats nothing."""
        return all(
            len(operators) == 1 and np.allclose(operators[0], np.eye(3, 4), atol=1e-6)
            for _, operators in self.parts
        )


def assemblies_of_cif(tables: Mapping[str, Table]) -> list[Assembly]:
    """Assemblies of pdbx_struct_assembly_gen and pdbx_struct_oper_list.

    Raises
    ------
    ValueError
        An operator that is not listed, or is no number.
    """
    operators: dict[str, NDArray[np.float64]] = {}
    for row in tables.get("pdbx_struct_oper_list", []):
        matrix = [[float(row[f"matrix[{i}][{j}]"]) for j in (1, 2, 3)] for i in (1, 2, 3)]
        vector = [float(row[f"vector[{i}]"]) * 0.1 for i in (1, 2, 3)]
        operators[row["id"]] = np.column_stack([matrix, vector])
    parts: dict[str, list[tuple[frozenset[str], NDArray[np.float64]]]] = {}
    for row in tables.get("pdbx_struct_assembly_gen", []):
        chosen = np.stack(
            [_composed(names, operators) for names in _expand(row["oper_expression"])]
        )
        chains = frozenset(row["asym_id_list"].split(","))
        parts.setdefault(row["assembly_id"], []).append((chains, chosen))
    return [Assembly(name, tuple(made)) for name, made in parts.items()]


def _expand(expression: str) -> list[tuple[str, ...]]:
    """Operators of an expression such as ``1``, ``1,2``, ``(1-60)`` or ``(1,2)(X0)``."""
    groups = re.findall(r"\(([^()]*)\)", expression) or [expression]
    listed: list[list[str]] = []
    for group in groups:
        names: list[str] = []
        for word in group.split(","):
            word = word.strip()
            limits = re.fullmatch(r"(\d+)-(\d+)", word)
            if limits:
                names += [str(n) for n in range(int(limits[1]), int(limits[2]) + 1)]
            elif word:
                names.append(word)
        listed.append(names)
    return list(product(*listed))


def _composed(
    names: tuple[str, ...], operators: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The product of operators: the last one named is applied first."""
    total = np.eye(4)
    for name in names:
        if name not in operators:
            raise ValueError(f"the assembly's operator {name!r} is not listed")
        total = total @ np.vstack([operators[name], [0.0, 0.0, 0.0, 1.0]])
    return total[:3]


def assemblies_of_pdb(text: str) -> list[Assembly]:
    """Assemblies of REMARK 350.

    Raises
    ------
    ValueError
        A matrix that is cut off.
    """
    found: list[Assembly] = []
    name = ""
    parts: list[tuple[frozenset[str], NDArray[np.float64]]] = []
    chains: list[str] = []
    rows: list[list[float]] = []

    def close_part() -> None:
        if rows:
            if len(rows) % 3:
                raise ValueError(f"REMARK 350 has {len(rows)} rows of matrices, no triples")
            operators = np.array(rows).reshape(-1, 3, 4)
            operators[:, :, 3] *= 0.1
            parts.append((frozenset(chains), operators))
        chains.clear()
        rows.clear()

    for line in text.splitlines():
        if not line.startswith("REMARK 350"):
            continue
        body = line[10:].strip()
        if body.startswith("BIOMOLECULE:"):
            close_part()
            if parts:
                found.append(Assembly(name, tuple(parts)))
                parts = []
            name = body.removeprefix("BIOMOLECULE:").strip()
        elif body.startswith(("APPLY THE FOLLOWING TO CHAINS:", "AND CHAINS:")):
            if rows:
                close_part()
            chains += [c.strip() for c in body.split(":", 1)[1].split(",") if c.strip()]
        elif body.startswith("BIOMT"):
            rows.append([float(v) for v in body.split()[2:6]])
    close_part()
    if parts:
        found.append(Assembly(name, tuple(parts)))
    return found
