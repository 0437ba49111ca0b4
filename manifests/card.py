"""What foreign readers read: the Hugging Face card, the list of tars, the Croissant metadata. Pure.

All three list files one by one, so that nobody picks up an orphan that no version names. The types of the json member
are declared, because Hugging Face otherwise infers them from the first five samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from manifests.croissant import croissant
from manifests.documents import Part, VersionDoc
from manifests.licences import asks

_LICENCES = {
    "apache-2.0",
    "mit",
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "gpl-2.0",
    "gpl-3.0",
}
_SIZES = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]  # Hugging Face's, of thousands to 10^12
_SAMPLE_TYPES = [
    ("key", "string"),
    ("group", "int64"),
    ("positive_id", "int64"),
    ("prompt", "string"),
    ("label", "int64"),
    ("views", "int64"),
    ("view_seeds", ["string"]),
    ("generator", "string"),
    ("split", "string"),
]


class GeneratorFacts(BaseModel):
    """A generator that images were made by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str = ""
    images: int = 0
    licence: str | None = None


class PromptFacts(BaseModel):
    """Distinct prompts: how many words they have, and in how many of them a word stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distinct: int
    fewest: int
    median: int
    most: int
    words: dict[str, int]


class Quality(BaseModel):
    """A measure over images: its 5th, 50th and 95th percentile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    low: float
    middle: float
    high: float


class Statistics(BaseModel):
    """What the rows show: images by some columns, views that were refused by reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, dict[str, int]]
    refused: dict[str, int]
    quality: list[Quality]
    prompts: PromptFacts | None = None


class CardFacts(BaseModel):
    """What a person should know and no hash covers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str = ""
    sources: list[str] = []  # who made what it came from, one attribution a line
    command: str = ""  # how to make it again
    generators: list[GeneratorFacts] = []
    statistics: Statistics | None = None
    examples: bytes | None = None  # a JPEG

    def stored(self) -> dict[str, Any]:
        """Return what the card keeps in its front matter, so that the next copy can tell it again."""
        kept = {"summary", "sources", "command", "generators"}
        return self.model_dump(include=kept, exclude_defaults=True)


def card_files(version: VersionDoc, facts: CardFacts) -> dict[str, bytes]:
    """Return README.md, shards.txt and croissant.json of a version; only the first of one whose tars lie elsewhere.

    A sheet of examples and an index for wids come with it where they are known.
    """
    drawn = {"examples.jpg": facts.examples} if facts.examples else {}
    if version.selection is not None:
        return {**drawn, "README.md": readme(version, facts).encode("utf-8")}
    return {
        **drawn,
        "README.md": readme(version, facts).encode("utf-8"),
        "shards.txt": "".join(f"{name}\n" for name in tar_names(version)).encode("utf-8"),
        "wids.json": wids_index(version),
        "croissant.json": croissant(version, facts.summary, [(one.name, one.sha256) for one in facts.generators]),
    }


def wids_index(version: VersionDoc) -> bytes:
    """Return the index that wids reads: the tars with a sample, relative to the folder, and how many each has."""
    tars = [shard for shard in version.shards if shard.groups_ok]
    shards = [{"url": s.shard.name, "nsamples": s.groups_ok, "filesize": s.shard.size} for s in tars]
    name = version.name or f"viewmill-{version.root()[:12]}"
    document = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": shards}
    return (json.dumps(document, indent=1) + "\n").encode("utf-8")


def tar_names(version: VersionDoc) -> list[str]:
    """Return the tars that hold at least one sample: readers stumble over empty ones."""
    return [shard.shard.name for shard in version.shards if shard.groups_ok]


def row_names(version: VersionDoc) -> list[str]:
    """Return the row files, in the order of the shards."""
    return [shard.rows.name for shard in version.shards]


def view_members(version: VersionDoc) -> list[str]:
    """Return the members' extensions in a sample: v00.jpg, v01.jpg, …"""
    return [f"v{number:02d}.{version.extension}" for number in range(version.views_per_group)]


