"""Metrics are read over HTTP or from a file that is replaced whole."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from prometheus_client import Gauge

from manifests.errors import UserError
from manifests.prometheus import Exposition, address, names


def test_a_port_answers_until_it_is_closed() -> None:
    shown = Exposition("127.0.0.1:0")
    Gauge("some_images", "images", registry=shown.registry).set(3)
    url = f"http://127.0.0.1:{shown.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert b"some_images 3.0" in answer.read()
    with pytest.raises(UserError, match=rf"--metrics 127.0.0.1:{shown.port}: .*; take another port"):
        Exposition(f"127.0.0.1:{shown.port}")
    shown.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_a_file_holds_the_last_numbers_once_it_is_closed(tmp_path: Path) -> None:
    shown = Exposition(str(tmp_path / "job.prom"))
    gauge = Gauge("some_images", "images", registry=shown.registry)
    shown.update()
    gauge.set(7)
    shown.update()  # too soon
    assert "some_images 0.0" in (tmp_path / "job.prom").read_text()
    shown.close()
    assert "some_images 7.0" in (tmp_path / "job.prom").read_text()
    assert names(shown.registry) == {"some_images"}


@pytest.mark.parametrize("target", ["x", "host:", "70000", "metrics.txt"])
def test_what_is_neither_a_port_nor_a_file_is_refused(target: str) -> None:
    with pytest.raises(UserError, match="expected a port, HOST:PORT, or a file"):
        Exposition(target)


def test_a_port_alone_listens_everywhere() -> None:
    assert address("9108") == ("0.0.0.0", 9108)
    assert address("[::1]:9108") == ("[::1]", 9108)
