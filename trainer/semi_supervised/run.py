"""One semi-supervised training: its folder, its labelled few, and its score on images that it never saw.

config.json pins what decides the result; result.json is written last. To go on, run the same command again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from learning.loop import Schedule, train
from manifests.errors import UserError
from manifests.target import replaced
from trainer.config import check_same
from trainer.embed import fitted
from trainer.evaluation.evidence import Score, score
from trainer.evaluation.lists import list_hash
from trainer.evaluation.subject import open_subject
from trainer.evaluation.task import Task, open_task
from trainer.evaluation.trajectory import few_of
from trainer.semi_supervised.learner import SemiSupervised, SemiSupervision


@dataclass(frozen=True)
class Outcome:
    """Balanced accuracy, and of an encoder that is told the time the time it learned."""

    subject: str
    set: str
    root: str
    split: str
    shots: int
    labelled: int
    unlabelled: int
    images_seen: int
    score: Score
    time: float | None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def semi_supervised(
    subject: str,
    out: Path,
    *,
    dataset: str,
    split: str = "dev",
    shots: int = 10,
    images: int = 60_000,
    settings: SemiSupervision = SemiSupervision(),
    say: Callable[[dict[str, float]], None] = lambda line: None,
) -> Outcome:
    """Train from an encoder, `shots` labels a class and all other images of its part; score the test part.

    Raises: UserError for what cannot be opened; ConflictError for another training's folder; KeyboardInterrupt when
    stopped early.
    """
    task = open_task(dataset, split)
    if task.tuned is None:
        raise UserError(f"{dataset} has no labelled images to learn from")
    opened = open_subject(subject, seed=settings.seed).calibrated(task.pool)
    if opened.encoder is None:
        raise UserError(f"{subject} has no weights to train; give a run, random:RUN or timm:NAME")
    known = few_of(task.pool, task.tuned.train, shots)
    asked = {"subject": opened.sha256, "root": task.pool.dataset.root, "split": split, "shots": shots}
    _pin(out, {**asked, "list": list_hash([task.pool.keys[row] for row in known]), **asdict(settings)})
    learner = SemiSupervised(opened.encoder.cpu(), *_seen(task, known, opened.encoder.preprocessing.size_px), settings)
    seen = train(learner, _schedule(images), out, say)
    found = _result(subject, task, learner, seen, shots, len(known))
    with replaced(out / "result.json") as part:
        part.write_text(found.to_json() + "\n", encoding="utf-8")
    return found


def _seen(task: Task, known: np.ndarray, size_px: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Pixels of all images that may be looked at, labels of the few, and how many classes there are."""
    assert task.tuned is not None
    rows = np.sort(np.concatenate([task.tuned.train, task.tuned.validation]))
    labels = np.where(np.isin(rows, known), task.pool.labels[rows], -1)
    pixels = torch.cat([fitted(batch, size_px) for batch in task.pool.batches(rows)])
    return pixels, torch.from_numpy(labels), int(task.pool.labels.max()) + 1


def _schedule(images: int) -> Schedule:
    tenth = max(64, images // 10)
    return Schedule(images, 64, 1e-3, warmup_images=tenth, cooldown_images=5 * tenth, checkpoint_images=10_000)


def _result(subject: str, task: Task, learner: SemiSupervised, seen: int, shots: int, labelled: int) -> Outcome:
    assert task.tuned is not None
    test, pool = task.tuned.test, task.pool
    pixels = torch.cat([fitted(b, learner.model.encoder.preprocessing.size_px) for b in pool.batches(test)])
    answers = learner.model.over(pixels, is_graph=False).argmax(dim=1).numpy()
    time = learner.model.log_odds
    return Outcome(
        subject=subject,
        set=task.name,
        root=pool.dataset.root,
        split=task.split,
        shots=shots,
        labelled=labelled,
        unlabelled=len(learner.others),
        images_seen=seen,
        score=score(answers, pool.labels[test], pool.components[test]),
        time=None if time is None else float(time.detach().sigmoid()),
    )


def _pin(out: Path, facts: dict[str, object]) -> None:
    path = out / "config.json"
    if path.is_file():
        check_same(json.loads(path.read_text(encoding="utf-8")), facts, str(out))
        return
    out.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