def readme(version: VersionDoc, facts: CardFacts) -> str:
    """Write the card: YAML for the machines, then how to load it and what it is."""
    head = yaml.safe_dump(_front_matter(version, facts), sort_keys=False, allow_unicode=True, width=120)
    return "\n".join([f"---\n{head}---", *_body(version, facts)]) + "\n"


def _is_synthetic(version: VersionDoc, facts: CardFacts) -> bool:
    return version.kind == "rendered" or bool(facts.generators)


def _front_matter(version: VersionDoc, facts: CardFacts) -> dict[str, Any]:
    synthetic = ["synthetic"] if _is_synthetic(version, facts) else []
    return {
        **({"pretty_name": " ".join(version.name.split())} if version.name else {}),
        **licence_entry(version.licence),
        "tags": ["viewmill", "multi-view", "webdataset", *synthetic],
        "size_categories": [size_category(version.groups_ok)],
        **(_loading(version) if version.selection is None else {}),
        **({"viewmill": facts.stored()} if facts.stored() else {}),
    }


def _loading(version: VersionDoc) -> dict[str, Any]:
    return {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": tar_names(version)}]}],
        "dataset_info": {"config_name": "default", "features": _features(version)},
    }


def size_category(count: int) -> str:
    """Return the Hub's word for a number of rows, from n<1K to n>1T."""
    place = sum(count >= 10 ** (3 + power) for power in range(len(_SIZES)))
    if 0 < place < len(_SIZES):
        return f"{_SIZES[place - 1]}<n<{_SIZES[place]}"
    return f"n>{_SIZES[-1]}" if place else f"n<{_SIZES[0]}"


def licence_entry(licence: str | None) -> dict[str, str]:
    """Return a licence as the front matter of the Hub's cards has it; nothing for one that is not known."""
    if licence is None:
        return {}
    known = licence.lower() in _LICENCES
    return {"license": licence.lower()} if known else {"license": "other", "license_name": licence}


def _features(version: VersionDoc) -> list[dict[str, Any]]:
    sample = [{"name": n, "list": t[0]} if isinstance(t, list) else {"name": n, "dtype": t} for n, t in _SAMPLE_TYPES]
    images = [{"name": member, "dtype": "image"} for member in view_members(version)]
    plain = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    return [{"name": "json", "struct": sample}, *images, *plain]


def _body(version: VersionDoc, facts: CardFacts) -> Iterator[str]:
    yield f"# {escaped(version.name) or 'A multi-view data set'}\n"
    if facts.summary:
        yield f"{facts.summary}\n"
    yield f"{version.groups_ok:,} groups of {version.views_per_group} views ({version.views_ok:,} images, "
    yield f"{version.tar_bytes:,} bytes) in {len(version.shards)} shards; {version.kind}, made with ViewMill.\n"
    if _is_synthetic(version, facts):
        who = "All images were" if version.kind == "rendered" else "Images that name a generator were"
        yield f"{who} made by a generator: they show no real person, place or event.\n"
    if version.tombstones:
        yield f"{len(version.tombstones):,} groups were taken down: readers do not show them.\n"
    yield f"Root: `{version.root()}` (generation {version.generation})\n"
    if facts.examples:
        yield "![Groups of views, a row or half a row each](examples.jpg)\n"
    yield from _section("Labels", [f"{number}: {escaped(name)}" for number, name in enumerate(version.label_names)])
    if facts.statistics is not None:
        yield from statistics_sections(facts.statistics)
    yield from licence_section(version.licence, facts.generators)
    if version.kind == "merged":
        yield _MERGED.format(parts="\n".join(_part(part) for part in version.parts))
    elif version.selection is not None:
        yield _VIEW.format(parent=version.parent, where=escaped(version.selection.where))
    else:
        yield _LOADING.replace("FIRST_VIEW", view_members(version)[0])
    yield from _section("Sources", [escaped(line) for line in facts.sources])
    if facts.command:
        yield f"## Made by\n\n    {' '.join(facts.command.split())}\n"


