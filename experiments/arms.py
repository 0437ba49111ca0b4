"""Arms of an experiment: a data set each, a training run for each seed, predictions of every image of the labelled set.

All arms share encoder, budget, protocol and seeds, so that any two are compared seed by seed on the same images.
Everything resumes: to go on, run the same command again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.errors import UserError
from trainer.evaluation import protocol
from trainer.evaluation.evaluate import METHODS, predicted
from trainer.evaluation.evidence import Difference, Score, paired_difference, score
from trainer.evaluation.features import trained
from trainer.evaluation.sets import Examples

Predictions = dict[str, NDArray[np.int64]]  # method -> [S, N]


@dataclass(frozen=True)
class Arm:
    """One way to make or use views: what is rendered, or was given, and how an encoder learns from it."""

    name: str
    recipe: str
    config: str
    recipe_changes: tuple[str, ...] = ()
    config_changes: tuple[str, ...] = ()
    given: str | None = None  # a data set's folder or URL, instead of one rendered from the recipe

    def render_command(self, out: Path) -> tuple[str, ...]:
        """Say how its data set is made."""
        return ("factory", "render", self.recipe, str(self.data(out)), *_sets(self.recipe_changes), "--inline")

    def pretrain_command(self, out: Path, seed: int) -> tuple[str, ...]:
        """Say how its encoder of a seed is trained."""
        changes = _sets((*self.config_changes, f"seed={seed}"))
        where = ("--data", str(self.data(out)), "--out", str(self.run(out, seed)))
        return ("trainer", "pretrain", self.config, *where, *changes)

    def data(self, out: Path) -> Path | str:
        return self.given or out / "data" / self.name

    def run(self, out: Path, seed: int) -> Path:
        return out / "runs" / f"{self.name}-{seed}"


def on_data(name: str, data: str, config: str, *changes: str) -> Arm:
    """Return an arm that trains on images that are there already."""
    return Arm(name, "", config, config_changes=changes, given=data)


def training_part(data: Path, out: Path, where: str) -> str:
    """Select the groups that encoders may see; all of them where no condition is given."""
    if not where:
        return str(data)
    part = out / "data" / "training"
    command = ("manifests", "select", str(data), str(part), "--where", where)
    run_all([("choosing training images", command, part / "dataset.json")], out, 1)
    return str(part)


def _sets(changes: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for change in changes for word in ("--set", change))


def make(arms: Sequence[Arm], out: Path, *, seeds: int, jobs: int) -> None:
    """Render and train all that is missing, `jobs` commands side by side, each with its share of the cores."""
    rendered = [(arm, Path(arm.data(out), "dataset.json")) for arm in arms if arm.given is None]
    run_all([(arm.name, arm.render_command(out), made) for arm, made in rendered], out, jobs)
    run_all(
        [
            (f"{arm.name}, seed {seed}", arm.pretrain_command(out, seed), arm.run(out, seed) / "encoder")
            for seed in range(seeds)  # all arms of one seed first: a sweep cut short is still paired
            for arm in arms
        ],
        out,
        jobs,
    )


def run_all(commands: Sequence[tuple[str, tuple[str, ...], Path]], out: Path, jobs: int) -> None:
    """Run each command, given with its name and what it makes, unless that is there; `jobs` side by side.

    Raises: UserError naming the first that failed.
    """
    wanted = [one for one in commands if not one[2].exists()]
    with ThreadPoolExecutor(jobs) as pool:
        for name, code in pool.map(lambda one: (one[0], logged(one[0], one[1], out, jobs)), wanted):
            if code != 0:
                pool.shutdown(cancel_futures=True)
                raise UserError(f"{name}: its command failed with exit code {code}; what it said is in {out / 'logs'}")
            print(f"{name}: done", flush=True)


def logged(name: str, command: Sequence[str], out: Path, jobs: int) -> int:
    """Run a command of ours with its share of the cores, what it says in a file; return its exit code."""
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // jobs)), "OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads took
    environment = os.environ | threads  # five times the processor's time where other work ran beside
    log = out / "logs" / f"{name.replace(', seed ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.run(
            [sys.executable, "-m", *command], stdout=file, stderr=file, env=environment, check=False
        ).returncode


def predictions(arms: Sequence[Arm], out: Path, examples: Examples, split: str, seeds: int) -> dict[str, Predictions]:
    """Predict every image with every arm's encoders; what was predicted once is read again."""
    return {arm.name: _stacked([_predicted(arm, seed, out, examples, split) for seed in range(seeds)]) for arm in arms}


def _predicted(arm: Arm, seed: int, out: Path, examples: Examples, split: str) -> Predictions:
    def fresh() -> protocol.Predictions:
        return predicted(trained(arm.run(out, seed)), examples, f"{arm.name}, seed {seed}", print)

    return kept(out / "predictions" / f"{arm.name}-{seed}-{split}-{examples.root[:12]}.npz", fresh)


def kept(path: Path, fresh: Callable[[], protocol.Predictions]) -> Predictions:
    """Return the predictions in a file, which are made and written where there is none."""
    if not path.exists():
        found = fresh()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **{method: getattr(found, method) for method in METHODS})
        part.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        return {method: stored[method] for method in METHODS}


def _stacked(runs: Sequence[Predictions]) -> Predictions:
    return {method: np.stack([run[method] for run in runs]) for method in METHODS}


def scores(found: dict[str, Predictions], examples: Examples) -> dict[str, dict[str, Score]]:
    """Score every arm, mean over its seeds, by both methods."""
    return {
        name: {method: score(rows, examples.labels, examples.components) for method, rows in by_method.items()}
        for name, by_method in found.items()
    }


def contrast(found: dict[str, Predictions], a: str, b: str, examples: Examples, method: str = "linear") -> Difference:
    """Compare two arms seed by seed on the same images."""
    return paired_difference(found[a][method], found[b][method], examples.labels, examples.components)
