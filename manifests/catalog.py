"""A catalog: a folder of small immutable records at any URL, by which a team finds data sets and what became of them.

    records/<name>-v<version>-<16 hex of the root>.json    what a published root is, and where it lies
    scores/<root>/<16 hex of the record>.json              what somebody measured with it

Nobody serves it and nobody locks it: records are only ever added. A version that two people gave to different roots at
one moment is shown as such, and can be had by its root only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.canonical import canonical_json, sha256_hex
from manifests.card import CardFacts
from manifests.dataset import DataSet
from manifests.documents import Count, Sha256
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.patience import PatientStore
from manifests.places import relative, resolved
from manifests.store import Store, check_url

NAME = "[a-z0-9][a-z0-9_.-]{0,63}"
_VERSION = "[0-9]{1,6}(\\.[0-9]{1,6}){0,2}"
_READERS = 16
_PROMPTS = 20  # of the most frequent words
_REFERENCE = re.compile(f"(?P<name>{NAME})@(?P<version>{_VERSION}|[0-9a-f]{{8,64}}|newest)")


class Record(BaseModel):
    """A published version: what it is, whose, and where it lies."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    version: Annotated[str, Field(pattern=f"^{_VERSION}$")]
    root: Sha256
    url: str
    owner: str
    kind: str
    groups: Count
    images: Count
    views_per_group: int
    size: Count  # bytes of the tars
    shards: Count
    licence: str | None = None
    summary: str = ""
    labels: list[str] = []
    words: list[str] = []  # frequent ones of the prompts
    generators: list[str] = []
    parents: list[str] = []  # roots that it was made from
    streams: list[str] = []
    taken_down: Count = 0

    @property
    def object_name(self) -> str:
        """Return where the record lies in its catalog."""
        return f"records/{self.name}-v{self.version}-{self.root[:16]}.json"

    @property
    def order(self) -> tuple[int, ...]:
        """Return the version as numbers, for sorting."""
        return tuple(int(part) for part in self.version.split("."))


