"""Full sequences of the polymers of an entry, with what was not seen in its place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

__all__ = ["Sequence", "sequences_of_cif", "sequences_of_pdb"]

Sequence = list[tuple[str, str, str, bool]]
"""Name, number, insertion code and whether it was seen, of each residue of a polymer."""

_UNSEEN = re.compile(r"REMARK 465 +(?:1 +)?([A-Z0-9]{2,3}) +(\S) +(-?\d+)([A-Z]?) *$")


def sequences_of_cif(scheme: Iterable[dict[str, str]]) -> dict[str, Sequence]:
    """Sequences by label_asym_id, from the rows of ``pdbx_poly_seq_scheme``."""
    chains: dict[str, Sequence] = defaultdict(list)
    for row in scheme:
        number, code = row.get("pdb_seq_num", ""), row.get("pdb_ins_code", "")
        seen = bool(row.get("auth_mon_id", ""))
        chains[row["asym_id"]].append((row["mon_id"], number, code, seen))
    return dict(chains)


def sequences_of_pdb(topology: Any, text: str) -> dict[str, Sequence]:
    """Sequences by chain, from the residues that are there and those of REMARK 465, by number."""
    unseen: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for line in text.splitlines():
        found = _UNSEEN.match(line.rstrip()) if line.startswith("REMARK 465") else None
        if found:
            unseen[found[2]].append((found[1], found[3], found[4]))
    sequences: dict[str, Sequence] = {}
    for chain in topology.chains():
        missing = unseen.get(chain.id, [])
        there = [(r.name, r.id.strip(), r.insertionCode.strip()) for r in chain.residues()]
        try:
            order = [(int(n), c) for _, n, c in there]
        except ValueError:
            continue
        # Numbers that go back and forth tell no place; the chain is cut there instead.
        if not missing or chain.id in sequences or order != sorted(set(order)):
            continue
        rows = [(int(n), c, name, True) for name, n, c in there]
        rows += [(int(n), c, name, False) for name, n, c in missing]
        rows.sort(key=lambda r: r[:2])
        sequences[chain.id] = [(name, str(n), c, seen) for n, c, name, seen in rows]
    return sequences
