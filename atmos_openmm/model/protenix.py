"""Protenix's parameters in the network: names, depths, shapes.

The `full` configuration keeps the names of Protenix (v0.5.0 and v1.0.0 base models, one and the
same but for the template embedder) under prefixes of its own, so that a name maps to a name and
a tensor to a tensor of the same shape.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core.text import listed
from .atmos import AtmosModel
from .config import ModelConfig, full

Shapes = Mapping[str, tuple[int, ...]]

# Protenix's top-level modules and where they live in AtmosModel.
PREFIXES = {
    name: f"context_encoder.{name}"
    for name in (
        "input_embedder",
        "relative_position_encoding",
        "linear_no_bias_sinit",
        "linear_no_bias_zinit1",
        "linear_no_bias_zinit2",
        "linear_no_bias_token_bond",
        "linear_no_bias_z_cycle",
        "layernorm_z_cycle",
        "linear_no_bias_s",
        "layernorm_s",
        "msa_module",
        "pairformer_stack",
    )
} | {"diffusion_module": "diffusion", "distogram_head": "distogram"}
_NAMES = {ours: theirs for theirs, ours in PREFIXES.items()}

# Protenix's top-level modules that ATMOS has no counterpart of, and why.
LEFT_OUT = {
    "template_embedder": "a jump starts from a structure; Protenix adds nothing without templates",
    "confidence_head": "frames are judged by their force field, not by a predicted confidence",
    "constraint_embedder": "Protenix uses it only where constraints are given",
}

# Parts of AtmosModel that Protenix lacks (E_theta, the start of the state, T_theta).
FRESH = ("frame_encoder", "state_update", "transition")

_ATOM_BLOCKS = "atom_transformer.diffusion_transformer.blocks"
# Fields of ModelConfig that are numbers of blocks of Protenix's, and those blocks.
DEPTHS = {
    "context_atom_blocks": f"input_embedder.atom_attention_encoder.{_ATOM_BLOCKS}",
    "msa_blocks": "msa_module.blocks",
    "context_blocks": "pairformer_stack.blocks",
    "encoder_blocks": f"diffusion_module.atom_attention_encoder.{_ATOM_BLOCKS}",
    "token_blocks": "diffusion_module.diffusion_transformer.blocks",
    "decoder_blocks": f"diffusion_module.atom_attention_decoder.{_ATOM_BLOCKS}",
}

TAKE_INSTEAD = (
    "take a v0.5.0 or v1.0.0 base model, for example protenix_base_default_v1.0.0 (c_z 128)"
)
V2_C_Z = 256


class CheckpointMismatch(ValueError):
    """A checkpoint whose tensors are not those of the network; the message lists every one."""


@dataclass(frozen=True)
class Count:
    """A number of tensors and of the parameters in them."""

    tensors: int = 0
    parameters: int = 0


def atmos_key(key: str) -> str | None:
    """Return our name of a parameter of Protenix; None where ATMOS has none."""
    module, dot, rest = key.partition(".")
    return f"{PREFIXES[module]}{dot}{rest}" if module in PREFIXES else None


def protenix_key(key: str) -> str | None:
    """Return Protenix's name of a parameter of `AtmosModel`; None for those that are fresh."""
    for ours, theirs in _NAMES.items():
        if key.startswith(ours + "."):
            return theirs + key[len(ours) :]
    return None


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's state dict by our names; nothing is allocated."""
    with torch.device("meta"):
        model = AtmosModel(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def configuration_of(shapes: Shapes, widths: ModelConfig | None = None) -> ModelConfig:
    """Return the configuration whose network takes a checkpoint of Protenix.

    Depths (numbers of blocks) are those of the checkpoint; widths, and the depths of what Protenix
    does not have, are given.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes by Protenix's names.
    widths : ModelConfig, optional
        The `full` configuration by default.

    Raises
    ------
    CheckpointMismatch
        If a tensor is missing, unexpected or of the wrong shape; the message lists all of them,
        the numbers of blocks joined (``blocks.{0-47}``). A protenix-v2 checkpoint and one of
        another program are named as such.
    """
    widths = full() if widths is None else widths
    _refuse_others(shapes, widths)
    depths: dict[str, Any] = _depths(shapes)
    config = replace(widths, **depths)
    expected = {
        theirs: shape
        for ours, shape in expected_shapes(config).items()
        if (theirs := protenix_key(ours)) is not None
    }
    found = {name: shape for name, shape in shapes.items() if name.split(".")[0] not in LEFT_OUT}
    problems = {
        "missing": _collapse(
            f"{name} {list(expected[name])}" for name in expected.keys() - found.keys()
        ),
        "unexpected": _collapse(
            f"{name} {list(found[name])}" for name in found.keys() - expected.keys()
        ),
        "of the wrong shape": _collapse(
            f"{name} {list(found[name])}, expected {list(expected[name])}"
            for name in expected.keys() & found.keys()
            if tuple(found[name]) != expected[name]
        ),
    }
    if any(problems.values()):
        raise CheckpointMismatch(_message(problems, expected, found))
    return config


def non_finite(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Return how many NaN or infinite values each of the tensors has that has any."""
    counts = {}
    for name, value in weights:
        # In float32, as they will be used: a double that overflows counts.
        number = int(value.numel() - torch.isfinite(value.float()).sum())
        if number:
            counts[name] = number
    return counts


def refuse_non_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Raise :class:`CheckpointMismatch` with every tensor that is not finite throughout."""
    counts = non_finite(weights)
    if counts:
        lines = "\n  ".join(f"{name}: {number} values" for name, number in counts.items())
        raise CheckpointMismatch(
            f"{len(counts)} tensors of the checkpoint hold NaN or infinite values:\n  {lines}\n"
            "It comes from a training run that diverged, or is damaged: take another."
        )


def fresh_weights(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Return newly initialised parameters of what Protenix does not have, by our names.

    They depend on the seed and on the widths alone, not on the depths of Protenix's parts. The
    global random state is left as it is.
    """
    ones: dict[str, Any] = dict.fromkeys(DEPTHS, 1)
    shallow = replace(config, **ones)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AtmosModel(shallow)
    return {
        name: value.detach()
        for name, value in model.state_dict().items()
        if name.split(".")[0] in FRESH
    }


def count(shapes: Shapes) -> dict[str, Count]:
    """Return tensors and parameters of each top-level module, in the order of the names."""
    totals: dict[str, Count] = {}
    for name, shape in shapes.items():
        module = name.split(".")[0]
        so_far = totals.get(module, Count())
        size = int(torch.Size(shape).numel())
        totals[module] = Count(so_far.tensors + 1, so_far.parameters + size)
    return totals


def _refuse_others(shapes: Shapes, widths: ModelConfig) -> None:
    """Name the checkpoints that a list of a few thousand names would not explain."""
    modules = Counter(name.split(".")[0] for name in shapes)
    if not modules.keys() & PREFIXES.keys():
        raise CheckpointMismatch(
            "No module of Protenix is in the checkpoint; its top-level modules are "
            f"{listed(map(repr, modules))}: it is of another program. To go on from Protenix, "
            f"{TAKE_INSTEAD}."
        )
    pair = shapes.get("linear_no_bias_zinit1.weight", ())
    if pair and pair[0] == V2_C_Z != widths.c_z:
        raise CheckpointMismatch(
            f"This is a protenix-v2 checkpoint: its pair track is {V2_C_Z} wide (c_z), and so are "
            f"the hidden layers of its Pairformer; the network's is {widths.c_z} wide. Instead, "
            f"{TAKE_INSTEAD}."
        )
    if "input_embedder.linear_esm.weight" in shapes:
        raise CheckpointMismatch(
            "The checkpoint is of a variant with ESM embeddings (input_embedder.linear_esm), on "
            "which its other weights rely and which the network does not have. Instead, "
            f"{TAKE_INSTEAD}."
        )


def _depths(shapes: Shapes) -> dict[str, int]:
    """Count the blocks that are there; a gap in their numbers shows as missing and unexpected."""
    depths = {}
    for field, blocks in DEPTHS.items():
        prefix = blocks + "."
        numbers = {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}
        # At least one, so that what is absent altogether is listed as missing.
        depths[field] = max(1, len(numbers))
    return depths


def _collapse(lines: Iterable[str]) -> list[str]:
    """Join lines that differ in the number of a block only: ``blocks.{0-3}.name``."""
    numbers: dict[tuple[str, str], list[int]] = {}
    plain = []
    for line in lines:
        match = re.match(r"(\S*?\.)(\d+)(\..*)", line)
        if match is None:
            plain.append(line)
        else:
            numbers.setdefault((match[1], match[3]), []).append(int(match[2]))
    joined = [f"{before}{_ranges(values)}{after}" for (before, after), values in numbers.items()]
    return sorted(plain + joined)


def _ranges(values: list[int]) -> str:
    """Write numbers as ``{0-3,7}``, a single one as it is."""
    if len(values) == 1:
        return str(values[0])
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return "{" + ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) + "}"


def _message(problems: dict[str, list[str]], expected: Shapes, found: Shapes) -> str:
    text = [
        f"The checkpoint does not fit: {len(found)} tensors found, {len(expected)} expected "
        "(without those that ATMOS leaves out)."
    ]
    for problem, lines in problems.items():
        if lines:
            text.append(f"{problem}:")
            text += [f"  {line}" for line in lines]
    text.append(f"Nothing was written. To go on from Protenix, {TAKE_INSTEAD}.")
    return "\n".join(text)
