"""SIGKILL of drivers and workers, at moments proven by what lies in the folder; the end is as if nothing had been.

A kill counts as proven when the process is found dead of it, and a shard that had been begun has no record: so the
kill fell inside the shard, or, where all its pixels had been made, before its puts, or, where one of its objects had
come since the job was started, between them.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from manifests import open_dataset, verify
from tests.factory import recipes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_worker_niceness": "0"}
GROUPS_PER_SHARD = 4
FEW_SHARDS = 8
# Actors whose driver was killed still finish what they hold, so that a life may cost four.
MANY_SHARDS = 100
KILLS = 20
LIFE_S = 600.0
INSIDE, RENDERED, BETWEEN = "inside a shard", "before its puts", "between its puts"
WHO = {"inline": ["--inline"], "driver": ["--workers", "2"], "worker": ["--workers", "2"]}


@dataclass
class Folder:
    """A data set in the making, watched from outside."""

    out: Path
    recipe: Path
    module: str = "factory"
    kills: list[tuple[str, str]] = field(default_factory=list)  # who was killed, and where that fell
    lost: set[str] = field(default_factory=set)  # attempts that died with a process
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self.module, "render", str(self.recipe), str(self.out), *options]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(process)
        return process

    def finish(self, *options: str) -> str:
        process = self.start(*options)
        output, errors = process.communicate(timeout=1800)
        assert process.returncode == 0, errors.decode()
        return output.decode().split()[-1]

    def attempts(self, event: str) -> set[str]:
        paths = self.out.glob(f"runs/attempts/*.{event}.json")
        return {path.name.split(".")[1] for path in paths}

    def worker(self, attempt: str) -> int:
        path = next(self.out.glob(f"runs/attempts/*.{attempt}.begun.json"))
        return int(json.loads(path.read_text())["pid"])

    def workers(self, attempts: set[str]) -> set[int]:
        return {self.worker(attempt) for attempt in attempts}

    def recorded(self) -> set[str]:
        return {path.name.split("-")[1] for path in self.out.glob("commits/*.json")}

    def open_attempts(self) -> set[str]:
        return {name for name in self.attempts("begun") if name.split("-")[0] not in self.recorded()}

    def objects(self) -> set[str]:
        return {path.name for kind in ("shards", "views") for path in self.out.glob(f"{kind}/shard-*")}

    def stage(self, attempt: str, put_before: set[str]) -> str:
        """Say how far an attempt without a record is."""
        shard = attempt.split("-")[0]
        if any(name.split("-")[1] == shard for name in self.objects() - put_before):
            return BETWEEN
        return RENDERED if attempt in self.attempts("rendered") else INSIDE

    def note(self, who: str, attempts: set[str], put_before: set[str]) -> None:
        """Note that somebody died, and where that fell if one of these attempts has no record."""
        open_ones = attempts & self.open_attempts()
        self.lost |= open_ones
        stages = {self.stage(attempt, put_before) for attempt in open_ones}
        for where in (BETWEEN, RENDERED, INSIDE):
            if where in stages:
                self.kills.append((who, where))
                return


def wait_until(ready: Callable[[], object], process: subprocess.Popen[bytes], limit_s: float = LIFE_S) -> bool:
    """Wait until something shows, or the process ends of its own."""
    end = time.monotonic() + limit_s
    while not ready():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.0005)
    return True


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Describe a folder of few shards; whatever was started for it ends with the test."""
    folder = Folder(tmp_path / "data", write_recipe(tmp_path, FEW_SHARDS))
    yield folder
    for process in folder.started:
        if process.poll() is None:
            below = kill_driver(process)
            signal_all(below, signal.SIGKILL)


def write_recipe(folder: Path, shards: int) -> Path:
    source = recipes.settings()["sources"][0] | {"steps": 10}
    shape = {"groups": shards * GROUPS_PER_SHARD, "views": 2, "groups_per_shard": GROUPS_PER_SHARD, "batch": 4}
    return recipes.write(folder / "recipe.yaml", sources=[source], **shape)


