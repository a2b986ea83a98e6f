"""Blocks whose activations can be made anew in the backward pass (Chen et al. 2016).

A block keeps its inputs alone and runs a second time when its gradient is asked for: one more
forward pass, for the memory of one block in place of all. Eager training only: a TorchScript module
compiles ``forward``, which knows nothing of this.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class CheckpointedBlock(nn.Module):
    """A block that keeps its inputs alone while ``checkpointing`` is set.

    It has no effect in ``eval()`` and where no gradient is asked for. Values and gradients are
    those of the plain block, dropout included: the state of the random generators is put back for
    the second run.
    """

    checkpointing = False
    __jit_ignored_attributes__ = ["checkpointing"]

    def __call__(self, *inputs: Any) -> Any:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)


def set_checkpointing(module: nn.Module, enabled: bool) -> None:
    """Set ``checkpointing`` of every :class:`CheckpointedBlock` in a module."""
    for block in module.modules():
        if isinstance(block, CheckpointedBlock):
            block.checkpointing = enabled
