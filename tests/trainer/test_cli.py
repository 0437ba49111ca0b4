"""What a user types: every mistake is one clear line and an exit code, nothing is left half-written."""

import json
import re

import fsspec
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file

from manifests.dataset import open_dataset
from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run
from trainer.embed import embed_images
from trainer.encoders import load_encoder


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=20, views=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, url):
    folder = tmp_path_factory.mktemp("run") / "run"
    code, said = run(pretrain_words(url, folder, images=48))
    assert code == 0, said
    return folder


def refused(words, largest_file_bytes=None):
    """The one line that a wrong command says."""
    code, said = run(words, largest_file_bytes)
    assert code == 2, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_run_says_what_it_saw_and_made(finished, url):
    pinned = json.loads((finished / "config.json").read_text())
    assert pinned["roots"] == [open_dataset(url).root]
    assert pinned["order_version"] == 1
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|None", str(pinned["code"]))
    exported = json.loads((finished / "encoder" / "viewmill.json").read_text())
    assert exported == {**pinned, "images_seen": 48}
    lines = [json.loads(text) for text in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 32, 48]
    watched = {"loss", "loss_minus_log_positives", "lr", "grad_norm", "images_per_s", "data_wait_fraction", "seconds"}
    assert watched | {"skipped_steps", "unreadable_groups", "memory_peak_bytes"} <= lines[0].keys()


def test_the_export_is_timms_and_keeps_the_head(finished):
    model = timm.create_model(f"local-dir:{finished}/encoder", pretrained=True).eval()
    encoder, preprocessing = load_encoder(finished)
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(model(images), encoder(images))
    assert tuple(model.pretrained_cfg["input_size"]) == (3, preprocessing.size_px, preprocessing.size_px)
    assert "head.0.weight" in load_file(finished / "encoder" / "heads.safetensors")


def test_exporting_the_newest_checkpoint_gives_the_same_weights(finished, tmp_path):
    code, said = run(["export", str(finished), str(tmp_path / "out")])
    assert code == 0, said
    names = ("model.safetensors", "heads.safetensors", "config.json", "viewmill.json")
    assert all((tmp_path / "out" / n).read_bytes() == (finished / "encoder" / n).read_bytes() for n in names)
    assert "exists already" in refused(["export", str(finished), str(tmp_path / "out")])


