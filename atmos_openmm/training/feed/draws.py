"""Draws of a stage: a molecule or a crop of it, its frames, lags and temperatures, as a Batch.

A draw is a function of (seed, stage, draw number) and the files alone: whoever makes it, in
whatever order, gets the same bits.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data.crop import choose_crop, crop_features, spatial_crop
from ...data.faults import DataFileError, Fault, Policy
from ...model.model_features import ModelFeatures, model_features
from ...model.torsion_features import TorsionFeatures
from ...systems.errors import FeatureError
from ..batch import Batch
from ..training_settings import TrainingSettings
from .drawn_frames import FEWEST_SEEN, check_frames
from .frame_batch import batch_of_frames, torsions_to_train
from .picking import Picks, pick_dynamics, pick_exchange, pick_static, read_picks
from .schedule import Schedule
from .seen import Seen
from .trainset import Pool, TrainingMolecule, TrainingSet

if TYPE_CHECKING:
    from ...systems.features import MoleculeFeatures

__all__ = ["Draw", "Drawer"]

CACHE_BYTES = 2**29
"""Features that a process keeps."""
NAME_BYTES = 64
"""Of a name in memory."""
CROP_TRIES = 8
_FRAMES, _CROP = 3, 4  # streams of random numbers; `schedule` has 1 and 2


class Draw(NamedTuple):
    """One draw.

    Attributes
    ----------
    number : int
        Within the stage.
    pool : str
        The entry of `StageSettings.shares` that it is from.
    kind : str
        Of its samples: ``static``, ``dynamics``, ``exchange``.
    batch : Batch
    seen : Seen
        What a model trained on it may declare.
    faults : tuple of Fault
        Why molecules whose turn it was were left out, another taking their place; empty under
        ``stop``.
    """

    number: int
    pool: str
    kind: str
    batch: Batch
    seen: Seen
    faults: tuple[Fault, ...] = ()


@dataclass
class _Known:
    """What is kept of a molecule: features, the network's where it is drawn whole, their size."""

    features: MoleculeFeatures
    nbytes: int
    whole: ModelFeatures | None = None
    torsions: TorsionFeatures | None = None


