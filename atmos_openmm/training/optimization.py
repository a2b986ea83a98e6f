"""What a step of training does with gradients: flat buffers, the bound on the norm, the rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .counters import Counters
from .ema import MovingAverage
from .ranks import Ranks
from .training_settings import OptimizerSettings, StageSettings

BUCKET_BYTES = 2**28
"""Gradients that are reduced by one collective call."""

_ALIGNMENT = 32  # numbers; whole cache lines for the fused optimizer


def learning_rate_factor(step: int, warmup: int, steps: int, final: float = 0.02) -> float:
    """Linear warm-up to 1 over `warmup` steps, then a cosine from 1 to `final` at the last step.

    Parameters
    ----------
    step : int
        From 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def freeze(
    model: nn.Module, prefixes: Sequence[str], only: Sequence[str] = ()
) -> list[nn.Parameter]:
    """Let gradients be taken of all parameters but those under some prefixes.

    Parameters
    ----------
    prefixes : sequence of str
        Whole names of modules or parameters (``context_encoder``, ``diffusion.atom_encoder``).
    only : sequence of str
        Where there are any, parameters that are under none of these are left out as well.

    Returns
    -------
    list[nn.Parameter]
        The parameters to be trained, in the network's order.

    Raises
    ------
    ValueError
        A prefix fits no parameter, or nothing is left to train.
    """
    named = dict(model.named_parameters())

    def under(name: str, prefix: str) -> bool:
        return name == prefix or name.startswith(prefix + ".")

    for prefix in (*prefixes, *only):
        if not any(under(name, prefix) for name in named):
            parts = sorted({name.split(".")[0] for name in named})
            raise ValueError(
                f"{'freeze' if prefix in prefixes else 'train_only'} names {prefix!r}, and the "
                f"network has no such part; it has {', '.join(parts)}."
            )
    for name, parameter in named.items():
        wanted = not only or any(under(name, prefix) for prefix in only)
        frozen = any(under(name, prefix) for prefix in prefixes)
        parameter.requires_grad_(wanted and not frozen)
    trained = [p for p in named.values() if p.requires_grad]
    if not trained:
        raise ValueError(f"freeze is {list(prefixes)}, which leaves no parameter to train.")
    return trained


class FlatGradients:
    """Gradients as views of a few flat buffers, which are reduced over all ranks at once.

    Every parameter has a gradient after every step, zero where nothing reached it, so that ranks
    whose draws use other parts of the network reduce buffers of one layout, and the step does not
    depend on which rank saw what.

    Parameters
    ----------
    parameters : sequence of nn.Parameter
        Those to be trained, in an order that is the same on every rank.
    bucket_bytes : int
        Size of a buffer, but for one parameter that is larger than this.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], bucket_bytes: int = BUCKET_BYTES):
        self.buckets: list[Tensor] = []
        self._views: list[tuple[nn.Parameter, Tensor]] = []
        group: list[tuple[nn.Parameter, int]] = []
        size = 0
        for parameter in parameters:
            length = -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
            if group and (size + length) * parameter.element_size() > bucket_bytes:
                self._close(group, size)
                group, size = [], 0
            group.append((parameter, size))
            size += length
        if group:
            self._close(group, size)

    def _close(self, group: list[tuple[nn.Parameter, int]], size: int) -> None:
        first = group[0][0]
        bucket = torch.zeros(size, dtype=first.dtype, device=first.device)
        self.buckets.append(bucket)
        for parameter, offset in group:
            # Laid out as the parameter is: the fused optimizer goes through both in step.
            view = bucket[offset : offset + parameter.numel()]
            self._views.append((parameter, view.as_strided(parameter.shape, parameter.stride())))

    def zero(self) -> None:
        """Set all gradients to zero and attach them to their parameters."""
        for bucket in self.buckets:
            bucket.zero_()
        for parameter, view in self._views:
            parameter.grad = view

    def reduce(self, ranks: Ranks) -> None:
        """Sum the gradients over all ranks."""
        for bucket in self.buckets:
            ranks.sum_tensor(bucket)

    def clip(self, bound: float) -> float:
        """Scale the gradients so that their norm is at most `bound`; return the norm before.

        Gradients that are not finite are left as they are; the norm says so.
        """
        norms = torch.stack([torch.linalg.vector_norm(bucket) for bucket in self.buckets])
        norm = float(torch.linalg.vector_norm(norms.double()))
        if math.isfinite(norm) and norm > bound:
            for bucket in self.buckets:
                bucket.mul_(bound / norm)
        return norm

    def detach(self) -> None:
        """Take the gradients away from the parameters."""
        for parameter, _ in self._views:
            parameter.grad = None


class WeightUpdate:
    """From the gradients of all ranks to new weights, in one stage: AdamW with moments of zero.

    Parameters
    ----------
    ema : MovingAverage
        With the network whose weights are updated.
    settings : OptimizerSettings
    stage : StageSettings

    Attributes
    ----------
    optimizer : torch.optim.AdamW

    Raises
    ------
    ValueError
        See :func:`freeze`.
    """

    def __init__(
        self, ema: MovingAverage, settings: OptimizerSettings, stage: StageSettings
    ) -> None:
        self._ema = ema
        self._settings = settings
        self._stage = stage
        parameters = freeze(ema.model, stage.freeze, stage.train_only)
        self._gradients = FlatGradients(parameters)
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=stage.learning_rate,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
            fused=True,
        )

    def begin(self) -> None:
        """Set the gradients to zero."""
        self._gradients.zero()

    def apply(self, ranks: Ranks, counters: Counters) -> dict[str, float]:
        """Reduce the gradients, bound them, and change weights and averages.

        A gradient that is not finite would spoil the moments for good: such a step is left out, by
        all ranks alike.

        Parameters
        ----------
        ranks : Ranks
        counters : Counters
            Where the run is before the step; not changed.

        Returns
        -------
        dict of str to float
            ``gradient_norm`` before the bound, and ``learning_rate``.
        """
        self._gradients.reduce(ranks)
        norm = self._gradients.clip(self._settings.clip)
        stage = self._stage
        rate = stage.learning_rate * learning_rate_factor(
            counters.stage_step, stage.warmup_steps, stage.steps, stage.final_factor
        )
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self._ema.update(counters.step)
        return {"gradient_norm": norm, "learning_rate": rate}
