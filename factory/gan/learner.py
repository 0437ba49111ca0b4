"""The two players: a StyleGAN2 generator and its discriminator, taking turns on each batch.

Invariant: batch, latents, noise and augmentation are functions of (seed, images_seen); nothing draws from global state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from factory.builtin.images import batch_numbers, generator, to_model
from factory.gan.config import GanConfig
from factory.gan.data import Pictures
from factory.gan.diffaugment import Draws, augment, draw
from factory.gan.discriminator import Discriminator
from factory.gan.losses import discriminator_loss, generator_loss, lazy_adam, squared_gradient
from factory.generators.networks.stylegan2 import Generator
from learning.ema import Ema
from learning.guard import FiniteGuard
from learning.loop import load_optimizer
from learning.schedule import ema_decay


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
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # a penalty knows nothing of some biases
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


class GanLearner:
    """Trains both players, and keeps the average of the generator's weights and of its styles."""

    def __init__(self, config: GanConfig, pictures: Pictures, device: torch.device) -> None:
        self.config, self.pictures, self.device = config, pictures, device
        classes = len(pictures.class_names)
        torch.manual_seed(config.seed)
        self.generator = Generator(**config.generator.arguments(classes)).to(device)
        settings = config.generator.discriminator_arguments(classes, config.discriminator.mapping_layers)
        self.discriminator = Discriminator(**settings).to(device)
        self.average = Ema(self.generator)
        interval = config.penalty_interval if config.discriminator.gamma else None
        rates = config.learning_rate, config.discriminator.learning_rate
        self.drawer = Player(
            self.generator,
            lazy_adam(self.generator.parameters(), learning_rate=rates[0], betas=config.betas, interval=None),
        )
        self.judge = Player(
            self.discriminator,
            lazy_adam(self.discriminator.parameters(), learning_rate=rates[1], betas=config.betas, interval=interval),
        )

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Show the judge a batch of each kind, penalise its gradient now and then, and let the drawer learn from it."""
        rng = generator(self.config.seed, images_seen)
        reals, real_ids = self._reals(images_seen, batch_images)
        fakes, fake_ids, w_mean = self._fakes(rng, batch_images)
        draws = [draw(rng, batch_images, self.device) for _ in range(3)]
        shown = self._augment(reals, draws[0])
        report = self._judge(shown, real_ids, self._augment(fakes.detach(), draws[1]), fake_ids, rate)
        if self._is_penalised(images_seen, batch_images):
            report |= self._penalise(shown, real_ids, rate)
        loss = generator_loss(self._judged(self._augment(fakes, draws[2]), fake_ids))
        report |= {"loss_g": loss.item(), "gradient_g": self.drawer.step(loss, rate)}
        self._average(w_mean, images_seen + batch_images, batch_images)
        return {**report, "skipped": float(self.drawer.guard.skipped + self.judge.guard.skipped)}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "generator": self.drawer.state(),
            "discriminator": self.judge.state(),
            "average": self.average.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.drawer.load(state["generator"])
        self.judge.load(state["discriminator"])
        self.average.load_state_dict(state["average"])

    def _judge(
        self, shown: Tensor, real_ids: Tensor | None, fakes: Tensor, fake_ids: Tensor | None, rate: float
    ) -> dict[str, float]:
        real, fake = self._judged(shown, real_ids), self._judged(fakes, fake_ids)
        loss = discriminator_loss(real, fake)
        is_right = torch.cat([real > 0, fake < 0]).float().mean()
        norm = self.judge.step(loss, rate)
        return {"loss_d": loss.item(), "gradient_d": norm, "judge_accuracy": is_right.item()}

    def _judged(self, images: Tensor, class_ids: Tensor | None) -> Tensor:
        with self._autocast():
            logits: Tensor = self.discriminator(images, class_ids)
        return logits.float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _is_penalised(self, images_seen: int, batch_images: int) -> bool:
        settings = self.config.discriminator
        return settings.gamma > 0 and images_seen % settings.penalty_every_images < batch_images

    def _penalise(self, shown: Tensor, class_ids: Tensor | None, rate: float) -> dict[str, float]:
        """Step down R1, as heavy as the batches that go without it together (arXiv:1912.04958, section 3.1).

        Always in float32: the square of a gradient is the first thing that a short mantissa would spoil.
        """
        images = shown.detach().requires_grad_()
        squared = squared_gradient(self.discriminator(images, class_ids), images).mean()
        self.judge.step(squared * (self.config.discriminator.gamma / 2 * self.config.penalty_interval), rate)
        return {"squared_gradient": squared.item()}

    def _average(self, w_mean: Tensor, images_seen: int, batch_images: int) -> None:
        lives = self.config.w_average_half_life_images, self.config.average_half_life_images
        of_w, of_weights = (ema_decay(images_seen, batch_images=batch_images, half_life_images=life) for life in lives)
        if torch.isfinite(w_mean).all():
            self.generator.mapping.w_avg.lerp_(w_mean, 1 - of_w)
        self.average.update(self.generator, of_weights)

    def _reals(self, images_seen: int, batch_images: int) -> tuple[Tensor, Tensor | None]:
        numbers = batch_numbers(self.config.seed, images_seen, batch_images, len(self.pictures))
        return to_model(self.pictures.batch(numbers)).to(self.device), self._class_ids(numbers)

    def _fakes(self, rng: np.random.Generator, batch_images: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Draw images of random pictures' classes, some in two styles; also their mean style."""
        net = self.generator
        class_ids = self._class_ids(rng.integers(len(self.pictures), size=batch_images))
        whole = torch.ones(batch_images, device=self.device)
        styles = [net.map(self._normal(rng, batch_images, net.z_dim), class_ids, whole) for _ in range(2)]
        ws = torch.where(self._is_second(rng, batch_images)[:, :, None], styles[1], styles[0])
        noise = [self._normal(rng, batch_images, 1, *shape) for shape in net.noise_shapes]
        with self._autocast():
            images = net.synthesize(ws, class_ids, whole, noise)
        return images.float(), class_ids, styles[0][:, 0].detach().mean(0)

    def _is_second(self, rng: np.random.Generator, batch_images: int) -> Tensor:
        """Say which layers take the second style: those from a random one on, in a share of the images."""
        first = 1 + rng.integers(self.generator.num_layers - 1, size=(batch_images, 1))
        is_mixed = rng.random((batch_images, 1)) < self.config.style_mixing
        return torch.from_numpy(is_mixed & (np.arange(self.generator.num_layers) >= first)).to(self.device)

    def _class_ids(self, numbers: np.ndarray) -> Tensor | None:
        if not self.pictures.class_names:
            return None
        return torch.from_numpy(self.pictures.class_ids[numbers]).to(self.device)

    def _augment(self, images: Tensor, draws: Draws) -> Tensor:
        return augment(images, draws, self.config.augment)

    def _normal(self, rng: np.random.Generator, *shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32)).to(self.device)
