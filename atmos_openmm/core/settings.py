"""What work was asked to do, kept beside it; whether a folder's work is the one asked for."""

from __future__ import annotations

import hashlib
import json
import platform as python_platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import StorageError, explained, write_atomically


class SettingsMismatchError(StorageError, ValueError):
    """A folder holds work with other settings; the message names those that differ."""


def changed_values(
    stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """The values there and now of each setting that differs, None where there is none.

    Values are compared as JSON keeps them: a tuple is the list of the same values.
    """
    now = json.loads(json.dumps(dict(wanted)))
    names = dict.fromkeys([*stored, *now])
    return {
        name: (stored.get(name), now.get(name))
        for name in names
        if stored.get(name) != now.get(name)
    }


def differences(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], ignore: Sequence[str] = ()
) -> list[str]:
    """Each setting that differs, as ``name: 1 there, 2 now``, in the order of the names."""
    return [
        f"{name}: {there!r} there, {now!r} now"
        for name, (there, now) in sorted(changed_values(stored, wanted).items())
        if name not in ignore
    ]


def check_same_settings(
    stored: Mapping[str, Any],
    wanted: Mapping[str, Any],
    where: str | Path,
    what: str = "a run",
    ignore: Sequence[str] = (),
) -> None:
    """Refuse to go on with work that was asked for something else.

    Parameters
    ----------
    stored, wanted : mapping
        JSON values that decide the work: those of the folder, and those of now
    where : str or Path
        the folder, for the message
    what : str
        what it holds, for the message
    ignore : sequence of str
        settings that may differ

    Raises
    ------
    SettingsMismatchError
        naming each setting that differs, there and now
    """
    found = differences(stored, wanted, ignore)
    if found:
        raise SettingsMismatchError(
            f"{where} holds {what} with other settings: {'; '.join(found)}. Give the settings of "
            "that one to go on with it, or choose another folder."
        )


#: What a run.json without `kind` belongs to.
HYBRID_RUN = "hybrid run"


def take_settings(
    folder: Path, settings: Mapping[str, Any], notes: Mapping[str, Any], files: Sequence[str]
) -> dict[str, Any]:
    """Write the settings of a new run, or compare them with those of the run that is there.

    Parameters
    ----------
    folder : Path
        of the run; there
    settings : mapping
        everything that decides what the run computes, as plain JSON values. `kind` says what sort
        of run it is; a hybrid run where it is missing
    notes : mapping
        what is worth knowing but may change between the processes that work on a run
    files : sequence of str
        names of files that only a run makes: none may be there without a run.json

    Returns
    -------
    dict
        the settings as JSON gives them back

    Raises
    ------
    StorageError
        if the folder holds something else or a run with other settings; the message lists the
        differences
    """
    wanted: dict[str, Any] = json.loads(json.dumps(settings))
    path = folder / "run.json"
    if not path.exists():
        strangers = [name for name in files if (folder / name).exists()]
        if strangers:
            raise StorageError(
                f"{folder} holds {', '.join(strangers)} but no run.json: it is not a run "
                "of this program, or a damaged one. Choose another folder."
            )
        text = json.dumps({"settings": wanted, "notes": notes}, indent=2)
        with explained(folder, "Nothing was committed."):
            write_atomically(path, text.encode())
        return wanted
    stored = read_settings(folder)
    kinds = [values.get("kind", HYBRID_RUN) for values in (stored, wanted)]
    if kinds[0] != kinds[1]:
        raise StorageError(f"{folder} holds a {kinds[0]}, not a {kinds[1]}. Choose another folder.")
    check_same_settings(stored, wanted, folder)
    return wanted


def read_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of a run, from its run.json.

    Raises
    ------
    StorageError
        if there is none, or it is damaged
    """
    path = Path(folder) / "run.json"
    if not path.exists():
        raise StorageError(f"{folder} is not the folder of a run: it has no run.json.")
    try:
        settings: dict[str, Any] = dict(json.loads(path.read_text())["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path} is damaged ({error}). Put it back from a copy, or start again in "
            "another folder."
        ) from error
    return settings


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal, by which settings name what is too long to repeat."""
    return hashlib.sha256(data).hexdigest()


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    import openmm
    import torch

    return {
        "openmm": openmm.version.full_version,
        "torch": torch.__version__,
        "python": python_platform.python_version(),
    }
