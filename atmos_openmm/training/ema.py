"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .weights.checkpoint import laid_out_like


class MovingAverage:
    """Exponential moving average of a network's weights.

    ``e <- d e + (1 - d) w`` after each step, with ``d = min(decay, (1 + n) / (10 + n))`` at step n,
    so that the first weights, which know nothing, are soon forgotten. A weight that never changes
    is its own average to the bit.

    Parameters
    ----------
    model : nn.Module
        The average starts at its weights, and lies on its device.
    decay : float
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def decay_at(self, step: int) -> float:
        """Decay after step n (from 0)."""
        return min(self.decay, (1.0 + step) / (10.0 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights after step n (from 0)."""
        averages, values = [], []
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                averages.append(self.weights[name])
                values.append(value)
            else:
                self.weights[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1.0 - self.decay_at(step))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights, and in between its own rest here.

        One tensor at a time is exchanged, so that no third set of weights is needed.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.model.state_dict().items():
            kept = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(kept)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take averages from a checkpoint, laid out in memory as the network's weights are."""
        own = self.model.state_dict()
        self.weights = {name: laid_out_like(weights[name], value) for name, value in own.items()}
