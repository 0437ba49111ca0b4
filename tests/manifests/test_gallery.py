"""The gallery in a real browser: from disk and server, with hostile prompts, many groups, and no request out."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page

from manifests import open_dataset
from manifests.errors import UserError
from manifests.gallery import Options, write_gallery
from manifests.gallery.index import chosen_groups
from manifests.gallery.landscape import landscape
from manifests.store import Store
from tests.demo.browser import chromium
from tests.manifests.making import commit, finish, make_group

EVIL = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\"> \u2028${1}`"
GROUPS = 120


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def make(folder: Path, scratch: Path, stream: str, groups: int = GROUPS) -> None:
    store = Store.open(folder, create=True)
    made = []
    for number in range(groups):
        group = make_group(number)
        for view in group.views:
            view.row["sigma"] = None if number % 2 else number / 10
            view.row["strategy"] = "gaussian" if number % 3 else "independent"
            view.row["generator_sha256"] = "ab" * 32
        made.append(replace(group, prompt=EVIL if number == 0 else f"thing {number % 50} of {groups}"))
    record = commit(store, 0, scratch, made, stream_id=stream)
    finish(store, [record], name="<b>toys</b>", licence="MIT")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scratch = tmp_path_factory.mktemp("gallery")
    make(scratch / "data", scratch, "5a" * 32)
    data = open_dataset(scratch / "data")
    rows = data.rows(["key", "view"], ok_only=True)
    angle = np.linspace(0, 6, len(rows))
    features = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1).astype(np.float32)
    pq.write_table(rows.append_column("features", pa.array(features.tolist())), scratch / "features.parquet")
    options = Options(thumb_px=32, embeddings=(scratch / "features.parquet",))
    assert write_gallery([data], scratch / "site", options) == GROUPS
    return scratch / "site"


class Watched:
    """What a page complained about, and what it asked for."""

    def __init__(self, page: Page) -> None:
        self.complaints, self.requests = list[str](), list[str]()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))


def opened(browser: Browser, site: Path) -> tuple[Page, Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    watched = Watched(page)
    page.goto((site / "index.html").as_uri(), wait_until="commit", timeout=120_000)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    return page, watched


def count(page: Page) -> str:
    page.wait_for_timeout(250)
    return page.inner_text("#count")


def test_it_shows_filters_and_finds_groups_and_asks_nobody(browser: Browser, site: Path) -> None:
    page, watched = opened(browser, site)
    assert count(page) == "120 of 120 groups"
    assert 0 < page.locator(".group p").count() < GROUPS
    page.fill("#search", "THING 49")
    assert count(page) == "2 of 120 groups"
    page.fill("#search", "")
    page.select_option("select[name=strategy]", "independent")
    assert count(page) == "40 of 120 groups"
    page.fill("[aria-label='σ at least']", "6")
    assert count(page) == "10 of 120 groups"
    page.click("#reset")
    assert count(page) == "120 of 120 groups"
    page.evaluate("document.getElementById('list').scrollTop = 1e9")
    page.wait_for_timeout(200)
    assert "thing 19 of 120" in page.inner_text("#runway")
    assert watched.complaints == []
    assert all(url.startswith(site.as_uri()) for url in watched.requests)
    page.close()


def test_prompts_are_inert_and_a_click_shows_the_row_and_its_command(browser: Browser, site: Path) -> None:
    page, watched = opened(browser, site)
    page.fill("#search", "pwned")
    assert count(page) == "1 of 120 groups"
    page.locator(".view").nth(1).click()
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#detail-title").startswith("</script><script>document.title")
    data = site.parent / "data"
    assert page.inner_text("#command") == (
        f"python -m factory rerender {data} --view 5a5a5a5a-000000000.v01 --out again"
    )
    table = page.inner_text("#row")
    for told in ("5a5a5a5a-000000000.v01.png", "18446744073709551614", "gaussian" if 0 % 3 else "independent", "0: a"):
        assert told in table
    assert page.title() == "<b>toys</b> · ViewMill gallery"
    assert page.locator("#titles b b").count() == 0
    assert watched.complaints == []
    page.close()


def test_a_region_of_the_map_keeps_its_groups(browser: Browser, site: Path) -> None:
    page, watched = opened(browser, site)
    page.select_option("#colour", "strategy")
    assert page.locator("#legend li").all_inner_texts() == ["gaussian", "independent"]
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
    page.mouse.up()
    shown = int(count(page).split()[0])
    assert 20 < shown < 100
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert count(page) == "120 of 120 groups"
    assert watched.complaints == []
    page.close()


def test_two_data_sets_stand_side_by_side_by_what_they_show(browser: Browser, tmp_path: Path) -> None:
    for name, stream, groups in (("one", "5a" * 32, 12), ("two", "cd" * 32, 12)):
        make(tmp_path / name, tmp_path, stream, groups)
    datasets = [open_dataset(tmp_path / name) for name in ("one", "two")]
    assert write_gallery(datasets, tmp_path / "site", Options(thumb_px=16)) == 24
    page, watched = opened(browser, tmp_path / "site")
    assert count(page) == "24 of 24 groups"
    for line in page.locator(".line").all()[:5]:
        left, right = line.locator(".prompt").all_inner_texts()
        assert left == right
    assert watched.complaints == []
    page.close()


def test_it_works_from_a_server_too_and_its_policy_lets_no_other_script_run(browser: Browser, site: Path) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *arguments: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/index.html")
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        assert count(page) == "120 of 120 groups"
        blocked = page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.ran = true';"
            " document.head.append(s); return window.ran === undefined; }"
        )
        assert blocked
        page.close()
    finally:
        server.shutdown()
        server.server_close()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (site / "index.html").read_text())
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]


def test_a_few_groups_are_spread_over_the_data_set(site: Path) -> None:
    data = open_dataset(site.parent / "data")
    chosen = chosen_groups(data, 4)
    assert [int(key[-3:]) for key in chosen.keys] == [0, 40, 79, 119]
    assert [[row["view"] for row in group] for group in chosen.rows(data)] == [[0, 1]] * 4


def test_what_cannot_be_shown_is_one_line(site: Path, tmp_path: Path) -> None:
    data = open_dataset(site.parent / "data")
    with pytest.raises(UserError, match="one or two"):
        write_gallery([data] * 3, tmp_path)
    pq.write_table(pa.table({"key": ["x"], "features": [[1.0]]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="no features of 5a5a5a5a-000000000 and 119 more"):
        write_gallery([data], tmp_path, Options(embeddings=(tmp_path / "other.parquet",)))
    (tmp_path / "no.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match="expected Parquet"):
        landscape(tmp_path / "no.parquet", ["x"])


@pytest.mark.slow
def test_a_hundred_thousand_groups_stay_usable(browser: Browser, site: Path, tmp_path: Path) -> None:
    """Repeat the site's files: what the browser holds is what it would of so many groups."""
    import json
    import shutil

    shutil.copytree(site, tmp_path / "site")
    folder, many = tmp_path / "site" / "data", 100_000
    text = (folder / "a-index-00000.js").read_text()
    columns = json.loads(text[text.index(",") + 1 : text.rindex(")")])
    repeated = {name: (values * (many // GROUPS + 1))[:many] for name, values in columns.items()}
    repeated["key"] = [f"5a5a5a5a-{number:09d}" for number in range(many)]
    for first in range(0, many, 20_000):
        part = {name: values[first : first + 20_000] for name, values in repeated.items()}
        path = folder / f"a-index-{first // 20_000:05d}.js"
        path.write_text(f'viewmill.take("a-index-{first}",{json.dumps(part)});')
    text = (folder / "sets.js").read_text()
    sets = json.loads(text[text.index(",") + 1 : text.rindex(")")])
    sets[0] |= {"groups": many, "of": many}
    (folder / "sets.js").write_text(f'viewmill.take("sets",{json.dumps(sets)});')
    page, _ = opened(browser, tmp_path / "site")
    assert count(page) == "100,000 of 100,000 groups"
    took_ms = page.evaluate(
        "() => { const began = performance.now(); state.query = ['thing', '7']; refresh();"
        " return performance.now() - began; }"
    )
    print(f"search in 100,000 groups: {took_ms:.0f} ms")
    assert took_ms < 1000
    page.evaluate("document.getElementById('list').scrollTop = 1e9")
    page.wait_for_timeout(300)
    assert page.locator(".group").count() < 100
    page.close()
