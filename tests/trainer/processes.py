"""The trainer's command line in real processes, forked from a server that has torch imported already."""

import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "timm", "accelerate", "torch._dynamo", "trainer.pretrain"])
_SLIM = {
    "encoder.backbone": "resnet10t",
    "encoder.arguments": "{channels: [8, 8, 16, 16], stem_width: 8}",
    "encoder.size_px": 32,
    "objective.hidden": 32,
    "objective.dimensions": 16,
    "batch_images": 16,
    "data.views": 2,
    "optimizer.warmup_images": 32,
    "log_images": 16,
}


def overrides(**more: object) -> list[str]:
    """Settings of a run that takes seconds; `a__b` stands for a.b, None leaves a setting as the preset has it."""
    values = {**_SLIM, **{key.replace("__", "."): value for key, value in more.items()}}
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def pretrain_words(data: str, out: Path, preset: str = "stablerep", **more: object) -> list[str]:
    settings = [word for override in overrides(**more) for word in ("--set", override)]
    return ["pretrain", preset, "--data", data, "--out", str(out), *settings]


@dataclass
class Command:
    process: BaseProcess
    log: Path

    def wait(self, limit_s: float = 120) -> tuple[int | None, str]:
        """Return the exit code, None if it has none yet, and everything that was printed."""
        self.process.join(limit_s)
        return self.process.exitcode, self.log.read_text()


def start(
    words: list[str],
    largest_file_bytes: int | None = None,
    target: Callable[..., None] | None = None,
    more: tuple[object, ...] = (),
) -> Command:
    """Start the command line, or a function around `_run` that takes more arguments."""
    handle, log = tempfile.mkstemp(suffix=".log")
    os.close(handle)
    arguments = (words, log, largest_file_bytes, dict(os.environ), *more)
    process = _CONTEXT.Process(target=target or _run, args=arguments, daemon=True)
    process.start()
    return Command(process, Path(log))


def run(words: list[str], largest_file_bytes: int | None = None, limit_s: float = 120) -> tuple[int | None, str]:
    return start(words, largest_file_bytes).wait(limit_s)


def _run(words: list[str], log: str, largest_file_bytes: int | None, environment: dict[str, str]) -> None:
    torch.set_num_threads(1)
    os.environ.update(environment)  # the server was started with that of an earlier test
    if largest_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
    file = os.open(log, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["trainer", *words]
    from manifests.command_line import run_app
    from trainer.__main__ import app

    run_app(app)
