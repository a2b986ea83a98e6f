"""Read the weights in a checkpoint file of Protenix, and run nothing that is in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ..core.text import listed

DDP_PREFIX = "module."
EXPECTED = (
    "expected a checkpoint of a Protenix v0.5.0 or v1.0.0 base model as torch.save writes it, "
    "for example protenix_base_default_v1.0.0.pt"
)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a Protenix checkpoint, ``{"model": state_dict, ...}``.

    The tensors are mapped from the file, not copied into memory. Checksums of the archive are
    tested, as a mapped file is otherwise taken as it is.

    Parameters
    ----------
    path : Path
        File written by ``torch.save``. Names with the ``module.`` of data-parallel training are
        taken without it.

    Returns
    -------
    dict of str to Tensor
        Tensors by Protenix's names, in the order and the dtypes of the file; read-only in effect:
        they belong to the file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If the file is no such checkpoint: empty, truncated, damaged, of another kind, or holding
        anything but tensors and plain containers. Nothing in the file is run in any case.
    """
    path = Path(path)
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # The reader of torch meets malformed content with many types of exceptions.
        text = str(error)
        found = re.search(r"GLOBAL ([\w.]+)", text)
        if isinstance(error, pickle.UnpicklingError) and found is not None:
            raise ValueError(
                f"{path} holds Python objects beside tensors ({found.group(1)}). They may be "
                f"code, so nothing was loaded and nothing was run; {EXPECTED}. If the file is "
                "your own, save it again with tensors alone: "
                "torch.save({'model': model.state_dict()}, file)."
            ) from error
        detail = re.search(r"WeightsUnpickler error:\s*(.*)", text)
        reason = detail.group(1) if detail else (text.splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is an archive, but torch cannot read a checkpoint from it ({reason}); "
            f"{EXPECTED}."
        ) from error
    return _weights(path, content)


def _check_archive(path: Path) -> None:
    """Refuse what is not a whole archive of torch.save."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; {EXPECTED}.")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}; {EXPECTED}.")
    with open(path, "rb") as handle:
        head = handle.read(16)
    if not head:
        raise ValueError(f"{path} is empty; {EXPECTED}. Download it again.")
    if head[:4] != b"PK\x03\x04":
        raise ValueError(f"{path} is {_kind(head)}; {EXPECTED}.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path} is truncated: the list of contents at the end of the archive is missing "
            f"({path.stat().st_size} bytes are there). Download or copy it again."
        ) from error
    with archive:
        if any("/code/" in name for name in archive.namelist()):
            raise ValueError(f"{path} is a TorchScript model; {EXPECTED}.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError(f"{path} is a compressed zip archive; {EXPECTED}.")
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged ({error}). Download or copy it again.") from error
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: the checksum of {damaged} is wrong. Download or copy it again."
        )


def _kind(head: bytes) -> str:
    """Name what a file that is no archive looks like, from its first 16 bytes."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return (
            "a safetensors file (one that was imported or trained before is taken by "
            "'atmos-openmm train' as initial weights)"
        )
    if head[:1] == b"\x80":
        return "a bare pickle, which is not opened because it can hold code"
    if head[:2] == b"\x1f\x8b":
        return "compressed with gzip (unpack it first)"
    if head.lstrip()[:1] == b"<":
        return "an HTML or XML page, probably of a download that failed"
    return "not a checkpoint of torch.save"


def _weights(path: Path, content: object) -> dict[str, Tensor]:
    """Take the state dict out of what the file held."""
    if not isinstance(content, dict) or "model" not in content:
        found = (
            f"a dictionary with {listed(map(repr, content))}"
            if isinstance(content, dict)
            else f"a {type(content).__name__}"
        )
        raise ValueError(
            f"{path} holds {found}, not {{'model': weights}}: it is a checkpoint of another "
            f"program; {EXPECTED}."
        )
    weights = content["model"]
    if not isinstance(weights, dict) or not weights:
        raise ValueError(
            f"The 'model' of {path} is {'empty' if isinstance(weights, dict) else 'no dictionary'} "
            f"({type(weights).__name__}); {EXPECTED}."
        )
    wrong = [
        f"{name} ({_description(value)})"
        for name, value in weights.items()
        if not (
            isinstance(name, str)
            and isinstance(value, Tensor)
            and value.layout == torch.strided
            and value.device.type == "cpu"
            and value.is_floating_point()
        )
    ]
    if wrong:
        raise ValueError(
            f"Entries in the 'model' of {path} that are not dense floating-point tensors: "
            f"{', '.join(wrong)}; {EXPECTED}."
        )
    if all(name.startswith(DDP_PREFIX) for name in weights):
        weights = {name[len(DDP_PREFIX) :]: value for name, value in weights.items()}
    return {name: value.detach() for name, value in weights.items()}


def _description(value: object) -> str:
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f" on {value.device.type}"
        return f"{value.layout}, {value.dtype}{place}".replace("torch.", "")
    return type(value).__name__
