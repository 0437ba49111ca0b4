"""Metrics for Prometheus, over HTTP or in a text file that node_exporter's collector picks up.

A target is a port (`9108`), an address (`127.0.0.1:9108`) or a file that ends in `.prom`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manifests.errors import UserError, explained

WRITE_EVERY_S = 5.0
LAST_PORT = 65535


class Exposition:
    """A registry and the way it is read."""

    def __init__(self, target: str) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self._file = Path(target) if target.endswith(".prom") else None
        self._written_at_s = 0.0
        self._stop: Callable[[], None] = lambda: None
        if self._file is None:
            self._serve(*address(target))

    def _serve(self, host: str, port: int) -> None:
        from prometheus_client import start_http_server

        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise UserError(f"--metrics {host}:{port}: {error.strerror or error}; take another port") from None
        self.port = server.server_port

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._stop = stop

    def update(self, *, is_last: bool = False) -> None:
        """Bring the file up to date, at most every few seconds; an address needs nothing."""
        now = time.monotonic()
        if self._file is None or (not is_last and now - self._written_at_s < WRITE_EVERY_S):
            return
        from prometheus_client import write_to_textfile

        with explained(str(self._file), is_target=True):
            write_to_textfile(str(self._file), self.registry)
        self._written_at_s = now

    def close(self) -> None:
        """Write the last numbers down, or stop answering."""
        self.update(is_last=True)
        self._stop()

    def text(self) -> str:
        """Return what a reader would get."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()


def address(target: str) -> tuple[str, int]:
    """Read a port, or host and port.

    Raises: UserError.
    """
    host, _, port = target.rpartition(":")
    if not port.isdecimal() or int(port) > LAST_PORT:
        raise UserError(f"--metrics {target}: expected a port, HOST:PORT, or a file that ends in .prom")
    return host or "0.0.0.0", int(port)


def names(registry: Any) -> set[str]:
    """List the names of all samples as a query uses them."""
    found = set()
    for family in registry.collect():
        found |= {family.name, *(sample.name for sample in family.samples)}
        found |= {f"{family.name}_total"} if family.type == "counter" else set()
    return found
