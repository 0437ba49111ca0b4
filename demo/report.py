"""Gathers what the steps left behind into report.json, and writes report.html from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from demo import provenance
from demo.exhibits import neighbour_rows, read_metrics, sample_groups
from demo.facts import Difference, Fact, LabelledSet, Pretraining, Rendering, Report, Score
from demo.page import page
from demo.pictures import Exhibits
from demo.steps import Journal, Step
from manifests import DataSet, open_dataset
from manifests.checkout import code_commit
from manifests.errors import UserError
from manifests.machine import hardware
from manifests.target import replaced

TEST_SET = "clipart26"
SPLIT = "dev"
F = TypeVar("F", bound=Fact)


def labelled_set_folder() -> Path:
    """Return where the trainer package keeps the labelled set, as one would type it here."""
    trainer = find_spec("trainer")
    if trainer is None or not trainer.submodule_search_locations:
        raise UserError(
            "the package trainer is not installed; install viewmill with its extra: pip install viewmill[trainer]"
        )
    folder = Path(trainer.submodule_search_locations[0]) / "evaluation" / "sets" / TEST_SET
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def write_report(out: Path, steps: Sequence[Step], journal: Journal) -> Report:
    """Write report.json and report.html into `out` from its data, run, evaluation and features."""
    data, tests = open_dataset(str(out / "data")), open_dataset(str(labelled_set_folder()))
    metrics = read_metrics(out / "run" / "metrics.jsonl")
    evaluation = json.loads((out / "evaluation.json").read_text())
    encoder = out / "run" / "encoder" / "model.safetensors"
    test_set = _test_set(tests)
    seconds = {step.name: journal.seconds(step) for step in steps}
    memory_peak_bytes = {step.name: journal.memory_peak_bytes(step) for step in steps}
    report = Report(
        date=provenance.now(),
        commit=code_commit(),
        root=data.root,
        stream_ids=sorted({shard.stream_id for shard in data.version.shards}),
        generators=sorted({name or "an unnamed source" for name in data.rows(["generator"])["generator"].to_pylist()}),
        config_sha256=_sha256(out / "run" / "config.json"),
        encoder_sha256=_sha256(encoder),
        test_set=test_set,
        chance=test_set.chance,
        results=_parsed(Score, evaluation["results"]),
        differences=_parsed(Difference, evaluation["differences"]),
        render=_rendering(data, out / "data" / "runs"),
        pretrain=_pretraining(metrics),
        seconds=sum(seconds.values()),
        memory_peak_bytes=max(memory_peak_bytes.values()),
        steps=seconds,
        steps_memory_peak_bytes=memory_peak_bytes,
        commands={step.name: step.text for step in steps},
        hardware=hardware(),
        versions=provenance.versions(),
    )
    _write(out / "report.json", report.model_dump_json(indent=2) + "\n")
    _write(out / "report.html", page(report, _exhibits(out, data, tests, metrics)))
    return report


def _write(path: Path, text: str) -> None:
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


def _parsed(model: type[F], values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, F]]:
    return {
        name: {measure: model.model_validate(score) for measure, score in measures.items()}
        for name, measures in values.items()
    }


def _test_set(tests: DataSet) -> LabelledSet:
    images = int((tests.groups().split == SPLIT).sum())
    classes = len(tests.version.label_names)
    return LabelledSet(name=tests.version.name, split=SPLIT, root=tests.root, images=images, classes=classes)


def _rendering(data: DataSet, runs: Path) -> Rendering:
    """Add up the runs that made images: a run that found everything done made none."""
    summaries = [json.loads(path.read_text()) for path in sorted(runs.glob("*/summary.json"))]
    made = sum(summary["images"] for summary in summaries)
    seconds = sum(summary["seconds"] for summary in summaries if summary["images"])
    return Rendering(
        images=data.version.views_ok,
        groups=data.version.groups_ok,
        views_per_group=data.version.views_per_group,
        seconds=seconds,
        images_per_s=made / seconds if seconds else 0.0,
    )


def _pretraining(metrics: Sequence[Mapping[str, float]]) -> Pretraining:
    """Sum up the windows; each one's share of waiting weighs by its time."""
    last, ends = metrics[-1], [line["seconds"] for line in metrics]
    lengths = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    waited = sum(line["data_wait_fraction"] * length for line, length in zip(metrics, lengths, strict=True))
    return Pretraining(
        images_seen=int(last["images_seen"]),
        seconds=last["seconds"],
        images_per_s=last["images_seen"] / last["seconds"],
        data_wait_fraction=waited / last["seconds"],
        loss=last["loss"],
    )


def _exhibits(out: Path, data: DataSet, tests: DataSet, metrics: Sequence[dict[str, float]]) -> Exhibits:
    recipes = [
        (out / "data" / "recipes" / f"{stream}.json") for stream in sorted({s.stream_id for s in data.version.shards})
    ]
    return Exhibits(
        groups=sample_groups(data),
        neighbours=neighbour_rows(tests, SPLIT, out / "features.parquet", seed=0),
        metrics=metrics,
        recipe="\n".join(_pretty(path) for path in recipes),
        config=_pretty(out / "run" / "config.json"),
        shards=[(shard.shard.name, shard.shard.sha256) for shard in data.version.shards],
    )


def _pretty(path: Path) -> str:
    return json.dumps(json.loads(path.read_text()), indent=2, ensure_ascii=False)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
