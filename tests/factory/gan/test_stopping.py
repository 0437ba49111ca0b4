"""Trainings that are ended from outside: by a signal, or by the loss of another process. Their exit codes say which."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from factory.__main__ import app, main
from factory.builtin import train_diffusion
from factory.gan.learner import GanLearner
from factory.walks.navigation import MinMax
from factory.walks.steering import Steering
from learning import checkpoint
from learning.gather import rank
from manifests.errors import PeerLostError, TrainingStoppedError
from tests.distributed.harness import run_processes
from tests.factory.gan.test_train import command
from tests.factory.walks.toys import tiny_folder

SHORT = {"images": 32, "batch_images": 8, "checkpoint_images": 16, "warmup_images": 8}
ESTIMATOR = {"training_images": 64, "epochs": 1, "test_images": 64, "batch_images": 16, "seeds": 2}
NAVIGATOR = {"encoder_width": 8, "crop_px": 16, **{f"estimator.{key}": value for key, value in ESTIMATOR.items()}}


def ended(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["factory", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def walking(name: str, folder: Path) -> list[str]:
    settings = {**SHORT, **(NAVIGATOR if name == "train-navigator" else {})}
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return [name, str(tiny_folder(folder / "model")), str(folder / "out.safetensors"), *options]


@pytest.mark.parametrize("name", ["train-gan", "train-walks", "train-navigator"])
def test_a_signal_saves_and_exits_with_the_code_that_queues_run_again(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    kind: Any = {"train-gan": GanLearner, "train-walks": Steering, "train-navigator": MinMax}[name]
    begin = kind.loss if name == "train-walks" else kind.step

    def told_to_stop(self: Any, images_seen: int, *more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return begin(self, images_seen, *more)

    monkeypatch.setattr(kind, begin.__name__, told_to_stop)
    is_gan = name == "train-gan"
    words = command(shapes, tmp_path / "out") if is_gan else walking(name, tmp_path)
    assert ended(words, monkeypatch) == TrainingStoppedError.exit_code == 75
    images_seen = 4 if is_gan else 8
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(f": stopped at {images_seen} images; run the same command again to go on")
    found = checkpoint.load_newest(tmp_path / ("out/training" if is_gan else "out.run") / "checkpoints")
    assert found is not None
    assert found[0] == images_seen


def test_a_key_pressed_is_such_a_signal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pressed:
        def __init__(self, *_: object, **__: object) -> None: ...

        def go(self, stages: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_diffusion, "Run", Pressed)
    words = ["builtin", "train-diffusion", "--data", "data", "--out", "run"]
    assert ended(words, monkeypatch) == TrainingStoppedError.exit_code
    assert capsys.readouterr().err == "error: run: interrupted; run the same command again to go on\n"


class LeftError(Exception):
    """The process is about to end."""


def left_alone(data: str, out: str) -> tuple[str, str]:
    """Train with a process that leaves at the third step; return what the command ended with."""
    step = GanLearner.step

    def deserting(self: GanLearner, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        if images_seen == 16 and rank() == 1:
            raise LeftError
        return step(self, images_seen, batch_images, rate)

    GanLearner.step = deserting  # type: ignore[method-assign]
    words = command(Path(data), Path(out), precision="float32", batch_images=8)
    error = CliRunner().invoke(app, words).exception
    return type(error).__name__, str(error)


def test_who_loses_another_process_says_so_in_one_line(shapes: Path, tmp_path: Path) -> None:
    (kind, told), (other, _) = run_processes(2, left_alone, str(shapes), str(tmp_path / "gan"))
    assert other == LeftError.__name__
    assert kind == PeerLostError.__name__, told
    assert told.startswith("rank 0: another process of this run is gone")
    assert "\n" not in told
    assert PeerLostError.exit_code == 7
