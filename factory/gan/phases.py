"""The parts of a vision-aided run: plain training, then one part for each time that critics come in.

Every part has a folder with checkpoints and metrics of its own, and begins with a checkpoint: the best one of the part
before, with the newcomers' fresh heads. So whatever a run is killed at, the same parts are made again, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factory.gan.config import BankConfig, CriticConfig, GanConfig
from factory.gan.data import Pictures
from factory.gan.learner import GanLearner
from factory.gan.quality import best, measured
from factory.gan.ranking import rank_models
from factory.gan.sampling import drawn_classes, sample
from learning import checkpoint
from manifests.target import replaced

RECORD = "phase.json"


@dataclass(frozen=True)
class Phase:
    """A part of the run: its number, the images it ends at, and its folder."""

    number: int
    until_images: int
    folder: Path

    @property
    def is_begun(self) -> bool:
        """Say whether it has a checkpoint, which a plain run's beginning needs not."""
        return self.number == 0 or checkpoint.load_newest(self.folder / "checkpoints") is not None


def phases(config: GanConfig, training: Path) -> list[Phase]:
    """Return a run's parts; a plain run has one."""
    ends = [*(config.bank.boundaries() if config.bank else []), config.images]
    folders = [training, *(training / f"phase-{number}" for number in range(1, len(ends)))]
    return [Phase(number, end, folder) for number, (end, folder) in enumerate(zip(ends, folders, strict=True))]


def critics_of(phase: Phase) -> list[CriticConfig]:
    """Return the critics that judge in a part, in the order in which they came in."""
    return [CriticConfig.model_validate(one) for one in read_record(phase)["critics"]] if phase.number else []


def read_record(phase: Phase) -> dict[str, Any]:
    """Read what was decided when a part began."""
    return dict(json.loads((phase.folder / RECORD).read_text(encoding="utf-8")))


def keep_best(phase: Phase, quality: Path, learner: GanLearner, images_seen: int) -> None:
    """Keep the checkpoint if it is the best of its part, by the Fréchet distance to the training pictures.

    What the part began with counts too, so that a part that only makes things worse is not gone on from.
    """
    since, begun_with = _beginning(phase)
    lines = measured(quality)
    found = {seen: line for seen, line in lines.items() if seen == begun_with or since < seen <= images_seen}
    if best(found) == images_seen:
        checkpoint.save(phase.folder / "best", learner.state(), images_seen=images_seen, keep_last=1)


def decide(phase: Phase, before: Phase, bank: BankConfig, learner: GanLearner, pictures: Pictures) -> None:
    """Write who comes in, from what the learner, which is taken back to the best checkpoint, draws now."""
    best_images, state = _newest(before.folder / "best")
    learner.load(state)
    known = critics_of(before)
    left = [member for member in bank.members if member not in known]
    if bank.choice == "progressive":
        ranking = _ranking(left, bank, learner, pictures, best_images)
        order = {line["model"]: place for place, line in enumerate(ranking)}
        coming = [min(left, key=lambda member: order[member.model])]
    else:
        ranking, coming = [], left[: bank.most] if bank.choice == "together" else left[:1]
    record = {
        "images_seen": _newest(before.folder / "checkpoints")[0],
        "best_images": best_images,
        "ranking": ranking,
        "critics": [critic.model_dump(mode="json") for critic in (*known, *coming)],
    }
    with replaced(phase.folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def begin(phase: Phase, before: Phase, learner: GanLearner) -> None:
    """Write a part's first checkpoint: the best one of the part before, with the learner's newcomers as they are."""
    best_images, state = _newest(before.folder / "best")
    learner.load(state)
    checkpoint.save(phase.folder / "best", learner.state(), images_seen=best_images, keep_last=1)
    checkpoint.save(phase.folder / "checkpoints", learner.state(), images_seen=read_record(phase)["images_seen"])


def _beginning(phase: Phase) -> tuple[int, int]:
    """Return the images at which a part began, and those at which what it began with was measured."""
    if phase.number == 0:
        return 0, 0  # a start is measured before the first image
    record = read_record(phase)
    return record["images_seen"], record["best_images"]


def _ranking(
    members: Sequence[CriticConfig], bank: BankConfig, learner: GanLearner, pictures: Pictures, images_seen: int
) -> list[dict[str, Any]]:
    count = min(bank.probe_images, len(pictures))
    rng = np.random.Generator(np.random.Philox(key=learner.config.seed + images_seen))
    real = pictures.batch(rng.permutation(len(pictures))[:count])
    net = learner.average.module
    z = rng.standard_normal((count, net.z_dim), np.float32)
    generated = sample(net, z, drawn_classes(pictures.class_ids, rng, count), learner.device)
    specs = [member.model for member in members]
    found = rank_models(specs, real, generated, seed=learner.config.seed, device=learner.device)
    return [one.told() for one in found]


def _newest(folder: Path) -> tuple[int, dict[str, Any]]:
    found = checkpoint.load_newest(folder)
    assert found is not None, f"{folder} has no checkpoint, though the part before is done"
    return found
