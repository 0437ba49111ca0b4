"""The whole chain on a random-weight generator: the report says what its parts say, and a second run does no work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from manifests import open_dataset
from tests.demo.browser import Watched, chromium
from tests.demo.test_main import run_demo
from tests.factory import tiny

CONFIG = {
    "preset": "demo",
    "images": 256,
    "batch_images": 32,
    "log_images": 64,
    "encoder": {"backbone": "resnet10t", "size_px": 32},
    "optimizer": {"warmup_images": 64},
}


def write_inputs(folder: Path) -> list[str]:
    source = tiny.source("sd15", steps=2)
    recipe = {"name": "tiny", "groups": 12, "views": 4, "groups_per_shard": 4, "sources": [source]}
    prompts = {"texts": ["a cat", "<script>alert(1)</script>", "a tree"]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"prompts": prompts}))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    paths = [folder / name for name in ("demo", "recipe.yaml", "config.yaml")]
    return [
        text for flag, path in zip(("--out", "--recipe", "--config"), paths, strict=True) for text in (flag, str(path))
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_renders_trains_evaluates_and_tells_and_does_it_again_without_work(tmp_path: Path) -> None:
    arguments = write_inputs(tmp_path)
    first = run_demo(*arguments, timeout_s=900)
    assert first.returncode == 0, first.stderr
    out = tmp_path / "demo"
    report = json.loads((out / "report.json").read_text())
    assert report["root"] == open_dataset(out / "data").root
    assert report["render"]["images"] == 48
    assert report["pretrain"]["images_seen"] == 256
    for measures in report["results"].values():
        assert all(0 <= score["low"] <= score["mean"] <= score["high"] <= 1 for score in measures.values())
    with chromium() as browser:
        watched = Watched(browser.new_page(), out / "report.html")
        assert watched.complaints == watched.foreign_requests == []
        assert "<script>alert(1)</script>" in watched.page.locator(".group p").all_text_contents()

    second = run_demo(*arguments, timeout_s=600)
    assert second.returncode == 0, second.stderr
    again = json.loads((out / "report.json").read_text())
    assert second.stdout.count("done before") == 2
    assert {key: again[key] for key in ("root", "results", "encoder_sha256", "seconds")} == {
        key: report[key] for key in ("root", "results", "encoder_sha256", "seconds")
    }
