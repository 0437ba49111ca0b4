"""A step of the trainer's loop beside a bare loop written by hand, both fed from memory with the same augmentation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.pairs import Row, ratio_row, seconds

if TYPE_CHECKING:
    from trainer.config import RunConfig
    from trainer.state import TrainingState
    from trainer.stream import Batch, Stream

GROUPS, VIEWS, SIZE_PX = 64, 2, 64
WARM_UP, TIMED = 2, 17
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "vit_tiny_patch16_224": {"img_size": SIZE_PX, "patch_size": 8},
}


def measure(out: Path) -> list[Row]:
    """Time steps of both loops in turns, for a convolutional backbone and a transformer."""
    return [_measure(backbone, arguments) for backbone, arguments in BACKBONES.items()]


class Alternating:
    """A stream that takes a bare step before it hands out a batch, and times both until it is asked again."""

    wait_s = 0.0
    unreadable: dict[str, str]

    def __init__(self, bare_step: Callable[[], object], batch: Batch) -> None:
        self.unreadable = {}
        self.speeds: list[float] = []  # of ours, as a fraction of the bare step before it
        self._bare_step, self._batch = bare_step, batch

    def __iter__(self) -> Generator[Batch]:
        while True:
            bare_s = seconds(self._bare_step)
            began = time.perf_counter()
            yield self._batch
            self.speeds.append(bare_s / (time.perf_counter() - began))


def _measure(backbone: str, arguments: dict[str, Any]) -> Row:
    from accelerate import Accelerator

    from trainer.config import RunConfig
    from trainer.pretrain import train
    from trainer.run import Run
    from trainer.state import TrainingState

    batch_images = GROUPS * VIEWS
    config = RunConfig.model_validate(
        {
            "images": (WARM_UP + TIMED + 1) * batch_images,  # the last step is not timed
            "batch_images": batch_images,
            "data": {"views": VIEWS},
            "encoder": {"backbone": backbone, "arguments": arguments, "size_px": SIZE_PX},
        }
    )
    accelerator = Accelerator(mixed_precision="no")
    state = TrainingState(config, accelerator.device)
    batch = _batch()
    stream = Alternating(bare_loop(TrainingState(config, accelerator.device), config, batch), batch)
    with tempfile.TemporaryDirectory() as folder:
        train(Run(Path(folder), config, []), state, cast("Stream", stream), accelerator)
    return ratio_row(f"step: {backbone}, {SIZE_PX} px, {batch_images} images", stream.speeds[WARM_UP:], goal=0.97)


def bare_loop(state: TrainingState, config: RunConfig, batch: Batch) -> Callable[[], object]:
    """Return one step of StableRep on the same networks, as a page of PyTorch has it; only they are taken from us."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    from learning.augment import augment, normalise

    backbone, head = state.objective.encoder.backbone, cast("torch.nn.Module", state.objective.head)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    pixels = batch.images.flatten(0, 1).permute(0, 3, 1, 2)
    ids = batch.ids.repeat_interleave(VIEWS)
    own = torch.eye(len(ids), dtype=torch.bool)
    targets = ((ids[:, None] == ids) & ~own).float()
    targets /= targets.sum(dim=1, keepdim=True)
    crop = state.objective.crops[0]

    def step() -> None:
        seeds = torch.randint(2**62, (len(pixels),))
        images = normalise(augment(pixels, seeds, crop.augmentation, crop.size_px), (0.5,) * 3, (0.5,) * 3)
        embeddings = normalize(head(backbone(images.contiguous(memory_format=torch.channels_last))))
        logits = embeddings @ embeddings.T / config.objective.temperature  # type: ignore[union-attr]
        loss = cross_entropy(logits.masked_fill(own, -1e9), targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def _batch() -> Batch:
    import torch

    from trainer.stream import Batch

    torch.manual_seed(0)
    images = torch.randint(256, (GROUPS, VIEWS, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
    ids, labels = torch.arange(GROUPS), torch.full((GROUPS,), -1)
    return Batch(images, ids, ids.clone(), labels, torch.arange(GROUPS * VIEWS).view(GROUPS, VIEWS), None)
