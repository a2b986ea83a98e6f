"""The training loop: stages, draws, gradients over all ranks, validation, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.faults import Policy
from ..data.sample import Sample
from .counters import Counters, StepTimer, rounded
from .ema import MovingAverage
from .feed.draws import Drawer
from .feed.loader import BatchLoader
from .feed.seen import Seen
from .feed.trainset import split
from .held_out import HeldOut
from .logs import HELD_OUT
from .optimization import WeightUpdate
from .passes import TERMS, draw_generator, reported, training_pass, with_advice
from .ranks import Ranks, check_shared, described, make_fabric
from .reporting import Reporter
from .resume import check_continuation, new_network, record_of_data
from .training_settings import StageSettings, TrainingSettings
from .weights.checkpoint import (
    BEST,
    CHECKPOINT,
    load_checkpoint,
    part,
    restore_optimizer,
    save_checkpoint,
)
from .weights.weights_file import write_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Trainer"]


class Trainer:
    """Train :class:`~atmos_openmm.model.atmos.AtmosModel` on samples, on one device or many.

    Every process of a run constructs one with the same arguments. A run that is found in the folder
    is continued at its step; with the same settings and data its losses are those of a run that was
    never interrupted: to the bit on as many ranks (on CPUs; some of torch's gradients on GPUs are
    sums of atomic additions), and up to the order of summation on others.

    A step has ``draws`` draws, whatever the number of ranks: each rank goes forward and backward
    through its own, segment by segment, and the gradients are summed over ranks in one reduction of
    flat buffers. DistributedDataParallel is not used: its hooks want one backward pass a step,
    through the same parameters on every rank.

    Parameters
    ----------
    samples : iterable of Sample
    folder : path
        Where checkpoints and logs are written, the same one for all processes.
    settings : TrainingSettings
    fabric : Fabric, optional
        Launched; one CPU process by default.
    initial_weights : path or mapping of str to Tensor, optional
        A checkpoint or training folder whose averaged weights a new run starts from, or weights by
        the network's names; parameters that it does not have start as in any new network. A run
        that is continued does not look at it.
    workers : int
        Processes a rank that make draws ahead of time; 0: they are made when they are needed.
    on_error : str
        ``stop`` at a molecule that cannot be used, or ``skip`` it with a warning.

    Attributes
    ----------
    model : AtmosModel
    ema : MovingAverage
    training_set : TrainingSet
    held_out_set : TrainingSet or None
    counters : Counters
        Where the run is.
    notes : list of str
        What is worth telling at the start: settings that changed, shares that the data lack.
    stopped : bool
        Whether :meth:`stop` was called.

    Raises
    ------
    ValueError
        The folder holds a run of another network; the data hold nothing that a stage wants; the
        draws of a step cannot be split evenly over the ranks.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        folder: str | Path,
        settings: TrainingSettings,
        *,
        fabric: Fabric | None = None,
        initial_weights: Path | Mapping[str, Tensor] | None = None,
        workers: int = 0,
        on_error: Policy = "stop",
    ) -> None:
        self.settings = settings
        self.folder = Path(folder)
        self.fabric = make_fabric("cpu", 1, 1) if fabric is None else fabric
        self.ranks = Ranks(self.fabric)
        self.counters = Counters()
        self.notes: list[str] = []
        self.stopped = False
        self._workers = workers
        self._on_error: Policy = on_error
        self._seen = Seen()
        self._save_due = False
        self._agreed_to_stop = self._agreed_to_save = False
        self._loader: BatchLoader | None = None
        self._clock = StepTimer()
        with self.ranks.together():
            check_shared(settings.stages, self.ranks.size)
            samples = tuple(samples)
            self._data = record_of_data(samples)
            self.training_set, self.held_out_set = split(samples, settings.validation)
            for stage in settings.stages:
                self.training_set.pools(stage)
            begun = (self.folder / CHECKPOINT).exists()
            self.model, fresh = new_network(settings, None if begun else initial_weights)
            if fresh:
                self.notes.append(f"{len(fresh)} parameters start fresh, {fresh[0]} the first")
            self.model.to(self.fabric.device)
            self.ema = MovingAverage(self.model, settings.optimizer.ema_decay)
            if self.ranks.is_first:
                self.folder.mkdir(parents=True, exist_ok=True)
        with self.ranks.together():
            self._restore()
        self._check_folder()

    def _restore(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            self._begin(0)
            return
        tensors, state = load_checkpoint(path)
        stage, notes = check_continuation(path, state, self.settings, self._data)
        self.model.load_state_dict(part(tensors, "model"))
        self.ema.load(part(tensors, "ema"))
        self._begin(stage)
        restore_optimizer(self._update.optimizer, self.model, tensors)
        self.counters = Counters.from_dict(state, stage)
        self._seen = Seen.from_dict(state["seen"])
        self.notes += notes

    def _check_folder(self) -> None:
        """All ranks must have found the same checkpoint, or none of them."""
        found = self.ranks.gather((self.counters.step, self.counters.stage_step))
        with self.ranks.together():
            if found[0] != found[self.ranks.rank]:
                raise ValueError(
                    f"It found step {found[self.ranks.rank][0]} in {self.folder}, and the first "
                    f"process step {found[0][0]}. All nodes must see one folder."
                )

    def _begin(self, stage: int) -> None:
        """Begin a stage: what is trained, moments of zero, its draws."""
        self.close()
        self.counters.begin_stage(stage)
        self._update = WeightUpdate(self.ema, self.settings.optimizer, self.stage)
        self._drawer = Drawer(self.training_set, self.settings, stage, on_error=self._on_error)
        if self._drawer.note:
            self.notes.append(self._drawer.note)
        self._held_out = None
        if self.held_out_set is not None and self.held_out_set.holds(self.stage):
            self._held_out = HeldOut(self.held_out_set, self.settings, stage, self._on_error)

    @property
    def step(self) -> int:
        """Optimiser steps done, in all stages."""
        return self.counters.step

    @property
    def stage(self) -> StageSettings:
        """The stage that the run is in."""
        return self.counters.stage_of(self.settings)

    @property
    def finished(self) -> bool:
        """Whether the last stage has ended."""
        return self.counters.finished(self.settings)

    def stop(self) -> None:
        """Ask the run to save and leave after this step; of one rank it stops all."""
        self.stopped = True

    def train_step(self) -> dict[str, float]:
        """Do one optimiser step; every rank must call this.

        Returns
        -------
        dict of str to float
            The terms' means over the step's draws of all ranks, ``gradient_norm`` (before the
            bound; not finite where the step was left out), ``learning_rate``.

        Raises
        ------
        Exception
            Of any rank's draws (:meth:`.ranks.Ranks.check`).
        ValueError
            Too many steps in a row were left out.
        """
        begun = time.monotonic()
        counters = self.counters
        if counters.stage_step >= self.stage.steps:
            raise ValueError(f"Stage {self.stage.name!r} has had its {self.stage.steps} steps.")
        self.model.train()
        self._update.begin()
        error: Exception | None = None
        terms, waited = [0.0] * len(TERMS), 0.0
        try:
            terms, waited = self._pass_through_draws()
        except Exception as found:
            error = with_advice(found)
        terms, waited = self._agree(error, terms, waited)
        numbers = reported(terms, self.stage.losses, self.model) | self._update.apply(
            self.ranks, counters
        )
        try:
            counters.stepped(numbers, time.monotonic() - begun)
        except ValueError as diverged:  # of all ranks alike
            self.ranks.check(diverged)
        self._clock.add(waited)
        return numbers

    def _pass_through_draws(self) -> tuple[list[float], float]:
        """Add the gradients of this rank's draws; return the terms' share of the mean, and the
        seconds spent waiting for draws."""
        stage, counters, device = self.stage, self.counters, self.fabric.device
        first = self._loader is None
        if self._loader is None:
            self._loader = BatchLoader(
                self._drawer,
                counters.stage_step,
                rank=self.ranks.rank,
                world=self.ranks.size,
                workers=self._workers,
                pin_memory=device.type == "cuda",
            )
        before = self._loader.waited_seconds
        _, draws = next(self._loader)
        waited = self._loader.waited_seconds - before
        if first:  # workers start, which is no waiting for data
            self._clock.reset()
            waited = 0.0
        total = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
        for draw in draws:
            self._seen = self._seen.merged(draw.seen)
            batch = draw.batch.to(device, non_blocking=True)
            generator = draw_generator(self.settings.seed, counters.stage, draw.number)
            total += training_pass(
                self.model, batch, stage, generator, 1.0 / stage.draws, self.fabric.autocast
            )
        return (total / stage.draws).tolist(), waited

    def _agree(
        self, error: Exception | None, terms: list[float], waited: float
    ) -> tuple[list[float], float]:
        """Sum the terms over ranks, and see whether any failed, wants to stop or to save."""
        own = [float(error is not None), float(self.stopped), float(self._save_due), waited]
        failed, stop, save, all_waited, *sums = self.ranks.sum([*own, *terms])
        if failed:
            self.ranks.check(error)
        self._agreed_to_stop, self._agreed_to_save = stop > 0.0, save > 0.0
        return sums, all_waited / self.ranks.size

    def validate(self) -> dict[str, float]:
        """Return the averaged weights' terms on the held-out draws of the stage.

        Every rank must call this.

        Returns
        -------
        dict of str to float
            Empty where nothing is held out that the stage wants.
        """
        if self._held_out is None:
            return {}
        return self._held_out.losses(self.ema, self.fabric, self.ranks)

    def save(self, best: bool = False) -> None:
        """Write the checkpoint; every rank must call this.

        Parameters
        ----------
        best : bool
            Write the averaged weights for the export besides, before it: a kill between the two
            leaves a run that validates, and writes them, again.

        Raises
        ------
        OSError
            There is no room, or the folder cannot be written; an older checkpoint stays.
        """
        self._seen = Seen.of_all(self.ranks.gather(self._seen))
        with self.ranks.together():
            if self.ranks.is_first:
                state = self._state()
                if best:
                    write_weights(self.folder / BEST, self.ema.weights, state)
                path = self.folder / CHECKPOINT
                save_checkpoint(path, self.model, self.ema.weights, self._update.optimizer, state)

    def _state(self) -> dict[str, Any]:
        return self.counters.to_dict() | {
            "stage": self.stage.name,
            "settings": self.settings.to_dict(),
            "data": self._seen.describe(),
            "seen": self._seen.to_dict(),
            "samples": self._data,
        }

    def close(self) -> None:
        """End the processes that make draws."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None

    def run(self, report: Callable[[str], None] = print, checkpoint_seconds: float = 300.0) -> bool:
        """Train to the end of the last stage; every rank must call this.

        Parameters
        ----------
        report : callable
            Called with lines for the terminal, on the first rank.
        checkpoint_seconds : float
            Time between checkpoints, beside those of validations that are better than all before.

        Returns
        -------
        bool
            Whether training ended; False where :meth:`stop` was called.
        """
        say = report if self.ranks.is_first else None
        reporter = Reporter(self.folder, self.settings, self.counters, say)
        saved = time.monotonic()
        self._clock.reset()
        try:
            with self.ranks.together():
                parameters = sum(p.numel() for p in self.model.parameters())
                devices = described(self.fabric)
                reporter.begin(parameters, self.training_set, self.held_out_set, devices)
                self._report_stage(reporter)
            kept = True
            while not self.finished and not self._agreed_to_stop:
                if self.counters.stage_ended(self.settings):
                    self._begin(self.counters.stage + 1)
                    self._report_stage(reporter)
                self._save_due = time.monotonic() - saved > checkpoint_seconds
                self.train_step()
                better, kept = self._validate_and_log(reporter), False
                if better or self._agreed_to_save:
                    self.save(better)
                    saved, kept = time.monotonic(), True
            if not kept:
                self.save()
        finally:
            self.close()
            reporter.close()
        reporter.end()
        self.stopped = self._agreed_to_stop = False
        return self.finished

    def _report_stage(self, reporter: Reporter) -> None:
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        reporter.stage(self.notes, trained)
        self.notes.clear()

    def _validate_and_log(self, reporter: Reporter) -> bool:
        """Do what is due after a step; return whether a validation was better than all before."""
        counters, settings = self.counters, self.settings
        last = counters.stage_step >= self.stage.steps
        due = self._held_out is not None and (
            last or counters.stage_step % settings.validation.every == 0
        )
        if not (due or last or counters.step % settings.log_every == 0):
            return False
        row = counters.window.row() | self._clock.row()
        better = False
        if due:
            held_out = self.validate()
            better = counters.validated(held_out["loss"])
            for name, value in held_out.items():
                row[HELD_OUT if name == "loss" else f"{HELD_OUT}_{name}"] = rounded(value)
        with self.ranks.together():
            reporter.row(row)
        self._clock.reset()
        return better
