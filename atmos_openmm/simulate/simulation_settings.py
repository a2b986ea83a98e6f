"""All that decides a simulation of training data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MODES", "SimulationSettings"]

MODES = ("dynamics", "exchange", "both")
HOT_KELVIN = 400.0  # above it the shorter time step is used
_POSITIVE = ("length_ps", "interval_ps", "exchange_interval_ps", "chunk_ps", "timestep_fs",
             "hot_timestep_fs")  # fmt: skip
_NOT_NEGATIVE = ("burn_in_ps", "hot_ps")


@dataclass(frozen=True)
class SimulationSettings:
    """All that decides a run. Lengths are picoseconds, temperatures kelvin, time steps fs.

    Attributes
    ----------
    mode : str
        ``dynamics``, ``exchange`` or ``both`` (one after the other, into one file).
    temperatures : tuple of float
        Increasing. Dynamics runs at each of them, exchange between them.
    copies : int
        Copies of the molecule at each temperature; in exchange the number of ladders.
    length_ps : float
        Length that is stored, of each copy.
    interval_ps : float
        Time between frames.
    exchange_interval_ps : float
        Time between attempts to exchange.
    burn_in_ps : float
        Run before frames are stored, in both modes.
    hot_ps : float
        Exchange only: run at the highest temperature before the burn-in, to scatter the starts.
    starts : tuple of str
        Names of `systems.peptides.BASINS`, dealt out to the copies in turn, or ``as-given``.
    chunk_ps : float
        What a kill can lose at most.

    Raises
    ------
    ValueError
        Settings that make no sense, alone or together.
    """

    mode: str = "dynamics"
    temperatures: tuple[float, ...] = (300.0,)
    copies: int = 16
    length_ps: float = 100.0
    interval_ps: float = 1.0
    exchange_interval_ps: float = 1.0
    burn_in_ps: float = 5.0
    hot_ps: float = 0.0
    starts: tuple[str, ...] = ("beta", "alphaR", "alphaL", "ppII")
    seed: int = 1
    forcefield: tuple[str, ...] = ("amber14-all.xml", "implicit/gbn2.xml")
    timestep_fs: float = 4.0
    hot_timestep_fs: float = 3.0
    chunk_ps: float = 5.0
    platform: str = "CPU"

    def __post_init__(self) -> None:
        from ..systems.peptides import BASINS

        if self.mode not in MODES:
            raise ValueError(f"Unknown mode {self.mode!r}; use one of {', '.join(MODES)}.")
        if self.copies < 1:
            raise ValueError(f"The number of copies must be at least 1; found {self.copies}.")
        if not 0 < self.seed < 2**31:
            raise ValueError(f"The seed must be between 1 and 2147483647; found {self.seed}.")
        unknown = [s for s in self.starts if s not in BASINS and s != "as-given"]
        if unknown or not self.starts:
            raise ValueError(f"Unknown start {unknown}; use {', '.join(BASINS)} or as-given.")
        self._check_temperatures()
        self._check_times()

    def _check_temperatures(self) -> None:
        if not self.temperatures or any(t <= 0 for t in self.temperatures):
            raise ValueError("Give at least one temperature, in kelvin, above zero.")
        if list(self.temperatures) != sorted(set(self.temperatures)):
            raise ValueError(f"Temperatures must increase; found {self.temperatures}.")
        if self.mode != "dynamics" and len(self.temperatures) < 2:
            raise ValueError(
                "Replica exchange needs at least two temperatures, e.g. 300,360,432,520."
            )

    def _check_times(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero; found {getattr(self, name)}.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative; found {getattr(self, name)}.")
        if self.interval_ps > self.length_ps:
            raise ValueError(
                f"One frame every {self.interval_ps} ps in {self.length_ps} ps stores none; "
                "choose a shorter interval or a longer run."
            )
        if self.mode != "dynamics":
            ratio = self.interval_ps / self.exchange_interval_ps
            whole = max(ratio, 1.0 / ratio)
            if abs(whole - round(whole)) > 1e-6:
                raise ValueError(
                    f"The frame interval ({self.interval_ps} ps) and the exchange interval "
                    f"({self.exchange_interval_ps} ps) must be multiples of each other."
                )

    def timestep_for(self, temperature_kelvin: float) -> float:
        """Time step in fs at a temperature."""
        if temperature_kelvin > HOT_KELVIN:
            return min(self.timestep_fs, self.hot_timestep_fs)
        return self.timestep_fs

    def starts_of(self, mode: str, temperature_index: int) -> list[str]:
        """Start of each copy at one temperature; ladders begin in different basins."""
        shift = temperature_index if mode == "exchange" else 0
        return [self.starts[(m + shift) % len(self.starts)] for m in range(self.copies)]
