"""What a job tells: hours that are paid for, money, metrics that a reader of Prometheus's format understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from factory import job
from factory.events import Failed, Lost, Ready, Told
from factory.metrics import FactoryMetrics
from factory.plan import plan_shard
from factory.runs import read_runs
from factory.telemetry import Telemetry
from factory.watchdog import Pulse
from factory.workshop import Assignment
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_hours_count_from_placement_to_the_end_of_each_worker_and_cost_follows() -> None:
    clock = Clock()
    told = Telemetry(clock=clock, price_per_hour=3.0)
    told.begin("run", shards=1, missing=1)
    clock.now_s = 100.0
    told.take(Ready(0, {}, gpus=0.25))
    told.take(Ready(1, {}, gpus=2.0, loading_s=36.0))
    clock.now_s = 1900.0
    told.take(Lost(1, (), True, "its node went"))
    told.take(Told(0, Pulse("alive", "", 10, 2700.0, 0, 0)))
    clock.now_s = 3700.0
    costs = told.costs(5000)
    assert costs["start_s"] == 100.0
    assert costs["seconds"] == 3600.0
    assert costs["worker_hours"] == pytest.approx(1.51)  # an hour of one; half an hour of the other, and its loading
    assert costs["gpu_hours"] == pytest.approx(0.25 + 2 * 0.51)
    assert costs["generating_fraction"] == pytest.approx(0.75 / 1.51)
    assert costs["cost"] == pytest.approx(4.53)
    assert costs["cost_per_1000_images"] == pytest.approx(0.906)
    assert told.costs(0)["cost_per_1000_images"] is None
    assert "cost" not in Telemetry(clock=clock).costs(5000)


def test_a_worker_of_a_cluster_of_cpus_takes_no_gpu_hours() -> None:
    clock = Clock()
    told = Telemetry(clock=clock)
    told.take(Ready(0, {}))
    clock.now_s = 3600.0
    assert (told.costs(1)["worker_hours"], told.costs(1)["gpu_hours"]) == (1.0, 0.0)


def test_a_worker_s_share_of_a_gpu_is_in_what_status_adds_up(tmp_path: Path) -> None:
    work = job.begin(cheap.recipe(), str(tmp_path), job.Options(inline=True))
    workshop = CheapWorkshop(Assignment(work.stream.recipe, str(tmp_path), "run", [{"sha256": "ab"}], gpus=0.25))
    assert workshop.begin().gpus == 0.25
    workshop.render(plan_shard(work.stream.recipe, work.stream.subjects, work.segments[0], 1), "000001-a")
    runs = read_runs(work.store)
    assert runs.worker_s > 0
    assert runs.gpu_s == pytest.approx(runs.worker_s / 4)


def test_a_lost_worker_is_shown_no_more(tmp_path: Path) -> None:
    told = Telemetry(metrics=FactoryMetrics(str(tmp_path / "job.prom")))
    for worker in (0, 1):
        told.take(Ready(worker, {}))
        told.take(Told(worker, Pulse("alive", "", 10, 1.0, 7 * worker, 0)))
    told.take(Lost(1, (), True, "its node went"))
    told.take(Lost(2, (), False, "it died while it loaded"))
    told.end({})
    per_worker = ("drawn_images", "generating_seconds", "queued_batches")
    shown = {
        name
        for name in values(tmp_path / "job.prom")
        if name.startswith(tuple(f"viewmill_factory_{n}" for n in per_worker))
    }
    assert shown == {f"viewmill_factory_{name}0" for name in per_worker}


def test_the_driver_s_lines_about_a_shard_name_its_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    told = Telemetry(logs_json=True)
    told.take(Failed(0, 3, ValueError("no"), "000003-a"))
    told.take(Lost(1, (4, 5), False, "killed", ("000004-b", "000005-c")))
    failed, lost = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (failed["event"], failed["shard"], failed["attempt"]) == ("shard_failed", 3, "000003-a")
    assert (lost["event"], lost["shards"], lost["attempts"]) == ("worker_lost", [4, 5], ["000004-b", "000005-c"])


def test_a_cluster_s_dashboard_is_in_the_log_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    told = Telemetry(logs_json=True)
    told.begin("run", shards=1, missing=1)
    told.reached("10.0.0.1:8265")
    assert told.costs(1)["dashboard_url"] == "10.0.0.1:8265"
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told_of = {event["event"]: event["dashboard_url"] for event in events if "dashboard_url" in event}
    assert told_of == {"cluster_reached": "10.0.0.1:8265"}
    alone = Telemetry()
    alone.reached("")
    assert "dashboard_url" not in alone.costs(1)


def values(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    return {
        "".join([sample.name, *sorted(sample.labels.values())]): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_jobs_file_and_lines_and_summary_tell_one_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", CheapWorkshop)
    file, out = tmp_path / "job.prom", tmp_path / "data"
    work = job.begin(cheap.recipe(), str(out), job.Options(inline=True, logs_json=True))
    facts = job.run(work, telemetry=Telemetry(metrics=FactoryMetrics(str(file)), logs_json=True, price_per_hour=2.0))

    found = values(file)
    assert found["viewmill_factory_shards"] == found["viewmill_factory_shards_done"] == 3
    assert found["viewmill_factory_images_totalok"] == facts["images"] == 20
    assert found["viewmill_factory_bytes_total"] == facts["bytes"] > 0
    assert found["viewmill_factory_cost"] == pytest.approx(facts["cost"], rel=0.5)
    kept = json.loads(next(out.glob("runs/*/summary.json")).read_text())
    assert kept["worker_hours"] == facts["worker_hours"] > 0 == kept["gpu_hours"]

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "run_begun"
    assert events[-1] == "run_ended"
    rendered = [line for line in lines if line["event"] == "shard_rendered"]
    assert sorted(line["shard"] for line in rendered) == [0, 1, 2]
    assert {line["run"] for line in lines} == {lines[0]["run"]}
    assert all(line["attempt"].startswith(f"{line['shard']:06d}-") for line in rendered)
    finished = {line["attempt"] for line in lines if line["event"] == "shard_finished"}
    assert finished == {line["attempt"] for line in rendered}