def test_embed_writes_the_features_of_every_image(finished, url, tmp_path):
    out = tmp_path / "features.parquet"
    code, said = run(["embed", str(finished), url, str(out)])
    assert code == 0, said
    table = pq.read_table(out)
    rows = open_dataset(url).rows(ok_only=True).to_pylist()
    assert [(r["key"], r["view"]) for r in table.to_pylist()] == [(r["key"], r["view"]) for r in rows]
    expected = embed_images(load_encoder(finished)[0], [open_dataset(url).image(row) for row in rows[17:19]])
    assert torch.allclose(torch.tensor(table["features"].to_pylist()[17:19]), torch.from_numpy(expected), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_dry_run_prints_the_whole_config_and_writes_nothing(tmp_path, url):
    code, said = run([*pretrain_words(url, tmp_path / "run", images=48), "--dry-run"])
    assert code == 0
    assert yaml.safe_load(said)["images"] == 48
    root = open_dataset(url).root[:12]
    assert said.splitlines()[-3:] == [
        f"# data: {url}: 20 groups, 60 images, licence unknown, root {root}",
        "# length: 48 images in 3 steps of 16: 1.2 epochs of 2 views a group, 1 checkpoints",
        f"# out: {tmp_path}/run: begins",
    ]
    assert not (tmp_path / "run").exists()


def test_dry_run_says_how_far_a_run_is_and_refuses_another(finished, url):
    words = pretrain_words(url, finished, images=48)
    assert run([*words, "--dry-run"])[1].endswith(": finished already\n")
    assert "objective.temperature" in refused([*words, "--set", "objective.temperature=0.3", "--dry-run"])


@pytest.mark.parametrize(
    ("data", "out", "words"),
    [
        ("/nonexistent", None, "there is no such folder"),
        (None, "/proc/here", "/proc"),
        (None, "/etc", "exists and is no run"),
    ],
)
def test_dry_run_refuses_data_that_cannot_be_read_and_a_folder_that_cannot_be_written(tmp_path, url, data, out, words):
    said = refused([*pretrain_words(data or url, out or tmp_path / "run", images=48), "--dry-run"])
    assert words in said


def test_dry_run_looks_into_a_bucket(s3_url, finished, url):
    files, there = fsspec.filesystem("s3", use_listings_cache=False), f"{s3_url}/runs/one"
    words = [*pretrain_words(url, "out", images=48), "--dry-run"]
    words[words.index("out")] = there
    assert run(words)[1].endswith(f"# out: {there}: begins\n")
    assert not files.exists(there)
    files.pipe(f"{there}/config.json", (finished / "config.json").read_bytes())
    files.pipe(f"{there}/checkpoints/ckpt-000000000032/DONE", b"")
    assert run(words)[1].endswith(f"# out: {there}: goes on from 32 images\n")
    assert refused([*words, "--set", "objective.temperature=0.3"]).startswith(f"error: {there} ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data__views": 4, "batch_images": 16}, "4 views a group are wanted"),
        ({"batch_images": 64}, "larger than the data (20)"),
        ({"encoder__backbone": "resnet10x"}, "timm has no backbone 'resnet10x'; did you mean resnet10t?"),
        ({"encoder__backbone": "zzz"}, "timm has no backbone 'zzz'; timm.list_models() names those it has"),
        ({"objective__name": "simclear"}, "objective.name: got 'simclear', expected one of simclr"),
        ({"optimizer__warmup": 3}, "optimizer.warmup: unknown key; did you mean warmup_images?"),
        ({"data__weights": "[1,2]"}, "weights are [1.0, 2.0]; expected 1 positive numbers, one per data set"),
        ({"data__views": 1}, "stablerep compares views of a group and needs 2 or more"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(tmp_path, url, options, words):
    assert words in refused(pretrain_words(url, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_labels_of_other_names_are_refused_where_they_are_read(tmp_path):
    one, other = (
        make_dataset(tmp_path / names[0], groups=20, stream_id=names[0][0] * 64, label_names=names)
        for names in (("a", "b", "c", "d"), ("b", "a", "c", "d"))
    )
    assert "label 0 is 'a' in" in refused([*pretrain_words(one, tmp_path / "run", "supcon"), "--data", other])
    assert not (tmp_path / "run").exists()


def test_a_run_that_explodes_ends_in_one_line_with_the_remedy(tmp_path, url):
    options = {"images": 320, "skip_budget": 2, "optimizer__base_learning_rate": 1e30, "log_images": 1000}
    code, said = run(pretrain_words(url, tmp_path / "run", **options))
    assert code == 2
    assert "error: 3 steps in a row were not finite" in said.strip().splitlines()[-1]
    assert "lower the learning rate" in said
    assert not (tmp_path / "run" / "encoder").exists()


def test_a_wrong_data_path_says_what_is_there(tmp_path):
    assert "absent" in refused(pretrain_words(str(tmp_path / "absent"), tmp_path / "run"))
    (tmp_path / "other").mkdir()
    assert "no finished version" in refused(pretrain_words(str(tmp_path / "other"), tmp_path / "run"))


def test_another_config_or_other_data_in_the_folder_are_refused(finished, url, tmp_path):
    line = refused(pretrain_words(url, finished, images=48, seed=3))
    assert "config.seed: 0 there, 3 here" in line
    other = make_dataset(tmp_path / "other", groups=20, views=3, stream_id="ef" * 32)
    assert "was trained on version" in refused(pretrain_words(other, finished, images=48))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    assert "is no run" in refused(pretrain_words(url, tmp_path / "full"))


def test_what_does_not_decide_the_weights_may_change(finished, url):
    assert run(pretrain_words(url, finished, images=48, data__workers=1, log_images=999))[0] == 0


def test_embed_and_export_want_what_pretrain_made(tmp_path, url):
    assert "holds no encoder" in refused(["embed", str(tmp_path), url, str(tmp_path / "f.parquet")])
    assert "is no run" in refused(["export", str(tmp_path), str(tmp_path / "out")])
    assert "--out is missing" in refused(["pretrain", "simclr", "--data", url])


NO_TARGETS = {
    "file/out": "a part of the path is a file: choose another target",
    "/proc/nope/out": "there is no such bucket or folder",
    "s3://bucket/out": "s3://bucket/out: expected a local path",
}


@pytest.mark.parametrize(
    ("command", "target", "words"),
    [
        (command, target, words)
        for command in ("pretrain", "embed", "export")
        for target, words in NO_TARGETS.items()
        if command != "pretrain" or "://" not in target  # a run may live in a bucket: test_mirror
    ],
)
def test_a_target_that_cannot_be_written_is_refused(finished, url, tmp_path, monkeypatch, command, target, words):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    out = target if target.startswith("s3:") else str(tmp_path / target)
    commands = {"embed": ["embed", str(finished), url, out], "export": ["export", str(finished), out]}
    assert words in refused(commands.get(command) or [*pretrain_words(url, tmp_path), "--out", out])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_place_of_the_features_is_refused_before_anything_is_embedded(finished, tmp_path):
    assert "there is a folder of that name" in refused(["embed", str(finished), "absent", str(tmp_path)])


@pytest.mark.parametrize(
    ("largest_file_bytes", "left"), [(500, []), (5_000, ["config.json", "metrics.jsonl"])], ids=["config", "checkpoint"]
)
def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_room(url, tmp_path, largest_file_bytes, left):
    words = pretrain_words(url, tmp_path / "run", images=48, log_images=1000)
    code, said = run(words, largest_file_bytes)
    assert (code, "Traceback" in said) == (2, False), said
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/run/")
    assert "raise the limit (ulimit -f)" in said.splitlines()[-1]
    assert [path.name for path in sorted((tmp_path / "run").iterdir()) if path.is_file()] == left
    assert not list((tmp_path / "run" / "checkpoints").glob("*/DONE"))
    assert run(words)[0] == 0


def test_metrics_that_the_disk_cannot_hold_end_the_run_in_one_line(url, tmp_path):
    code, said = run(pretrain_words(url, tmp_path / "run", images=320), 3_000)
    assert (code, "Traceback" in said) == (2, False), said
    assert "metrics.jsonl: the file is larger" in said.splitlines()[-1]


def test_features_and_exports_on_a_full_disk_leave_nothing(finished, url, tmp_path):
    assert "f.parquet: the file is larger" in refused(["embed", str(finished), url, str(tmp_path / "f.parquet")], 4_000)
    assert "enc: the file is larger" in refused(["export", str(finished), str(tmp_path / "enc")], 4_000)
    assert list(tmp_path.iterdir()) == []
