"""The commit records that a driver keeps: as their bytes, which take a seventh of the memory of the parsed ones.

Ten thousand shards are common and millions possible, while one record at a time is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from manifests.commit import CommitRecord


class Records(MutableMapping[int, CommitRecord]):
    """Records by shard; each is parsed when it is asked for, which takes some 10 µs."""

    def __init__(self, records: Mapping[int, CommitRecord]) -> None:
        self._stored: dict[int, bytes] = {}
        self.update(records)

    def __getitem__(self, shard: int) -> CommitRecord:
        return CommitRecord.model_validate_json(self._stored[shard])

    def __setitem__(self, shard: int, record: CommitRecord) -> None:
        self._stored[shard] = record.to_bytes()

    def __delitem__(self, shard: int) -> None:
        del self._stored[shard]

    def __contains__(self, shard: object) -> bool:
        return shard in self._stored

    def __iter__(self) -> Iterator[int]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)
