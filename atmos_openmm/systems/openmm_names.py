"""OpenMM's names of residues and atoms for those of other programs: HID is HIS, HN is H."""

from __future__ import annotations

__all__ = ["OpenMMNames"]


class OpenMMNames:
    """The table of names that OpenMM's readers go by."""

    def __init__(self) -> None:
        from openmm.app import PDBFile

        PDBFile._loadNameReplacementTables()  # there is no public way to them
        self._residues: dict[str, str] = PDBFile._residueNameReplacements
        self._atoms: dict[str, dict[str, str]] = PDBFile._atomNameReplacements

    def residue(self, name: str) -> str:
        """OpenMM's name of a residue; the same where it knows no other."""
        return self._residues.get(name, name)

    def atom(self, residue: str, name: str) -> str:
        """OpenMM's name of an atom of a residue, which is named as OpenMM does."""
        return self._atoms.get(residue, {}).get(name, name)
