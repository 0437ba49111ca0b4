import json

import torch

from trainer.config import load_config
from trainer.monitor import Monitor, truncate_after, warnings

CONFIG = load_config("simclr", ["images=1000", "log_images=100"])


def lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


def monitor_of(path, images_seen=0):
    return Monitor(path, CONFIG, images_seen=images_seen, is_writer=True)


def test_a_window_is_the_mean_of_its_steps_and_knows_its_rate(tmp_path):
    monitor = monitor_of(tmp_path / "m.jsonl")
    for images_seen, loss in ((50, 1.0), (100, 3.0)):
        monitor.step(images_seen, {"loss": torch.tensor(loss)})
    assert monitor.is_due(100)
    line = monitor.close_window(100, wait_s=0.0, lr=0.5)
    monitor.close()
    assert lines(tmp_path / "m.jsonl") == [line]
    assert (line["images_seen"], line["loss"], line["lr"], line["data_wait_fraction"]) == (100, 2.0, 0.5, 0.0)
    assert line["images_per_s"] > 0
    assert line["memory_peak_bytes"] > 1e6


def test_waiting_counts_from_one_window_to_the_next(tmp_path):
    monitor = monitor_of(tmp_path / "m.jsonl")
    assert monitor.close_window(100, wait_s=1e6)["data_wait_fraction"] == 1.0
    assert monitor.close_window(200, wait_s=1e6)["data_wait_fraction"] == 0.0
    monitor.close()


def test_a_mean_that_is_not_finite_is_null_in_valid_json(tmp_path):
    monitor = monitor_of(tmp_path / "m.jsonl")
    monitor.step(100, {"loss": torch.tensor(float("nan"))})
    monitor.close_window(100, wait_s=0.0)
    monitor.close()
    assert lines(tmp_path / "m.jsonl")[0]["loss"] is None


def test_resuming_cuts_lines_past_the_checkpoint_and_half_written_ones(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(
        "".join(json.dumps({"images_seen": n, "seconds": n / 10}) + "\n" for n in (100, 200, 300)) + '{"ima'
    )
    assert truncate_after(path, 400) == 30.0
    assert len(lines(path)) == 3
    monitor = monitor_of(path, images_seen=200)
    line = monitor.close_window(300, wait_s=0.0)
    monitor.close()
    assert [entry["images_seen"] for entry in lines(path)] == [100, 200, 300]
    assert line["seconds"] > 20


def test_collapse_and_starvation_are_said_with_the_likely_cause():
    assert warnings({"feature_std": 0.9, "data_wait_fraction": 0.1}, workers=1, cores=2) == []
    line = {"feature_std": 0.02, "data_wait_fraction": 0.11, "effective_rank": 1.0}
    collapsed, starved = warnings(line, workers=1, cores=2)
    assert "collapse" in collapsed
    assert "data.workers" in starved


def test_only_the_writer_keeps_a_file(tmp_path):
    path = tmp_path / "m.jsonl"
    monitor = Monitor(path, CONFIG, images_seen=0, is_writer=False)
    monitor.step(5, {"loss": torch.tensor(1.0)})
    assert monitor.close_window(5, wait_s=0.0)["loss"] == 1.0
    monitor.close()
    assert not path.exists()
