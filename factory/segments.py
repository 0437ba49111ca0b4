"""What a data set folder plans to hold: its recipe and its segments, both immutable.

The first segment says how many groups the first job was asked for; asking for more later appends another.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from manifests.canonical import canonical_json
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.store import Store


class StoredRecipe(BaseModel):
    """What recipes/<stream_id>.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream_id: str
    identity: dict[str, Any]
    recipe: dict[str, Any]
    prompts_sha256: str | None
    learned_sha256: str | None = None


class Segment(BaseModel):
    """A run of groups that was planned at once; its last shard may be short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream_id: str
    first_group: int
    groups: int
    groups_per_shard: int
    first_shard: int

    @property
    def shards(self) -> int:
        """Count the shards."""
        return -(-self.groups // self.groups_per_shard)

    def span(self, shard: int) -> tuple[int, int]:
        """Return (first group, number of groups) of one of its shards."""
        first = (shard - self.first_shard) * self.groups_per_shard
        return self.first_group + first, min(self.groups_per_shard, self.groups - first)


def stored_recipes(store: Store) -> list[str]:
    """Name the recipes of a folder by their stream ids."""
    names = [name.removeprefix("recipes/") for name, _ in store.list("recipes/")]
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def read_recipe(store: Store, stream_id: str) -> StoredRecipe:
    """Read the recipe of a stream.

    Raises: CorruptError when the file is not what its name says.
    """
    name = f"recipes/{stream_id}.json"
    try:
        stored = StoredRecipe.model_validate(json.loads(store.get_bytes(name)))
    except ValueError as error:
        raise CorruptError(f"{store.url}/{name}: not a stored recipe: {str(error).splitlines()[0]}") from None
    if stored.stream_id != stream_id:
        raise CorruptError(f"{store.url}/{name}: holds the recipe of {stored.stream_id}")
    return stored


def read_segments(store: Store) -> list[Segment]:
    """Read the segments in order, checking that each begins where the one before it ends."""
    segments: list[Segment] = []
    for name, _ in store.list("segments/"):
        segment = Segment.model_validate(json.loads(store.get_bytes(name)))
        last = segments[-1] if segments else None
        expected = (last.first_group + last.groups, last.first_shard + last.shards) if last else (0, 0)
        if (segment.first_group, segment.first_shard) != expected:
            raise CorruptError(f"{store.url}/{name}: begins at group {segment.first_group}, expected {expected[0]}")
        segments.append(segment)
    return segments


def total_groups(store: Store) -> int:
    """Count the groups that the folder plans to hold."""
    return sum(segment.groups for segment in read_segments(store))


def extend(store: Store, stream_id: str, groups: int, groups_per_shard: int) -> list[Segment]:
    """Add the segment that brings a folder to `groups` groups, if it plans fewer; returns all segments."""
    segments = read_segments(store)
    planned = sum(segment.groups for segment in segments)
    if groups <= planned:
        return segments
    added = Segment(
        stream_id=stream_id,
        first_group=planned,
        groups=groups - planned,
        groups_per_shard=groups_per_shard,
        first_shard=segments[-1].first_shard + segments[-1].shards if segments else 0,
    )
    name = f"segments/{len(segments):04d}.json"
    store.put_bytes(canonical_json(added.model_dump()), name)
    if Segment.model_validate(json.loads(store.get_bytes(name))) != added:
        raise ConflictError(f"{store.url}/{name}: another job has just planned something else; run the same again")
    return [*segments, added]


def segment_of(segments: list[Segment], shard: int) -> Segment:
    """Find the segment that a shard belongs to."""
    for segment in segments:
        if segment.first_shard <= shard < segment.first_shard + segment.shards:
            return segment
    raise UserError(f"shard {shard}: this data set plans {sum(s.shards for s in segments)} shards")
