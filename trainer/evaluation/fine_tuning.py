"""Fine-tuning a copy of an encoder with a linear classifier on top, on whatever images are labelled.

One schedule for every share of labels, so that nothing is picked on what is scored: AdamW, warm-up and cosine, weak
crops and flips. The classifier starts from zero, so that its first gradients do not tear the encoder apart.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learning.augment import augment, preset
from learning.optim import parameter_groups
from learning.schedule import warmup_cosine
from manifests.seeds import derive, integers, permutation
from trainer.embed import fitted
from trainer.encoders import Encoder
from trainer.optimizers import Group, set_learning_rate

AUGMENTATION = "weak"
_SCORED_IMAGES = 256  # at a time


@dataclass(frozen=True)
class FineTuning:
    """How long and how fast. Units: learning rate at 64 images a batch."""

    epochs: int = 30
    least_images: int = 3_000  # seen at least, however few there are
    batch_images: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1

    def total_images(self, labelled: int) -> int:
        return max(self.least_images, self.epochs * labelled)


class Classifier(nn.Module):
    """An encoder and a linear layer. Shapes: normalised images [n, 3, S, S] -> [n, classes]."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dimensions, classes, device=next(encoder.parameters()).device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(images))
        return logits

    @torch.no_grad()
    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
        """Return the class of images of any size, [N]."""
        self.eval()
        pixels = fitted(images, self.encoder.preprocessing.size_px)  # uint8 [N, 3, S, S]
        found = [self(self._plain(part)).argmax(dim=1).cpu() for part in torch.split(pixels, _SCORED_IMAGES)]
        answers: NDArray[np.int64] = torch.cat(found).numpy()
        return answers

    def _plain(self, pixels: Tensor) -> Tensor:
        return self.encoder.normalize(pixels.to(self.head.weight.device).float() / 255)


def fine_tune(
    encoder: Encoder,
    images: Sequence[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    classes: int,
    *,
    settings: FineTuning = FineTuning(),
    seed: int = 0,
) -> Classifier:
    """Train a copy of the encoder and a classifier; order, crops and flips follow from the seed.

    Shapes: images of any size, labels [N].
    """
    model = Classifier(copy.deepcopy(encoder), classes)
    pixels, targets = fitted(images, encoder.preprocessing.size_px), torch.from_numpy(labels)
    groups: list[Group] = [{**one} for one in parameter_groups(model, weight_decay=settings.weight_decay)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, fused=True)
    batch, total = min(settings.batch_images, len(labels)), settings.total_images(len(labels))
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of what the architecture itself draws, such as dropped paths
        for seen in range(0, total, batch):
            rows = _drawn(len(labels), seen, batch, seed)
            seeds = integers(derive(seed, f"fine-tuning crops {seen}"), "crops", 2**62, (batch,))
            set_learning_rate(optimizer, _learning_rate(seen + batch, total + batch, settings))
            _step(model, optimizer, pixels[rows], torch.from_numpy(seeds), targets[rows])
    return model.eval()


def _step(model: Classifier, optimizer: torch.optim.Optimizer, pixels: Tensor, seeds: Tensor, targets: Tensor) -> None:
    device, encoder = model.head.weight.device, model.encoder
    crops = augment(pixels.to(device), seeds.to(device), preset(AUGMENTATION), encoder.preprocessing.size_px)
    loss = cross_entropy(model.train()(encoder.normalize(crops)), targets.to(device))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def _drawn(count: int, seen: int, batch: int, seed: int) -> Tensor:
    """Return which images come next: every one once an epoch, batches across the border."""
    slots = np.arange(seen, seen + batch)
    epochs = {int(e): permutation(seed, f"fine-tuning epoch {e}", count) for e in np.unique(slots // count)}
    return torch.tensor([int(epochs[int(slot // count)][slot % count]) for slot in slots])


def _learning_rate(images_seen: int, total: int, settings: FineTuning) -> float:
    warmup = round(settings.warmup_fraction * total)
    return warmup_cosine(images_seen, peak=settings.learning_rate, warmup_images=warmup, total_images=total)