class Score(BaseModel):
    """A row of somebody's results table: a measure of something that was trained on a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Sha256
    measure: Annotated[str, Field(min_length=1, max_length=200)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    by: str
    method: str = ""
    low: Annotated[float | None, Field(allow_inf_nan=False)] = None
    high: Annotated[float | None, Field(allow_inf_nan=False)] = None
    note: str = ""


class Catalog:
    """The records of a folder; each is read once, since none ever changes."""

    def __init__(self, store: Store) -> None:
        self.url = store.url
        self._store = store
        self._records: dict[str, Record | None] = {}

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> Catalog:
        """Open a catalog.

        Raises: UserError naming the URL.
        """
        return cls(PatientStore.open(url, create=create))

    def records(self) -> list[Record]:
        """Return all records by name, the newest version of each first; what is no record is left out."""
        names = [name for name, _ in self._store.list("records")]
        new = [name for name in names if name not in self._records]
        with ThreadPoolExecutor(_READERS) as pool:
            self._records.update(zip(new, pool.map(self._read, new), strict=True))
        known = [record for record in map(self._records.get, names) if record is not None]
        return sorted(known, key=lambda record: (record.name, [-part for part in record.order], record.root))

    def _read(self, name: str) -> Record | None:
        try:
            record = Record.model_validate_json(self._store.get_bytes(name))
        except (ValidationError, CorruptError):
            return None
        return record if record.object_name == name else None

    def add(self, dataset: DataSet, facts: CardFacts, *, name: str, owner: str, version: str | None = None) -> Record:
        """Write down a published version; without a number it gets the next one.

        Raises: ConflictError if the number is another root's; UserError for a name or number that is none.
        """
        if not re.fullmatch(NAME, name) or (version is not None and not re.fullmatch(_VERSION, version)):
            raise UserError(f"{name}@{version}: expected a name of a-z 0-9 . _ - and a version such as 3 or 1.2")
        mine = [record for record in self.records() if record.name == name]
        same = [record for record in mine if record.root == dataset.root and version in (None, record.version)]
        if same:
            return same[0]
        number = version or str(max((record.order[0] for record in mine), default=0) + 1)
        others = [record for record in mine if record.version == number]
        if others:
            raise ConflictError(
                f"{self.url}: {name}@{number} is {others[0].root[:12]} and stays so: give another version"
            )
        record = _record(dataset, facts, name, number, owner, relative(self.url, dataset.url))
        self._store.put_bytes(canonical_json(record.model_dump()), record.object_name)
        return record

    def find(self, reference: str) -> Record:
        """Return the record of NAME@VERSION, NAME@ROOT or NAME@newest.

        Raises: UserError if there is none; ConflictError if there are two.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise UserError(f"{reference}: expected NAME@VERSION, NAME@ROOT or NAME@newest")
        mine = [record for record in self.records() if record.name == match["name"]]
        wanted = match["version"]
        found = [r for r in mine if r.version == wanted] or [r for r in mine if r.root.startswith(wanted)]
        found = mine[:1] if wanted == "newest" else found
        if not found:
            known = ", ".join(record.version for record in mine) or "none"
            raise UserError(f"{self.url}: no {reference}: there are the versions {known}")
        if len({record.root for record in found}) > 1:
            roots = ", ".join(record.root[:12] for record in found)
            raise ConflictError(f"{self.url}: {reference} is {roots}: two people gave this version; ask by the root")
        return found[0]

    def url_of(self, record: Record) -> str:
        """Return where a record's data set lies.

        Raises: CorruptError for what is no plain path or URL.
        """
        if "::" in record.url or not record.url.isprintable():
            raise CorruptError(f"{self.url}: {record.name}@{record.version} lies at {record.url!r}: no path or URL")
        check_url(record.url)
        return resolved(self.url, record.url)

    def search(self, words: Sequence[str]) -> list[Record]:
        """Return the records in which every word stands: in name, owner, summary, labels, prompts' words, licence."""
        return [record for record in self.records() if matches(record, words)]

    def score(self, score: Score) -> None:
        """Write down a result."""
        data = canonical_json(score.model_dump())
        self._store.put_bytes(data, f"scores/{score.root}/{sha256_hex(data)[:16]}.json")

    def scores(self, root: str) -> list[Score]:
        """Return the results of a version, the best of each measure first."""
        found = []
        for name, _ in self._store.list(f"scores/{root}"):
            try:
                found.append(Score.model_validate_json(self._store.get_bytes(name)))
            except (ValidationError, CorruptError):
                continue
        return sorted(found, key=lambda score: (score.measure, -score.value, score.by))


def _record(dataset: DataSet, facts: CardFacts, name: str, version: str, owner: str, url: str) -> Record:
    document, prompts = dataset.version, facts.statistics.prompts if facts.statistics else None
    parents = [document.parent] if document.parent else [part.root for part in document.parts]
    return Record(
        name=name,
        version=version,
        root=dataset.root,
        url=url,
        owner=owner,
        kind=document.kind,
        groups=document.groups_ok,
        images=document.views_ok,
        views_per_group=document.views_per_group,
        size=document.tar_bytes,
        shards=len(document.shards),
        licence=document.licence,
        summary=facts.summary or document.name,
        labels=document.label_names[:200],
        words=list(prompts.words)[:_PROMPTS] if prompts else [],
        generators=sorted({one.name for one in facts.generators}),
        parents=parents,
        streams=list(dict.fromkeys(shard.stream_id for shard in document.shards))[:20],
        taken_down=len(document.tombstones),
    )


def matches(record: Record, words: Iterable[str]) -> bool:
    """Say whether each word stands somewhere in a record, whatever its case."""
    told = [record.name, record.owner, record.summary, record.licence or "", record.kind, record.root]
    text = "\n".join([*told, *record.labels, *record.words, *record.generators]).lower()
    return all(word.lower() in text for word in words)
