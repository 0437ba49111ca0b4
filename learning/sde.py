"""The two diffusions of score-based models, as the Gaussian kernel p(x_t | x_0) that training needs of them.

x_t = mean(t) · x_0 + std(t) · ε for t in [0, 1]. Source: Song et al., arXiv:2011.13456, section 3.4 and appendix B; the
exploding one begins at x_0 with σ(0) = sigma_min already added, as its authors' code does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

EARLIEST = 1e-5  # no time is drawn before: the score of undisturbed images may not exist
Levels = Literal["time", "sigma"]


class Sde(Protocol):
    """A diffusion with a Gaussian kernel."""

    def kernel(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std of x_t for x_0 = 1. Shapes: [n] -> [n], [n]."""

    def time_of(self, std: Tensor) -> Tensor:
        """Return the time at which the kernel has that std. Shapes: [n] -> [n]."""


@dataclass(frozen=True)
class VarianceExploding:
    """dx = sigma(t) · sqrt(2 log(sigma_max / sigma_min)) dw, with sigma(t) = sigma_min (sigma_max / sigma_min)^t."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def kernel(self, times: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(times), self.sigma_min * (times * self._log_ratio).exp()

    def time_of(self, std: Tensor) -> Tensor:
        return (std / self.sigma_min).log() / self._log_ratio

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class VariancePreserving:
    """dx = -beta(t) / 2 · x dt + sqrt(beta(t)) dw, with beta(t) = beta_min + t (beta_max - beta_min)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def kernel(self, times: Tensor) -> tuple[Tensor, Tensor]:
        log_mean = -times.square() * (self.beta_max - self.beta_min) / 4 - times * self.beta_min / 2
        return log_mean.exp(), (-torch.expm1(2 * log_mean)).sqrt()

    def time_of(self, std: Tensor) -> Tensor:
        a, b = (self.beta_max - self.beta_min) / 4, self.beta_min / 2
        minus_log_mean = -torch.log1p(-std.square()) / 2  # a t² + b t, whose root is written without cancellation
        return 2 * minus_log_mean / (b + (b * b + 4 * a * minus_log_mean).sqrt())


def spread_times(uniforms: Tensor, sde: Sde, levels: Levels) -> Tensor:
    """Turn numbers in [0, 1) into times that are uniform themselves, or whose std is.

    Uniform std stresses strong noise, so what an image is; uniform time its fine detail (arXiv:2105.14257 section 4).
    """
    if levels == "time":
        return EARLIEST + (1 - EARLIEST) * uniforms
    ends = torch.tensor([EARLIEST, 1.0], dtype=torch.float64, device=uniforms.device)
    low, high = sde.kernel(ends)[1].unbind()
    return sde.time_of(low + (high - low) * uniforms).clamp(EARLIEST, 1.0)
