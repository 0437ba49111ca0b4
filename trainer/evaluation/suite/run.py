"""Runs protocols one after the other and records each once it is finished; what is recorded is not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manifests.checkout import code_commit
from manifests.machine import hardware
from trainer.evaluation.results import already, append
from trainer.evaluation.subject import open_subject
from trainer.evaluation.suite.bench import Bench, InapplicableError, Protocol
from trainer.evaluation.suite.few_shot import PROTOTYPES, RIDGE
from trainer.evaluation.suite.fine_tuning import ALL_LABELS, FEW_LABELS
from trainer.evaluation.suite.frozen import KNN, LINEAR
from trainer.evaluation.suite.geometry import GEOMETRY
from trainer.evaluation.suite.retrieval import RETRIEVAL
from trainer.evaluation.suite.zero_shot import ZERO_SHOT
from trainer.evaluation.task import open_task

Progress = Callable[[str], None]
_ALL = (KNN, LINEAR, RIDGE, PROTOTYPES, FEW_LABELS, ALL_LABELS, RETRIEVAL, ZERO_SHOT, GEOMETRY)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


@dataclass(frozen=True)
class Suite:
    """The rows of all protocols that apply, recorded now or before, and why the others do not."""

    rows: list[dict[str, Any]]
    left_out: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def run_suite(
    name: str,
    protocols: Sequence[str],
    *,
    dataset: str,
    split: str,
    results: Path,
    seed: int = 0,
    size_px: int | None = None,
    skips_inapplicable: bool = True,
    progress: Progress = lambda name: None,
) -> Suite:
    """Measure a subject by some protocols on a split of a data set.

    Raises: UserError for what cannot be opened or written, and for a protocol that does not apply unless it is skipped.
    """
    task = open_task(dataset, split)
    bench = Bench(open_subject(name, seed=seed, size_px=size_px), task, seed)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for protocol in (PROTOCOLS[wanted] for wanted in protocols):
        try:
            rows += recorded(bench, protocol, results, progress)
        except InapplicableError as error:
            if not skips_inapplicable:
                raise
            left_out[protocol.name] = str(error)
    return Suite(rows, left_out)


def recorded(bench: Bench, protocol: Protocol, results: Path, progress: Progress) -> list[dict[str, Any]]:
    """Return the rows of a protocol that were recorded before, or measure and record them."""
    identity = _identity(bench, protocol)
    if known := already(results, identity):
        progress(f"{protocol.name}: recorded before in {results}")
        return known
    progress(protocol.name)
    began = time.perf_counter()
    found = protocol.measure(bench)
    facts = {**_facts(), "seconds": round(time.perf_counter() - began, 2), **identity}
    rows = [{**facts, **asdict(measurement)} for measurement in found]
    append(results, rows)
    return rows


def _identity(bench: Bench, protocol: Protocol) -> dict[str, Any]:
    task = bench.task
    return {
        "checkpoint": bench.name,
        "checkpoint_sha256": bench.sha256,
        "seed": bench.seed,
        "set": task.name,
        "root": task.pool.dataset.root,
        "split": task.split,
        "partition": task.partition,
        "protocol": protocol.name,
        "version": protocol.version,
    }


def _facts() -> dict[str, Any]:
    time_utc = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"time": time_utc, "commit": code_commit(), "hardware": ", ".join(hardware().values())}
