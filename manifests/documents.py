"""The JSON objects of a data set, as they are stored: commit records and versions. Pure.

A version's root covers pixels, prompts, labels and offsets. It leaves out the data set's name and licence, and the
names and bytes of the row files: their content is covered by `rows_digest`, so no Parquet release changes a root.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from manifests.canonical import canonical_json, sha256_hex
from manifests.shard import check_member_name

# Local caches name files by these: anything but hex digits could lead out of their folder.
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class ShardFile(BaseModel):
    """An immutable object and what its bytes must be; size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: Sha256
    size: Count

    _plain_name = field_validator("name")(check_member_name)


class CommitRecord(BaseModel):
    """One finished shard; no times and no hosts, so that equal work gives an equal record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    stream_id: Sha256
    index: Count
    first_group: Count
    groups: Count
    groups_ok: Count
    views: dict[str, int]  # how many of each status
    shard: ShardFile
    rows: ShardFile
    rows_digest: Sha256
    numerics: dict[str, str]

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        return canonical_json(self.model_dump())

    def object_name(self) -> str:
        """Return the record's name, which is a hash of its content."""
        return f"commits/shard-{self.index:06d}-{sha256_hex(self.to_bytes())[:16]}.json"


class VersionShard(BaseModel):
    """One shard of a version; the position in the version's list is what readers call its position."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream_id: Sha256
    index: Count
    shard: ShardFile
    rows: ShardFile
    rows_digest: Sha256
    groups: Count
    groups_ok: Count
    views_ok: Count

    @classmethod
    def of(cls, record: CommitRecord) -> VersionShard:
        """Take up a finished shard."""
        shared = record.model_dump(
            include={"stream_id", "index", "shard", "rows", "rows_digest", "groups", "groups_ok"}
        )
        return cls(**shared, views_ok=record.views.get("ok", 0))


class Selection(BaseModel):
    """Which groups of its shards a view holds: a bit a group, and the query that chose them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str
    groups: int = Field(ge=1)
    bits: ShardFile


class Part(BaseModel):
    """One of the data sets that a merged one holds: so many of its shards, in order, and a share of the training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Sha256
    shards: int = Field(ge=1)
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class VersionDoc(BaseModel):
    """One finished version of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    kind: Literal["rendered", "adopted", "selected", "merged", "resharded"]
    generation: int = 0
    parent: str | None = None
    shards: list[VersionShard]
    views_per_group: int = Field(ge=1)
    extension: str = Field(pattern="^(jpg|png|webp)$")  # of the images, as in .v00.<extension>
    label_names: list[str] = []
    tombstones: list[str] = []  # keys of groups that were taken down
    selection: Selection | None = None  # of a view: the shards lie in another data set
    parts: list[Part] = []  # of a merged version
    licence: str | None = None
    name: str = ""

    def to_bytes(self) -> bytes:
        """Return the document as it is stored."""
        return canonical_json(self.model_dump(exclude=self._left_out))

    @property
    def _left_out(self) -> set[str]:
        """Name the keys that came later and are at their default: no older root may change."""
        return set() if self.parts else {"parts"}

    def root(self) -> str:
        """Return the hash that names this version."""
        document: dict[str, Any] = self.model_dump(exclude={"licence", "name"} | self._left_out)
        for shard in document["shards"]:
            del shard["rows"]
        return sha256_hex(canonical_json(document))

    def object_name(self) -> str:
        """Return where the version is stored."""
        return f"versions/{self.root()}.json"

    @property
    def groups_ok(self) -> int:
        """Count the groups that have images and are selected, those taken down included."""
        return self.selection.groups if self.selection else sum(shard.groups_ok for shard in self.shards)

    @property
    def views_ok(self) -> int:
        """Count the images of these groups."""
        return self.groups_ok * self.views_per_group if self.selection else sum(shard.views_ok for shard in self.shards)

    @property
    def tar_bytes(self) -> int:
        """Add up the tars' sizes."""
        return sum(shard.shard.size for shard in self.shards)
