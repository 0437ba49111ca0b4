"""A Ray cluster of several raylets on this machine, each a process group of its own that can be killed like a node."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.test_kills import assert_gone, descendants

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
STORE_BYTES = 80 << 20


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Raylets:
    """Nodes that were started with `ray start --block`."""

    folder: Path
    environment: Mapping[str, str]
    address: str = ""
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, cpus: int) -> subprocess.Popen[bytes]:
        """Start a node, the first one as the head."""
        port = free_port() if not self.nodes else 0
        self.address = self.address or f"127.0.0.1:{port}"
        role = ["--head", f"--port={port}", f"--temp-dir={self.folder}", "--include-dashboard=false"]
        words = role if port else [f"--address={self.address}"]
        own = [f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--node-ip-address=127.0.0.1"]
        command = [*RAY, "start", "--block", "--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
        log = self.folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as said:
            node = subprocess.Popen(
                [*command, *words, *own], env=dict(self.environment), stdout=said, stderr=said, start_new_session=True
            )
        self.nodes.append(node)
        self._wait_for_start(node, log)
        if port:
            self._wait_for_head(node)
        return node

    def _wait_for_start(self, node: subprocess.Popen[bytes], log: Path, limit_s: float = 120.0) -> None:
        """Let nodes begin one by one: of one machine they share a folder, and a list of their ports in it."""
        end = time.monotonic() + limit_s
        while "Ray runtime started" not in log.read_text():
            assert node.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.2)

    def _wait_for_head(self, node: subprocess.Popen[bytes], limit_s: float = 120.0) -> None:
        """Ask as a healthcheck does: a port that is open is no head yet, and nodes that come too soon give up."""
        end, ask = time.monotonic() + limit_s, [*RAY, "health-check", "--address", self.address]
        while time.monotonic() < end and node.poll() is None:
            if not subprocess.run(ask, env=dict(self.environment), capture_output=True, check=False).returncode:
                return
        raise AssertionError(self.said())

    def said(self) -> str:
        """Return the end of what each node said."""
        logs = sorted(self.folder.glob("node-*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)

    @staticmethod
    def kill(node: subprocess.Popen[bytes]) -> None:
        """Kill a node's processes without a word, as a power cut does."""
        below = descendants(node.pid) | {node.pid}
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(timeout=60)
        assert_gone(below, 60)


def raylets(folder: Path, environment: Mapping[str, str], cpus: list[int]) -> Iterator[Raylets]:
    """Yield a cluster with a head and others; all of it ends with the test."""
    cluster = Raylets(folder, environment)
    try:
        for count in cpus:
            cluster.add(count)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            if node.poll() is None:
                cluster.kill(node)
