"""The loss of the averaged weights on draws that are held out, always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..data.faults import Policy
from .ema import MovingAverage
from .feed.draws import Drawer
from .feed.left_out import LeftOut
from .feed.schedule import draws_of_rank
from .feed.trainset import TrainingSet
from .passes import TERMS, VALIDATION, draw_generator, held_out_pass, reported
from .ranks import Ranks
from .training_settings import TrainingSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["HeldOut"]


class HeldOut:
    """Held-out draws of one stage, and the loss on them.

    Rollouts have as many jumps as at the end of the stage's curriculum, so that validations of a
    stage can be compared with each other. Draws and noise are the same each time; the draws are
    split over the ranks and their terms averaged over all of them.

    Parameters
    ----------
    held_out : TrainingSet
    settings : TrainingSettings
    stage : int
        Number of the stage.
    on_error : str
        Of :class:`~.feed.draws.Drawer`.

    Raises
    ------
    ValueError
        The held-out part holds nothing that the stage wants.
    """

    def __init__(
        self,
        held_out: TrainingSet,
        settings: TrainingSettings,
        stage: int,
        on_error: Policy,
    ) -> None:
        self._settings = settings
        self._number = stage
        self._left_out = LeftOut()
        seed = settings.seed + 1
        self._drawer = Drawer(held_out, settings, stage, seed=seed, on_error=on_error)

    def losses(self, ema: MovingAverage, fabric: Fabric, ranks: Ranks) -> dict[str, float]:
        """Return the terms' means over all held-out draws; every rank must call this.

        Raises
        ------
        DataFileError
            A draw cannot be made.
        """
        draws = self._settings.validation.draws
        with ranks.together():
            total = self._sum(ema, fabric, draws_of_rank(0, draws, ranks.rank, ranks.size))
        sums = ranks.sum(total)
        losses = self._settings.stages[self._number].losses
        model: Any = ema.model
        return reported([value / draws for value in sums], losses, model)

    def _sum(self, ema: MovingAverage, fabric: Fabric, numbers: Sequence[int]) -> list[float]:
        stage = self._settings.stages[self._number]
        total = torch.zeros(len(TERMS), dtype=torch.float64, device=fabric.device)
        model: Any = ema.model
        training = model.training
        with ema.in_place():
            model.eval()
            for number in numbers:
                draw = self._drawer.draw(number, stage.steps - 1)
                self._left_out.tell(draw.faults)
                batch = draw.batch.to(fabric.device)
                generator = draw_generator(self._settings.seed, self._number, number, VALIDATION)
                total += held_out_pass(model, batch, stage, generator, fabric.autocast)
            model.train(training)
        return total.tolist()
