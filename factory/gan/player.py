"""Who takes turns in a GAN: a network with its optimizer, and a frozen vision model with the head on top of it.

With several processes every gradient is their mean, so that all of them take the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from factory.gan import ada, diffaugment
from factory.gan.ada import AdaConfig
from factory.gan.bank import VisionModel
from factory.gan.config import CriticConfig
from factory.gan.diffaugment import Policy
from factory.gan.heads import build_head
from factory.gan.losses import discriminator_loss, generator_loss, lazy_adam
from learning.gather import all_reduce_sum, world_size
from learning.guard import FiniteGuard
from learning.loop import load_optimizer


class Player:
    """A network, its optimizer, and the guard that leaves out its steps that are not finite."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.net, self.optimizer, self.guard = net, optimizer, FiniteGuard()
        self.base_rate = optimizer.param_groups[0]["lr"]

    def step(self, loss: Tensor, rate: float) -> float:
        """Go down a loss at a share of the player's own rate; return the gradient's length.

        Raises: NonFiniteError when too many steps in a row were not finite.
        """
        parameters = self.optimizer.param_groups[0]["params"]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)  # a penalty knows nothing of some biases
        gradients = averaged(found)
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        if self.guard.is_finite(loss, norm):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            self.optimizer.param_groups[0]["lr"] = self.base_rate * rate
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.net.load_state_dict(state["net"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.guard.load_state_dict(state["guard"])


class Augmentation:
    """What a judge's images go through: adaptive changes, if any, then fixed policies."""

    def __init__(self, policies: Sequence[Policy], config: AdaConfig | None) -> None:
        self.policies, self.config, self.p = policies, config, 0.0

    def draws(self, rng: np.random.Generator, images: int, rows: slice, device: torch.device) -> Draws:
        """Draw for a whole batch, and keep some of its rows."""
        fixed = diffaugment.draw(rng, images, device)
        columns = diffaugment.Draws(*(column[rows] for column in vars(fixed).values()))
        return Draws(columns, None if self.config is None else ada.draw(rng, images, device)[rows])

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        if draws.adaptive is not None:
            images = ada.augment(images, draws.adaptive, self.p)
        return diffaugment.augment(images, draws.fixed, self.policies)

    def follow(self, logits: Tensor, images: int) -> None:
        """Move p by how many of a batch's real images were called real."""
        if self.config is not None:
            sign = logits.detach().sign().mean()
            self.p = ada.adapted(self.p, float(all_reduce_sum(sign) / world_size()), images, self.config)


@dataclass(frozen=True)
class Draws:
    """What happens to the images of a batch."""

    fixed: diffaugment.Draws
    adaptive: Tensor | None


class Critic(Player):
    """A frozen model that sees, the head that judges, and the augmentation before both."""

    def __init__(
        self, config: CriticConfig, model: VisionModel, classes: int, betas: tuple[float, float], is_mixed: bool
    ) -> None:
        device = model.get_buffer("mean").device
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_mixed)
        head = build_head(config.head, model.widths(), config.width, classes).to(device)
        rate = config.learning_rate
        super().__init__(head, lazy_adam(head.parameters(), learning_rate=rate, betas=betas, interval=None))
        self.config, self.model = config, model
        self.augmentation = Augmentation(config.augment, config.ada)

    def judged(self, images: Tensor, class_ids: Tensor | None) -> list[Tensor]:
        """Return logits of augmented images, a tensor a place."""
        with self.autocast:
            logits = self.net(self.model(images), class_ids)
        return [each.float() for each in logits]

    def learn(
        self, real: Tensor, real_ids: Tensor | None, fake: Tensor, fake_ids: Tensor | None, rate: float, images: int
    ) -> dict[str, float]:
        """Learn to tell two augmented batches apart; `images` real ones are seen by all processes together."""
        on_real, on_fake = self.judged(real, real_ids), self.judged(fake, fake_ids)
        loss = discriminator_loss(on_real, on_fake, self.config.rule, self.config.smoothing)
        self.step(loss, rate)
        self.augmentation.follow(on_real[-1], images)  # the deepest place sees the whole image; maps have many votes
        right = torch.cat([(on_real[-1] > 0).flatten(), (on_fake[-1] < 0).flatten()])
        return {"loss": loss.item(), "accuracy": right.float().mean().item(), "p": self.augmentation.p}

    def persuaded(self, fake: Tensor, class_ids: Tensor | None) -> Tensor:
        """Return what the generator loses by this critic, at its weight."""
        return self.config.weight * generator_loss(
            self.judged(fake, class_ids), self.config.rule, self.config.smoothing
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the frozen model is named in the config."""
        return {**super().state(), "p": self.augmentation.p}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        super().load(state)
        self.augmentation.p = state["p"]


def averaged(tensors: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return the mean of each tensor over all processes, in one collective; what is absent is absent everywhere."""
    if world_size() == 1:
        return tensors
    flat = torch.cat([tensor.flatten() for tensor in tensors if tensor is not None])
    sizes = [tensor.numel() for tensor in tensors if tensor is not None]
    parts = iter(torch.split(all_reduce_sum(flat) / world_size(), sizes))
    # In the memory order that each had: the fused step goes by raw memory.
    return [
        None if tensor is None else torch.empty_like(tensor).copy_(next(parts).view_as(tensor)) for tensor in tensors
    ]
