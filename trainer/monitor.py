"""What a run says about itself: one line of metrics.jsonl per window of images, and progress on the terminal.

Numbers stay tensors until a window closes, so that watching costs no synchronisation. metrics.jsonl tells one history:
after a resume, lines past the checkpoint are cut off before new ones are written.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from manifests.errors import explained
from manifests.target import replaced
from trainer.collapse import code_warnings
from trainer.config import RunConfig
from trainer.view_warnings import view_warnings

_COLLAPSED_STD = 0.1  # of 1 for embeddings spread over the sphere
_COLLAPSED_RANK = 2.0  # of as many as there are dimensions
_STARVED_FRACTION = 0.1


class Monitor:
    """Collects what steps report; only the process that writes (rank 0) prints and keeps a file."""

    def __init__(self, path: Path, config: RunConfig, *, images_seen: int, is_writer: bool) -> None:
        self._log_images = config.log_images
        self._logged_at = images_seen
        self._file: TextIO | None = None
        self._seconds_before = 0.0
        self._screen: Screen | None = None
        if is_writer:
            self._seconds_before = truncate_after(path, images_seen)
            self._file = path.open("a")
            self._screen = Screen(config, images_seen)
        self._began = time.perf_counter()
        self._open_window(0.0)

    def step(self, images_seen: int, report: Mapping[str, Tensor]) -> None:
        """Add one step's numbers to the window."""
        for name, value in report.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._steps += 1
        if self._screen is not None:
            self._screen.move(images_seen)

    def is_due(self, images_seen: int) -> bool:
        """Say whether the window is full."""
        return images_seen // self._log_images > self._logged_at // self._log_images

    @property
    def has_open_window(self) -> bool:
        return self._steps > 0

    def close_window(self, images_seen: int, *, wait_s: float, **numbers: float | int) -> dict[str, Any]:
        """Write the window's line; `wait_s` is the stream's waiting time since it was opened.

        Raises: nothing; a non-finite mean is written as null.
        """
        elapsed_s = max(time.perf_counter() - self._window_began, 1e-9)
        means = {name: _finite(float(total) / self._steps) for name, total in self._sums.items()}
        line: dict[str, Any] = {
            "images_seen": images_seen,
            **means,
            **numbers,
            "images_per_s": (images_seen - self._logged_at) / elapsed_s,
            "data_wait_fraction": min(1.0, (wait_s - self._wait_before_s) / elapsed_s),
            "memory_peak_bytes": memory_peak_bytes(),
            "seconds": self._seconds(),
        }
        if self._file is not None and self._screen is not None:
            with explained(self._file.name):
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            self._screen.tell(line)
        self._logged_at = images_seen
        self._open_window(wait_s)
        return line

    def write(self, images_seen: int, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Write a line of its own, such as a probe's; it is cut off with the others after a resume."""
        line = {"images_seen": images_seen, **numbers, "seconds": self._seconds()}
        if self._file is not None:
            with explained(self._file.name):
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
        return line

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._began

    def sync(self) -> None:
        """Bring the lines to the disk: before a checkpoint that counts on them."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None and self._screen is not None:
            self._screen.close()
            with explained(self._file.name):  # what could not be written is tried once more
                self._file.close()

    def _open_window(self, wait_s: float) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._steps = 0
        self._wait_before_s = wait_s
        self._window_began = time.perf_counter()


class Screen:
    """A bar with rate and remaining time on a terminal, plain lines elsewhere."""

    def __init__(self, config: RunConfig, images_seen: int) -> None:
        self._total_images, self._workers = config.images, config.data.workers
        console = Console(stderr=True)
        columns = (
            TextColumn("pretrain"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, TextColumn("{task.description}"), console=console, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("", total=config.images, completed=images_seen)
        self._bar.start()

    def move(self, images_seen: int) -> None:
        self._bar.update(self._task, completed=min(images_seen, self._total_images))

    def tell(self, line: Mapping[str, Any]) -> None:
        text = describe(line)
        if self._bar.disable:
            print(f"{line['images_seen']}/{self._total_images} images  {text}", file=sys.stderr, flush=True)
        self._bar.update(self._task, description=text)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for warning in warnings(line, workers=self._workers, cores=cores):
            self._bar.console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


def describe(line: Mapping[str, Any]) -> str:
    """Put the numbers one watches into a few words."""
    loss = line.get("loss")
    shown = "loss not finite" if loss is None else f"loss {loss:.3f}"
    return f"{shown}  {line['images_per_s']:.0f} images/s  waiting for data {line['data_wait_fraction']:.0%}"


def warnings(line: Mapping[str, Any], *, workers: int, cores: int) -> list[str]:
    """Say what looks wrong in a window, and the likely cause; `cores` are those that decoding threads may use."""
    found = []
    std = line.get("feature_std")
    if std is not None and std < _COLLAPSED_STD:
        found.append(
            f"embeddings collapse (feature_std {std:.2f} of 1): lower the learning rate or raise the temperature"
        )
    rank = line.get("effective_rank")
    if not found and rank is not None and rank < _COLLAPSED_RANK:
        found.append(
            f"embeddings collapse to few dimensions (effective rank {rank:.1f}): strengthen the augmentation, "
            "check that positives differ, or raise the temperature"
        )
    if line["data_wait_fraction"] > _STARVED_FRACTION:
        share = f"training waits for data {line['data_wait_fraction']:.0%} of the time"
        found.append(f"{share}: {workers} data.workers on {cores} cores{_starved_by(workers, cores)}")
    return found + code_warnings(line) + view_warnings(line)


def _starved_by(workers: int, cores: int) -> str:
    if workers < cores:
        return ", raise them"
    return " are as many as help: store smaller images, keep shards on a local disk, or take more cores"


def truncate_after(path: Path, images_seen: int) -> float:
    """Cut lines past `images_seen`, and a half-written last one; return the seconds of the last line that stays."""
    kept = read_lines(path, images_seen)
    with replaced(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return float(kept[-1]["seconds"]) if kept else 0.0


def read_lines(path: Path, images_seen: int) -> list[dict[str, Any]]:
    """Return the whole lines up to so many images; a killed run's last one may be half-written."""
    kept: list[dict[str, Any]] = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if line["images_seen"] > images_seen:
            break
        kept.append(line)
    return kept


def memory_peak_bytes() -> int:
    """Return the most memory used so far: the device's, or this process's without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
