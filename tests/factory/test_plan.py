"""The plan: pure, every group exactly once, the same for whoever asks first; batches of few shapes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from factory.generators.protocol import ViewRequest
from factory.plan import ShardPlan, choose_source, cut_batches, plan_group, plan_shard, request, rung
from factory.prompt_rows import PromptRow
from factory.prompts import read_prompts
from factory.recipe import Recipe
from factory.segments import Segment
from factory.subjects import Subjects, subjects_of
from manifests.seeds import view_seed


def recipe(**changes: Any) -> Recipe:
    base = {"name": "t", "seed": 5, "groups": 10, "views": 3, "prompts": {"texts": ["a", "b", "c"]}}
    return Recipe.model_validate({**base, "sources": [{"model": "m", "guidance_scale": [1.0, 2.0, 4.0]}], **changes})


def segments(sizes: list[int], per_shard: int) -> list[Segment]:
    found: list[Segment] = []
    for size in sizes:
        group = sum(s.groups for s in found)
        shard = sum(s.shards for s in found)
        shared = {"stream_id": "s", "groups_per_shard": per_shard}
        found.append(Segment(**shared, first_group=group, groups=size, first_shard=shard))
    return found


def subjects(of: Recipe) -> Subjects:
    assert of.prompts is not None
    return subjects_of(of, read_prompts(of.prompts)[0], [()] * len(of.sources))


def plans(of: Recipe, cut: list[Segment]) -> list[ShardPlan]:
    prompts = subjects(of)
    return [plan_shard(of, prompts, s, s.first_shard + i) for s in cut for i in range(s.shards)]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), per_shard=st.integers(1, 17))
def test_every_group_is_in_exactly_one_shard_however_the_data_set_grew(sizes: list[int], per_shard: int) -> None:
    made = plans(recipe(), segments(sizes, per_shard))
    assert [group.group for plan in made for group in plan.groups] == list(range(sum(sizes)))
    assert [plan.index for plan in made] == list(range(len(made)))
    assert all(1 <= len(plan.groups) <= per_shard for plan in made)


def test_a_group_is_planned_alike_in_whatever_shard_or_order_it_is_asked_for() -> None:
    of = recipe(sources=[{"model": "m", "weight": 1}, {"model": "n", "weight": 3}])
    prompts = subjects(of)
    forward = {group: plan_group(of, prompts, group) for group in range(20)}
    backward = {group: plan_group(of, prompts, group) for group in reversed(range(20))}
    in_shards = {group.group: group for plan in plans(of, segments([20], 7)) for group in plan.groups}
    assert forward == backward == in_shards


def test_a_view_has_the_seed_of_its_attempt_and_keeps_its_guidance() -> None:
    of = recipe()
    group = plan_group(of, subjects(of), 4)
    drawer = of.strategy.open(None)
    first, second = (request(of, group, 1, attempt, drawer) for attempt in (0, 1))
    assert (first.seed, second.seed) == (view_seed(5, 4, 1, 0), view_seed(5, 4, 1, 1))
    assert (first.guidance_scale, first.prompt) == (second.guidance_scale, second.prompt)


def test_a_guidance_grid_is_shared_out_and_a_rows_own_guidance_goes_before_it() -> None:
    of = recipe(views=100)
    prompts = subjects(of)
    drawn = Counter(scale for group in range(10) for scale in plan_group(of, prompts, group).guidance_scales)
    assert set(drawn) == {1.0, 2.0, 4.0}
    assert all(250 < count < 420 for count in drawn.values())  # 333 expected, standard deviation 15

    class Own:
        label_names = ()
        has_number_labels = False
        extra_types: dict[str, Any] = {}  # noqa: RUF012

        def __len__(self) -> int:
            return 1

        def row(self, index: int) -> Any:
            return PromptRow("a", "id", guidance_scale=9.0)

    assert set(plan_group(of, subjects_of(of, Own(), [()]), 0).guidance_scales) == {9.0}


def test_sources_are_shared_out_by_weight() -> None:
    of = recipe(sources=[{"model": "m", "weight": 1}, {"model": "n", "weight": 3}])
    drawn = Counter(choose_source(of, group) for group in range(4000))
    assert 880 < drawn[0] < 1120  # 1000 expected, standard deviation 27


def requests(count: int, keys: int = 1) -> list[tuple[int, ViewRequest]]:
    return [(0, ViewRequest(i, 0, 0, i, guidance_scale=float(i % keys))) for i in range(count)]


@given(count=st.integers(0, 60), keys=st.integers(1, 4), size=st.integers(1, 16))
def test_batches_hold_every_request_once_at_sizes_of_the_ladder(count: int, keys: int, size: int) -> None:
    wanted = requests(count, keys)
    batches = cut_batches(wanted, lambda source, one: one.guidance_scale, size)
    ladder = {size >> i for i in range(10) if size >> i}
    assert sorted(one.group for batch in batches for one in batch.requests) == list(range(count))
    assert all(batch.size in ladder and len(batch.requests) <= batch.size for batch in batches)
    assert all(len({one.guidance_scale for one in batch.requests}) == 1 for batch in batches)
    partial = [batch for batch in batches if len(batch.requests) < size]
    assert len(partial) <= keys


def test_the_ladder_halves_while_everything_fits() -> None:
    assert [rung(count, 16) for count in (1, 2, 3, 4, 5, 8, 9, 16)] == [1, 2, 4, 4, 8, 8, 16, 16]
    assert [rung(count, 6) for count in (1, 2, 3, 4)] == [1, 3, 3, 6]
