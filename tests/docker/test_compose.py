"""The compose file's services as plain processes, with their very commands: a bucket, Ray, a render job, a trainer.

Only what a container's network would do is done here: names become 127.0.0.1 and ports free ones.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests import open_dataset, verify
from manifests.store import Store
from tests.faults.raylets import Raylets, free_port
from tests.faults.test_kills import descendants

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]
PORTS = ("9000", "6379", "9108", "9109")
LIMIT_S = 900.0

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(2400)]


@dataclass
class Composed:
    """Services that were started, as `docker compose up` would."""

    folder: Path
    ports: dict[str, str] = field(default_factory=lambda: {port: str(free_port()) for port in PORTS})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def word(self, text: str) -> str:
        """Translate a name and a port of the container's network."""
        text = re.sub(r"\b(s3|head)(?=:\d)", "127.0.0.1", text)
        return re.sub(rf"(?<![0-9])({'|'.join(PORTS)})(?![0-9])", lambda match: self.ports[match[0]], text)

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        own = {name: self.word(value) for name, value in service.get("environment", {}).items()}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        image = {"PATH": search, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        here = {"RAY_TMPDIR": str(self.folder), "VIEWMILL_CACHE": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **image, **here, **own, "RAY_worker_niceness": "0"}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        service = SERVICES[name]
        command = [self.word(word) for word in [*service.get("entrypoint", []), *service["command"]]]
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(
            command, env=self.environment(service), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        self.running[name] = process
        return process

    def wait_healthy(self, name: str) -> None:
        """Ask as the service's healthcheck does."""
        service = SERVICES[name]
        check = [self.word(word) for word in service["healthcheck"]["test"][1:]]
        end = time.monotonic() + LIMIT_S
        while subprocess.run(check, env=self.environment(service), capture_output=True, check=False).returncode:
            assert self.running[name].poll() is None, self.said(name)
            assert time.monotonic() < end, self.said(name)
            time.sleep(1)

    def finish(self, name: str) -> None:
        assert self.start(name).wait(LIMIT_S) == 0, self.said(name)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]


@pytest.fixture
def composed() -> Iterator[Composed]:
    with tempfile.TemporaryDirectory(prefix="vmc-", ignore_cleanup_errors=True) as folder:
        composed = Composed(Path(folder))
        try:
            yield composed
        finally:
            for process in reversed(composed.running.values()):
                if process.poll() is None:
                    Raylets.kill(process)


def needs(name: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = SERVICES[name].get("depends_on", {})
    return found


def in_order() -> list[str]:
    """Order the services so that each comes after those it needs."""
    left, ordered = dict(SERVICES), list[str]()
    while left:
        ready = [name for name in left if set(needs(name)) <= set(ordered)]
        assert ready, "services wait for each other"
        ordered += ready
        left = {name: service for name, service in left.items() if name not in ready}
    return ordered


def waited_for(name: str, condition: str) -> bool:
    return any(needs(other).get(name, {}).get("condition") == condition for other in SERVICES)


def test_the_demo_runs_through_the_services_as_they_are_written(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = in_order()[-1]
    for name in in_order():
        if name == last or waited_for(name, "service_completed_successfully"):
            composed.finish(name)
        else:
            composed.start(name)
            if waited_for(name, "service_healthy"):
                composed.wait_healthy(name)
    for name, value in composed.environment(SERVICES["render"]).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("VIEWMILL_CACHE", str(composed.folder / "cache"))
    data = open_dataset("s3://viewmill/demo")
    assert sum(shard.groups for shard in data.version.shards) == 32
    assert verify("s3://viewmill/demo", deep=True).problems == []
    assert Store.open("s3://viewmill/run").exists("encoder/viewmill.json")
    assert '"event": "run_ended"' in composed.said("render")


def test_nothing_is_left_of_a_service_that_was_ended(composed: Composed) -> None:
    process = composed.start("s3")
    composed.wait_healthy("s3")
    below = descendants(process.pid)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) is not None
    assert not {pid for pid in below if Path(f"/proc/{pid}").exists()}
