"""`python -m factory train-gan`: a GAN from a data set to a generator's folder. To resume, run the command again.

generator.json, generator.safetensors     what may be rendered from: the best averaged weights so far
training/run.json                         what is pinned when the run starts, and checked when it goes on
training/…                                checkpoints, metrics.jsonl, quality.jsonl, grids, both players' weights
training/phase-1 …                        the parts in which vision models judge too (factory/gan/phases.py)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from factory.gan import phases, quality
from factory.gan.bank import open_model
from factory.gan.config import GanConfig
from factory.gan.data import open_pictures
from factory.gan.folder import write_folder
from factory.gan.learner import GanLearner
from factory.gan.phases import Phase
from factory.gan.processes import join_processes
from factory.gan.sampling import grid
from factory.gan.start import open_start
from factory.numerics import pick_device
from factory.recipe import difference
from learning import checkpoint, loop
from learning.checkpoint import CheckpointError
from learning.gather import rank, wait_for_all
from learning.guard import NonFiniteError
from manifests.checkout import code_commit
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.target import check_folder, only_writer, replaced

Say = Callable[[str], None]

HOPELESS_LOSS = 50.0  # the judge gives what it is shown a chance of e^-50: there is nothing left to learn from it


class Run:
    """A run's folder, its data and its players."""

    def __init__(self, url: str, out: Path, config: GanConfig, say: Say) -> None:
        self.out, self.config = out, config
        self.device = join_processes() or torch.device(pick_device(config.device, learns=True))
        self.say = say if rank() == 0 else _silent
        torch.set_num_threads(config.threads)
        pinned = _pinned(out)
        self.training, self.unseen = open_pictures(
            url,
            size_px=config.generator.resolution,
            is_conditional=config.conditional,
            held_out=config.held_out,
            root=pinned.get("data_root"),
        )
        self.facts = pinned or self._facts()
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
            quality.check_extractor(self.config.quality.extractor)
        if self.config.bank is not None:
            for member in self.config.bank.members:
                open_model(member.model)  # whoever is missing is missed before hours are spent
        check_folder(self.out)
        with only_writer(self.out / "training") if rank() == 0 else nullcontext():
            if rank() == 0:
                self._pin()
            wait_for_all()
            self._train()

    def _train(self) -> None:
        """Go through the parts from the newest that was begun."""
        parts = phases.phases(self.config, self.out / "training")
        try:
            newest = max(part.number for part in parts if part.is_begun)
            if newest == 0 and checkpoint.load_newest(parts[0].folder / "checkpoints") is None:
                self._start(parts[0])
            for part in parts[newest:]:
                self._enter(part, parts[part.number - 1])
                images_seen = self._train_part(part)
        except NonFiniteError as error:
            raise UserError(f"{self.out}: training diverged: {error}") from None
        except CheckpointError as error:
            raise CorruptError(f"{self.out}: {error}") from None
        if rank() == 0:
            self._measure(images_seen)
            self._write_best(images_seen)
        wait_for_all()

    def _start(self, part: Phase) -> None:
        """Begin with another folder's players; what they draw is measured, so that only what is better replaces it."""
        found = open_start(self.config, self.training.class_names)
        if found is None:
            return
        found.take_up(self.learner, self.facts["start"])
        if rank() == 0:
            self._measure(0)
            self._write_best(0)
            if self.config.bank:
                phases.keep_best(part, self.out / "training" / "quality.jsonl", self.learner, 0)
        wait_for_all()

    def _enter(self, part: Phase, before: Phase) -> None:
        """Let a part's critics come in; the first to come here decides who they are."""
        self.part = part
        if part.number == 0:
            return
        bank = self.config.bank
        assert bank is not None
        if rank() == 0 and not (part.folder / phases.RECORD).exists():
            for critic in phases.critics_of(before)[len(self.learner.critics) :]:
                self.learner.add(critic)
            phases.decide(part, before, bank, self.learner, self.training)
        wait_for_all()
        for critic in phases.critics_of(part)[len(self.learner.critics) :]:
            self.learner.add(critic)
        if rank() == 0 and not part.is_begun:
            phases.begin(part, before, self.learner)
            self.say(json.dumps({"part": part.number, **phases.read_record(part)}))
        wait_for_all()

    def _train_part(self, part: Phase) -> int:
        """Train to a part's end; first do what a kill may have left undone after its newest checkpoint."""
        found = checkpoint.load_newest(part.folder / "checkpoints")
        if found is not None and rank() == 0 and not self._is_first(part, found[0]):
            self.learner.load(found[1])
            self._keep(found[0])
        wait_for_all()
        schedule = self.config.schedule
        return loop.train(self.learner, schedule, part.folder, self._tell, self._keep, until_images=part.until_images)

    @staticmethod
    def _is_first(part: Phase, images_seen: int) -> bool:
        return part.number > 0 and images_seen == phases.read_record(part)["images_seen"]

    def _tell(self, line: dict[str, float]) -> None:
        """Say a line, and stop on what is hopeless; on all processes alike."""
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
        """After each checkpoint: draw the grid, measure if it is time, write the folder if it is the best."""
        path = self.out / "training" / "grids" / f"{images_seen:09d}.png"
        with replaced(path) as part:
            grid(self.learner.average.module, self.config.seed, self.device).save(part, "PNG")
        every_images = self.config.quality.every_images if self.config.quality else None
        if every_images and images_seen % every_images < self.config.batch_images:
            self._measure(images_seen)
        if self.config.bank:
            phases.keep_best(self.part, self.out / "training" / "quality.jsonl", self.learner, images_seen)
        self._write_best(images_seen)

    def _measure(self, images_seen: int) -> None:
        path = self.out / "training" / "quality.jsonl"
        if self.config.quality is None or images_seen in quality.measured(path):
            return
        if self._yardstick is None:
            folder, extractor = self.out / "training", self.config.quality.extractor
            self._yardstick = quality.Yardstick(extractor, self.training, self.unseen, folder, self.config.seed)
        net, images = self.learner.average.module, self.config.quality.samples_images
        numbers = {"images_seen": images_seen, **self._yardstick.measure(net, images, self.device)}
        if images_seen >= self.config.images:
            numbers |= self._yardstick.measure_held_out()
        quality.note(path, numbers)
        self.say(json.dumps(numbers))

    def _write_best(self, images_seen: int) -> None:
        """Write the folder unless an earlier generator measured better; one that was never measured is the newest."""
        found = quality.measured(self.out / "training" / "quality.jsonl")
        if quality.best(found) in (None, images_seen):
            self._write(images_seen, found.get(images_seen))

    def _write(self, images_seen: int, measured: dict[str, Any] | None) -> None:
        config, learner = self.config, self.learner
        classes = len(self.training.class_names)
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
                **({"critics": [vars(critic.model.facts) for critic in learner.critics]} if learner.critics else {}),
                "quality": measured,
            },
        }
        nets = {"average": learner.average.module, "G": learner.generator, "D": learner.discriminator}
        write_folder(self.out, description, nets, getattr(torch, config.dtype))

    def _facts(self) -> dict[str, Any]:
        start = open_start(self.config, self.training.class_names)
        facts = {"data_root": self.training.dataset.root, "code": code_commit()}
        return {**facts, "start": start.facts()} if start else facts

    def _check_same(self, pinned: dict[str, Any]) -> None:
        if pinned and (lines := difference(pinned["identity"], self.config.identity())):
            raise ConflictError(f"{self.out} holds another run: {'; '.join(lines)}: choose a new folder")

    def _pin(self) -> None:
        path = self.out / "training" / "run.json"
        if not path.exists():
            with replaced(path) as part:
                part.write_text(json.dumps({**self.facts, "identity": self.config.identity()}, indent=1) + "\n")


def _silent(line: str) -> None:
    """Leave the talking to the first process."""


def _pinned(out: Path) -> dict[str, Any]:
    path = out / "training" / "run.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} exists and is no run of train-gan: choose a new or empty folder")
    return {}
