"""The memory of a command is that of all its processes, each page once, also of those that outlive their parent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.memory import MemoryWatch
from demo.steps import Journal, Step, run_all

MIB = 1 << 20
HOLD = "held = bytearray(b'x') * (200 << 20)"
SHARE = f"import os, time\n{HOLD}\nfor _ in range(3):\n    if not os.fork(): break\ntime.sleep(2)\n"
ORPHAN = (
    "import os, pathlib, sys, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.05)\n"
    f"{HOLD}\ntime.sleep(2)\npathlib.Path(sys.argv[1]).touch()\n"
)
LEAVE = (
    "import subprocess, sys, time\n"
    f"subprocess.Popen([sys.executable, '-c', {ORPHAN!r}, sys.argv[1]], start_new_session=True)\ntime.sleep(1.5)\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="proportional sizes are Linux's")
def test_a_page_that_processes_share_counts_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", SHARE])
    with MemoryWatch(child.pid) as memory:
        child.wait(timeout=60)
    assert 200 * MIB < memory.peak_bytes < 400 * MIB


def test_what_outlives_its_parent_still_counts(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", LEAVE, str(tmp_path / "done")])
    with MemoryWatch(child.pid) as memory:
        child.wait(timeout=60)
        small = memory.peak_bytes
        deadline = time.monotonic() + 60
        while not (tmp_path / "done").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert small < 150 * MIB
    assert memory.peak_bytes > 200 * MIB


def test_a_step_keeps_the_most_of_all_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hold.py").write_text(
        "import pathlib, sys, time\np = pathlib.Path(sys.argv[1])\nif not p.exists():\n"
        f"    {HOLD}\n    time.sleep(1)\n    p.touch()\n    sys.exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    step = Step("hold", ("hold", str(tmp_path / "begun")), tmp_path / "begun")
    with pytest.raises(Exception, match="failed"):
        run_all([step], Journal(tmp_path / "steps.json"))
    first = Journal(tmp_path / "steps.json").memory_peak_bytes(step)
    run_all([step], Journal(tmp_path / "steps.json"))
    assert Journal(tmp_path / "steps.json").memory_peak_bytes(step) == first > 200 * MIB
