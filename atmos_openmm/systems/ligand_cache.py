"""Parameters of ligands, kept in the user's cache: charges may take minutes to make."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.files import cache_folder

__all__ = ["LigandKey", "keep_parameters", "kept_parameters"]

_VERSION = 1
"""To be raised when the same key gives other parameters."""


@dataclass(frozen=True)
class LigandKey:
    """All that the parameters of a molecule depend on.

    Attributes
    ----------
    smiles : str
        Canonical SMILES with stereochemistry.
    forcefield, charges : str
        As `register_ligands` takes them.
    """

    smiles: str
    forcefield: str
    charges: str

    def place(self, folder: Path | None) -> Path:
        """The file of this key, in a folder or in the user's cache."""
        text = json.dumps([_VERSION, self.smiles, self.forcefield, self.charges])
        name = hashlib.sha256(text.encode()).hexdigest()
        return (folder or cache_folder() / "ligands") / f"{name}.json"


def kept_parameters(key: LigandKey, folder: Path | None) -> str | None:
    """The parameters of a key; None where there are none, or where their file is damaged."""
    try:
        entry = json.loads(key.place(folder).read_bytes())
        xml = str(entry["xml"])
        whole = entry["sha256"] == _digest(xml) and entry["key"] == asdict(key)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return xml if whole else None


def keep_parameters(key: LigandKey, folder: Path | None, xml: str) -> None:
    """Keep parameters for the next time.

    Processes that make the same parameters at once each write a file of their own, which takes
    its place in one rename.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    place = key.place(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    entry = {"key": asdict(key), "sha256": _digest(xml), "xml": xml}
    temporary = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_text(json.dumps(entry), encoding="utf-8")
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
