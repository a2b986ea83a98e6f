"""The processes of a run: what they agree on, and how an error of one ends all."""

from __future__ import annotations

import atexit
import logging
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .training_settings import StageSettings

Precision = Literal["32-true", "bf16-mixed"]
Accelerator = Literal["auto", "cpu", "cuda"]

TIMEOUT = timedelta(minutes=30)
"""After which a process that waits for another gives up."""


def make_fabric(
    accelerator: Accelerator = "auto",
    devices: int | str | None = None,
    nodes: int | None = None,
    precision: Precision = "32-true",
) -> Fabric:
    """Return Lightning Fabric for one device or many; ``fabric.launch()`` starts the processes.

    Parameters
    ----------
    accelerator : str
    devices : int or 'auto', optional
        Devices of each node. Under ``torchrun`` and ``srun`` those that they started processes
        for, else 1.
    nodes : int, optional
        Likewise.
    precision : str
        ``32-true``, or ``bf16-mixed`` for autocast.

    Raises
    ------
    ValueError
        There is no such accelerator here, or not so many devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # a banner
    started_here, started_nodes = _started_from_outside()
    devices = devices or started_here or 1
    nodes = nodes or started_nodes or 1
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "No CUDA device is available to torch. Train on the CPU, or on another machine."
        )
    if accelerator == "auto" and not torch.cuda.is_available():
        accelerator = "cpu"
    single = devices == 1 and nodes == 1
    if devices == "auto":
        single = nodes == 1 and (accelerator == "cpu" or torch.cuda.device_count() == 1)
    # A batch script of SLURM has srun's variables without srun, which Fabric takes for srun's.
    batch = "SLURM_NTASKS" in os.environ and "SLURM_STEP_ID" not in os.environ
    # The strategy gives processes and their group; modules are not wrapped (see :mod:`.loop`).
    strategy = "auto" if single else DDPStrategy(timeout=TIMEOUT)
    if not single:
        # A group that is still there when C++ clears up may abort the process.
        atexit.register(_leave)
    try:
        return Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=nodes,
            precision=precision,
            plugins=[LightningEnvironment()] if batch and started_here is None else None,
        )
    except (RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"Training cannot run so: {error}") from error


def _started_from_outside() -> tuple[int | None, int | None]:
    """Processes of this node and nodes, as torchrun or srun say; None where neither started us."""
    here = os.environ
    if "TORCHELASTIC_RUN_ID" in here:
        local = int(here["LOCAL_WORLD_SIZE"])
        return local, int(here["WORLD_SIZE"]) // local
    shell = here.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if {"SLURM_STEP_ID", "SLURM_NTASKS_PER_NODE"} <= here.keys() and not shell:
        return int(here["SLURM_NTASKS_PER_NODE"]), int(here.get("SLURM_NNODES", "1"))
    return None, None


def described(fabric: Fabric) -> str:
    """The devices of a run and their precision, in words: ``2 GPUs, bf16-mixed``."""
    kind, plural = {"cuda": ("GPU", "s"), "cpu": ("CPU process", "es")}.get(
        fabric.device.type, ("device", "s")
    )
    number = fabric.world_size
    precision = fabric.strategy.precision.precision
    return f"{number} {kind}{'' if number == 1 else plural}, {precision}"


def check_shared(stages: Sequence[StageSettings], size: int) -> None:
    """Check that ranks can share the draws of each stage's steps evenly.

    Raises
    ------
    ValueError
        They cannot.
    """
    for stage in stages:
        if stage.draws % size:
            raise ValueError(
                f"Stage {stage.name!r} has {stage.draws} draws a step, which {size} processes "
                "cannot share evenly. Set draws to a multiple of the processes "
                f"(stages.{stage.name}.draws = {size}), or train on another number of devices."
            )


class Ranks:
    """All processes of a run, seen from one of them.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.rank: int = fabric.global_rank
        self.size: int = fabric.world_size

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def sum_tensor(self, tensor: Tensor) -> None:
        """Sum a tensor over all ranks, in place.

        Raises
        ------
        ConnectionError
            Another process of the run is gone.
        """
        if self.size == 1:
            return
        with _lost():
            self._fabric.all_reduce(tensor, reduce_op="sum")

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over all ranks, in double precision."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self._fabric.device)
        self.sum_tensor(tensor)
        return tensor.tolist()

    def first(self, value: Any) -> Any:
        """Return the first rank's value on every rank; plain objects alone."""
        if self.size == 1:
            return value
        with _lost():
            return self._fabric.broadcast(value)

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value on every rank; plain objects alone."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _lost():
            torch.distributed.all_gather_object(found, value)
        return found

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that each rank goes through alone and all end together, with or without error.

        Raises
        ------
        Exception
            Of the lowest rank that failed; see :meth:`check`.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as found:
            error = found
        self.check(error)

    def check(self, error: Exception | None) -> None:
        """End every rank where one has an error; each rank must call this.

        Raises
        ------
        Exception
            On the rank that failed, its error. On the first rank, the same with the number of the
            rank that failed: an error of the same kind where it is one that is explained to the
            user (ValueError, OSError), else a RuntimeError.
        SystemExit
            On the others, so that one message is shown.

        Notes
        -----
        What is not explained to the user is shown with its traceback by the rank that failed.
        """
        if self.size == 1:
            if error is not None:
                raise error
            return
        if self.sum([float(error is not None)])[0] > 0.0:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        explained = isinstance(error, (ValueError, OSError, ImportError))
        told = None if error is None else (explained, f"{type(error).__name__}: {error}")
        failed, (explained, message) = next(
            (rank, told) for rank, told in enumerate(self.gather(told)) if told is not None
        )
        if self.rank == failed and self.is_first:
            assert error is not None
            raise error
        if self.rank == failed and not explained:
            traceback.print_exception(error)
        if not self.is_first:
            # The first rank's status stands for all: Fabric kills it where another's is not 0.
            raise SystemExit(0)
        text = f"Process {failed} of {self.size} failed: {message}"
        raise ValueError(text) if explained else RuntimeError(text)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _lost() -> Iterator[None]:
    """Say in plain words that another process went away."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise ConnectionError(
            "Another process of this training run ended or cannot be reached; its own message, if "
            "it had time for one, says why. The same command goes on from the last checkpoint. "
            f"({first})"
        ) from error
