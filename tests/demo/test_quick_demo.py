"""`python -m demo` on the built-in model, from recipe to report.json, with few images and a small labelled set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from manifests import open_dataset
from tests.demo.test_report import make_tests

ROOT = Path(__file__).parents[2]
CONFIG = {
    "preset": "demo",
    "images": 16,
    "batch_images": 8,
    "log_images": 8,
    "encoder": {"backbone": "resnet10t", "arguments": {}, "size_px": 32},
    "optimizer": {"warmup_images": 8},
}
# A Python that has the small set in place of clipart26, which takes minutes to score; so do the commands it starts.
PYTHON = """#!{python}
import runpy, sys
from pathlib import Path
import demo.report
from trainer.evaluation import sets
sets.SETS["clipart26"] = {small!r}
demo.report.labelled_set_folder = lambda: Path({small!r})
own, sys.argv = sys.argv[0], sys.argv[2:]
if sys.argv[0] == "demo":
    sys.executable = own
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_demo_tells_root_results_speeds_time_and_memory(tmp_path: Path) -> None:
    python, config, out = tmp_path / "python", tmp_path / "config.yaml", tmp_path / "demo"
    python.write_text(PYTHON.format(python=sys.executable, small=str(make_tests(tmp_path / "small"))))
    python.chmod(0o755)
    config.write_text(yaml.safe_dump(CONFIG))
    words = [str(python), "-m", "demo", "--out", str(out), "--groups", "3", "--config", str(config)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}  # else other work starves it
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    report = json.loads((out / "report.json").read_text())
    assert report["root"] == open_dataset(out / "data").root
    assert report["results"].keys() == {"encoder", "random", "pixels", "imagenet"}
    for methods in report["results"].values():
        assert methods.keys() == {"knn", "linear"}
        for score in methods.values():
            assert 0 <= score["low"] <= score["mean"] <= score["high"] <= 1
            assert score["n"] == 15
    assert report["render"]["images"] == 12
    assert report["pretrain"]["images_seen"] == 16
    assert report["render"]["images_per_s"] > 0
    assert report["pretrain"]["images_per_s"] > 0
    assert report["seconds"] == pytest.approx(sum(report["steps"].values()))
    assert all(taken > 0 for taken in report["steps"].values())
    assert report["memory_peak_bytes"] == max(report["steps_memory_peak_bytes"].values())
    assert all(held > 200 << 20 for held in report["steps_memory_peak_bytes"].values())  # each has torch loaded
    assert report["root"] in (out / "report.html").read_text(encoding="utf-8")
