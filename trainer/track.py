"""Hands the lines of metrics.jsonl on to TensorBoard, wandb or trackio, as far as Accelerate has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator

from manifests.errors import UserError
from trainer.run import Run

Track = Callable[[Mapping[str, Any]], None]


@contextmanager
def tracking(run: Run, accelerator: Accelerator) -> Iterator[Track]:
    """Give a function that logs a line by images seen, and close the trackers behind it.

    Raises: UserError for a tracker that is not installed.
    """
    wanted = run.config.trackers
    if not wanted:
        yield lambda line: None
        return
    try:
        accelerator.init_trackers("viewmill", config={"name": run.folder.name})
    except ImportError as error:
        raise UserError(f"trackers: {', '.join(wanted)}: {error}; install it, or leave it out") from None
    try:
        yield lambda line: accelerator.log(_plain(line), step=int(line["images_seen"]))
    finally:
        accelerator.end_training()


def _plain(line: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value) for name, value in line.items() if isinstance(value, int | float) and name != "images_seen"
    }
