"""Sources that have whole shards: planned in O(1), drawn by workers of their own, to the root of one process."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from factory import job
from factory.plan import plan_shard, source_of_shard
from factory.segments import Segment
from factory.status import status
from factory.subjects import subjects_of
from manifests.errors import UserError
from manifests.store import Store
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop, Noise

BIG = {"model": "builtin:emoji-diffusion", "steps": 3, "weight": 1}
SMALL = {"model": "builtin:emoji-diffusion", "steps": 2, "weight": 3}


def recipe(**changes: Any) -> Any:
    return cheap.recipe(sources=[BIG, SMALL], mix="shards", groups=24, groups_per_shard=2, **changes)


def test_all_groups_of_a_shard_have_its_source_and_shards_go_by_weight() -> None:
    wanted = recipe()
    from factory.prompts import read_prompts

    assert wanted.prompts is not None
    subjects = subjects_of(wanted, read_prompts(wanted.prompts)[0], [(), ()])
    segment = Segment(stream_id="", first_group=0, groups=24, groups_per_shard=2, first_shard=0)
    for shard in range(12):
        plan = plan_shard(wanted, subjects, segment, shard)
        assert {group.source for group in plan.groups} == {source_of_shard(wanted, shard)}
    drawn = Counter(source_of_shard(wanted, shard) for shard in range(4000))
    assert 0.72 < drawn[1] / 4000 < 0.78


def test_what_workers_ask_for_is_no_part_of_the_identity_and_what_sources_share_out_is() -> None:
    from factory.recipe import identity, stream_id

    prints = [{"sha256": "a"}, {"sha256": "b"}]
    ids = [
        stream_id(identity(one, prints))
        for one in (
            recipe(),
            recipe().model_copy(
                update={
                    "sources": cheap.recipe(
                        sources=[BIG | {"resources": {"GPU": 2}, "placement": "offload"}, SMALL]
                    ).sources
                }
            ),
            cheap.recipe(sources=[BIG, SMALL], groups=24, groups_per_shard=2),
        )
    ]
    assert ids[0] == ids[1] != ids[2]


class Pooled(CheapWorkshop):
    """Notes which sources this worker has, and draws no other."""

    def open(self) -> dict[str, str]:
        numerics = super().open()
        self._generators = [Noise(batch_s=0.01) for _ in self._sources]
        return numerics

    def render(self, plan: Any, attempt: str) -> Any:
        Path(self._assignment.url, "runs", f"pool-{plan.index}.json").write_text(json.dumps(list(self._sources)))
        return super().render(plan, attempt)


def make(out: Path, **options: Any) -> str:
    work = job.begin(recipe(), str(out), job.Options(**options))
    job.run(work)
    return job.finish(work)


@pytest.mark.ray
def test_each_source_has_workers_of_its_own_and_the_root_is_that_of_one_process(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Pooled)
    (tmp_path / "ray" / "runs").mkdir(parents=True)
    (tmp_path / "inline" / "runs").mkdir(parents=True)
    assert make(tmp_path / "ray") == make(tmp_path / "inline", inline=True)
    for path in (tmp_path / "ray" / "runs").glob("pool-*.json"):
        shard = int(path.stem.removeprefix("pool-"))
        assert json.loads(path.read_text()) == [source_of_shard(recipe(), shard)]


@pytest.mark.ray
def test_a_source_that_no_node_can_hold_is_refused_at_once(ray_cluster: None, tmp_path: Path) -> None:
    wanted = recipe().model_copy(
        update={"sources": cheap.recipe(sources=[BIG | {"resources": {"A100": 1}}, SMALL], mix="shards").sources}
    )
    work = job.begin(wanted, str(tmp_path), job.Options())
    with pytest.raises(UserError, match=r"no worker fits: one needs .*A100"):
        job.run(work)


def test_status_tells_of_a_bucket_from_anywhere(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.crew.Workshop", CheapWorkshop)
    work = job.begin(cheap.recipe(), s3_url, job.Options(inline=True))
    job.run(work)
    facts = status(Store.open(s3_url), price_per_hour=2.0)
    assert (facts["shards_done"], facts["shards"], facts["root"]) == (3, 3, None)
    assert facts["cost"] > 0
