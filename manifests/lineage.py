"""Check what a folder tells of where a version came from: recipes, sources, segments, the version before it.

A folder may hold none of these and be read all the same; what is there must be what its name and the others say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.canonical import canonical_json, sha256_hex
from manifests.documents import CommitRecord, Count, Sha256, VersionDoc
from manifests.errors import CorruptError
from manifests.store import Store
from manifests.version import read_version, version_roots


class _Segment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    stream_id: Sha256
    first_group: Count
    groups: Count
    groups_per_shard: int = Field(ge=1)
    first_shard: Count

    @property
    def end(self) -> tuple[int, int]:
        return self.first_group + self.groups, self.first_shard + -(-self.groups // self.groups_per_shard)

    def span(self, index: int) -> tuple[int, int]:
        """Return (first group, number of groups) of one of its shards."""
        before = (index - self.first_shard) * self.groups_per_shard
        return self.first_group + before, min(self.groups_per_shard, self.groups - before)


def lineage_problems(store: Store, version: VersionDoc, records: Iterable[CommitRecord]) -> Iterator[str]:
    """Say of each promise about a version's origin that is broken, in a line, what is wrong."""
    yield from _source_problems(store)
    yield from _recipe_problems(store)
    yield from _segment_problems(store, version, records)
    yield from _parent_problems(store, version)


def _source_problems(store: Store) -> Iterator[str]:
    for name, _ in store.list("sources"):
        if sha256_hex(store.get_bytes(name)) != name.removeprefix("sources/"):
            yield f"{name} is damaged: its content does not give its name"


def _recipe_problems(store: Store) -> Iterator[str]:
    sources = {name for name, _ in store.list("sources")}
    for name, _ in store.list("recipes"):
        data = store.get_bytes(name)
        stream_id, recipe = name.removeprefix("recipes/").removesuffix(".json"), _canonical_object(data)
        if recipe is None:
            yield f"{name} is damaged: it is no object in canonical JSON"
        elif not is_recipe(stream_id, data):
            yield f"{name} is damaged: neither its content nor its identity gives its name"
        elif sha256_hex(data) != stream_id:
            wanted = {"prompts": recipe.get("prompts_sha256"), "learned steps": recipe.get("learned_sha256")}
            for what, digest in wanted.items():
                if digest and f"sources/{digest}" not in sources:
                    yield f"{name}: its {what}, sources/{digest}, are absent"


def is_recipe(stream_id: str, data: bytes) -> bool:
    """Say whether a recipe's content, or the identity that it holds, gives its name."""
    recipe = _canonical_object(data)
    if recipe is None or sha256_hex(data) == stream_id:
        return recipe is not None
    return recipe.get("stream_id") == stream_id and sha256_hex(canonical_json(recipe.get("identity"))) == stream_id


def is_segment(data: bytes) -> bool:
    """Say whether a file holds a segment of a plan, and nothing else."""
    try:
        return _Segment.model_validate(_canonical_object(data)) is not None
    except ValidationError:
        return False


def _canonical_object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
        return value if isinstance(value, dict) and canonical_json(value) == data else None
    except (ValueError, RecursionError):
        return None


def _segment_problems(store: Store, version: VersionDoc, records: Iterable[CommitRecord]) -> Iterator[str]:
    segments: list[_Segment] = []
    for number, (name, _) in enumerate(store.list("segments")):
        data = store.get_bytes(name)
        try:
            segment = _Segment.model_validate(_canonical_object(data))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
            yield f"{name} is damaged: {where}: {error.errors()[0]['msg']}"
            return
        expected, found = segments[-1].end if segments else (0, 0), (segment.first_group, segment.first_shard)
        if name != f"segments/{number:04d}.json" or found != expected:
            yield f"{name}: begins at (group, shard) {found}, expected segments/{number:04d}.json at {expected}"
            return
        if not store.exists(f"recipes/{segment.stream_id}.json"):
            yield f"{name}: its recipe, recipes/{segment.stream_id}.json, is absent"
        segments.append(segment)
    yield from _span_problems(segments, version, records)


def _span_problems(segments: list[_Segment], version: VersionDoc, records: Iterable[CommitRecord]) -> Iterator[str]:
    named = {shard.shard.name for shard in version.shards}
    streams = {segment.stream_id for segment in segments}
    for record in records:
        if record.shard.name not in named or record.stream_id not in streams:
            continue
        spans = [s.span(record.index) for s in segments if s.first_shard <= record.index < s.end[1]]
        found = (record.first_group, record.groups)
        if found not in spans:
            yield f"{record.shard.name}: (first group, groups) {found}, expected {spans} by the segments"


def _parent_problems(store: Store, version: VersionDoc) -> Iterator[str]:
    name = version.object_name()
    is_union = bool(version.parts)  # its parents are its parts
    if not is_union and (version.generation == 0) != (version.parent is None):
        yield f"{name}: generation {version.generation} does not go with the parent {version.parent!r}"
    elif version.parent in version_roots(store):
        try:
            parent = read_version(store, version.parent)
        except CorruptError:
            return  # named as a damaged version
        if parent.generation + 1 != version.generation:
            yield f"{name}: generation {version.generation}, expected {parent.generation + 1}, one after its parent's"
    elif version.parent is not None and version.kind in ("rendered", "adopted"):
        yield f"{name}: its parent, versions/{version.parent}.json, is absent"
