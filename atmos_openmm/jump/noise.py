"""Stateless noise: every number is a function of (seed, stream, attempt).

Nothing is drawn from a generator with memory, so a jump can be repeated from its number alone, a
checkpoint holds no generator, and walkers may run in any order. The 64-bit mixer is SplitMix64
(Steele, Lea and Flood, OOPSLA 2014), used as a hash of a counter; normal deviates follow from
Box and Muller's transform.

`AtmosIntegrator` computes the same numbers in C++. Both sides call the C library's `log`, `sqrt`,
`cos` and `sin`, in the same order, so that they agree bit for bit; numpy's own vectorised versions
may differ in the last bit and are not used for them.
"""

from __future__ import annotations

import math
import secrets

import numpy as np
from numpy.typing import NDArray

PROPOSAL_STREAM = 0
VELOCITY_STREAM = 1
ACCEPTANCE_STREAM = 2
MOVE_STREAM = 3
TRAJECTORY_STREAM = 4
EXCHANGE_STREAM = 5
TRIAL_STREAM = 6
TRIAL_ACCEPTANCE_STREAM = 7

_MASK = 0xFFFFFFFFFFFFFFFF
_TWO_PI = 2.0 * math.pi
_TO_UNIT = 2.0**-53


def mix(value: int) -> int:
    """Scramble a 64-bit unsigned integer (the finaliser of SplitMix64)."""
    z = (value + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def noise_key(seed: int, stream: int, attempt: int) -> int:
    """The 64-bit key from which all numbers of one (seed, stream, attempt) are derived."""
    return mix(mix(mix(seed & _MASK) ^ (stream & _MASK)) ^ (attempt & _MASK))


def _unit(scrambled: int) -> float:
    """A 64-bit number as one in (0, 1]."""
    return ((scrambled >> 11) + 0.5) * _TO_UNIT


class NoiseStream:
    """Numbers of one (seed, stream, attempt), drawn one after the other.

    For moves, which need another number of uniform and normal deviates each time. A normal deviate
    takes two uniform ones and keeps the cosine.

    Parameters
    ----------
    seed, stream, attempt : int
        See `uniform`.
    """

    def __init__(self, seed: int, stream: int, attempt: int) -> None:
        self._key = noise_key(seed, stream, attempt)
        self._count = 0

    def uniform(self) -> float:
        """Return a deviate in (0, 1]."""
        value = _unit(mix((self._key + self._count) & _MASK))
        self._count += 1
        return value

    def normal(self) -> float:
        """Return a standard normal deviate."""
        radius = math.sqrt(-2.0 * math.log(self.uniform()))
        return radius * math.cos(_TWO_PI * self.uniform())

    def index(self, count: int) -> int:
        """Return one of 0 .. count - 1, each as likely, by one uniform deviate."""
        return min(int(self.uniform() * count), count - 1)


def uniform(seed: int, stream: int, attempt: int, count: int) -> NDArray[np.float64]:
    """Uniform deviates in (0, 1].

    Parameters
    ----------
    seed : int
        the run's seed; negative numbers count as their 64-bit two's complement
    stream : int
        what the numbers are for: one of `PROPOSAL_STREAM`, `VELOCITY_STREAM`,
        `ACCEPTANCE_STREAM`, `MOVE_STREAM`, `TRAJECTORY_STREAM`, `EXCHANGE_STREAM`,
        `TRIAL_STREAM` and `TRIAL_ACCEPTANCE_STREAM`
    attempt : int
        the number of the jump, from 0
    count : int
        how many numbers

    Returns
    -------
    numpy.ndarray, shape [count], float64
    """
    with np.errstate(over="ignore"):
        z = np.uint64(noise_key(seed, stream, attempt)) + np.arange(count, dtype=np.uint64)
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * _TO_UNIT


def normal(seed: int, stream: int, attempt: int, count: int) -> NDArray[np.float64]:
    """Standard normal deviates (Box and Muller), in double.

    Parameters are those of `uniform`. An odd `count` drops the last sine.

    Returns
    -------
    numpy.ndarray, shape [count], float64
    """
    pairs = (count + 1) // 2
    u = uniform(seed, stream, attempt, 2 * pairs).tolist()
    values = np.empty(2 * pairs, dtype=np.float64)
    for j in range(pairs):
        radius = math.sqrt(-2.0 * math.log(u[2 * j]))
        angle = _TWO_PI * u[2 * j + 1]
        values[2 * j] = radius * math.cos(angle)
        values[2 * j + 1] = radius * math.sin(angle)
    return values[:count]


def proposal_noise(seed: int, attempt: int, count: int) -> NDArray[np.float32]:
    """The noise handed to the module with one proposal: `normal` rounded to single precision."""
    return normal(seed, PROPOSAL_STREAM, attempt, count).astype(np.float32)


def fresh_seed() -> int:
    """A positive 31-bit seed from the operating system."""
    return secrets.randbelow(2**31 - 1) + 1


def walker_seed(seed: int, walker: int) -> int:
    """The seed of one walker of a run: the run's own for the first, hashed for the others.

    Hashed ones are in 1 .. 2^31 - 1, so that they also fit `Integrator.setRandomNumberSeed`.
    """
    if walker == 0:
        return seed
    return mix(mix(seed & _MASK) ^ walker) % (2**31 - 1) + 1
