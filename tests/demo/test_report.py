"""The report says what the steps left behind: read here from a made-up demo folder with true data sets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import demo.report
from demo.evidence import Comparison
from demo.exhibits import neighbour_rows, read_features, read_metrics, sample_groups
from demo.facts import Report
from demo.report import write_report
from demo.steps import Journal, Step
from manifests import open_dataset
from manifests.adopt import adopt
from manifests.errors import UserError
from tests.demo.fixtures import HOSTILE, report
from trainer.evaluation.evaluate import METHODS, Evaluation
from trainer.evaluation.evidence import paired_difference, score

CLASSES = ["bird", "road_sign", "star"]


def write_images(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "images").mkdir(parents=True)
    for index, row in enumerate(rows):
        pixels = np.full((8, 8, 3), (index * 7 % 256, index * 3 % 256, 200), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / str(row["file"]))
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_data(folder: Path, prompts: list[str]) -> str:
    rows = [
        {"file": f"{group}-{view}.png", "caption": prompt, "group": f"{group:03d}"}
        for group, prompt in enumerate(prompts)
        for view in range(2)
    ]
    write_images(folder / "source", rows)
    root = adopt(
        folder / "source" / "images", folder / "data", table=folder / "source" / "table.jsonl", groups_per_shard=8
    )
    for name, images, seconds in (("a", 30, 4.0), ("b", 10, 1.0), ("c", 0, 2.0)):
        summary = folder / "data" / "runs" / name / "summary.json"
        summary.parent.mkdir(parents=True)
        summary.write_text(json.dumps({"images": images, "seconds": seconds, "images_per_s": images / seconds}))
    return root


def make_tests(folder: Path) -> Path:
    rows = [
        {
            "file": f"{index}.png",
            "label": index % 3,
            "split": "dev" if index < 30 else "test",
            "x_component": index // 2,
        }
        for index in range(36)
    ]
    write_images(folder, rows)
    table = folder / "table.jsonl"
    adopt(folder / "images", folder / "set", table=table, name="clipart26", label_names=CLASSES)
    return folder / "set"


def make_features(path: Path, tests: Path) -> None:
    """Give every class one direction, so that the encoder's neighbours are all of the query's class."""
    groups = open_dataset(tests).groups()
    features = np.eye(3, dtype=np.float32)[groups.label].tolist()
    keys = [str(key) for key in groups.key]
    pq.write_table(pa.table({"key": keys[::-1], "features": features[::-1]}), path)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    out = tmp_path / "demo"
    make_data(out, [f"prompt {index}" for index in range(39)] + [HOSTILE])
    tests = make_tests(tmp_path / "tests")
    monkeypatch.setattr(demo.report, "labelled_set_folder", lambda: tests)
    run = out / "run"
    (run / "encoder").mkdir(parents=True)
    (run / "encoder" / "model.safetensors").write_bytes(b"weights")
    (run / "config.json").write_text('{"seed": 0}')
    line = {"loss": 3.0, "loss_minus_log_positives": 1.0, "images_per_s": 100.0, "lr": 0.1, "grad_norm": None}
    lines = [
        {**line, "images_seen": 1000, "data_wait_fraction": 0.5, "seconds": 10.0},
        {**line, "images_seen": 4000, "data_wait_fraction": 0.1, "seconds": 40.0, "loss": 2.5},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    facts = json.loads(report().model_dump_json())
    evaluation = {"results": facts["results"], "differences": facts["differences"]}
    (out / "evaluation.json").write_text(json.dumps(evaluation))
    make_features(out / "features.parquet", tests)
    return out


def told(out: Path) -> Report:
    """Write the report of two steps that have run."""
    render = Step("render", ("factory", "render", "demo", "data"), out / "data")
    pretrain = Step("pretrain", ("trainer", "pretrain", "demo"), out / "run")
    journal = Journal(out / "steps.json")
    journal.add(render, 5.0, 3 << 30, finished=True)
    journal.add(pretrain, 40.5, 1 << 30, finished=True)
    return write_report(out, [render, pretrain], journal)


def test_the_report_holds_what_the_steps_left(out: Path) -> None:
    told(out)
    saved = json.loads((out / "report.json").read_text())
    assert saved["label"] == "smoke"
    assert saved["root"] == open_dataset(out / "data").root
    assert saved["results"] == json.loads((out / "evaluation.json").read_text())["results"]
    assert saved["render"] == {"images": 80, "groups": 40, "views_per_group": 2, "seconds": 5.0, "images_per_s": 8.0}
    assert saved["pretrain"]["images_per_s"] == 100.0
    assert saved["pretrain"]["data_wait_fraction"] == pytest.approx((0.5 * 10 + 0.1 * 30) / 40)
    assert saved["pretrain"]["loss"] == 2.5
    assert saved["seconds"] == 45.5
    assert saved["steps"] == {"render": 5.0, "pretrain": 40.5}
    assert saved["memory_peak_bytes"] == 3 << 30
    assert saved["steps_memory_peak_bytes"] == {"render": 3 << 30, "pretrain": 1 << 30}
    assert saved["commands"]["render"] == "python -m factory render demo data"
    assert saved["chance"] == pytest.approx(1 / 3)
    assert saved["encoder_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert saved["hardware"]["cores"].endswith("cores")
    assert Report.model_validate(saved).seconds == 45.5


def test_the_report_reads_what_the_trainer_prints(out: Path) -> None:
    labels = np.arange(60) % 3
    kinds = {"encoder": labels, "random": labels * 0, "pixels": (labels + 1) % 3, "imagenet": labels}
    scored = {name: {m: score(guess, labels, np.arange(60)) for m in METHODS} for name, guess in kinds.items()}
    compared = {
        name: {m: paired_difference(labels[None], guess[None], labels, np.arange(60)) for m in METHODS}
        for name, guess in kinds.items()
        if name != "encoder"
    }
    printed = Evaluation("1", "clipart26", "root", "dev", [0], scored, compared).to_json()
    (out / "evaluation.json").write_text(printed)
    made = told(out)
    assert made.results["random"]["knn"].mean == pytest.approx(1 / 3)
    assert made.differences["pixels"]["linear"].mean == 1.0
    assert made.differences["pixels"]["linear"].is_evidence is False
    assert Comparison.model_validate_json(printed).results == made.results


def test_the_page_shows_groups_spread_over_the_whole_data_set(out: Path) -> None:
    groups = sample_groups(open_dataset(out / "data"))
    assert len(groups) == 16
    assert (groups[0].prompt, groups[-1].prompt) == ("prompt 0", HOSTILE)
    assert all(
        len(group.views) == 2 and group.views[0].uri.startswith("data:image/png;base64,iVBOR") for group in groups
    )


def test_neighbours_come_from_the_split_by_their_keys_and_never_from_the_querys_component(out: Path) -> None:
    tests = open_dataset(demo.report.labelled_set_folder())
    rows = neighbour_rows(tests, "dev", out / "features.parquet", seed=0)
    assert [row.query.label for row in rows] == ["bird", "road sign", "star"]
    assert all(picture.label == row.query.label for row in rows for picture in row.encoder)
    assert all(row.query.uri not in [picture.uri for picture in [*row.encoder, *row.pixels]] for row in rows)


def test_features_that_lack_an_image_are_an_error_with_its_key(out: Path) -> None:
    with pytest.raises(UserError, match=r"lacks 1 of 1 images .first: nobody."):
        read_features(out / "features.parquet", ["nobody"])


def test_a_run_without_a_window_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="log_images"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_the_whole_page_is_written(out: Path) -> None:
    told(out)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in text
    assert "<script" not in text
    assert open_dataset(out / "data").root in text