def descendants(pid: int) -> set[int]:
    """Return the processes below one, by their parents' ids."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        parents[int(name.split(" ")[0])] = int(rest.split()[1])
    found, edge = set(), {pid}
    while edge:
        edge = {child for child, parent in parents.items() if parent in edge} - found
        found |= edge
    return found


def kill_driver(process: subprocess.Popen[bytes]) -> set[int]:
    """SIGKILL a driver; returns the processes that it had started."""
    below = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return below


def assert_gone(pids: set[int], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < end, f"{alive} still live {limit_s} s after their driver was killed"
        time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_killed_driver_takes_its_actors_along_and_the_next_one_goes_on(folder: Folder) -> None:
    first = folder.start("--workers", "1")
    assert wait_until(folder.open_attempts, first)
    below = kill_driver(first)
    assert first.returncode == -signal.SIGKILL
    assert folder.open_attempts()
    worker = folder.worker(next(iter(folder.attempts("begun"))))
    assert worker in below
    assert_gone({worker}, 60)
    lost = folder.open_attempts()
    root = folder.finish("--inline")
    assert verify(folder.out, deep=True).problems == []
    assert open_dataset(folder.out).root == root
    assert len(folder.attempts("rendered")) <= FEW_SHARDS + len(lost)
    assert_gone(below, 240)  # Ray's own helpers take their time; the next job need not wait for them


def signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def hold_at(folder: Folder, process: subprocess.Popen[bytes], stage: str, old: set[str], put: set[str]) -> set[str]:
    """Let workers run in slices of milliseconds and stop them when one stands at the stage; returns its attempts."""
    end, workers = time.monotonic() + LIFE_S, set[int]()
    while process.poll() is None:
        assert time.monotonic() < end, f"nobody stood {stage} in {LIFE_S} s"
        signal_all(workers, signal.SIGSTOP)
        stages = {attempt: folder.stage(attempt, put) for attempt in folder.open_attempts() - old}
        if there := {attempt for attempt, reached in stages.items() if reached == stage}:
            return there
        stopped, workers = workers, folder.workers(set(stages))
        signal_all(stopped, signal.SIGCONT)
        time.sleep(0.0005 if RENDERED in stages.values() else 0.004)  # a put takes few milliseconds
    return set()


def kill_worker(folder: Folder, attempt: str, put_before: set[str]) -> None:
    pid = folder.worker(attempt)
    signal_all({pid}, signal.SIGKILL)
    assert_gone({pid}, 60)
    folder.note("worker", {attempt}, put_before)


def one_life(folder: Folder, who: str, stage: str, luck: random.Random) -> bool:
    """Start a driver, let it begin a shard, kill somebody; says whether the job is still unfinished."""
    old, put_before = folder.attempts("begun"), folder.objects()
    process = folder.start(*WHO[who])
    if not wait_until(lambda: folder.open_attempts() - old, process):
        return False
    if stage == INSIDE:
        time.sleep(luck.random() * 0.5)
        there = folder.open_attempts() - old
    elif not (there := hold_at(folder, process, stage, old, put_before)):
        return False
    if who == "worker" and there:
        kill_worker(folder, luck.choice(sorted(there)), put_before)
        begun = folder.attempts("begun")
        signal_all(folder.workers((begun - old) & folder.open_attempts()), signal.SIGCONT)
        wait_until(lambda: folder.attempts("begun") - begun, process)  # somebody goes on
    below = kill_driver(process)
    if process.returncode == -signal.SIGKILL:
        folder.note(who if who == "inline" else "driver", folder.open_attempts() - old - folder.lost, put_before)
    signal_all(below, signal.SIGCONT)
    assert_gone(folder.workers(folder.attempts("begun") - old), 60)
    folder.lost |= folder.open_attempts()  # also what an actor began after its driver's death
    return True


def assert_as_if_nothing_had_been(folder: Folder, shards: int, *options: str) -> None:
    """Finish, and compare with a folder in which nobody was killed."""
    undisturbed = replace(folder, out=folder.out.with_name("undisturbed"))
    assert folder.finish(*options) == undisturbed.finish("--inline")
    assert len(folder.attempts("rendered")) <= shards + len(folder.lost)
    assert verify(folder.out, deep=True).problems == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", [INSIDE, RENDERED, BETWEEN])
def test_a_kill_at_each_stage_of_a_shard_changes_nothing(folder: Folder, stage: str) -> None:
    folder.module, luck = "tests.faults.noise_factory", random.Random(0)
    while ("inline", stage) not in folder.kills:
        assert one_life(folder, "inline", stage, luck), f"the job ended before a kill fell {stage}: {folder.kills}"
    assert_as_if_nothing_had_been(folder, FEW_SHARDS, "--inline")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("module", ["tests.faults.noise_factory", "factory"])
def test_twenty_kills_at_random_moments_change_nothing(folder: Folder, tmp_path: Path, module: str) -> None:
    luck, folder.module, folder.recipe = random.Random(0), module, write_recipe(tmp_path, MANY_SHARDS)
    lives = itertools.product(WHO, (INSIDE, RENDERED, BETWEEN))
    for who, stage in itertools.cycle(luck.sample(list(lives), 9)):
        if len(folder.kills) >= KILLS or not one_life(folder, who, stage, luck):
            break
    print(f"{len(folder.kills)} proven kills: {folder.kills}")
    assert len(folder.kills) >= KILLS
    assert {INSIDE, RENDERED, BETWEEN} <= {where for who, where in folder.kills if who != "driver"}  # its writer died
    assert {who for who, _ in folder.kills} == set(WHO)
    assert_as_if_nothing_had_been(folder, MANY_SHARDS, "--workers", "2")
    expected = open_dataset(folder.out).root
    clean = [sys.executable, "-m", "factory", "clean", str(folder.out)]
    subprocess.run(clean, env=ENVIRONMENT, check=True, timeout=600)
    assert verify(folder.out, deep=True).problems == []
    assert open_dataset(folder.out).root == expected