class Drawer:
    """Make the draws of one stage.

    Small and picklable apart from what it keeps, so that worker processes can have one each.

    Parameters
    ----------
    training_set : TrainingSet
    settings : TrainingSettings
    stage : int
        Number of the stage in `settings.stages`.
    seed : int, optional
        Another one than the settings', for draws of the validation.
    on_error : str
        What happens when a molecule or its frames cannot be used: ``stop`` raises; ``skip`` takes
        the molecule that follows in the pool's epoch and tells of it in `Draw.faults`. Which one
        that is depends on the draw's number and the files alone.
    cache_bytes : int
        Bound on the features of molecules that are kept; those not used for longest go first.

    Attributes
    ----------
    stage : StageSettings
    pools : list of Pool
    note : str
        One line about what the data lack; may be empty.
    schedule : Schedule

    Raises
    ------
    ValueError
        The stage wants nothing that the data hold; an unknown policy.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        settings: TrainingSettings,
        stage: int = 0,
        *,
        seed: int | None = None,
        on_error: Policy = "stop",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if on_error not in ("stop", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected 'stop' or 'skip'.")
        self.settings = settings
        self.stage = settings.stages[stage]
        self.number = stage
        self.seed = settings.seed if seed is None else seed
        self.on_error = on_error
        self.cache_bytes = cache_bytes
        self.pools: list[Pool] = training_set.pools(self.stage)
        self.note = training_set.note(self.stage)
        sizes = [len(pool.molecules) for pool in self.pools]
        shares = [pool.share for pool in self.pools]
        self.schedule = Schedule(sizes, shares, self.seed, stage)
        self._forget()

    def _forget(self) -> None:
        self._known: OrderedDict[Any, _Known] = OrderedDict()
        self._faulty: dict[Any, Fault] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_known", "_faulty")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def draw(self, number: int, step: int) -> Draw:
        """Make a draw.

        Parameters
        ----------
        number : int
            Of the draw within the stage.
        step : int
            Of the stage: how many jumps a rollout has (`StageSettings.jumps_at`). Structures
            without time have one, and so have less those whose runs are shorter.

        Raises
        ------
        DataFileError, FeatureError
            Under ``stop``, a molecule that cannot be used; under ``skip``, where none of the pool
            can.
        """
        faults: list[Fault] = []
        size = len(self.pools[self.schedule.draw(number)[0]].molecules)
        for attempt in range(size):
            place, molecule = self.schedule.draw(number, attempt)
            pool = self.pools[place]
            chosen = pool.molecules[molecule]
            try:
                kind, batch, seen = self._made(chosen, number, step, attempt)
            except (DataFileError, FeatureError) as error:
                if self.on_error == "stop":
                    raise
                faults.append(_as_fault(chosen, error))
                continue
            return Draw(number, pool.name, kind, batch, seen, tuple(faults))
        raise DataFileError(
            Fault(
                faults[0].path,
                faults[0].entry,
                faults[0].kind,
                f"none of the {size} molecules of the pool can be used; of this one: "
                f"{faults[0].message}",
            )
        )

    def _made(
        self, molecule: TrainingMolecule, number: int, step: int, attempt: int
    ) -> tuple[str, Batch, Seen]:
        known = self._features(molecule)
        features = known.features
        rng = np.random.default_rng([_FRAMES, self.seed, self.number, number, attempt])
        kind = molecule.kinds[int(rng.integers(len(molecule.kinds)))]
        picks = self._picks(rng, molecule, kind, step)
        x = read_picks(picks, features.atom_indices)
        resolved = picks.samples[int(picks.sample[0, 0])].resolved(features)
        check_frames(picks, x, features, resolved)
        limit, of_torsions = self.stage.crop_tokens, self.stage.losses.torsions > 0.0
        if limit is not None and features.num_tokens > limit:
            seed = [_CROP, self.seed, self.number, number, attempt]
            part = crop_features(features, _crop(features, x[0, 0], limit, seed, resolved))
            atoms = np.searchsorted(features.atom_indices, part.atom_indices)
            x, resolved = x[:, :, atoms], resolved[atoms]
            static = model_features(part.tensors(), self.settings.model)
            torsions = torsions_to_train(part) if of_torsions else None
        else:
            part = features
            if known.whole is None:
                known.whole = model_features(part.tensors(), self.settings.model)
                known.torsions = torsions_to_train(part) if of_torsions else None
                known.nbytes += sum(t.nbytes for t in (*known.whole, *(known.torsions or ())))
                self._bound()
            static, torsions = known.whole, known.torsions
        lags, kelvin = picks.lag_ps, picks.temperature_kelvin
        batch = batch_of_frames(molecule.name, part, static, x, resolved, lags, kelvin, torsions)
        return kind, batch, _seen(molecule.name, kind, features, picks)

    def _picks(
        self, rng: np.random.Generator, molecule: TrainingMolecule, kind: str, step: int
    ) -> Picks:
        samples = molecule.of_kind(kind)
        jumps, rollouts = self.stage.jumps_at(step), self.stage.rollouts
        if kind == "dynamics":
            return pick_dynamics(rng, samples, jumps, rollouts, self.stage.lag_range_ps)
        if kind == "exchange":
            return pick_exchange(rng, samples, jumps, rollouts)
        return pick_static(rng, samples, rollouts)

    def _features(self, molecule: TrainingMolecule) -> _Known:
        key = molecule.key
        if key in self._faulty:
            raise DataFileError(self._faulty[key])
        if key not in self._known:
            try:
                found = molecule.features(self.settings.atoms, self.settings.model.caps)
            except (DataFileError, FeatureError) as error:
                # Kept, so that the next epoch does not read the file in vain.
                self._faulty[key] = _as_fault(molecule, error)
                raise
            names = NAME_BYTES * (found.num_atoms + found.num_tokens)
            arrays = sum(a.nbytes for a in found.arrays().values())
            self._known[key] = _Known(found, arrays + names)
            self._bound()
        self._known.move_to_end(key)
        return self._known[key]

    def _bound(self) -> None:
        """Forget the molecules not used for longest; the last is in use."""
        total = sum(known.nbytes for known in self._known.values())
        while total > self.cache_bytes and len(self._known) > 1:
            total -= self._known.popitem(last=False)[1].nbytes


def _as_fault(molecule: TrainingMolecule, error: DataFileError | FeatureError) -> Fault:
    if isinstance(error, DataFileError):
        return error.fault
    path = molecule.samples[0].provenance.path
    return Fault(path, molecule.name, "chemistry", str(error))


def _crop(
    features: MoleculeFeatures,
    x: NDArray[np.float32],
    tokens: int,
    seed: list[int],
    resolved: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Choose a crop that holds something that was seen."""
    for k in range(CROP_TRIES):
        chosen = choose_crop(features, x, tokens, [*seed, k], resolved=resolved)
        if resolved[np.isin(features.atom_to_token, chosen)].sum() >= FEWEST_SEEN:
            return chosen
    return spatial_crop(features, x, tokens, [*seed, CROP_TRIES, 1], resolved=resolved)


def _seen(name: str, kind: str, features: MoleculeFeatures, picks: Picks) -> Seen:
    moving = kind != "static"
    kelvin = picks.temperature_kelvin
    return Seen(
        frozenset([name]),
        frozenset(features.residue_names),
        frozenset(np.unique(features.ref_element).tolist()),
        frozenset([kind]),
        features.num_tokens,
        features.num_atoms,
        (float(kelvin.min()), float(kelvin.max())) if moving else None,
        picks.lag_range_ps if moving else None,
    )
