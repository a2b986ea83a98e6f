"""Protenix 2.0.0 as the reference that the full network's numbers are compared with.

`tests/protenix/install.sh` puts the package beside the project; `ATMOS_PROTENIX` names its folder.
Nothing is imported before :func:`reference` is called.

Two things of the package stand in the way of a comparison and are changed here, from outside:

- Its initialiser draws truncated normals with scipy (26 s for one decoder) and sets every residual
  branch, gate and adaptive norm to zero, a third of the tensors, which hides whatever is wrong
  behind them. :func:`build` skips it and draws every parameter anew (:func:`randomise`).
- It casts to float32 inside, so that a module in double precision computes in single precision
  or stops. Within :func:`arithmetic` those casts go to the precision that is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import math
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

VERSION = "2.0.0"
DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "build" / "protenix_reference"

Module = TypeVar("Module", bound=nn.Module)


def _is_reference(folder: Path) -> bool:
    return (folder / f"protenix-{VERSION}.dist-info").is_dir() and (folder / "protenix").is_dir()


def reference_folder() -> Path | None:
    """Folder of the reference, or None where it is not installed.

    Raises
    ------
    RuntimeError
        If ATMOS_PROTENIX names a folder without the reference: skipping would hide that.
    """
    named = os.environ.get("ATMOS_PROTENIX")
    if named:
        folder = Path(named).expanduser().resolve()
        if not _is_reference(folder):
            raise RuntimeError(
                f"ATMOS_PROTENIX names {folder}, which does not hold protenix {VERSION}. Run "
                f"'tests/protenix/install.sh {folder}', or unset the variable."
            )
        return folder
    return DEFAULT_FOLDER if _is_reference(DEFAULT_FOLDER) else None


needs_protenix = pytest.mark.skipif(
    reference_folder() is None,
    reason=f"needs protenix {VERSION} beside the project: run 'tests/protenix/install.sh'",
)


class _Settings(dict):
    """A dictionary whose keys are attributes too, as the reference reads its configuration."""

    __getattr__ = dict.__getitem__

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class _TorchWith(types.ModuleType):
    """The module torch, but for the meaning of some of its names."""

    def __init__(self, **names: Any) -> None:
        super().__init__("torch")
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the reference's prints, warnings and handlers of the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


@contextlib.contextmanager
def _config_parser() -> Iterator[None]:
    """Let `ml_collections` be imported: the reference names its class in one annotation."""
    names = ("ml_collections", "ml_collections.config_dict")
    if any(name in sys.modules for name in names) or importlib.util.find_spec(names[0]):
        yield
        return
    for name in names:
        module = types.ModuleType(name)
        module.ConfigDict = _Settings  # type: ignore[attr-defined]
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


@lru_cache(maxsize=1)
def reference() -> types.SimpleNamespace:
    """The reference's modules by their last names: primitives, transformer, diffusion, ..."""
    folder = reference_folder()
    if folder is None:
        raise RuntimeError(f"Install protenix {VERSION}: run 'tests/protenix/install.sh'.")
    # Any value but the default, which compiles a CUDA extension at import.
    os.environ["LAYERNORM_TYPE"] = "torch"
    sys.path.insert(0, str(folder))
    names = {
        "utils": "protenix.model.utils",
        "layers": "protenix.model.triangular.layers",
        "primitives": "protenix.model.modules.primitives",
        "transformer": "protenix.model.modules.transformer",
        "embedders": "protenix.model.modules.embedders",
        "pairformer": "protenix.model.modules.pairformer",
        "diffusion": "protenix.model.modules.diffusion",
        "head": "protenix.model.modules.head",
        "generator": "protenix.model.generator",
        "protenix": "protenix.model.protenix",
    }
    try:
        with _quiet(), _config_parser():
            found = {short: importlib.import_module(name) for short, name in names.items()}
    finally:
        sys.path.remove(str(folder))
    return types.SimpleNamespace(**found)


