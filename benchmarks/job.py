"""What a job costs by itself: its workers must stay busy, its driver must not grow with the shards.

Generators sleep in place of computing, so what is measured is all that is around them, on real actors. Each part runs
in a process of its own. Rows are goals over what was measured, so that 1 and more is reached, as everywhere in a bench.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.pairs import Row

ROOT = Path(__file__).parents[1]
SHARDS = int(os.environ.get("VIEWMILL_BENCH_SHARDS", "10000"))
GPUS = 4
BUSY_GOAL, SHARD_GOAL_MS, GROWTH_GOAL, START_GOAL_S = 0.95, 5.0, 1.1, 5.0


def measure(out: Path) -> list[Row]:
    """Run both jobs, once each: they take minutes."""
    busy, many = _child("busy"), _child("many")
    return [
        _row(f"job: share of {GPUS} fake GPUs' time in which batches of 1 s were drawn", busy["busy"], BUSY_GOAL),
        _row(
            f"job: {SHARD_GOAL_MS:g} ms over the driver's time a shard, {SHARDS} shards", SHARD_GOAL_MS / many["cpu_ms"]
        ),
        _row(
            f"job: {GROWTH_GOAL:g} over the growth of the driver's memory after a tenth", GROWTH_GOAL / many["growth"]
        ),
        _row(
            f"job: {START_GOAL_S:g} s over the start of a job half of whose shards are there",
            START_GOAL_S / many["start_s"],
        ),
    ]


def _row(name: str, value: float, goal: float = 1.0) -> Row:
    return Row(name, value, value, value, "", goal, 1)


def _child(which: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.job", which, folder]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(found, file=sys.stderr)
    return found


def run(folder: str, batch_s: float, **shape: int) -> tuple[Any, dict[str, Any], list[int]]:
    """Render with sleepers on the Ray that is there; returns the job, its summary, and memory after each shard."""
    from factory import crew, job
    from factory.recipe import Recipe
    from tests.factory.cheap import CheapWorkshop

    class Bedroom(CheapWorkshop):
        """Sleeps so long a batch."""

    Bedroom.batch_s = batch_s
    vars(crew)["Workshop"] = Bedroom
    what = {"sources": [{"model": "builtin:emoji-diffusion"}], "prompts": {"texts": ["a cat"]}}
    recipe = Recipe.model_validate({"name": "sleep", "views": 1, **what, **shape})
    work, memory = job.begin(recipe, folder, job.Options(workers=GPUS)), list[int]()
    return work, job.run(work, progress=lambda record: memory.append(resident_bytes())), memory


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def busy(folder: str) -> dict[str, float]:
    """Draw 160 batches of a second."""
    _, facts, _ = run(folder, 1.0, groups=640, groups_per_shard=16, batch=4)
    drawn = [json.loads(path.read_text())["generate_s"] for path in Path(folder).glob("runs/attempts/*.rendered.json")]
    return {"busy": sum(drawn) / 3600 / facts["worker_hours"], "seconds": facts["seconds"]}


def many(folder: str) -> dict[str, float]:
    """Draw many shards of one image each, then take up a job that lacks half of them."""
    from factory import job

    begun = time.process_time()
    work, facts, memory = run(folder, 0.001, groups=SHARDS, groups_per_shard=1, batch=1)
    cpu_s = time.process_time() - begun
    growth = memory[-1] / memory[len(memory) // 10]
    for path in sorted(Path(folder, "commits").iterdir())[::2]:
        path.unlink()
    begun = time.perf_counter()
    left = job.begin(work.stream.recipe, folder, job.Options()).missing
    start_s = time.perf_counter() - begun
    assert len(left) == SHARDS // 2
    return {"cpu_ms": cpu_s / SHARDS * 1000, "growth": growth, "start_s": start_s, "seconds": facts["seconds"]}


if __name__ == "__main__":
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # by itself Ray lets its workers starve beside whatever else runs
    with tempfile.TemporaryDirectory(prefix="vmb-", ignore_cleanup_errors=True) as ray_folder:
        ray.init(num_cpus=GPUS, num_gpus=GPUS, include_dashboard=False, log_to_driver=False, _temp_dir=ray_folder)
        result = {"busy": busy, "many": many}[sys.argv[1]](sys.argv[2])
        ray.shutdown()
    print(json.dumps(result))
