"""Runs one command line after another and remembers the time and memory of each, so that pieces still add up.

Every command resumes by itself. A step that names its inputs is left out when nothing it reads has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.memory import MemoryWatch
from manifests.errors import UserError
from manifests.target import replaced


class StepError(UserError):
    """A step's command failed; it has said why itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # the command's own


@dataclass(frozen=True)
class Step:
    """One command: a module and its arguments, what it makes, and (if it cannot resume by itself) what it reads."""

    name: str
    arguments: tuple[str, ...]
    product: Path
    inputs: tuple[Path, ...] = ()
    captured: bool = False  # standard output becomes the product

    @property
    def text(self) -> str:
        """The command as one would type it."""
        return shlex.join(["python", "-m", *self.arguments]) + (f" > {self.product}" if self.captured else "")


_FRESH: dict[str, Any] = {"seconds": 0.0, "memory_peak_bytes": 0, "finished": False, "inputs": ""}


class Journal:
    """What each step has taken so far, in a small file beside the results.

    Raises: UserError for a file that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps = _read_steps(path) if path.is_file() else {}

    def seconds(self, step: Step) -> float:
        """Return how long the step has taken in all."""
        return float(self._entry(step)["seconds"])

    def memory_peak_bytes(self, step: Step) -> int:
        """Return the most memory that the step's processes have held together."""
        return int(self._entry(step)["memory_peak_bytes"])

    def is_current(self, step: Step) -> bool:
        """Say whether the step ended well on the very files that it would read now."""
        done = self._entry(step)["finished"] and step.product.is_file()
        return bool(done and step.inputs and self._entry(step)["inputs"] == _fingerprint(step.inputs))

    def add(self, step: Step, seconds: float, memory_peak_bytes: int, *, finished: bool) -> None:
        """Record a run; repeating a command that had finished, to no effect, changes nothing."""
        entry = self._entry(step)
        repeated = entry["finished"] and not step.inputs
        if not repeated:
            before = _FRESH if entry["finished"] else entry
            entry["seconds"] = before["seconds"] + seconds
            entry["memory_peak_bytes"] = max(before["memory_peak_bytes"], memory_peak_bytes)
        entry |= {"finished": finished, "inputs": _fingerprint(step.inputs)}
        self._steps[step.name] = entry
        with replaced(self._path) as part:
            part.write_text(json.dumps(self._steps, indent=2) + "\n")

    def _entry(self, step: Step) -> dict[str, Any]:
        entry = self._steps.get(step.name, {})
        return {"command": step.text, **_FRESH, **(entry if entry.get("command") == step.text else {})}


def _read_steps(path: Path) -> dict[str, dict[str, Any]]:
    try:
        saved = json.loads(path.read_text())
        return {name: dict(entry) for name, entry in saved.items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: delete it, the steps then tell their times anew") from None


def run_all(steps: Sequence[Step], journal: Journal) -> None:
    """Run the steps in order, saying what runs and how long it took.

    Raises: StepError with the exit code of the command that failed.
    """
    for place, step in enumerate(steps, 1):
        heading = f"[{place}/{len(steps)}] {step.name}"
        if journal.is_current(step):
            print(f"{heading}: done before", flush=True)
            continue
        print(f"{heading}: {step.text}", flush=True)
        _run_timed(step, journal)
        print(f"{heading}: {journal.seconds(step):.0f} s", flush=True)


def _run_timed(step: Step, journal: Journal) -> None:
    started = time.monotonic()
    code, memory_peak_bytes = _run(step)
    journal.add(step, time.monotonic() - started, memory_peak_bytes, finished=code == 0)
    if code != 0:
        raise StepError(
            f"the step “{step.name}” failed ({_ending(code)}): {step.text}\n"
            "What went wrong stands above. The same command again resumes here.",
            code if code > 0 else 128 - code,
        )


def _run(step: Step) -> tuple[int, int]:
    """Return the command's exit code and the most memory it held."""
    command = [sys.executable, "-m", *step.arguments]
    if not step.captured:
        return _watched(subprocess.Popen(command))
    temporary = step.product.with_suffix(".part")
    with temporary.open("wb") as file:
        code, memory_peak_bytes = _watched(subprocess.Popen(command, stdout=file))
    if code == 0:
        os.replace(temporary, step.product)
    return code, memory_peak_bytes


def _watched(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    with MemoryWatch(child.pid) as memory:
        code = _wait(child)
    return code, memory.peak_bytes


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command also when asked to stop: it is asked too, and ends once what it has is safe."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the whole process group
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"


def _fingerprint(paths: Sequence[Path]) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent" for path in paths]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else ""