@contextlib.contextmanager
def arithmetic(dtype: torch.dtype) -> Iterator[None]:
    """Within this, what the reference casts to float32 it casts to `dtype` instead."""
    modules = [reference().primitives, reference().diffusion, reference().utils]
    with _quiet():
        try:
            for module in modules:
                module.torch = _TorchWith(float32=dtype)
            yield
        finally:
            for module in modules:
                module.torch = torch


def randomise(module: Module, seed: int) -> Module:
    """Draw every parameter of a module anew, so that none is zero, one or like another.

    Weights of linear layers are N(0, 1/fan_in), those of layer norms 1 + 0.1 N(0, 1), offsets
    0.1 N(0, 1), frequencies and phases of Fourier embeddings N(0, 1). Left alone are the edges of
    the distance bins of the reference's confidence head, which are no parameters but by name.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.dtype)

    with torch.no_grad():
        for part in module.modules():
            kind = type(part).__name__
            for name, value in part.named_parameters(recurse=False):
                if kind == "FourierEmbedding":
                    value.copy_(normal(value))
                elif kind.endswith("LayerNorm") and name == "weight":
                    value.copy_(1.0 + 0.1 * normal(value))
                elif value.dim() == 1 and name == "bias":
                    value.copy_(0.1 * normal(value))
                elif value.dim() == 2 and name == "weight":
                    value.copy_(normal(value) / math.sqrt(value.shape[-1]))
                elif value.dim() == 3:
                    value.copy_(normal(value) / math.sqrt(value.shape[-2]))
                elif name not in ("lower_bins", "upper_bins"):
                    raise ValueError(f"No rule for {kind}.{name} {list(value.shape)}.")
            if kind == "FourierEmbedding":  # Buffers here, parameters in the reference.
                for value in part.buffers(recurse=False):
                    value.copy_(normal(value))
    return module


def build(make: Callable[[], Module], seed: int = 0, dtype: torch.dtype = torch.float32) -> Module:
    """A module of the reference with random parameters, in evaluation mode.

    Parameters
    ----------
    make : callable
        Calls the constructor.
    dtype : torch.dtype
        float32 or float64; the numbers are the same. Call a float64 module within
        `arithmetic(torch.float64)`.
    """
    ref = reference()
    saved = ref.layers.trunc_normal_init_, nn.Linear.reset_parameters
    with _quiet():
        try:
            # The name is bound in both modules. Linear's own draw is overwritten just as well.
            ref.layers.trunc_normal_init_ = lambda *_, **__: None
            ref.primitives.trunc_normal_init_ = lambda *_, **__: None
            nn.Linear.reset_parameters = lambda self: None  # type: ignore[method-assign]
            module = make()
        finally:
            ref.layers.trunc_normal_init_ = ref.primitives.trunc_normal_init_ = saved[0]
            nn.Linear.reset_parameters = saved[1]  # type: ignore[method-assign]
    module = randomise(module, seed).to(dtype).eval()
    if dtype != torch.float32:
        for part in module.modules():
            if getattr(part, "precision", None) is not None:
                part.precision = dtype
    return module


MSA_SETTINGS = {
    # All rows in their order: no draw at all.
    "enable": True,
    "strategy": "topk",
    "sample_cutoff": {"train": 16384, "test": 16384},
    "min_size": {"train": 16384, "test": 16384},
}


def msa_module(blocks: int = 4) -> nn.Module:
    """The reference's MSA module; call it from :func:`build`."""
    return reference().pairformer.MSAModule(n_blocks=blocks, msa_configs=MSA_SETTINGS)


def diffusion_module(blocks: int = 24, atom_blocks: int = 3) -> nn.Module:
    """The reference's DiffusionModule; call it from :func:`build`."""
    atoms = {"n_blocks": atom_blocks, "n_heads": 4}
    return reference().diffusion.DiffusionModule(
        atom_encoder=atoms, transformer={"n_blocks": blocks, "n_heads": 16}, atom_decoder=atoms
    )


