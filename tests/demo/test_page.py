"""The page in a real browser: silent, self-contained, readable, and its numbers are report.json's.

A picture of a real report for the README:
chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,1500 --screenshot=docs/report.png FILE
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from demo.numbers import MINUS, NBSP
from demo.page import page
from tests.demo.browser import Watched, chromium
from tests.demo.fixtures import HOSTILE, exhibits, report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(report(), exhibits()), encoding="utf-8")
    return path


@pytest.fixture
def watched(browser: Browser, path: Path) -> Iterator[Watched]:
    opened = browser.new_page()
    yield Watched(opened, path)
    opened.close()


def written(value: float, text: str) -> float:
    """Return how far a shown number is from a value, in units of its last digit."""
    shown = text.replace(MINUS, "-").replace(",", "").replace(NBSP, " ").split()[0]
    decimals = len(shown.partition(".")[2])
    return abs(float(shown) - value) * 10**decimals


def test_the_page_is_silent_and_asks_for_nothing(watched: Watched) -> None:
    assert watched.complaints == []
    assert watched.foreign_requests == []
    assert watched.page.evaluate("document.scripts.length") == 0


def test_the_watch_would_see_a_request_and_a_complaint(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('no')</script>")
    opened = browser.new_page()
    watched = Watched(opened, bad)
    opened.close()
    assert watched.foreign_requests == ["http://127.0.0.1:9/x.png"]
    assert "no" in watched.complaints


def test_every_number_on_the_page_is_the_reports(watched: Watched) -> None:
    facts: dict[str, Any] = json.loads(report().model_dump_json())
    script = "[...document.querySelectorAll('data')].map(d => [d.dataset.key, d.value, d.textContent])"
    shown = watched.page.evaluate(script)
    for key, value, text in shown:
        expected = reduce(lambda level, name: level[name], key.split("."), facts)
        assert float(value) == expected, key
        scale = {"images": 1, "images_per_s": 1, "memory_peak_bytes": 2**-30}.get(key.split(".")[-1], 100)
        assert written(scale * expected, text) <= 0.5 + 1e-9, (key, text)
    keys = {key for key, _, _ in shown}
    for method, measures in facts["results"].items():
        for measure in measures:
            assert {f"results.{method}.{measure}.{part}" for part in ("mean", "low", "high")} <= keys
    assert {"render.images", "render.images_per_s", "pretrain.images_per_s", "chance", "memory_peak_bytes"} <= keys


def test_all_images_are_shown(watched: Watched) -> None:
    widths = watched.page.evaluate("[...document.images].map(image => image.naturalWidth)")
    shown = exhibits()
    expected = sum(len(group.views) for group in shown.groups) + 13 * len(shown.neighbours)
    assert widths == [64] * expected


def test_a_hostile_prompt_is_text(watched: Watched) -> None:
    assert HOSTILE in watched.page.locator(".group p").all_text_contents()
    assert watched.page.evaluate("document.querySelectorAll('[onerror]').length") == 0
    assert HOSTILE in watched.page.locator("details pre").first.text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_fits_phones_and_desks_by_day_and_night(browser: Browser, path: Path, width: int, scheme: Any) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    Watched(opened, path)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    colours = opened.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    opened.close()
    assert contrast(*colours) >= 7


def test_quiet_text_can_be_read(browser: Browser, path: Path) -> None:
    for scheme in ("light", "dark"):
        opened = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        Watched(opened, path)
        pairs = opened.evaluate(
            "['.lead', '.notice', '.headline', 'tr.encoder th'].map(s => document.querySelector(s)).map(e => "
            "[getComputedStyle(e).color, getComputedStyle(e).backgroundColor.replace('rgba(0, 0, 0, 0)', "
            "getComputedStyle(document.body).backgroundColor)])"
        )
        opened.close()
        assert all(contrast(*pair) >= 4.5 for pair in pairs), (scheme, pairs)


def contrast(text: str, ground: str) -> float:
    """Return the contrast ratio of two CSS rgb() colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((_luminance(text), _luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_verdict_follows_its_interval(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Better than the same network untrained" in text
    assert "Not told apart from raw pixels" in text
    worse = report().model_copy(update={"differences": report().differences | {"pixels": _negative()}})
    assert "Worse than raw pixels" in page(worse, exhibits())


def _negative() -> dict[str, Any]:
    score = report().differences["pixels"]["linear"]
    return {"linear": score.model_copy(update={"mean": -0.05, "low": -0.09, "high": -0.01})}
