"""One network, one loss, one AdamW: how the autoencoder, the text encoder and the denoiser go through the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from learning import loop
from learning.checkpoint import CheckpointError
from manifests.errors import CorruptError
from manifests.target import only_writer


class Objective(Protocol):
    """What is trained, and what it costs."""

    def parameters(self) -> list[torch.nn.Parameter]: ...

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]: ...

    def after_step(self, images_seen: int, batch_images: int) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


def train(
    objective: Objective,
    schedule: loop.Schedule,
    out: Path,
    say: Callable[[dict[str, float]], None],
    preview: Callable[[int], None] | None = None,
) -> None:
    """Train to the schedule's end, from the newest checkpoint under `out` if there is one; SIGTERM saves and stops.

    Raises: KeyboardInterrupt when stopped early; ConflictError while another process trains here; CorruptError where
        no checkpoint is whole any more.
    """
    with only_writer(out):
        try:
            loop.train(Descent(objective), schedule, out, say, preview)
        except CheckpointError as error:
            raise CorruptError(f"{out}: {error}") from None


class Descent:
    """Goes down one objective with AdamW, its gradient clipped to length 1."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.optimizer = torch.optim.AdamW(
            objective.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
        )

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Take one step; one with a gradient that is not finite is left out."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, report = self.objective.loss(images_seen, batch_images)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.after_step(images_seen + batch_images, batch_images)
        return {"loss": loss.item(), "grad_norm": norm.item(), **report}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"learner": self.objective.state(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.objective.load(state["learner"])
        loop.load_optimizer(self.optimizer, state["optimizer"])
