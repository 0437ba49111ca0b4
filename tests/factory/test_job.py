"""The job on a real Ray cluster: the root is that of one process, dead actors are replaced, a poison is given up."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factory import job
from factory.cluster import worker_count, worker_options
from factory.job import JobError, Options, StoppedError, begin, finish
from factory.recipe import Recipe
from manifests import verify
from manifests.errors import UserError
from tests.factory import recipes
from tests.factory.cheap import CheapWorkshop

pytestmark = pytest.mark.ray


def tiny_recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(recipes.settings(**changes))


def make(out: Path, recipe: Recipe | None = None, **options: Any) -> str:
    work = begin(recipe or tiny_recipe(), str(out), Options(**options))
    job.run(work)
    return finish(work)


def attempts(out: Path, event: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"runs/attempts/*.{event}.json"))]


@pytest.fixture(scope="module")
def inline_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("inline") / "data", inline=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_root_of_one_process(
    ray_cluster: None, tmp_path: Path, inline_root: str, workers: int
) -> None:
    assert make(tmp_path, workers=workers) == inline_root
    assert verify(tmp_path, deep=True).problems == []
    assert len(attempts(tmp_path, "rendered")) == 3
    pids = {attempt["pid"] for attempt in attempts(tmp_path, "begun")}
    assert len(pids) <= workers, "on a busy machine the first may be done before the second has begun"
    assert os.getpid() not in pids


@pytest.fixture
def cheap(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let actors render noise: these tests are about who renders, not what."""
    monkeypatch.setattr("factory.crew.Workshop", CheapWorkshop)


@pytest.fixture(scope="module")
def cheap_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("factory.crew.Workshop", CheapWorkshop)
        return make(tmp_path_factory.mktemp("cheap") / "data", inline=True)


def background(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def kill_who_begins(out: Path, kills: int, shard: int | None = None) -> list[int]:
    """SIGKILL whoever has begun a shard (or that shard) and made no record of it, `kills` times."""
    killed: list[int] = []

    def act() -> None:
        seen: set[str] = set()
        while len(killed) < kills:
            for path in out.glob("runs/attempts/*.begun.json"):
                begun = json.loads(path.read_text())
                if path.name not in seen and shard in (None, begun["shard"]):
                    seen.add(path.name)
                    os.kill(begun["pid"], signal.SIGKILL)
                    killed.append(begun["shard"])
                    break
            time.sleep(0.002)

    background(act)
    return killed


def test_a_killed_workers_shard_is_rendered_by_another(cheap: None, tmp_path: Path, cheap_root: str) -> None:
    killed = kill_who_begins(tmp_path, 2)
    assert make(tmp_path, workers=2) == cheap_root
    assert len(killed) == 2
    assert verify(tmp_path, deep=True).problems == []
    assert len(attempts(tmp_path, "rendered")) <= 3 + len(killed)
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/summary.json")]
    assert summaries[0]["retries"] >= 1


def test_a_shard_that_kills_its_workers_is_given_up_and_the_others_are_made(
    cheap: None, tmp_path: Path, cheap_root: str
) -> None:
    killed = kill_who_begins(tmp_path, 3, shard=1)
    with pytest.raises(JobError, match=r"some shards were given up.*\n  shard 000001: its worker died"):
        make(tmp_path, workers=1)
    assert killed == [1, 1, 1]
    assert not list(tmp_path.glob("versions/*"))
    assert make(tmp_path, workers=1) == cheap_root


def test_a_signal_finishes_what_is_begun_and_the_next_run_does_the_rest(
    cheap: None, tmp_path: Path, cheap_root: str
) -> None:
    work = begin(tiny_recipe(), str(tmp_path), Options(workers=1))
    background(lambda: _signal_when(lambda: bool(attempts(tmp_path, "begun"))))
    with pytest.raises(StoppedError, match="run the same command again to go on"):
        job.run(work)
    assert 1 <= len(work.records) <= 2
    assert len(attempts(tmp_path, "begun")) == len(work.records)
    assert make(tmp_path, workers=1) == cheap_root


def _signal_when(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGTERM)


class Broken(CheapWorkshop):
    def open(self) -> dict[str, str]:
        raise UserError("/models/sd: no such folder; expected a diffusers folder")


class Faulty(CheapWorkshop):
    def render(self, plan: Any, attempt: str) -> Any:
        if plan.index == 2:
            raise ValueError("a bug that only this shard meets\nin detail")
        return super().render(plan, attempt)


def test_an_error_of_the_user_ends_the_job_in_one_line_from_any_process(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Broken)
    with pytest.raises(UserError, match=r"^/models/sd: no such folder; expected a diffusers folder$"):
        make(tmp_path, workers=1)


def test_a_shard_that_always_fails_is_given_up_with_its_reason_and_does_not_stop_the_others(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Faulty)
    with pytest.raises(JobError, match=r"\n  shard 000002: ValueError: a bug that only this shard meets$"):
        make(tmp_path, workers=1)
    assert begin(tiny_recipe(), str(tmp_path), Options()).missing == [2]


def test_what_is_hashed_names_no_host_and_no_process(cheap: None, tmp_path: Path) -> None:
    make(tmp_path, workers=2)
    records = b"".join(path.read_bytes() for path in tmp_path.glob("commits/*"))
    assert os.uname().nodename.encode() not in records
    assert b"pid" not in records


def test_actors_ask_for_gpus_where_there_are_any_and_for_cpus_elsewhere() -> None:
    recipe = tiny_recipe(threads=2, device="auto")
    assert worker_options({"CPU": 8, "GPU": 2}, recipe, 0.5) == {"num_gpus": 0.5, "num_cpus": 1}
    assert worker_options({"CPU": 8}, recipe, 0.5) == {"num_cpus": 2}
    assert worker_options({"CPU": 8, "GPU": 2}, tiny_recipe(device="cpu"), 1) == {"num_cpus": 1}
    assert worker_count({"CPU": 8, "GPU": 2}, {"num_gpus": 0.5, "num_cpus": 1}) == 4
    with pytest.raises(UserError, match="no worker fits"):
        worker_count({"CPU": 1}, {"num_cpus": 2})
