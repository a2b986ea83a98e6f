"""One draw of training on fake tensors: what it costs, without data and without its memory.

The real network and the real loss run, backward pass included, on tensors that have a shape and no
contents (``torch._subclasses.FakeTensorMode``), and a :class:`~.meter.StepMeter` counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from ...model.atmos import AtmosModel
from ...model.config import ModelConfig
from ...model.model_features import model_features
from ..batch import Batch
from ..optimization import FlatGradients, freeze
from ..passes import draw_generator, training_pass
from ..training_settings import StageSettings
from .meter import StepMeter

__all__ = ["DrawCost", "FakeTraining", "cuda_attention", "typical_batch"]

MULTIPLE = 8
"""The GPU's attention pads its bias to rows of so many numbers."""


@dataclass(frozen=True)
class DrawCost:
    """What one draw of a step costs on a device.

    Attributes
    ----------
    weights : int
        Bytes of the parameters and buffers.
    gradients : int
        Bytes of the gradients of those that are trained.
    peak : int
        Most bytes that are alive at any time: weights, gradients, the draw, what is kept for the
        backward pass, what is computed again, and what comes and goes. The optimiser's and the
        average's are not in it.
    flops : dict from str to int
        Floating-point operations by dtype: products of matrices and attention.
    """

    weights: int
    gradients: int
    peak: int
    flops: dict[str, int]

    @property
    def state(self) -> int:
        """Bytes of weights, gradients, AdamW's two moments and the moving average."""
        return 2 * self.weights + 3 * self.gradients

    @property
    def step_peak(self) -> int:
        """Most bytes alive in a step: those of the draw, AdamW's moments and the average."""
        return self.peak + self.weights + 2 * self.gradients


class FakeTraining:
    """A network of fake tensors, and draws through it.

    Parameters
    ----------
    config : ModelConfig
    precision : str
        ``32-true`` or ``bf16-mixed``.
    """

    def __init__(self, config: ModelConfig, precision: str = "32-true") -> None:
        self.precision = precision
        # The noise of a draw is real: seeds are read from it.
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode:
            self.model = AtmosModel(config).train()

    def trace(self, batch: Batch, stage: StageSettings, checkpointing: bool) -> DrawCost:
        """Return what one draw costs, on a CPU or within :meth:`as_on_cuda`.

        Parameters
        ----------
        batch : Batch
            Of real tensors; their contents are not looked at.
        """
        model, mode = self.model, self.mode
        trained = freeze(model, stage.freeze)
        model.set_checkpointing(checkpointing)
        fake = batch.mapped(mode.from_tensor)
        # Two masks keep their contents: whether they hold any or only ones is asked of them.
        fake = fake._replace(
            features=fake.features._replace(token_mask=batch.features.token_mask),
            resolved=batch.resolved,
        )
        with mode:
            gradients = FlatGradients(trained)
            gradients.zero()
        weights = [*model.parameters(), *model.buffers()]
        # The fake tensors are the CPU's: a build of torch without CUDA has no gradients of others.
        autocast = partial(
            torch.autocast, "cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed"
        )
        with StepMeter([*weights, *gradients.buckets, *fake.tensors]) as meter:
            training_pass(model, fake, stage, draw_generator(0, 0, 0), 1.0, autocast)
        gradients.detach()
        return DrawCost(
            sum(t.nbytes for t in weights),
            sum(bucket.nbytes for bucket in gradients.buckets),
            meter.live.most,
            {str(dtype).removeprefix("torch."): flops for dtype, flops in meter.flops.items()},
        )

    @contextmanager
    def as_on_cuda(self) -> Iterator[None]:
        """Compute as on a CUDA device where fake tensors, which are the CPU's, would not."""
        encoder = self.model.context_encoder
        # A frozen encoder goes through its pairs in blocks that fit the CPU's cache if it is told
        # that it is not trained; a GPU's blocks are nearly whole tensors.
        encoder.eval = encoder.train
        try:
            with cuda_attention():
                yield
        finally:
            del encoder.eval


@contextmanager
def cuda_attention() -> Iterator[None]:
    """Have attention computed as CUDA devices do where there is a bias: it keeps no weights.

    A TorchFunctionMode would be the way to do this, but is not there in the backward pass, where
    blocks are computed again.
    """
    plain = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _memory_efficient  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain  # type: ignore[assignment]


def _memory_efficient(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    bias, keys = attn_mask, k.shape[2]
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        q, k, v, bias = (tensor.to(dtype) for tensor in (q, k, v, bias))
    bias = bias.expand(q.shape[0], q.shape[1], q.shape[2], keys)
    if keys % MULTIPLE:
        bias = F.pad(bias, (0, -keys % MULTIPLE))[..., :keys]
    gradient = torch.is_grad_enabled() and q.requires_grad
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, gradient)[0]


def typical_batch(config: ModelConfig, tokens: int, atoms: int, rollouts: int, jumps: int) -> Batch:
    """Return a draw of given sizes, of a protein as far as sizes go; its contents mean nothing.

    Parameters
    ----------
    tokens, atoms : int
        At least one atom a token.
    rollouts, jumps : int
        Without jumps it is a structure without time: one jump without a frame to start from.
    """
    token = torch.arange(atoms) * tokens // atoms
    inside = torch.nonzero(token[1:] == token[:-1]).flatten()
    bonds = torch.stack([inside, inside + 1], 1)  # chains inside of tokens
    first = torch.searchsorted(token, torch.arange(tokens))
    centre = torch.stack([(first + k).clamp(max=atoms - 1) for k in range(4)], 1)
    zeros = torch.zeros(tokens, dtype=torch.int64)
    plain = {
        "restype": zeros,
        "residue_index": torch.arange(tokens),
        "asym_id": zeros,
        "entity_id": zeros,
        "sym_id": zeros,
        "token_bonds": torch.zeros(tokens, tokens),
        "atom_to_token": token,
        "ref_pos": torch.zeros(atoms, 3),
        "ref_charge": torch.zeros(atoms),
        "ref_mask": torch.ones(atoms),
        "ref_element": torch.full((atoms,), 6),
        "ref_atom_name_chars": torch.zeros(atoms, 4, dtype=torch.int64),
        "ref_space_uid": token,
        "bonds": bonds,
        "bond_order": torch.ones(len(bonds)),
        "chiral_centers": centre,
        "chiral_signs": torch.ones(tokens),
        "label_centers": centre,
    }
    moves = max(1, jumps)
    return Batch(
        f"{tokens} tokens",
        model_features(plain, config),
        torch.zeros(jumps + 1, rollouts, atoms, 3),
        torch.ones(atoms),
        torch.ones(moves, rollouts),
        torch.full((moves, rollouts), 300.0),
        torch.zeros(atoms),
        bonds,
        first,
    )
