"""A proxy before an S3 server that fails as real ones do: 500, 503, no answer, a connection cut inside the body.

It can also hold a chosen request while it is under way and say so, so that a client is killed at a proven moment.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KINDS = ("500", "503", "no answer", "cut answer", "cut question")
SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>please wait</Message></Error>'
NO_ANSWER_S = 4.0  # longer than the clients of these tests wait
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


class FaultServer(ThreadingHTTPServer):
    """Passes requests on to `target`; `rate` of them fail, by kinds in turn."""

    daemon_threads = True

    def __init__(self, target: str, *, rate: float = 0.0, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.rate = urlsplit(target), rate
        self.failed: Counter[str] = Counter()
        self.passed = 0
        self._luck, self._lock = random.Random(seed), threading.Lock()
        self._wanted: Callable[[str, str], bool] | None = None
        self.held, self._go = threading.Event(), threading.Event()
        self.held_name = ""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self) -> str | None:
        """Draw what happens to a request."""
        with self._lock:
            if self._luck.random() >= self.rate:
                self.passed += 1
                return None
            kind = KINDS[sum(self.failed.values()) % len(KINDS)]
            self.failed[kind] += 1
            return kind

    def hold_next(self, wanted: Callable[[str, str], bool]) -> None:
        """Hold the next request of which the method and path are wanted, half of its body being read."""
        self.held.clear()
        self._go.clear()
        self._wanted = wanted

    def release(self) -> None:
        """Drop the request that is held."""
        self._wanted = None
        self._go.set()

    def holds(self, method: str, path: str) -> bool:
        with self._lock:
            if self._wanted is None or not self._wanted(method, path):
                return False
            self._wanted = None
        self.held_name = f"{method} {path}"
        return True

    def wait_held(self) -> None:
        self.held.set()
        self._go.wait(120)


@contextmanager
def faulty(target: str, *, rate: float = 0.0, seed: int = 0) -> Iterator[FaultServer]:
    server = FaultServer(target, rate=rate, seed=seed)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *arguments: object) -> None:
        pass

    def _pass(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if self.server.holds(self.command, self.path):
            self.rfile.read(size // 2)
            self.server.wait_held()
            return self._drop()
        kind = self.server.fault()
        if kind == "cut question":
            self.rfile.read(size // 2)
            return self._drop()
        body = self._body(size)
        if len(body) < size:  # the client was killed: no server takes half a body for an object
            return self._drop()
        if kind == "no answer":
            time.sleep(NO_ANSWER_S)
            return self._drop()
        if kind in ("500", "503"):
            code = b"InternalError" if kind == "500" else b"SlowDown"
            return self._answer(int(kind), [("Content-Type", "application/xml")], SLOW_DOWN % code)
        self._forward(body, is_cut=kind == "cut answer")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

    def _body(self, size: int) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(size)
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _forward(self, body: bytes, *, is_cut: bool) -> None:
        connection = http.client.HTTPConnection(self.server.target.hostname or "", self.server.target.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "content-length")}
        connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        data = answer.read()
        size = answer.headers.get("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, answer.getheaders(), data, is_cut=is_cut, size=size)
        connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, is_cut: bool = False, size: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", size or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if is_cut else data)
        if is_cut:
            self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)
