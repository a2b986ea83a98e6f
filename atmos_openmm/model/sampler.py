"""The sampler's settings and noise levels (AF3 Algorithm 18; EDM, Karras et al. 2022)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from .config import ModelConfig


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of the diffusion sampler.

    Before each step the noise is raised by the factor ``1 + churn`` with fresh noise, which lets
    later steps mend what earlier ones got wrong; the step towards the denoised frame is longer
    than the plain one by ``step_scale``.

    Attributes
    ----------
    steps : int
        Evaluations of the denoiser a frame.
    sigma_max, sigma_min : float
        First and smallest noise level, angstrom.
    rho : float
        Exponent of the schedule (EDM Eq. 5).
    ends_at_zero : bool
        Whether the smallest level of the schedule is replaced by zero (Protenix) rather than
        followed by it (EDM).
    churn : float
        AF3's gamma_0.
    churn_above : float
        Noise is raised only for steps that end above this level, angstrom (AF3's gamma_min).
    noise_scale : float
        AF3's lambda.
    step_scale : float
        AF3's eta.
    augment : bool
        Whether the frame is centred, turned and moved at random before each step, which a
        decoder that is not equivariant needs.
    """

    steps: int = 16
    sigma_max: float = 10.0
    sigma_min: float = 0.03
    rho: float = 7.0
    ends_at_zero: bool = False
    churn: float = 0.8
    churn_above: float = -1.0
    noise_scale: float = 1.0
    step_scale: float = 1.2
    augment: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0.0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"Found {self.steps} steps from {self.sigma_max} to {self.sigma_min} angstrom; "
                "expected at least one step and 0 < sigma_min < sigma_max."
            )
        if self.churn < 0.0 or self.step_scale <= 0.0 or self.noise_scale <= 0.0:
            raise ValueError(
                f"Found churn {self.churn}, step_scale {self.step_scale} and noise_scale "
                f"{self.noise_scale}; expected a churn of 0 or more and positive scales."
            )

    def noise_levels(self) -> list[float]:
        """Return ``steps + 1`` falling noise levels in angstrom, the last 0."""
        high, low = self.sigma_max ** (1.0 / self.rho), self.sigma_min ** (1.0 / self.rho)
        intervals = self.steps if self.ends_at_zero else max(1, self.steps - 1)
        ramp = [i / intervals for i in range(self.steps)]
        return [(high + t * (low - high)) ** self.rho for t in ramp] + [0.0]

    def churns(self) -> list[float]:
        """Return the factor, less one, by which the noise is raised before each step."""
        return [self.churn if end > self.churn_above else 0.0 for end in self.noise_levels()[1:]]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> SamplerSettings:
        """Build settings from :meth:`to_dict`'s result.

        Raises
        ------
        ValueError
            If a name is unknown or a value makes no sense.
        """
        known = {field.name for field in fields(SamplerSettings)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"Unknown sampler settings {unknown}; expected some of {sorted(known)}."
            )
        return SamplerSettings(**values)


def default_sampler(config: ModelConfig) -> SamplerSettings:
    """Return the sampler's defaults for a configuration: Protenix's for the Cartesian one.

    Protenix's base models take 200 steps for a structure out of nothing and 20 in its own short
    rollouts; a jump starts from a latent that knows the frame before, so 20 are taken here.
    """
    if config.coordinates == "cartesian":
        return SamplerSettings(
            steps=20,
            sigma_max=160.0 * config.sigma_data,
            sigma_min=4e-4 * config.sigma_data,
            ends_at_zero=True,
            churn_above=1.0,
            noise_scale=1.003,
            step_scale=1.5,
            augment=True,
        )
    return SamplerSettings()