def _part(part: Part) -> str:
    weight = "" if part.weight is None else f", weight {part.weight:g}"
    return f"- `{part.root}`: {part.shards} shards{weight}"


def statistics_sections(statistics: Statistics) -> Iterator[str]:
    """Tell what the rows show, as tables."""
    for name, counts in statistics.counts.items():
        yield from _table(f"Images by {name}", [name, "images"], [(escaped(v), f"{n:,}") for v, n in counts.items()])
    if (prompts := statistics.prompts) is not None:
        words = ", ".join(f"{escaped(word)} ({count:,})" for word, count in prompts.words.items())
        yield f"## Prompts\n\n{prompts.distinct:,} distinct prompts of {prompts.fewest} to {prompts.most} words "
        yield f"(median {prompts.median}). Most frequent words: {words}.\n"
    rows = [(q.name, f"{q.images:,}", f"{q.low:.4g}", f"{q.middle:.4g}", f"{q.high:.4g}") for q in statistics.quality]
    yield from _table("Quality", ["measure", "images", "5 %", "50 %", "95 %"], rows)
    refused = [(escaped(reason), f"{count:,}") for reason, count in statistics.refused.items()]
    yield from _table("Refused views", ["reason", "views"], refused)


def licence_section(licence: str | None, generators: Sequence[GeneratorFacts]) -> Iterator[str]:
    """Tell what the licences ask of users, of the images and of each generator."""
    rows = [("the images", "", escaped(licence or "unknown"), asks(licence))] if licence or generators else []
    for one in generators:
        weights = f"`{one.sha256[:16]}`" if one.sha256 else ""
        rows.append((escaped(one.name), weights, escaped(one.licence or "unknown"), asks(one.licence)))
    yield from _table("Licences", ["of", "weights", "licence", "what it asks of users"], rows)


def _table(title: str, head: list[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        lines = [head, ["---"] * len(head), *rows]
        yield f"## {title}\n"
        yield "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def escaped(text: str) -> str:
    """Keep a name from other people's table from being a heading, a link or HTML of the card."""
    return re.sub(r"([\\`<\[\]])", r"\\\1", " ".join(text.split()))


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"## {title}\n"
        yield "\n".join(f"- {line}" for line in lines) + "\n"


_MERGED = """## Loading

```python
from manifests import open_dataset

data = open_dataset("PATH OR URL")
```

This is a union: it holds no image. The shards lie in the data sets that `places.json` names, of which it holds

{parts}

A trainer that is given it draws from each by its weight, where there is one.
"""

_VIEW = """## Loading

```python
from manifests import open_dataset

data = open_dataset("PATH OR URL")
```

This is a view: the groups of version `{parent}` of which every view matches

> {where}

It holds no image. The shards lie in the data sets that `places.json` names, and have other groups too, so no reader
but ViewMill's can tell which of them belong to it.
"""

_LOADING = """## Loading

```python
from manifests import open_dataset                      # ViewMill: every byte checked

data = open_dataset("PATH OR URL")
table = data.rows()                                     # one row a view, a PyArrow table
pixels = data.image(table.slice(0, 1).to_pylist()[0])   # uint8 [H, W, 3]

from datasets import load_dataset                       # Hugging Face: one row a group
groups = load_dataset("PATH", split="train")            # groups[0]["FIRST_VIEW"], groups[0]["json"]["prompt"]

import webdataset as wds                                # the tars in shards.txt
groups = wds.WebDataset([line.strip() for line in open("shards.txt")], shardshuffle=False).decode("rgb8")
```

`dataset.json` is a copy of the newest version in `versions/`: the highest generation, then the lowest root. It names
the tars and the row files that count. Files in `shards/`, `views/` and `commits/` that it does not name are leftovers
of interrupted work: read by the lists, never by a wildcard.
"""
