"""Pure: recipe and prompts -> what one shard holds, in O(1) of the data set's size.

Everything that decides a pixel is in a ShardPlan; nothing in it depends on workers, order, retries or the clock.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from factory.generators.latent_config import LatentSource
from factory.generators.protocol import ViewRequest
from factory.prompt_rows import PromptRow
from factory.recipe import Recipe
from factory.segments import Segment
from factory.subjects import Subjects
from factory.views import Drawer, Place, Subject
from manifests import seeds


@dataclass(frozen=True)
class GroupPlan:
    """One group: which source draws it, of which prompt, and the guidance of each view."""

    group: int
    source: int
    prompt: PromptRow
    guidance_scales: tuple[float, ...]


@dataclass(frozen=True)
class ShardPlan:
    """One shard: its place in the data set and its groups."""

    stream_id: str
    index: int
    first_group: int
    groups: tuple[GroupPlan, ...]


@dataclass(frozen=True)
class Batch:
    """Requests that are rendered together, at a fixed size; a short one is padded."""

    source: int
    size: int
    requests: tuple[ViewRequest, ...]


def plan_shard(recipe: Recipe, subjects: Subjects, segment: Segment, index: int) -> ShardPlan:
    """Plan one shard of a segment."""
    first, count = segment.span(index)
    groups = tuple(plan_group(recipe, subjects, group, index) for group in range(first, first + count))
    return ShardPlan(segment.stream_id, index, first, groups)


def plan_group(recipe: Recipe, subjects: Subjects, group: int, shard: int = 0) -> GroupPlan:
    """Plan one group, of the seed and its number alone; where shards have one source each, of the shard's too."""
    source = choose_source(recipe, group) if recipe.mix == "groups" else source_of_shard(recipe, shard)
    row = subjects.row(recipe, source, group)
    if row.guidance_scale is not None:
        return GroupPlan(group, source, row, (row.guidance_scale,) * recipe.views)
    config = recipe.sources[source]
    grid = (0.0,) if isinstance(config, LatentSource) else config.guidance_grid
    # Of attempt 0, so that a view keeps its guidance when it is rolled again.
    draws = [seeds.view_seed(recipe.seed, group, view) for view in range(recipe.views)]
    return GroupPlan(
        group, source, row, tuple(grid[int(seeds.integers(d, "guidance", len(grid), (1,))[0])] for d in draws)
    )


def choose_source(recipe: Recipe, group: int) -> int:
    """Draw the source of a group by weight."""
    return _drawn_source(recipe, group, "source")


def source_of_shard(recipe: Recipe, shard: int) -> int:
    """Draw the source of a whole shard by weight."""
    return _drawn_source(recipe, shard, "source of a shard")


def _drawn_source(recipe: Recipe, number: int, purpose: str) -> int:
    if len(recipe.sources) == 1:
        return 0
    cumulative = list(itertools.accumulate(source.weight for source in recipe.sources))
    draw = float(seeds.uniform(seeds.group_seed(recipe.seed, number), purpose, 1)[0]) * cumulative[-1]
    return min(bisect.bisect_right(cumulative, draw), len(cumulative) - 1)


def request(recipe: Recipe, plan: GroupPlan, view: int, attempt: int, drawer: Drawer) -> ViewRequest:
    """Say all that decides one view at one attempt."""
    place = Place(recipe.seed, plan.group, view, attempt)
    draw = drawer(place, Subject(plan.prompt.prompt, plan.prompt.variants))
    guidance_scale = plan.guidance_scales[view] if draw.guidance_scale is None else draw.guidance_scale
    return ViewRequest(
        group=plan.group,
        view=view,
        attempt=attempt,
        seed=draw.seed,
        prompt=plan.prompt.prompt if draw.prompt is None else draw.prompt,
        negative_prompt=plan.prompt.negative_prompt or "",
        guidance_scale=guidance_scale,
        class_id=plan.prompt.class_id,
        group_seed=place.group_seed,
        latent=draw.latent,
        edit=draw.edit,
        columns=draw.columns,
    )


def cut_batches(
    requests: Iterable[tuple[int, ViewRequest]], key: Callable[[int, ViewRequest], Hashable], size: int
) -> list[Batch]:
    """Cut (source, request) pairs into batches that share a source and a key, in the order each first appears.

    All are full but the last of a key, which has the smallest size of the ladder size, size/2, size/4, … that holds it.
    """
    kinds: dict[tuple[int, Hashable], list[ViewRequest]] = {}
    for source, wanted in requests:
        kinds.setdefault((source, key(source, wanted)), []).append(wanted)
    return [
        Batch(source, rung(len(chunk), size), tuple(chunk))
        for (source, _), members in kinds.items()
        for chunk in _chunks(members, size)
    ]


def rung(count: int, size: int) -> int:
    """Return the smallest batch size of the ladder that holds `count` requests."""
    while size // 2 >= count:
        size //= 2
    return size


def _chunks(members: Sequence[ViewRequest], size: int) -> Iterable[Sequence[ViewRequest]]:
    return (members[i : i + size] for i in range(0, len(members), size))
