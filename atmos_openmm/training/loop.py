"""The training loop: rollouts, AdamW, a moving average of the weights, early stopping."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..model.atmos import AtmosModel
from ..model.config import ModelConfig
from ..model.features import ModelFeatures, model_features
from .checkpoint import (
    laid_out_like,
    load_checkpoint,
    part,
    restore_optimizer,
    save_checkpoint,
)
from .dataset import Molecule, RolloutSampler, load_molecules
from .losses import rollout_loss

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
LOG = "training.log.jsonl"


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run is told; stored in its checkpoints.

    Attributes
    ----------
    steps: int
        Optimizer steps in all; the learning rate falls to 2 % of its peak by the last one.
    molecules_per_step, rollouts, jumps, levels: int
        A step sees this many draws of molecules, rollouts a draw, jumps a rollout and noise
        levels a frame.
    learning_rate, warmup_steps, weight_decay, clip: float
        AdamW's settings and the bound on the gradient norm.
    ema_decay: float
        Decay of the moving average of the weights, reached gradually.
    lag_range_ps: (float, float)
        Range of the log-uniform lag.
    exchange_fraction: float
        Share of draws from replica-exchange frames.
    held_out: tuple of int
        Held-out trajectories (number modulo 4) for early stopping.
    validate_every, patience: int
        Steps between validations; validations without a better one before stopping.
    seed: int
    atoms: str
        ``all``, or ``heavy`` to leave hydrogens out.
    model: dict
        The network's configuration (:class:`~atmos_openmm.model.config.ModelConfig`).
    """

    steps: int = 20000
    molecules_per_step: int = 1
    rollouts: int = 12
    jumps: int = 2
    levels: int = 4
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema_decay: float = 0.999
    lag_range_ps: tuple[float, float] = (1.0, 400.0)
    exchange_fraction: float = 0.6
    held_out: tuple[int, ...] = (3,)
    validate_every: int = 500
    patience: int = 10
    seed: int = 1
    atoms: Literal["all", "heavy"] = "all"
    model: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return json.loads(json.dumps(asdict(self)))


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then a cosine from 1 to 0.02 at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress))


def describe(molecules: Sequence[Molecule]) -> dict[str, Any]:
    """Return what a model trained on these molecules may declare of its data."""
    frames = [f for m in molecules for f in (*m.dynamics, *m.exchange)]
    temperatures = [f.temperature_kelvin for f in frames]
    return {
        "molecules": sorted({m.name for m in molecules}),
        "elements": sorted({int(z) for m in molecules for z in m.features["ref_element"]}),
        "residues": sorted({name for m in molecules for name in m.residue_names}),
        "max_tokens": max(len(m.features["restype"]) for m in molecules),
        "max_atoms": max(len(m.features["ref_element"]) for m in molecules),
        "temperature_range_kelvin": [min(temperatures), max(temperatures)],
        "frames_dynamics": sum(len(f.positions_angstrom) for m in molecules for f in m.dynamics),
        "frames_exchange": sum(len(f.positions_angstrom) for m in molecules for f in m.exchange),
        "has_exchange": any(m.exchange for m in molecules),
    }


