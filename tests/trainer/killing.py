"""Runs that are watched and killed: what each process read is noted, where a kill fell is proven by what it left."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from learning.checkpoint import load_newest
from tests.trainer import processes
from tests.trainer.processes import Command

IN_A_SAVE, IN_A_STEP = "inside a save", "inside a step"
SLOW_SYNC_S = 0.05  # a save has four: so a disk that takes its time
LIMIT_S = 1200.0
VOLATILE = {"images_per_s", "data_wait_fraction", "memory_peak_bytes", "seconds", "unreadable_groups"}


@dataclass
class Watched:
    """A run folder in one or more processes; `notes` holds a file of batches for each process of each life."""

    words: list[str]
    out: Path
    notes: Path
    kills: list[str] = field(default_factory=list)
    lives: int = 0
    left_before: set[Path] = field(default_factory=set)  # what a life that was killed in a save left behind

    def start(self, world: int = 1) -> list[Command]:
        self.lives += 1
        self.left_before = self.unfinished_saves()
        self.notes.mkdir(exist_ok=True)
        common = {} if world == 1 else {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": str(world), **meeting_point()}
        commands = []
        for rank in range(world):
            own = {} if world == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            note = self.notes / f"{self.lives:03d}-{rank}.jsonl"
            commands.append(processes.start(self.words, target=watched, more=(str(note), {**common, **own})))
        return commands

    def finish(self, world: int = 1) -> None:
        for code, said in [command.wait(LIMIT_S) for command in self.start(world)]:
            assert code == 0, said

    def steps(self, rank: int = 0) -> int:
        """Count the batches that a process of this life took."""
        note = self.notes / f"{self.lives:03d}-{rank}.jsonl"
        return len(note.read_text().splitlines()) if note.exists() else 0

    def unfinished_saves(self) -> set[Path]:
        return set((self.out / "checkpoints").glob(".tmp-ckpt-*"))

    def is_saving(self) -> bool:
        """Say whether a save has begun in this life and not ended."""
        return bool(self.unfinished_saves() - self.left_before)

    def sequence(self) -> dict[int, int]:
        """Return the id of the group at every slot; all lives and ranks that read a slot must have read the same."""
        found: dict[int, int] = {}
        for note in sorted(self.notes.iterdir()):
            for text in note.read_text().splitlines():
                for position, group in zip(*json.loads(text), strict=True):
                    assert found.setdefault(position, group) == group, (note, position)
        return found

    def live_and_die(self, luck: random.Random, world: int = 1) -> bool:
        """Kill one life at a random instant or in a save; False if it finished before."""
        commands = self.start(world)
        steps, wants_save = luck.randint(1, 4), luck.random() < 0.5
        ready = self.is_saving if wants_save else lambda: self.steps() >= steps
        if not wait_until(lambda: self.steps() > 0 and ready(), commands):
            return False
        if not wants_save:
            time.sleep(luck.random() * 0.05)
        return self._kill(commands, luck)

    def _kill(self, commands: list[Command], luck: random.Random) -> bool:
        """SIGKILL one process, and perhaps the others at the same instant; they must end by themselves if not."""
        first, *others = luck.sample(commands, len(commands))
        for command in [first, *(others if luck.random() < 0.5 else [])]:
            os.kill(command.process.pid, signal.SIGKILL)
        codes = [command.wait()[0] for command in (first, *others)]
        assert None not in codes, "a process waits for one that was killed"
        assert codes[0] == 0 or 0 not in codes, codes  # nobody goes on to the end alone
        if codes[0] == -signal.SIGKILL:
            died_writing = first is commands[0] or codes[-1] == -signal.SIGKILL
            self.kills.append(IN_A_SAVE if self.is_saving() and died_writing else IN_A_STEP)
        return codes[0] == -signal.SIGKILL


def wait_until(ready, commands) -> bool:
    """Wait until something shows, or a process ends."""
    end = time.monotonic() + LIMIT_S
    while all(command.process.is_alive() for command in commands):
        if ready():
            return True
        assert time.monotonic() < end, "nothing happened: " + commands[0].log.read_text()
        time.sleep(0.001)
    return False


def meeting_point() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


def watched(words, log, largest_file_bytes, environment, note, more) -> None:
    """Be the command line, on a slow disk, and note every batch's slots and ids before it is learned from."""
    import learning.checkpoint
    import trainer.pretrain

    build, sync = trainer.pretrain.build_inputs, learning.checkpoint._sync

    def noted(batch, *arguments):
        with Path(note).open("a") as file:
            file.write(json.dumps([batch.positions.tolist(), batch.ids.tolist()]) + "\n")
        return build(batch, *arguments)

    def slow(path):
        sync(path)
        time.sleep(SLOW_SYNC_S)

    trainer.pretrain.build_inputs, learning.checkpoint._sync = noted, slow
    processes._run(words, log, largest_file_bytes, {**environment, **more})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def steady_lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines without what differs from one time to the next."""
    return [{key: line[key] for key in line.keys() - VOLATILE} for line in lines(folder)]


def signal_once(command: Command, is_time: Callable[[], bool], number: int) -> int | None:
    """Send a signal to a command once it is time; return its exit code."""
    limit = time.monotonic() + 90
    while time.monotonic() < limit and command.process.is_alive():
        if is_time():
            os.kill(command.process.pid, number)
            break
        time.sleep(0.002)
    return command.wait()[0]


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in items for tensor in tensors(item)]


def assert_same_state(one: Path, other: Path, images_seen: int) -> None:
    """Compare two runs' newest checkpoints bit for bit, and their exports byte for byte."""
    (seen, first), (seen_too, second) = load_newest(one / "checkpoints"), load_newest(other / "checkpoints")
    assert seen == seen_too == images_seen
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    assert len(pairs) > 30
    assert all(torch.equal(a, b) for a, b in pairs)
    weights = [(folder / "encoder" / "model.safetensors").read_bytes() for folder in (one, other)]
    assert weights[0] == weights[1]


def signal_after(words: list[str], folder: Path, images_seen: int, number: int) -> int | None:
    """Send a signal once the metrics name that many images; return the exit code."""
    metrics, told = folder / "metrics.jsonl", f'"images_seen": {images_seen},'
    return signal_once(processes.start(words), lambda: metrics.exists() and told in metrics.read_text(), number)
