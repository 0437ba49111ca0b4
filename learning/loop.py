"""The training loop of everything that is trained on one machine: one player or more, whatever a step of theirs is.

Invariant: all that is random is a function of (seed, images_seen): a resumed run equals an uninterrupted one exactly.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from learning import checkpoint
from learning.gather import collective_device, rank, wait_for_all
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
    """What the loop trains: its networks with their optimizers."""

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Learn from the next batch at the schedule's rate; return numbers for the metrics."""

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint must keep."""

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""


def train(
    learner: Learner,
    schedule: Schedule,
    out: Path,
    say: Callable[[dict[str, float]], None],
    preview: Callable[[int], None] | None = None,
    *,
    until_images: int | None = None,
) -> int:
    """Train to `schedule.images`, from the newest checkpoint under `out` if there is one; SIGTERM saves and stops.

    `until_images` ends a part of the schedule before its end.
    Returns the images seen: more than asked for, where a run that is longer already was gone on with.
    A line of metrics never straddles a checkpoint, so that a resumed run writes the same lines.
    Of several processes the first one writes, and the others wait for it.
    Raises: KeyboardInterrupt when stopped early; what `say` raises at a line, before its checkpoint.
    """
    images_seen = _resume(learner, out)
    end_images = schedule.images if until_images is None else min(schedule.images, until_images)
    window, is_stopped = Window(), False
    with StopSignal() as stop:
        while images_seen < end_images and not is_stopped:
            rate = schedule.rate(images_seen)
            window.add(learner.step(images_seen, schedule.batch_images, rate))
            images_seen += schedule.batch_images
            is_stopped = stop.requested_anywhere(collective_device())
            is_last = images_seen >= end_images or is_stopped
            is_saved = images_seen % schedule.checkpoint_images < schedule.batch_images or is_last
            if window.steps == LINE_STEPS or is_saved:
                line = {"images_seen": images_seen, "lr": rate, **window.means(schedule.batch_images)}
                if rank() == 0:
                    _append(out / "metrics.jsonl", line)
                say(line)
            if is_saved:
                _save(learner, out, images_seen, preview)
            if window.steps == LINE_STEPS or is_saved:
                window = Window()  # only now: its speed is that of the steps
    if is_stopped:
        raise KeyboardInterrupt(f"stopped at {images_seen} images; run the same command again to go on")
    return images_seen


def _save(learner: Learner, out: Path, images_seen: int, preview: Callable[[int], None] | None) -> None:
    if rank() == 0:
        checkpoint.save(out / "checkpoints", learner.state(), images_seen=images_seen)
        if preview is not None:
            preview(images_seen)
    wait_for_all()


class Window:
    """Means over the steps of one metrics line; a number that only some steps report is their mean alone."""

    def __init__(self) -> None:
        self.steps, self.found, self.start_s = 0, dict[str, list[float]](), time.monotonic()

    def add(self, report: dict[str, float]) -> None:
        """Count one step."""
        self.steps += 1
        for name, value in report.items():
            self.found.setdefault(name, []).append(value)

    def means(self, batch_images: int) -> dict[str, float]:
        """Return the means and the speed so far."""
        seconds = max(time.monotonic() - self.start_s, 1e-9)
        means = {name: sum(values) / len(values) for name, values in self.found.items()}
        return {**means, "images_per_s": self.steps * batch_images / seconds}


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments in their parameters' memory order: files keep none, and the fused step goes by raw memory."""
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _resume(learner: Learner, out: Path) -> int:
    images_seen, state = checkpoint.load_newest(out / "checkpoints") or (0, None)
    if state is not None:
        learner.load(state)
    if rank() == 0:
        _forget_lines_after(out / "metrics.jsonl", images_seen)
    wait_for_all()
    return images_seen


def _forget_lines_after(path: Path, images_seen: int) -> None:
    """Cut off what a killed run wrote after its last checkpoint: it will be written again, and tells one history."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["images_seen"] <= images_seen]
    part = path.with_suffix(".part")
    part.write_text("".join(kept), encoding="utf-8")
    os.replace(part, path)


def _append(path: Path, line: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: value if math.isfinite(value) else None for name, value in line.items()}) + "\n")
