"""What TensorBoard and wandb hold when their own readers read it back: the lines of metrics.jsonl."""

import json
from types import SimpleNamespace

import pytest

import trainer.track
from manifests.errors import UserError
from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run
from trainer.config import load_config
from trainer.run import Run
from trainer.track import check_installed, tracking

WANDB_BLOCK_BYTES = 32_768  # its files are LevelDB's logs of protocol buffers


def tensorboard_scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def wandb_history(folder):
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, begun, found = path.read_bytes(), 7, b"", {}
    while at + 7 <= len(data):
        if (left := WANDB_BLOCK_BYTES - at % WANDB_BLOCK_BYTES) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        begun, at = begun + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            record, begun = Record.FromString(begun), b""
            if record.WhichOneof("record_type") == "history":
                items = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
                found[items["_step"]] = items
    return found


@pytest.fixture
def folder(tmp_path):
    pinned = {"config": {"seed": 0}, "roots": ["ab" * 32], "order_version": 1}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(pinned))
    return tmp_path / "run"


def test_a_run_is_in_tensorboard_and_wandb_line_by_line(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    url, out = make_dataset(tmp_path / "set", groups=24, views=2), tmp_path / "run"
    code, said = run(pretrain_words(url, out, images=48, trackers="[tensorboard, wandb]"))
    assert code == 0, said
    lines = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
    scalars, history = tensorboard_scalars(out), wandb_history(out)
    assert list(history) == [line["images_seen"] for line in lines] == [16, 32, 48]
    for line in lines:
        step = line.pop("images_seen")
        assert {name: values[step] for name, values in scalars.items()} == pytest.approx(line, rel=1e-6)
        assert {name: history[step][name] for name in line} == pytest.approx(line)


def test_after_a_kill_tensorboard_shows_one_history(folder):
    pytest.importorskip("tensorboard")
    watched = SimpleNamespace(folder=folder, config=load_config("simclr", ["trackers=[tensorboard]"]))
    with tracking(watched, 0, is_writer=True) as track:
        for step in (16, 32, 48):
            track({"images_seen": step, "loss": 1.0, "note": "text is left out", "probe": None})
    with tracking(watched, 16, is_writer=True) as track:
        track({"images_seen": 32, "loss": 2.0})
    assert tensorboard_scalars(folder) == {"loss": {16: 1.0, 32: 2.0}}


def test_only_the_writer_tracks(folder):
    watched = SimpleNamespace(folder=folder, config=load_config("simclr", ["trackers=[tensorboard]"]))
    with tracking(watched, 0, is_writer=False) as track:
        track({"images_seen": 16, "loss": 1.0})
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_run_in_a_bucket_is_one_run_whatever_machine_it_is_on(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_bytes((folder / "config.json").read_bytes())
    config = load_config("simclr", ["trackers=[trackio]"])

    def names(**of_the_bucket):
        runs = [Run(one, config, [], **of_the_bucket) for one in (folder, tmp_path / "other")]
        return [trainer.track.named(one)[0] for one in runs]

    here, there = names(home="s3://bucket/mine")
    assert here == there
    assert here.startswith("mine-")
    assert len(set(names())) == 2


def test_a_tracker_that_is_not_installed_is_one_line_naming_the_extra(monkeypatch):
    monkeypatch.setattr(trainer.track.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^trackers: wandb not installed: pip install 'viewmill\[trackers\]'"):
        check_installed(["wandb"])
    check_installed([])


def test_a_tracker_that_does_not_start_is_one_line(folder, monkeypatch):
    pytest.importorskip("tensorboard")
    (folder / "tensorboard").touch()  # in its place
    watched = SimpleNamespace(folder=folder, config=load_config("simclr", ["trackers=[tensorboard]"]))
    with pytest.raises(UserError, match=r"trackers: tensorboard does not start: .*; set it up, or leave it out"):
        tracking(watched, 0, is_writer=True).__enter__()
