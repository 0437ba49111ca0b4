"""Hands the lines of metrics.jsonl on to TensorBoard, wandb or trackio, through Accelerate's classes for them.

They are opened here and not by its Accelerator, which drops a tracker that is not installed without a word.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError
from trainer.outlet import Outlet
from trainer.run import Run, read_pinned

PROJECT = "viewmill"
Track = Callable[[Mapping[str, Any]], None]


def check_installed(trackers: Sequence[str]) -> None:
    """Raise UserError naming the extra unless all trackers are there."""
    if missing := [name for name in trackers if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"trackers: {', '.join(missing)} not installed: pip install 'viewmill[trackers]', or leave it out"
        )


@contextmanager
def tracking(run: Run, images_seen: int, *, is_writer: bool, outlet: Outlet | None = None) -> Iterator[Track]:
    """Give a function that logs a line by images seen, and close the trackers behind it.

    Raises: UserError for a tracker that does not start.
    """
    trackers = [_started(name, run, images_seen) for name in run.config.trackers] if is_writer else []
    try:
        yield lambda line: _log(trackers, line, outlet)
    finally:
        for tracker in trackers:
            tracker.finish()


def named(run: Run) -> tuple[str, str]:
    """Return a run's title and identity: the same on every machine that goes on with it."""
    pinned = read_pinned(run.folder)
    identity = sha256_hex(canonical_json([run.home, pinned["config"], pinned["roots"]]))[:12]
    return f"{run.home.rpartition('/')[2]}-{identity}", identity


def _log(trackers: Sequence[GeneralTracker], line: Mapping[str, Any], outlet: Outlet | None) -> None:
    if outlet is not None:
        outlet.write(line)
    values = {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
    step = int(values.pop("images_seen"))
    for tracker in trackers:
        tracker.log(values, step=step)


def _started(name: str, run: Run, images_seen: int) -> GeneralTracker:
    try:
        tracker = _tracker(name, run, images_seen)
        tracker.start()
    except Exception as error:  # each has errors of its own: no account, no network, no disk
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"trackers: {name} does not start: {reason}; set it up, or leave it out") from error
    return tracker


def _tracker(name: str, run: Run, images_seen: int) -> GeneralTracker:
    """What goes on after a kill goes on here: one run each, in which later values replace those past the checkpoint."""
    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", run.folder, purge_step=images_seen + 1)
    title, identity = named(run)
    settings = {"name": title, "config": read_pinned(run.folder)["config"], "resume": "allow"}
    if name == "wandb":
        return WandBTracker(PROJECT, id=identity, dir=str(run.folder), **settings)
    return TrackioTracker(PROJECT, **settings)
