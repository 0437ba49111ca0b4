"""LaplaceNet's training: a classifier learns few labels, then also what a graph of its own features says of the rest.

Half of each batch is labelled, half is not; an image counts by the certainty and the rarity of its (pseudo-)label.
An encoder that is told the time learns which: t = sigmoid(p). Source: Sellars et al., arXiv:2106.04527 section 3;
the learned t: Abstreiter et al., arXiv:2105.14257 section 4.2.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learning.augment import augment, preset
from learning.loop import load_optimizer
from learning.optim import parameter_groups
from manifests.seeds import derive, integers
from trainer.encoders import Encoder
from trainer.optimizers import Group, set_learning_rate
from trainer.semi_supervised.graph import NEIGHBOURS, PseudoLabels, spread_labels

_SCORED_IMAGES = 256  # at a time


@dataclass(frozen=True)
class SemiSupervision:
    """How a classifier learns from few labels; `alone_images` are the labelled ones that it sees before the rest."""

    alone_images: int = 3_000
    refresh_images: int = 4_000
    neighbours: int = NEIGHBOURS
    augmentation: str = "weak"
    weight_decay: float = 0.05
    seed: int = 0


class TimedClassifier(nn.Module):
    """A copy of an encoder, a linear layer, and the time that suits it. Shapes: [n, 3, S, S] -> [n, classes]."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder)
        self.head = nn.Linear(encoder.dimensions, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.log_odds = nn.Parameter(torch.zeros(1)) if encoder.timed else None

    def features(self, images: Tensor) -> Tensor:
        """Return the encoder's features at the learned time. Shapes: [n, 3, S, S] -> [n, D]."""
        times = None if self.log_odds is None else self.log_odds.sigmoid().expand(len(images))
        found: Tensor = self.encoder(images, times)
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    @torch.no_grad()
    def over(self, pixels: Tensor, *, is_graph: bool) -> Tensor:
        """Return features, or logits, of images as they are. Shapes: uint8 [N, 3, S, S] -> [N, …]."""
        self.eval()
        see = self.features if is_graph else self.forward
        parts = [see(self.encoder.normalize(part.float() / 255)) for part in torch.split(pixels, _SCORED_IMAGES)]
        return torch.cat(parts)


class SemiSupervised:
    """A learner of learning.loop. Shapes: pixels uint8 [N, 3, S, S]; labels int64 [N], -1 for none."""

    def __init__(
        self, encoder: Encoder, pixels: Tensor, labels: Tensor, classes: int, settings: SemiSupervision
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = TimedClassifier(encoder, classes)
        self.pixels, self.labels, self.classes, self.settings = pixels, labels, classes, settings
        self.labelled, self.others = (labels >= 0).nonzero()[:, 0], (labels < 0).nonzero()[:, 0]
        groups: list[Group] = [{**one} for one in parameter_groups(self.model, weight_decay=settings.weight_decay)]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.guessed = PseudoLabels(labels.clamp(min=0), (labels >= 0).double())
        self.refreshed_at = -1

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Learn from the next batch, of labelled images alone at first."""
        is_alone = images_seen < self.settings.alone_images or not len(self.others)
        if not is_alone:
            self._refresh(images_seen)
        rows = self._drawn(images_seen, batch_images, is_alone)
        seeds = integers(derive(self.settings.seed, f"crops {images_seen}"), "crops", 2**62, (len(rows),))
        side = self.model.encoder.preprocessing.size_px
        crops = augment(self.pixels[rows], torch.from_numpy(seeds), preset(self.settings.augmentation), side)
        torch.manual_seed(derive(self.settings.seed, f"step {images_seen}") >> 1)
        losses = cross_entropy(
            self.model.train()(self.model.encoder.normalize(crops)), self.guessed.labels[rows], reduction="none"
        )
        loss = (losses * self._weights(rows).to(losses.dtype)).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        return {"loss": float(loss.detach()), **self._told()}

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "labels": self.guessed.labels,
            "certainty": self.guessed.certainty,
            "refreshed_at": self.refreshed_at,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.guessed = PseudoLabels(state["labels"], state["certainty"])
        self.refreshed_at = state["refreshed_at"]

    def _told(self) -> dict[str, float]:
        certainty = self.guessed.certainty[self.others]
        told = {"certainty": float(certainty.mean()) if len(certainty) else 1.0}
        if self.model.log_odds is not None:
            told["time"] = float(self.model.log_odds.detach().sigmoid())
        return told

    def _refresh(self, images_seen: int) -> None:
        """Draw the graph anew once in every `refresh_images`."""
        due = images_seen // self.settings.refresh_images
        if due == self.refreshed_at:
            return
        features = self.model.over(self.pixels, is_graph=True)
        self.guessed = spread_labels(features, self.labels, self.classes, self.settings.neighbours)
        self.refreshed_at = due

    def _drawn(self, images_seen: int, batch_images: int, is_alone: bool) -> Tensor:
        known = batch_images if is_alone else batch_images // 2
        parts = []
        for name, rows, count in (("known", self.labelled, known), ("others", self.others, batch_images - known)):
            if count:
                drawn = integers(derive(self.settings.seed, f"{name} {images_seen}"), name, len(rows), (count,))
                parts.append(rows[torch.from_numpy(drawn)])
        return torch.cat(parts)

    def _weights(self, rows: Tensor) -> Tensor:
        """Certainty over the class's share of all labels, so that frequent guesses do not drown the others."""
        mass = torch.zeros(self.classes, dtype=torch.float64)
        mass.index_add_(0, self.guessed.labels, self.guessed.certainty)
        rarity = mass.sum() / (self.classes * mass.clamp(min=1.0))
        return self.guessed.certainty[rows] * rarity[self.guessed.labels[rows]]
