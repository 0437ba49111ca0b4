"""What a run tells: metrics that a reader of Prometheus's format understands, GPU-hours and money of each life."""

import json

from prometheus_client.parser import text_string_to_metric_families

from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run
from trainer.outlet import Outlet, RunMetrics


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def values(text):
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_hours_are_those_of_all_processes_and_cost_follows(tmp_path):
    clock = Clock()
    outlet = Outlet(tmp_path, processes=8, price_per_hour=2.0, clock=clock)
    outlet.begin(1000)
    clock.now_s = 1800.0
    facts = json.loads(outlet.note(5000).read_text())
    assert facts["images"] == 4000
    assert facts["gpu_hours"] == 4.0
    assert facts["cost"] == 8.0
    assert facts["cost_per_1000_images"] == 2.0


def test_a_life_has_one_file_which_every_checkpoint_replaces(tmp_path):
    clock = Clock()
    outlet = Outlet(tmp_path, processes=1, clock=clock)
    seen = []
    for images in (100, 200):
        clock.now_s += 360.0
        facts = json.loads(outlet.note(images).read_text())
        seen.append((facts["images"], facts["gpu_hours"]))
    assert seen == [(100, 0.1), (200, 0.2)]
    outlet.close(300)
    (life,) = (tmp_path / "runs").iterdir()
    assert json.loads(life.read_text())["images_seen"] == 300


def test_a_number_that_is_not_finite_is_shown_as_such(tmp_path):
    metrics = RunMetrics(str(tmp_path / "run.prom"), images=10)
    metrics.write({"images_seen": 4, "loss": None, "lr": 0.5, "something_else": 1}, 3600.0, None)
    found = values(metrics.exposition.text())
    assert (found["viewmill_trainer_images_seen"], found["viewmill_trainer_lr"]) == (4, 0.5)
    assert found["viewmill_trainer_loss"] != found["viewmill_trainer_loss"]
    assert found["viewmill_trainer_gpu_seconds"] == 3600


def test_a_run_leaves_its_last_numbers_and_a_file_for_its_life(tmp_path):
    data = make_dataset(tmp_path / "set", groups=12, views=2)
    words = pretrain_words(data, tmp_path / "run", images=32)
    code, said = run([*words, "--metrics", str(tmp_path / "run.prom"), "--price-per-hour", "3"])
    assert code == 0, said
    found = values((tmp_path / "run.prom").read_text())
    assert found["viewmill_trainer_images_seen"] == found["viewmill_trainer_images"] == 32
    (life,) = (tmp_path / "run" / "runs").iterdir()
    facts = json.loads(life.read_text())
    assert (facts["images_from"], facts["images_seen"], facts["processes"]) == (0, 32, 1)
    assert facts["cost_per_1000_images"] > 0
