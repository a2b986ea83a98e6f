"""The `.atmos` model file: a TorchScript archive that says what it can do.

`atmos.json` inside the archive holds a :class:`Capabilities`. Loading checks the format version
and the hash of the weights, so that a truncated or altered file is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from .. import ops as _ops  # noqa: F401  operators must be there before a module is loaded
from ..core.files import replacement
from .config import ModelConfig

FORMAT_VERSION = 1
METADATA = "atmos.json"
ARCHIVE = "model"
"""The folder that holds every record of the archive."""


class ModelFileError(ValueError):
    """A model file that is truncated, altered or of an unknown kind."""


@dataclass(frozen=True)
class Capabilities:
    """What a model file declares.

    Attributes
    ----------
    name : str
    format_version : int
    atoms : str
        ``all`` or ``heavy``: which atoms the model carries.
    elements : list of int
        Atomic numbers seen in training.
    residues : list of str
        Residue names seen in training (information: other residues of known elements work as
        far as the model generalises).
    max_tokens, max_atoms : int
        Largest molecule that it is meant for.
    lag_range_ps, temperature_range_kelvin : (float, float)
        What it is meant for. Other molecules, lags and temperatures bring a warning.
    denoising_steps : int
    trained_on : str
    licence : str
    config : dict
        The network's configuration.
    weights_sha256 : str
    """

    name: str
    atoms: str
    elements: list[int]
    residues: list[str]
    max_tokens: int
    max_atoms: int
    lag_range_ps: tuple[float, float]
    temperature_range_kelvin: tuple[float, float]
    denoising_steps: int
    trained_on: str
    licence: str
    config: dict[str, Any]
    weights_sha256: str = ""
    format_version: int = FORMAT_VERSION
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the declaration as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Capabilities:
        """Read a declaration.

        Raises
        ------
        ModelFileError
            If the text is no declaration, or of another format version.
        """
        try:
            values = json.loads(text)
            version = values["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(
                f"The model file's {METADATA} is not readable ({error}); the file was altered or "
                "not written by 'atmos-openmm export'. Get it again."
            ) from error
        if version != FORMAT_VERSION:
            raise ModelFileError(
                f"The model file has format version {version}; this atmos_openmm reads version "
                f"{FORMAT_VERSION}. Install the atmos_openmm that wrote it, or export it again."
            )
        known = {f.name for f in fields(Capabilities)}
        missing = sorted(known - set(values) - {"extra"})
        if missing:
            raise ModelFileError(f"The model file's {METADATA} lacks {missing}; get it again.")
        values = {k: v for k, v in values.items() if k in known}
        values["lag_range_ps"] = tuple(values["lag_range_ps"])
        values["temperature_range_kelvin"] = tuple(values["temperature_range_kelvin"])
        return Capabilities(**values)

    @property
    def has_torsion_head(self) -> bool:
        """Whether the network gives an explicit density of torsions."""
        return bool(self.config.get("torsion_components", 0))


@dataclass(frozen=True)
class LoadedModel:
    """A model file in memory: its scripted network and what it declares."""

    module: torch.jit.ScriptModule
    capabilities: Capabilities

    @property
    def config(self) -> ModelConfig:
        """The network's configuration."""
        return ModelConfig.from_dict(self.capabilities.config)


def weights_sha256(module: torch.nn.Module) -> str:
    """Return the hash of all weights and buffers, names and values, in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_model(path: Path, model: torch.nn.Module, capabilities: Capabilities) -> Capabilities:
    """Script a network and write it as a `.atmos` file, atomically.

    Returns
    -------
    Capabilities
        The declaration with the hash filled in.
    """
    scripted = torch.jit.script(model.eval())
    declared = replace(capabilities, weights_sha256=weights_sha256(scripted))
    path = Path(path)
    written = path.with_name(path.name + ".script")
    try:
        torch.jit.save(scripted, str(written), _extra_files={METADATA: declared.to_json()})
        with replacement(path) as temporary:
            copy_without_debug_records(written, temporary)
    finally:
        written.unlink(missing_ok=True)
    return declared


def copy_without_debug_records(source: Path, target: Path) -> None:
    """Copy a TorchScript archive without the records that name source files of this machine.

    The archive's own code stays, and errors refer to it. The records' folder gets one name and
    they get one date, so that the same network makes the same file.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            if entry.filename.endswith(".debug_pkl"):
                continue
            made = zipfile.ZipInfo(ARCHIVE + "/" + entry.filename.split("/", 1)[1])
            made.file_size = entry.file_size  # decides on the format for large files
            with old.open(entry) as record, new.open(made, "w") as copy:
                shutil.copyfileobj(record, copy)
    with open(target, "rb") as handle:
        os.fsync(handle.fileno())


def load_model(path: str | os.PathLike[str]) -> LoadedModel:
    """Load a `.atmos` file and check it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is truncated, altered, no TorchScript archive or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No model file at {path}.")
    extra = {METADATA: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelFileError(
            f"{path} cannot be loaded as a TorchScript archive ({cause}); it is truncated, "
            "altered or no .atmos file. Get it again, or export it with 'atmos-openmm export'."
        ) from error
    text = extra[METADATA]
    if not text:
        raise ModelFileError(
            f"{path} is a TorchScript archive without {METADATA}; expected a file written by "
            "'atmos-openmm export'."
        )
    capabilities = Capabilities.from_json(text if isinstance(text, str) else text.decode())
    found = weights_sha256(module)
    if found != capabilities.weights_sha256:
        raise ModelFileError(
            f"The weights in {path} do not match the hash that it declares (found {found[:12]}, "
            f"expected {capabilities.weights_sha256[:12]}): the file was altered. Get it again."
        )
    module.eval()
    return LoadedModel(module, capabilities)
