"""What a job tells: hours that are paid for, money, metrics that a reader of Prometheus's format understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from factory import job
from factory.crew import Lost, Ready, Told
from factory.metrics import FactoryMetrics
from factory.telemetry import Telemetry
from factory.watchdog import Pulse
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_hours_count_from_readiness_to_the_end_of_each_worker_and_cost_follows() -> None:
    clock = Clock()
    told = Telemetry(clock=clock, price_per_hour=3.0)
    told.begin("run", shards=1, missing=1)
    clock.now_s = 100.0
    told.take(Ready(0, {}))
    told.take(Ready(1, {}))
    clock.now_s = 1900.0
    told.take(Lost(1, (), True, "its node went"))
    told.take(Told(0, Pulse("alive", "", 10, 2700.0, 0, 0)))
    clock.now_s = 3700.0
    costs = told.costs(5000)
    assert costs["start_s"] == 100.0
    assert costs["seconds"] == 3600.0
    assert costs["gpu_hours"] == 1.5  # an hour of one, half an hour of the other
    assert costs["generating_fraction"] == 0.5
    assert costs["cost"] == 4.5
    assert costs["cost_per_1000_images"] == 0.9
    assert told.costs(0)["cost_per_1000_images"] is None
    assert "cost" not in Telemetry(clock=clock).costs(5000)


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
    assert json.loads(next(out.glob("runs/*/summary.json")).read_text())["gpu_hours"] == facts["gpu_hours"] > 0

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "run_begun"
    assert events[-1] == "run_ended"
    rendered = [line for line in lines if line["event"] == "shard_rendered"]
    assert sorted(line["shard"] for line in rendered) == [0, 1, 2]
    assert {line["run"] for line in lines} == {lines[0]["run"]}
    assert all(line["attempt"].startswith(f"{line['shard']:06d}-") for line in rendered)
