"""The loop with a learner that only counts: what it writes, when it stops, where it goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learning import checkpoint
from learning.loop import Schedule, load_optimizer, train

SCHEDULE = Schedule(1000, 4, 0.5, warmup_images=1, cooldown_images=1, checkpoint_images=240)


class Counter:
    """Learns the sum of all images seen before its steps."""

    def __init__(self, before_step: Callable[[int], None] = lambda images_seen: None) -> None:
        self.total, self.before_step = 0, before_step

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        self.before_step(images_seen)
        self.total += images_seen
        return {"total": float(self.total), **({"rare": 1.0} if images_seen % 40 == 0 else {})}

    def state(self) -> dict[str, Any]:
        return {"total": self.total}

    def load(self, state: dict[str, Any]) -> None:
        self.total = state["total"]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def told(out: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines(out)]


def quiet(line: dict[str, float]) -> None:
    pass


def test_lines_end_at_checkpoints_and_at_most_fifty_steps_apart(tmp_path: Path) -> None:
    previews: list[int] = []
    train(Counter(), SCHEDULE, tmp_path, quiet, previews.append)
    assert previews == [240, 480, 720, 960, 1000]
    assert [line["images_seen"] for line in lines(tmp_path)] == [200, 240, 440, 480, 680, 720, 920, 960, 1000]
    assert all(line["rare"] == 1 for line in lines(tmp_path)), "the mean of the steps that report it"


def crash_at(images: int) -> Callable[[int], None]:
    def crash(images_seen: int) -> None:
        if images_seen == images:
            raise RuntimeError("power cut")

    return crash


def test_a_run_that_crashed_goes_on_to_the_same_state_and_the_same_lines(tmp_path: Path) -> None:
    train(Counter(), SCHEDULE, tmp_path / "straight", quiet)
    with pytest.raises(RuntimeError):
        train(Counter(crash_at(708)), SCHEDULE, tmp_path / "crashed", quiet)
    with (tmp_path / "crashed" / "metrics.jsonl").open("a") as file:
        file.write('{"images_seen": 69')  # a line that was being written
    again = Counter()
    train(again, SCHEDULE, tmp_path / "crashed", quiet)
    assert again.total == sum(range(0, 1000, 4))
    assert told(tmp_path / "crashed") == told(tmp_path / "straight")


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    learner = Counter(lambda images_seen: os.kill(os.getpid(), signal.SIGTERM) if images_seen == 100 else None)
    with pytest.raises(KeyboardInterrupt, match="stopped at 104 images"):
        train(learner, SCHEDULE, tmp_path, quiet)
    assert checkpoint.load_newest(tmp_path / "checkpoints") == (104, {"total": sum(range(0, 101, 4))})


def test_a_part_of_a_schedule_keeps_its_rates_and_the_rest_follows(tmp_path: Path) -> None:
    rates: list[float] = []

    class Rated(Counter):
        def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
            rates.append(rate)
            return super().step(images_seen, batch_images, rate)

    learner = Rated()
    assert train(learner, SCHEDULE, tmp_path, quiet, until_images=400) == 400
    assert checkpoint.load_newest(tmp_path / "checkpoints") == (400, learner.state())
    assert train(learner, SCHEDULE, tmp_path, quiet) == 1000
    assert rates == [SCHEDULE.rate(seen) for seen in range(0, 1000, 4)]


def test_a_line_that_is_refused_has_no_checkpoint(tmp_path: Path) -> None:
    def refuse(line: dict[str, float]) -> None:
        if line["images_seen"] == 240:
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train(Counter(), SCHEDULE, tmp_path, refuse)
    assert lines(tmp_path)[-1]["images_seen"] == 240
    assert checkpoint.load_newest(tmp_path / "checkpoints") is None


def test_a_number_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    class Broken(Counter):
        def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
            return {"loss": float("nan")}

    train(Broken(), SCHEDULE, tmp_path, quiet)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert lines(tmp_path)[0]["loss"] is None


def test_the_rate_is_the_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[int, float] = {}
    monkeypatch.setattr(Counter, "step", lambda self, seen, batch, rate: rates.update({seen: rate}) or {})
    train(Counter(), Schedule(16, 4, 2.0, warmup_images=8, cooldown_images=8, checkpoint_images=16), tmp_path, quiet)
    assert rates == {0: 1.0, 4: 2.0, 8: 2.0, 12: 1.0}


def test_loaded_moments_have_the_memory_order_of_their_parameters() -> None:
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight])
    weight.square().sum().backward()
    optimizer.step()
    plain = {
        "state": {0: {name: value.contiguous() for name, value in optimizer.state_dict()["state"][0].items()}},
        "param_groups": optimizer.state_dict()["param_groups"],
    }
    other = torch.optim.Adam([weight])
    load_optimizer(other, plain)
    assert other.state[weight]["exp_avg"].stride() == weight.stride()
    assert torch.equal(other.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg"])
