"""What a checkpoint holds: weights, optimizer, average, guard and the images seen. Everything else is derived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from learning.ema import Ema
from learning.guard import FiniteGuard, RunningStatistics
from learning.schedule import ema_decay, warmup_cosine
from trainer.begin import begin_with, checkpoint_activations
from trainer.config import RunConfig
from trainer.data_facts import DataFacts
from trainer.objectives import build_objective
from trainer.objectives.objective import Objective
from trainer.optimizers import build_optimizer, set_learning_rate
from trainer.sharded import check_shardable, moments_like, parts_like, shard, whole


class TrainingState:
    """A run's changing part; a fresh one is a function of the config alone."""

    def __init__(self, config: RunConfig, device: torch.device, facts: DataFacts = DataFacts()) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.images_seen = 0
        self.saved_at = 0  # images seen at the newest checkpoint
        self.objective = build_objective(config, facts).to(device)
        if not config.fully_sharded:  # which cuts contiguous weights only
            self.objective = self.objective.to(memory_format=torch.channels_last)
        if config.init is not None:
            begin_with(self.objective, Path(config.init))
        if config.gradient_checkpointing:
            checkpoint_activations(self.objective)
        self.ema = None if config.ema_half_life_images is None else Ema(self.objective)
        if config.fully_sharded:
            check_shardable(self.objective, config)
            for one in (self.objective, *([] if self.ema is None else [self.ema.module])):
                shard(one)
        self.optimizer = build_optimizer(self.objective, config.optimizer, config.learning_rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.guard = FiniteGuard(config.skip_budget)
        self.statistics = RunningStatistics(self.objective)

    @property
    def exported(self) -> Objective:
        """The objective whose weights are handed on: the average, where one is kept."""
        if self.ema is None:
            return self.objective
        average: Objective = self.ema.module
        return average

    @property
    def learning_rate(self) -> float:
        """The rate of the next step: the schedule's in the middle of its batch, so that no step has rate 0."""
        return warmup_cosine(
            self.images_seen + self.config.batch_images // 2,
            peak=self.config.learning_rate,
            warmup_images=self.config.warmup_images,
            total_images=self.config.images,
        )

    def step(self, loss: Tensor) -> Tensor | None:
        """Clip, step, average and count the images; None if some rank's numbers were not finite and nobody stepped.

        Returns the gradient norm before clipping.
        """
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.objective.parameters() if p.requires_grad]
        norm: Tensor = whole(clip_grad_norm_(parameters, self.config.optimizer.clip_norm))
        set_learning_rate(self.optimizer, self.learning_rate)
        self.images_seen += self.config.batch_images
        taken = self.guard.is_finite(loss, norm)
        if taken:
            self.scaler.step(self.optimizer)
            self.objective.after_step(self.images_seen)
            self._average()
        self.statistics.settle(keep=taken)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm if taken else None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load` takes; all ranks must ask."""
        state = {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "guard": self.guard.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return {name: whole(value) for name, value in state.items()} if self.config.fully_sharded else state

    def load(self, images_seen: int, state: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self.images_seen = self.saved_at = images_seen
        self.objective.load_state_dict(parts_like(state["objective"], self.objective))
        self.optimizer.load_state_dict(moments_like(state["optimizer"], self.optimizer))
        self._restore_strides()
        if self.ema is not None:
            self.ema.load_state_dict(parts_like(state["ema"], self.ema.module))
        self.guard.load_state_dict(state["guard"])
        self.scaler.load_state_dict(state["scaler"])
        self.statistics.settle(keep=True)

    def _average(self) -> None:
        if self.ema is not None and self.config.ema_half_life_images is not None:
            decay = ema_decay(
                self.images_seen,
                batch_images=self.config.batch_images,
                half_life_images=self.config.ema_half_life_images,
            )
            self.ema.update(self.objective, decay)

    def _restore_strides(self) -> None:
        """Lay the optimizer's moments out like their weights: its fused step walks through memory, not by index."""
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
