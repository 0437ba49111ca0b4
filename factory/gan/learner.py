"""The players of a GAN, taking turns on each batch: a generator, its discriminator, and the critics that came in.

Invariant: batch, latents, noise and augmentation are functions of (seed, images_seen); nothing draws from global state.
Every process draws for the whole batch and keeps each world-th row: the groups that the discriminator compares stay
together, and the rows of all processes are those of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from factory.builtin.images import batch_numbers, generator, to_model
from factory.gan.bank import open_model
from factory.gan.config import CriticConfig, GanConfig
from factory.gan.data import Pictures
from factory.gan.discriminator import Discriminator
from factory.gan.losses import discriminator_loss, generator_loss, lazy_adam, path_lengths, squared_gradient
from factory.gan.player import Augmentation, Critic, Player, averaged
from factory.generators.networks import checked, dcgan, network_class
from learning.ema import Ema
from learning.gather import rank, world_size
from learning.schedule import ema_decay
from manifests.errors import UserError

GROUP_IMAGES = 4  # the discriminator's own default
_CRITIC_SEED = 1000  # a head's weights are drawn apart from all else, in the order of coming in


class GanLearner:
    """Trains all players, and keeps the average of the generator's weights and of its styles."""

    def __init__(
        self, config: GanConfig, pictures: Pictures, device: torch.device, critics: Sequence[CriticConfig] = ()
    ) -> None:
        self.config, self.pictures, self.device = config, pictures, device
        self.rows = slice(rank(), None, world_size())
        if config.batch_images % (GROUP_IMAGES * world_size()):
            raise UserError(
                f"batch_images: got {config.batch_images} for {world_size()} processes, expected a multiple of"
                f" {GROUP_IMAGES * world_size()}: the discriminator compares groups of {GROUP_IMAGES}"
            )
        classes = len(pictures.class_names)
        arguments = checked(config.generator.family, config.generator.arguments(classes), "generator")
        torch.manual_seed(config.seed)
        net = network_class(config.generator.family, "generator")(**arguments).to(device)
        if isinstance(net, dcgan.Generator):
            net.learn_statistics()
        self.generator: Any = net
        settings = config.generator.discriminator_arguments(classes, config.discriminator.mapping_layers)
        self.discriminator = Discriminator(**settings).to(device)
        self.average: Ema[Any] = Ema(self.generator)
        self.augmentation = Augmentation(config.augment, config.discriminator.ada)
        self.drawer, self.judge = self._player(config.learning_rate), self._judge_player()
        self.mean_length = torch.zeros((), device=device)
        self.critics: list[Critic] = []
        for critic in critics:
            self.add(critic)

    def _player(self, rate: float) -> Player:
        interval = self.config.path_interval if self.config.path_length else None
        return Player(
            self.generator,
            lazy_adam(self.generator.parameters(), learning_rate=rate, betas=self.config.betas, interval=interval),
        )

    def _judge_player(self) -> Player:
        settings = self.config.discriminator
        interval = self.config.penalty_interval if settings.gamma else None
        parameters = self.discriminator.parameters()
        optimizer = lazy_adam(
            parameters, learning_rate=settings.learning_rate, betas=self.config.betas, interval=interval
        )
        return Player(self.discriminator, optimizer)

    def add(self, config: CriticConfig) -> None:
        """Let a critic come in, with a head of fresh weights.

        Raises: UserError for a model that is not here.
        """
        model = open_model(config.model).to(self.device)
        torch.manual_seed(self.config.seed + _CRITIC_SEED * (1 + len(self.critics)))
        classes, is_mixed = len(self.pictures.class_names), self.config.precision == "bfloat16"
        self.critics.append(Critic(config, model, classes, self.config.betas, is_mixed))

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Show all judges a batch of each kind, penalise now and then, and let the drawer learn from them all."""
        rng = generator(self.config.seed, images_seen)
        reals, real_ids = self._reals(images_seen, batch_images)
        fakes, fake_ids, w_mean = self._fakes(rng, batch_images)
        draws = [self.augmentation.draws(rng, batch_images, self.rows, self.device) for _ in range(3)]
        shown = self.augmentation(reals, draws[0])
        report = self._judge(shown, real_ids, self.augmentation(fakes.detach(), draws[1]), fake_ids, rate)
        if self._is_due(self.config.discriminator.penalty_every_images, images_seen, batch_images, self._gamma):
            report |= self._penalise(shown, real_ids, rate)
        loss = generator_loss([self._judged(self.augmentation(fakes, draws[2]), fake_ids)])
        report["loss_g"] = loss.item()  # by the discriminator alone: whether it is hopeless hangs on no other judge
        for number, critic in enumerate(self.critics):
            taken = [critic.augmentation.draws(rng, batch_images, self.rows, self.device) for _ in range(3)]
            changed = critic.augmentation(reals, taken[0]), critic.augmentation(fakes.detach(), taken[1])
            found = critic.learn(changed[0], real_ids, changed[1], fake_ids, rate, batch_images)
            persuaded = critic.persuaded(critic.augmentation(fakes, taken[2]), fake_ids)
            loss = loss + persuaded
            found["loss_g"] = persuaded.item()
            report |= {f"critic_{number}_{name}": value for name, value in found.items()}
        report["gradient_g"] = self.drawer.step(loss, rate)
        if (lengths := self.config.path_length) and self._is_due(
            lengths.penalty_every_images, images_seen, batch_images, lengths.weight
        ):
            report |= self._straighten(rng, batch_images, rate)
        self._average(w_mean, images_seen + batch_images, batch_images)
        return self._summary(report)

    def _summary(self, report: dict[str, float]) -> dict[str, float]:
        """Report the same on all processes, so that what they decide by it is the same too."""
        skipped = sum(player.guard.skipped for player in (self.drawer, self.judge, *self.critics))
        (values,) = averaged([torch.tensor(list(report.values()), dtype=torch.float64, device=self.device)])
        assert values is not None
        return {**dict(zip(report, values.tolist(), strict=True)), "skipped": float(skipped)}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        adaptive = {"p": self.augmentation.p} if self.config.discriminator.ada else {}
        straight = {"mean_length": self.mean_length} if self.config.path_length else {}
        return {
            "generator": self.drawer.state(),
            "discriminator": self.judge.state(),
            "average": self.average.state_dict(),
            **({"critics": [critic.state() for critic in self.critics]} if self.critics else {}),
            **adaptive,
            **straight,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint; critics that it does not know yet stay as they are."""
        self.drawer.load(state["generator"])
        self.judge.load(state["discriminator"])
        self.average.load_state_dict(state["average"])
        for critic, kept in zip(self.critics, state.get("critics", []), strict=False):
            critic.load(kept)
        self.augmentation.p = state.get("p", 0.0)
        if "mean_length" in state:
            self.mean_length = state["mean_length"].to(self.device)

    def _judge(
        self, shown: Tensor, real_ids: Tensor | None, fakes: Tensor, fake_ids: Tensor | None, rate: float
    ) -> dict[str, float]:
        real, fake = self._judged(shown, real_ids), self._judged(fakes, fake_ids)
        loss = discriminator_loss([real], [fake])
        is_right = torch.cat([real > 0, fake < 0]).float().mean()
        norm = self.judge.step(loss, rate)
        self.augmentation.follow(real, len(real) * world_size())
        adaptive = {"p": self.augmentation.p} if self.config.discriminator.ada else {}
        return {"loss_d": loss.item(), "gradient_d": norm, "judge_accuracy": is_right.item(), **adaptive}

    def _judged(self, images: Tensor, class_ids: Tensor | None) -> Tensor:
        with self._autocast():
            logits: Tensor = self.discriminator(images, class_ids)
        return logits.float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    @property
    def _gamma(self) -> float:
        return self.config.discriminator.gamma

    @staticmethod
    def _is_due(every_images: int, images_seen: int, batch_images: int, weight: float) -> bool:
        return weight > 0 and images_seen % every_images < batch_images

    def _penalise(self, shown: Tensor, class_ids: Tensor | None, rate: float) -> dict[str, float]:
        """Step down R1, as heavy as the batches that go without it together (arXiv:1912.04958, section 3.1).

        Always in float32: the square of a gradient is the first thing that a short mantissa would spoil.
        """
        images = shown.detach().requires_grad_()
        squared = squared_gradient(self.discriminator(images, class_ids), images).mean()
        self.judge.step(squared * (self._gamma / 2 * self.config.penalty_interval), rate)
        return {"squared_gradient": squared.item()}

    def _straighten(self, rng: np.random.Generator, batch_images: int, rate: float) -> dict[str, float]:
        """Step down the path lengths' spread about their running mean, in float32, on a part of a batch."""
        settings = self.config.path_length
        assert settings is not None
        count = max(world_size(), int(batch_images * settings.batch_fraction))
        ws, class_ids, noise, _ = self._styles(rng, count)
        whole = torch.ones(len(ws), device=self.device)
        images = self.generator.synthesize(ws, class_ids, whole, noise)
        lengths = path_lengths(images, ws, self._normal(rng, count, *images.shape[1:]))
        (mean,) = averaged([lengths.detach().mean()])
        assert mean is not None
        share = 1 - 0.5 ** (settings.penalty_every_images / settings.average_half_life_images)
        if torch.isfinite(mean):
            self.mean_length = self.mean_length.lerp(mean, share)
        penalty = (lengths - self.mean_length).square().mean()
        self.drawer.step(penalty * (settings.weight * self.config.path_interval), rate)
        return {"path_length": mean.item()}

    def _average(self, w_mean: Tensor | None, images_seen: int, batch_images: int) -> None:
        lives = self.config.w_average_half_life_images, self.config.average_half_life_images
        forgotten = None if self.config.start else 0.05  # only a random start is to be forgotten soon
        of_w, of_weights = (
            ema_decay(images_seen, batch_images=batch_images, half_life_images=life, warmup_fraction=forgotten)
            for life in lives
        )
        if w_mean is not None and torch.isfinite(w_mean).all():
            self.generator.mapping.w_avg.lerp_(w_mean, 1 - of_w)
        if world_size() > 1:  # statistics of what each process drew
            buffers = [buffer for buffer in self.generator.buffers() if buffer.is_floating_point()]
            for buffer, mean in zip(buffers, averaged(buffers), strict=True):
                buffer.copy_(mean)
        self.average.update(self.generator, of_weights)

    def _reals(self, images_seen: int, batch_images: int) -> tuple[Tensor, Tensor | None]:
        numbers = batch_numbers(self.config.seed, images_seen, batch_images, len(self.pictures))[self.rows]
        return to_model(self.pictures.batch(numbers)).to(self.device), self._class_ids(numbers)

    def _fakes(self, rng: np.random.Generator, batch_images: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Draw images of random pictures' classes, some in two styles; also their mean style, where there are any."""
        ws, class_ids, noise, first = self._styles(rng, batch_images)
        whole = torch.ones(len(ws), device=self.device)
        with self._autocast():
            images = self.generator.synthesize(ws, class_ids, whole, noise)
        has_styles = hasattr(self.generator, "mapping")
        return images.float(), class_ids, first[:, 0].detach().mean(0) if has_styles else None

    def _styles(self, rng: np.random.Generator, images: int) -> tuple[Tensor, Tensor | None, list[Tensor], Tensor]:
        """Draw classes, styles and noise; also the styles before any were mixed."""
        net = self.generator
        class_ids = self._class_ids(rng.integers(len(self.pictures), size=images)[self.rows])
        latents = [self._normal(rng, images, net.z_dim) for _ in range(2)]
        whole = torch.ones(len(latents[0]), device=self.device)
        styles = [net.map(z, class_ids, whole) for z in latents]
        is_second = self._is_second(rng, images)[self.rows] if net.num_layers > 1 else None
        ws = styles[0] if is_second is None else torch.where(is_second[:, :, None], styles[1], styles[0])
        noise = [self._normal(rng, images, 1, *shape) for shape in net.noise_shapes]
        return ws, class_ids, noise, styles[0]

    def _is_second(self, rng: np.random.Generator, batch_images: int) -> Tensor:
        """Say which layers take the second style: those from a random one on, in a share of the images."""
        first = 1 + rng.integers(self.generator.num_layers - 1, size=(batch_images, 1))
        is_mixed = rng.random((batch_images, 1)) < self.config.style_mixing
        return torch.from_numpy(is_mixed & (np.arange(self.generator.num_layers) >= first)).to(self.device)

    def _class_ids(self, numbers: np.ndarray) -> Tensor | None:
        if not self.pictures.class_names:
            return None
        return torch.from_numpy(self.pictures.class_ids[numbers]).to(self.device)

    def _normal(self, rng: np.random.Generator, *shape: int) -> Tensor:
        """Draw for the whole batch and keep this process's rows."""
        return torch.from_numpy(rng.standard_normal(shape, np.float32)[self.rows]).to(self.device)