class Trainer:
    """Train :class:`AtmosModel` from trajectory files.

    Parameters
    ----------
    paths: sequence of paths
        Trajectory files.
    folder: Path
        Where checkpoints and the log are written; a run found there is continued at its step.
    settings: TrainingSettings
    device: str
        ``cpu`` or ``cuda``.
    initial_weights: Path, optional
        A checkpoint or training folder whose averaged weights a new run starts from; parameters
        that it does not have start as in any new network. A run that is continued ignores it.

    Raises
    ------
    ValueError
        If the folder holds a run with another network, or the files hold nothing to train on.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        folder: Path,
        settings: TrainingSettings,
        device: str = "cpu",
        initial_weights: Path | None = None,
    ) -> None:
        self.settings = settings
        self.folder = Path(folder)
        self.device = torch.device(device)
        self.config = ModelConfig.from_dict(settings.model)
        train, valid = load_molecules(paths, settings.held_out, settings.atoms, self.config.caps)
        self.sampler = RolloutSampler(
            train,
            jumps=settings.jumps,
            rollouts=settings.rollouts,
            lag_range_ps=settings.lag_range_ps,
            exchange_fraction=settings.exchange_fraction,
            seed=settings.seed,
        )
        self.validation = (
            RolloutSampler(
                valid,
                jumps=settings.jumps,
                rollouts=settings.rollouts,
                lag_range_ps=settings.lag_range_ps,
                exchange_fraction=0.0,
                seed=settings.seed + 1,
            )
            if valid
            else None
        )
        self._features: dict[tuple[bool, int], ModelFeatures] = {}
        torch.manual_seed(settings.seed)
        self.model = AtmosModel(self.config).to(self.device)
        self.fresh_parameters: list[str] = []
        if initial_weights is not None:
            self._start_from(Path(initial_weights))
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.step = 0
        self.best = float("inf")
        self.stale = 0
        self.seconds = 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.exists():
            self._restore(checkpoint)

    def _start_from(self, source: Path) -> None:
        path = source / CHECKPOINT if source.is_dir() else source
        weights = part(load_checkpoint(path)[0], "ema")
        try:
            result = self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise ValueError(
                f"The weights in {path} are of a network with other widths: "
                f"{str(error).splitlines()[-1].strip()} Start from a run of the same --size."
            ) from error
        if result.unexpected_keys:
            raise ValueError(
                f"{path} holds parameters that this network lacks: {result.unexpected_keys[:3]}; "
                "it was written by another version of atmos_openmm."
            )
        self.fresh_parameters = result.missing_keys

    def _restore(self, checkpoint: Path) -> None:
        tensors, state = load_checkpoint(checkpoint)
        if "imported" in state:
            raise ValueError(
                f"{checkpoint} holds imported weights and no run that could be continued. Give it "
                "to --initial-weights, and another folder to --output."
            )
        found = ModelConfig.from_dict(state["settings"]["model"])
        if found != self.config:
            raise ValueError(
                f"{checkpoint} is a run of another network ({found}); expected {self.config}. "
                "Use another folder, or the same model settings."
            )
        self.model.load_state_dict(part(tensors, "model"))
        ema = part(tensors, "ema")
        own = self.model.state_dict()
        self.ema = {name: laid_out_like(ema[name], value) for name, value in own.items()}
        restore_optimizer(self.optimizer, self.model, tensors)
        self.step = int(state["step"])
        self.best = float(state["best"])
        self.stale = int(state["stale"])
        self.seconds = float(state["seconds"])

    def _molecule(self, sampler: RolloutSampler, number: int) -> tuple[Molecule, ModelFeatures]:
        key = (sampler is self.validation, number)
        molecule = sampler.molecules[number]
        if key not in self._features:
            tensors = {k: torch.from_numpy(v) for k, v in molecule.features.items()}
            features = model_features(tensors, self.config)
            self._features[key] = ModelFeatures(*(t.to(self.device) for t in features))
        return molecule, self._features[key]

    def _losses(self, sampler: RolloutSampler, step: int, draw: int) -> dict[str, Tensor]:
        rollouts = sampler.draw(step, draw)
        _, features = self._molecule(sampler, rollouts.molecule)
        generator = torch.Generator().manual_seed(
            (self.settings.seed * 1_000_003 + step) * 64 + draw
        )
        return rollout_loss(
            self.model,
            self.model.context(features),
            features,
            torch.from_numpy(rollouts.positions_angstrom).to(self.device),
            torch.from_numpy(rollouts.lag_ps).to(self.device),
            torch.from_numpy(rollouts.temperature_kelvin).to(self.device),
            self.settings.levels,
            generator,
        )

    def train_step(self) -> dict[str, float]:
        """Do one optimizer step and return its mean losses, gradient norm and learning rate."""
        settings = self.settings
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = {"loss": 0.0, "denoising": 0.0, "distogram": 0.0}
        for draw in range(settings.molecules_per_step):
            losses = self._losses(self.sampler, self.step, draw)
            (losses["loss"] / settings.molecules_per_step).backward()
            for name in total:
                total[name] += float(losses[name].detach()) / settings.molecules_per_step
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip))
        if not torch.isfinite(torch.tensor(norm)):
            # A non-finite gradient would poison the moments: the step is left out and logged.
            self.optimizer.zero_grad(set_to_none=True)
        factor = learning_rate_factor(self.step, settings.warmup_steps, settings.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        self.optimizer.step()
        decay = min(settings.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.values()), list(self.model.state_dict().values()), 1.0 - decay
            )
        self.step += 1
        return total | {"gradient_norm": norm, "learning_rate": settings.learning_rate * factor}

    def validate(self, draws: int = 24) -> float:
        """Return the moving average's denoising loss on held-out trajectories (fixed draws)."""
        if self.validation is None:
            return float("nan")
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema)
        self.model.eval()
        with torch.no_grad():
            values = [
                float(self._losses(self.validation, 0, draw)["denoising"]) for draw in range(draws)
            ]
        self.model.load_state_dict(own)
        return sum(values) / len(values)

    def save(self) -> None:
        """Write the checkpoint."""
        settings = self.settings.to_dict() | {"model": self.config.to_dict()}
        state = {
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "seconds": self.seconds,
            "settings": settings,
            "data": describe(self.sampler.molecules),
        }
        save_checkpoint(self.folder / CHECKPOINT, self.model, self.ema, self.optimizer, state)

    def run(self, report: Callable[[str], None] = print, checkpoint_seconds: float = 120.0) -> bool:
        """Train until the last step or until the held-out loss stops falling.

        Returns
        -------
        bool
            Whether training ended (True) or may go on (a keyboard interrupt: False).
        """
        settings = self.settings
        saved = logged = time.monotonic()
        mean: dict[str, float] = {}
        count = 0
        report(
            f"training from step {self.step} of {settings.steps} on "
            f"{len(self.sampler.molecules)} files, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M parameters"
            + (f", {len(self.fresh_parameters)} of them fresh" if self.fresh_parameters else "")
        )
        try:
            while self.step < settings.steps:
                begun = time.monotonic()
                losses = self.train_step()
                self.seconds += time.monotonic() - begun
                for name, value in losses.items():
                    mean[name] = mean.get(name, 0.0) + value
                count += 1
                due = self.step % settings.validate_every == 0 or self.step == settings.steps
                if due or self.step % 50 == 0:
                    row = {"step": self.step, "seconds": round(self.seconds, 1)}
                    row |= {k: float(f"{v / count:.5g}") for k, v in mean.items()}
                    speed = count / max(1e-9, time.monotonic() - logged)
                    eta = (settings.steps - self.step) / speed
                    mean, count, logged = {}, 0, time.monotonic()
                    if due:
                        row["held_out"] = float(f"{self.validate():.5g}")
                        logged = time.monotonic()
                        if row["held_out"] < self.best:
                            self.best, self.stale = row["held_out"], 0
                        else:
                            self.stale += 1
                    with open(self.folder / LOG, "a") as log:
                        log.write(json.dumps(row) + "\n")
                    report(
                        f"step {self.step}/{settings.steps}  loss {row['loss']:.4f}"
                        + (f"  held-out {row['held_out']:.4f}" if due else "")
                        + f"  {speed:.2f} steps/s  ETA {eta / 60:.0f} min"
                    )
                    if due and self.stale == 0:
                        self.save()
                        self._keep_best()
                    if due and self.stale >= settings.patience:
                        report(
                            f"stopped: no better held-out loss in {settings.patience} validations"
                        )
                        break
                if time.monotonic() - saved > checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self.save()
            report(f"interrupted at step {self.step}; run the same command to go on")
            return False
        self.save()
        return True

    def _keep_best(self) -> None:
        """Keep the moving average of the best validation for the export."""
        temporary = self.folder / (BEST + ".new")
        shutil.copyfile(self.folder / CHECKPOINT, temporary)
        os.replace(temporary, self.folder / BEST)
