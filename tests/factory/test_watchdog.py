"""A worker tells that it must go or that it hangs, and shows where; whoever cannot even tell is ended from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import yaml

from factory import job
from factory.generators.protocol import Rendered
from factory.plan import ShardPlan, plan_shard
from factory.runs import RunLog
from factory.watchdog import LEAVE_FILE, LeavingError, StalledError, Watchdog, stacks
from factory.workshop import Assignment
from manifests.store import Store
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop


def never(shard: int, text: bytes) -> str:
    raise AssertionError


def test_a_worker_that_lives_tells_so_after_the_wait() -> None:
    watchdog = Watchdog(stall_s=60)
    begun = time.monotonic()
    with watchdog.watching(3):
        assert watchdog.pulse(0.2, never).state == "alive"
    assert 0.2 <= time.monotonic() - begun < 5


def test_a_shard_without_a_sign_of_life_is_stalled_and_a_beat_is_one() -> None:
    watchdog = Watchdog(stall_s=0.2)
    with watchdog.watching(3):
        for _ in range(4):
            time.sleep(0.08)
            watchdog.beat(3)
            assert watchdog.stalled() is None
        saved: list[bytes] = []
        pulse = watchdog.pulse(5, lambda shard, text: saved.append(text) or f"kept for {shard}")
    assert (pulse.state, pulse.detail) == ("stalled", "no sign of life in 0.2 s; kept for 3")
    assert b"test_a_shard_without_a_sign_of_life" in saved[0]
    assert watchdog.stalled() is None  # it is over


def test_the_file_and_the_signal_say_that_a_worker_must_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "leave"
    monkeypatch.setenv(LEAVE_FILE, str(file))
    watchdog = Watchdog()
    assert watchdog.pulse(0, never).state == "alive"
    file.touch()
    assert watchdog.pulse(5, never).detail == f"{file} is there"
    before = signal.getsignal(signal.SIGTERM)
    try:
        other = Watchdog()
        other.listen()
        monkeypatch.delenv(LEAVE_FILE)
        os.kill(os.getpid(), signal.SIGTERM)
        assert other.pulse(5, never).detail == "SIGTERM"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_not_begun_is_handed_back_where_a_worker_must_go(tmp_path: Path) -> None:
    Store.open(tmp_path, create=True)
    workshop = CheapWorkshop(Assignment(cheap.recipe(), str(tmp_path), "run", [{"sha256": "ab"}]))
    workshop.open()
    workshop._watchdog.leave("its node goes")
    with pytest.raises(LeavingError, match="shard 000000 is handed back: its node goes"):
        workshop.render(ShardPlan("s" * 64, 0, 0, ()), "000000-a")
    assert not list(tmp_path.glob("runs/attempts/*"))


@pytest.mark.parametrize("note", ["begun", "rendered"])
def test_a_note_that_is_never_put_is_a_stall_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str) -> None:
    work = job.begin(cheap.recipe(), str(tmp_path), job.Options(inline=True))
    known = Assignment(cheap.recipe(), str(tmp_path), "run", [{"sha256": "ab"}], stall_s=0.1)
    workshop, hang = CheapWorkshop(known), threading.Event()
    workshop.open()
    monkeypatch.setattr(RunLog, note, lambda log, *facts: hang.wait(60))
    plan = plan_shard(work.stream.recipe, work.stream.subjects, work.segments[0], 1)
    thread = threading.Thread(target=workshop.render, args=(plan, "000001-a"))
    thread.start()
    try:
        kept: list[int] = []
        pulse = workshop._watchdog.pulse(20, lambda shard, text: kept.append(shard) or "")
        assert (pulse.state, kept) == ("stalled", [1])
    finally:
        hang.set()
        thread.join(60)


def test_an_inline_render_that_stalls_ends_with_an_error_and_its_stacks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Hanging)
    work = job.begin(cheap.recipe(), str(tmp_path), job.Options(inline=True, stall_s=1.0))
    begun = time.monotonic()
    with pytest.raises(StalledError, match=r"no sign of life in 1 s; the stacks .*; run the same command again"):
        job.run(work)
    assert time.monotonic() - begun < 30
    (kept,) = tmp_path.glob("runs/*/stalls/*.txt")
    assert "in render" in kept.read_text()
    job.run(job.begin(cheap.recipe(), str(tmp_path), job.Options(inline=True)))  # as the error says


def test_a_process_whose_render_stalls_is_over_with_exit_code_4_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(cheap.recipe().model_dump(mode="json", exclude_none=True)))
    program = f"""
        import sys, factory.crew
        from factory.__main__ import main
        from tests.factory.test_watchdog import Hanging
        factory.crew.Workshop = Hanging
        words = ["render", "{tmp_path}/recipe.yaml", "{tmp_path}/out", "--inline", "--stall-s", "1"]
        sys.argv = ["factory", *words]
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == StalledError.exit_code == 4, done.stderr
    assert "rendering stalled: no sign of life in 1 s" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_stacks_name_every_thread() -> None:
    assert b"test_the_stacks_name_every_thread" in stacks()


def test_a_process_that_python_cannot_end_is_ended_all_the_same() -> None:
    program = """
        import factory.watchdog as w, hashlib
        w.ALARM_AFTER_S = 0.2
        dog = w.Watchdog(0.2, has_alarm=True)
        with dog.watching(0):
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # holds no lock, but never comes back
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr


class Hanging(CheapWorkshop):
    """Hangs in its first batch, once in a folder."""

    def open(self) -> dict[str, str]:
        numerics = super().open()
        draw, mark = self._generators[0].render, Path(self._assignment.url) / "runs" / "hung"

        def render(batch: object, batch_size: int) -> Rendered:
            if not mark.exists():
                mark.touch()
                time.sleep(3600)
            return draw(batch, batch_size)

        self._generators[0].render = render  # type: ignore[method-assign]
        return numerics


@pytest.mark.ray
def test_a_hanging_worker_is_replaced_and_leaves_its_stacks(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Hanging)
    work = job.begin(cheap.recipe(), str(tmp_path), job.Options(workers=1, stall_s=2.0))
    facts = job.run(work)
    assert facts["retries_by_cause"] == {"its worker died": 2}  # the one in its first batch, and the one behind it
    kept = list(tmp_path.glob("runs/*/stalls/*.txt"))
    assert len(kept) == 1
    assert "in render" in kept[0].read_text()