def protenix_model(
    pairformer_blocks: int = 48,
    msa_blocks: int = 4,
    diffusion_blocks: int = 24,
    template_blocks: int = 0,
    confidence_blocks: int = 4,
) -> nn.Module:
    """The whole `Protenix` with the widths of the base models; call it from :func:`build`.

    `template_blocks` is 0 in v0.5.0 and 2 in v1.0.0, which then has its 368,484,735 parameters.
    The atom encoders and decoders have their 3 blocks.
    """
    model = _Settings(
        N_cycle=10,
        N_model_seed=1,
        input_embedder={},
        relative_position_encoding={},
        template_embedder={"n_blocks": template_blocks},
        msa_module={"n_blocks": msa_blocks},
        constraint_embedder={
            name: {} for name in ("pocket_embedder", "contact_embedder", "contact_atom_embedder")
        }
        | {"substructure_embedder": {}, "c_constraint_z": 128},
        pairformer={"n_blocks": pairformer_blocks},
        diffusion_module={"transformer": {"n_blocks": diffusion_blocks, "n_heads": 16}},
        distogram_head={},
        confidence_head={"n_blocks": confidence_blocks, "max_atoms_per_token": 24},
    )
    settings = _Settings(
        enable_tf32=torch.backends.cuda.matmul.allow_tf32,
        enable_diffusion_shared_vars_cache=False,
        enable_efficient_fusion=False,
        train_confidence_only=False,
        train_noise_sampler={},
        inference_noise_scheduler={},
        diffusion_batch_size=1,
        triangle_multiplicative="torch",
        triangle_attention="torch",
        data=_Settings(msa=MSA_SETTINGS),
        c_s=384,
        c_z=128,
        c_s_inputs=449,
        model=model,
    )
    return reference().protenix.Protenix(settings)


def trunk(model: nn.Module, features: dict[str, Any], cycles: int) -> tuple[Tensor, Tensor, Tensor]:
    """`(s_inputs, s, z)` of the reference's own trunk, `cycles` times through its blocks."""
    return model.get_pairformer_output(features, cycles, inplace_safe=False)


def sample(
    model: nn.Module,
    features: dict[str, Any],
    conditions: tuple[Tensor, Tensor, Tensor],
    schedule: Tensor,
    start: Tensor,
    noise: Tensor,
    rotations: Tensor,
    translations: Tensor,
) -> Tensor:
    """The reference's own sampler with the random numbers that are given.

    Parameters
    ----------
    model : nn.Module
        A DiffusionModule of the reference.
    conditions : tuple of Tensor
        s_inputs [N, 449], s_trunk [N, 384], z_trunk [N, N, 128].
    schedule : Tensor [steps + 1]
        Noise levels in angstrom.
    start : Tensor [S, A, 3]
        Standard normal; becomes the first frame.
    noise : Tensor [steps, S, A, 3]
        Standard normal, of each step.
    rotations, translations : Tensor [steps, S, 3, 3], [steps, S, 3]
        Of the augmentation before each step; translations in angstrom.
    """
    ref = reference()
    draws, turns, shifts = iter([start, *noise]), iter(rotations), iter(translations)
    saved = ref.generator.torch, ref.utils.torch, ref.utils.uniform_random_rotation
    dtype = schedule.dtype
    with arithmetic(dtype), torch.no_grad():
        try:
            ref.generator.torch = _TorchWith(randn=lambda size, **_: next(draws).reshape(size))
            ref.utils.torch = _TorchWith(
                float32=dtype, randn=lambda size, **_: next(shifts).reshape(size)
            )
            ref.utils.uniform_random_rotation = lambda N_sample: next(turns)
            found = ref.generator.sample_diffusion(
                model, features, *conditions, None, None, None, schedule, N_sample=len(start)
            )
        finally:
            ref.generator.torch, ref.utils.torch, ref.utils.uniform_random_rotation = saved
    left = [len(list(rest)) for rest in (draws, turns, shifts)]
    if any(left):
        raise ValueError(f"The sampler left {left} of its random numbers unused.")
    return found
