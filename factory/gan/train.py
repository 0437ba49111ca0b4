"""`python -m factory train-gan`: a GAN from a data set to a generator's folder. To resume, run the command again.

generator.json, generator.safetensors     what may be rendered from: the newest averaged weights
training/run.json                         what is pinned when the run starts, and checked when it goes on
training/…                                checkpoints, metrics.jsonl, quality.jsonl, grids, both players' weights
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from factory.gan import quality
from factory.gan.config import GanConfig
from factory.gan.data import open_pictures
from factory.gan.folder import write_folder
from factory.gan.learner import GanLearner
from factory.gan.sampling import grid
from factory.numerics import pick_device
from factory.recipe import difference
from learning import loop
from learning.checkpoint import CheckpointError
from learning.guard import NonFiniteError
from manifests.checkout import code_commit
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.target import check_folder, only_writer, replaced

Say = Callable[[str], None]

HOPELESS_LOSS = 50.0  # the judge gives what it is shown a chance of e^-50: there is nothing left to learn from it


class Run:
    """A run's folder, its data and its players."""

    def __init__(self, url: str, out: Path, config: GanConfig, say: Say) -> None:
        self.out, self.config, self.say = out, config, say
        self.device = torch.device(pick_device(config.device, learns=True))
        torch.set_num_threads(config.threads)
        pinned = _pinned(out)
        self.training, self.unseen = open_pictures(
            url,
            size_px=config.generator.resolution,
            is_conditional=config.conditional,
            held_out=config.held_out,
            root=pinned.get("data_root"),
        )
        self.facts = pinned or {"data_root": self.training.dataset.root, "code": code_commit()}
        self._check_same(pinned)
        self.learner = GanLearner(config, self.training, self.device)
        self._yardstick: quality.Yardstick | None = None

    def describe(self) -> dict[str, Any]:
        """Return everything that is decided before the first step."""
        nets = {"generator": self.learner.generator, "discriminator": self.learner.discriminator}
        return {
            "config": self.config.model_dump(mode="json"),
            "data": {
                "root": self.training.dataset.root,
                "training_images": len(self.training),
                "held_out_images": len(self.unseen),
                "classes": self.training.class_names,
            },
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
        }

    def go(self) -> None:
        """Train to the end, or go on with the run.

        Raises: UserError on divergence; ConflictError while another process trains here; KeyboardInterrupt when
            stopped early, with a checkpoint.
        """
        if self.config.quality is not None:
            quality.check_extractor()
        check_folder(self.out)
        with only_writer(self.out / "training"):
            self._pin()
            self._train()

    def _train(self) -> None:
        try:
            images_seen = loop.train(self.learner, self.config.schedule, self.out / "training", self._tell, self._keep)
        except NonFiniteError as error:
            raise UserError(f"{self.out}: training diverged: {error}") from None
        except CheckpointError as error:
            raise CorruptError(f"{self.out}: {error}") from None
        self._measure(images_seen)
        self._write(images_seen)

    def _tell(self, line: dict[str, float]) -> None:
        left_s = max(0, self.config.images - line["images_seen"]) / line["images_per_s"]
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in line.items() if name != "images_seen")
        self.say(f"{line['images_seen']:,} of {self.config.images:,} images  {numbers}  left {left_s / 3600:.2f} h")
        if line["loss_g"] > HOPELESS_LOSS or line["loss_d"] > HOPELESS_LOSS:
            raise UserError(
                f"{self.out}: training diverged: losses {line['loss_g']:.4g} and {line['loss_d']:.4g} at"
                f" {line['images_seen']} images, expected below {HOPELESS_LOSS:g}: raise discriminator.gamma or lower"
                " the learning rates, and begin anew"
            )

    def _keep(self, images_seen: int) -> None:
        """After each checkpoint: draw the grid, measure if it is time, write the folder."""
        path = self.out / "training" / "grids" / f"{images_seen:09d}.png"
        with replaced(path) as part:
            grid(self.learner.average.module, self.config.seed, self.device).save(part, "PNG")
        every_images = self.config.quality.every_images if self.config.quality else None
        if every_images and images_seen % every_images < self.config.batch_images:
            self._measure(images_seen)
        self._write(images_seen)

    def _measure(self, images_seen: int) -> None:
        path = self.out / "training" / "quality.jsonl"
        if self.config.quality is None or images_seen in quality.measured(path):
            return
        if self._yardstick is None:
            folder = self.out / "training"
            self._yardstick = quality.Yardstick(self.training, self.unseen, folder, self.config.seed)
        net, images = self.learner.average.module, self.config.quality.samples_images
        numbers = {"images_seen": images_seen, **self._yardstick.measure(net, images, self.device)}
        if images_seen >= self.config.images:
            numbers |= self._yardstick.measure_held_out()
        quality.note(path, numbers)
        self.say(json.dumps(numbers))

    def _write(self, images_seen: int) -> None:
        config, learner = self.config, self.learner
        classes = len(self.training.class_names)
        found = quality.measured(self.out / "training" / "quality.jsonl").values()
        description = {
            "family": config.generator.family,
            "arguments": config.generator.arguments(classes),
            "class_names": self.training.class_names,
            "licence": config.licence or self.training.dataset.version.licence or "unknown",
            "discriminator": config.generator.discriminator_arguments(classes, config.discriminator.mapping_layers),
            "made_from": {
                "name": config.name,
                "command": "python -m factory train-gan",
                **self.facts,
                "training_images": len(self.training),
                "images_seen": images_seen,
                "config": config.model_dump(mode="json"),
                "quality": max(found, key=lambda line: int(line["images_seen"]), default=None),
            },
        }
        nets = {"average": learner.average.module, "G": learner.generator, "D": learner.discriminator}
        write_folder(self.out, description, nets, getattr(torch, config.dtype))

    def _check_same(self, pinned: dict[str, Any]) -> None:
        if pinned and (lines := difference(pinned["identity"], self.config.identity())):
            raise ConflictError(f"{self.out} holds another run: {'; '.join(lines)}: choose a new folder")

    def _pin(self) -> None:
        path = self.out / "training" / "run.json"
        if not path.exists():
            with replaced(path) as part:
                part.write_text(json.dumps({**self.facts, "identity": self.config.identity()}, indent=1) + "\n")


def _pinned(out: Path) -> dict[str, Any]:
    path = out / "training" / "run.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists and is no run of train-gan: choose a new or empty folder")
    return {}
