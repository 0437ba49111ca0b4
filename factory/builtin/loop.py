"""The training loop that the autoencoder and the denoiser share.

Invariant: all that is random is a function of (seed, images_seen): a resumed run equals an uninterrupted one exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from learning import checkpoint
from learning.guard import StopSignal

LINE_STEPS = 50


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast; the end may be moved on resume, up to the start of the cool-down."""

    images: int
    batch_images: int
    learning_rate: float
    warmup_images: int
    cooldown_images: int
    checkpoint_images: int

    def rate(self, images_seen: int) -> float:
        """Return the learning rate: a linear warm-up, a plateau, and a linear cool-down to 0 at `images`."""
        rising = (images_seen + self.batch_images) / self.warmup_images
        falling = (self.images - images_seen) / self.cooldown_images
        return self.learning_rate * max(0.0, min(1.0, rising, falling))


class Learner(Protocol):
    """What the loop trains."""

    def parameters(self) -> list[torch.nn.Parameter]: ...

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]: ...

    def after_step(self, images_seen: int, batch_images: int) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


def train(
    learner: Learner,
    schedule: Schedule,
    out: Path,
    say: Callable[[dict[str, float]], None],
    preview: Callable[[int], None] | None = None,
) -> None:
    """Train to `schedule.images`, from the newest checkpoint under `out` if there is one; SIGTERM saves and stops.

    Raises: KeyboardInterrupt when stopped early.
    """
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    images_seen = _resume(learner, optimizer, out)
    window = Window()
    with StopSignal() as stop:
        while images_seen < schedule.images and not stop.requested:
            report = _step(learner, optimizer, schedule, images_seen)
            images_seen += schedule.batch_images
            learner.after_step(images_seen, schedule.batch_images)
            window.add(report)
            is_last = images_seen >= schedule.images or stop.requested
            if window.steps == LINE_STEPS or is_last:
                line = {"images_seen": images_seen, "lr": schedule.rate(images_seen)}
                line |= window.means(schedule.batch_images)
                _append(out / "metrics.jsonl", line)
                say(line)
                window = Window()
            if images_seen % schedule.checkpoint_images < schedule.batch_images or is_last:
                state = {"learner": learner.state(), "optimizer": optimizer.state_dict()}
                checkpoint.save(out / "checkpoints", state, images_seen=images_seen)
                if preview is not None:
                    preview(images_seen)
    if stop.requested:
        raise KeyboardInterrupt(f"stopped at {images_seen} images; run the same command again to go on")


class Window:
    """Means over the steps of one metrics line."""

    def __init__(self) -> None:
        self.steps, self.sums, self.start_s = 0, dict[str, float](), time.monotonic()

    def add(self, report: dict[str, float]) -> None:
        """Count one step."""
        self.steps += 1
        for name, value in report.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self, batch_images: int) -> dict[str, float]:
        """Return the means and the speed so far."""
        seconds = max(time.monotonic() - self.start_s, 1e-9)
        means = {name: total / self.steps for name, total in self.sums.items()}
        return {**means, "images_per_s": self.steps * batch_images / seconds}


def _resume(learner: Learner, optimizer: torch.optim.Optimizer, out: Path) -> int:
    found = checkpoint.load_newest(out / "checkpoints")
    if found is None:
        return 0
    images_seen, state = found
    learner.load(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    _lay_out_like_parameters(optimizer)
    return images_seen


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments their parameters' memory order: files keep none, and the fused step goes by raw memory."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _step(learner: Learner, optimizer: torch.optim.Optimizer, schedule: Schedule, images_seen: int) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(images_seen)
    loss, report = learner.loss(images_seen, schedule.batch_images)
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    if torch.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": loss.item(), "grad_norm": norm.item(), **report}


def _append(path: Path, line: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
