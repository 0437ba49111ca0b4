"""What differs between two versions: groups that came, went or changed, found by shards first and rows where needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from manifests.canonical import sha256_hex
from manifests.dataset import DataSet
from manifests.documents import VersionDoc
from manifests.schema import OK

_FACTS = ("kind", "name", "licence", "views_per_group", "extension", "label_names")
_NAMED = 10


@dataclass(frozen=True)
class Difference:
    """How the second of two versions differs from the first; keys of groups with images."""

    roots: tuple[str, str]
    facts: dict[str, tuple[Any, Any]]
    only_first: list[str]
    only_second: list[str]
    changed: list[str]  # the same key, other images
    taken_down: list[str]  # by the second, of what the first shows
    shards_shared: int

    @property
    def is_none(self) -> bool:
        """Say whether both show the same."""
        return not (self.facts or self.only_first or self.only_second or self.changed)

    def to_dict(self, *, is_whole: bool = False) -> dict[str, Any]:
        """Return it for JSON: counts, and some keys or all."""
        found = asdict(self)
        for name in ("only_first", "only_second", "changed", "taken_down"):
            keys = found[name]
            found[name] = {"groups": len(keys), "keys": keys if is_whole else keys[:_NAMED]}
        return found


def diff(first: DataSet, second: DataSet) -> Difference:
    """Compare two versions; shards that both have and show alike are not read."""
    same = shared_shards(first, second)
    mine, theirs = dict(_groups(first, same[0])), dict(_groups(second, same[1]))
    gone = set(second.version.tombstones) - set(first.version.tombstones)
    return Difference(
        roots=(first.root, second.root),
        facts=_facts(first.version, second.version),
        only_first=sorted(mine.keys() - theirs.keys()),
        only_second=sorted(theirs.keys() - mine.keys()),
        changed=sorted(key for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]),
        taken_down=sorted((mine.keys() - theirs.keys()) & gone),
        shards_shared=len(same[0]),
    )


def _facts(first: VersionDoc, second: VersionDoc) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in _FACTS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def shared_shards(first: DataSet, second: DataSet) -> tuple[set[int], set[int]]:
    """Return the positions of shards of which both show the same groups, as far as that is known unread."""
    if first.version.tombstones != second.version.tombstones:
        gone = set(first.version.tombstones) ^ set(second.version.tombstones)
        streams = {key.partition("-")[0] for key in gone}
    else:
        streams = set()
    where = {shard.shard.sha256: position for position, shard in enumerate(second.version.shards)}
    mine, theirs = set[int](), set[int]()
    for position, shard in enumerate(first.version.shards):
        other = where.get(shard.shard.sha256)
        if other is None or shard.stream_id[:8] in streams or other in theirs:
            continue
        if shard.rows_digest == second.version.shards[other].rows_digest and _same_groups(
            first, position, second, other
        ):
            mine.add(position)
            theirs.add(other)
    return mine, theirs


def _same_groups(first: DataSet, position: int, second: DataSet, other: int) -> bool:
    if first.version.selection is None and second.version.selection is None:
        return True
    return bool((first.selected(position) == second.selected(other)).all())


def _groups(dataset: DataSet, alike: set[int]) -> Iterator[tuple[str, str]]:
    """Return (key, hash of the images) of each group that is shown, but of shards that need no look."""
    k = dataset.version.views_per_group
    for position in range(len(dataset.version.shards)):
        if position in alike:
            continue
        rows = dataset.rows(["key", "sha256", "status"], shards=[position])
        rows = rows.filter(pc.equal(rows["status"], OK))
        keys, images = rows["key"].to_pylist(), rows["sha256"].to_pylist()
        for place in range(0, len(rows), k):
            yield keys[place], sha256_hex("".join(images[place : place + k]).encode())
