"""Looks at a data set and says what a card should tell: counts, prompts, quality, generators, a sheet of examples."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from PIL import Image
from pydantic import ValidationError

from manifests.card import CardFacts, GeneratorFacts, PromptFacts, Quality, Statistics
from manifests.dataset import DataSet
from manifests.errors import CorruptError
from manifests.images import decode_image
from manifests.schema import OK
from manifests.store import Store

_COLUMNS = ["key", "status", "reason", "prompt", "source", "generator", "generator_sha256", "strategy", "split", "size"]
_SCORES = ["safety_score", "realism_score"]
_EXAMPLE_GROUPS, _EXAMPLE_VIEWS, _SIDE_PX, _GAP_PX = 8, 6, 96, 4
_MOST_COMMON = 12
_STOP_WORDS = frozenset(
    ["a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or", "the", "to", "with"]
)


def described(dataset: DataSet, store: Store, *, with_examples: bool = True) -> CardFacts:
    """Return what is known of a data set: what its card says already, and what its rows and images show."""
    facts = stored_facts(store)
    if not dataset.version.shards:
        return facts
    table = dataset.rows([*_COLUMNS, *_SCORES])
    ok = table.filter(pc.equal(table["status"], OK))
    found = {
        "statistics": _statistics(table, ok),
        "generators": _generators(ok, facts),
        "examples": examples(dataset) if with_examples and len(ok) else None,
    }
    return facts.model_copy(update=found)


def stored_facts(store: Store) -> CardFacts:
    """Read what the card at a folder says in its front matter; nothing where there is no card of ours."""
    if not store.exists("README.md"):
        return CardFacts()
    try:
        head = store.get_bytes("README.md").decode("utf-8").split("---\n", 2)[1]
        return CardFacts.model_validate(yaml.safe_load(head)["viewmill"])
    except (UnicodeDecodeError, IndexError, KeyError, TypeError, yaml.YAMLError, ValidationError, CorruptError):
        return CardFacts()


def _statistics(table: pa.Table, ok: pa.Table) -> Statistics:
    reasons = Counter(reason for reason in table["reason"].to_pylist() if reason)
    counts = {}
    for name in ("source", "strategy", "split"):
        values = Counter(value for value in ok[name].to_pylist() if value is not None)
        if 1 < len(values) <= 50:
            counts[name] = dict(sorted(values.items(), key=lambda item: (-item[1], item[0])))
    quality = [_quality(name, ok[name]) for name in _SCORES if ok[name].null_count < len(ok)]
    quality += [_quality("bytes of an image", ok["size"])] if len(ok) else []
    refused = dict(reasons.most_common(_MOST_COMMON))
    return Statistics(counts=counts, refused=refused, quality=quality, prompts=_prompts(ok))


def _quality(name: str, column: pa.ChunkedArray) -> Quality:
    values = column.drop_null().to_numpy().astype(np.float64)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return Quality(name=name, images=len(values), low=low, middle=middle, high=high)


def _prompts(ok: pa.Table) -> PromptFacts | None:
    """Count over distinct prompts: how long they are, and the words that most of them have."""
    prompts = [value for value in pc.unique(ok["prompt"]).to_pylist() if value]
    if not prompts:
        return None
    words = [{word.strip(".,;:!?\"'()").lower() for word in prompt.split()} for prompt in prompts]
    lengths = sorted(len(prompt.split()) for prompt in prompts)
    common = Counter(word for found in words for word in found if len(word) > 1 and word not in _STOP_WORDS)
    ranked = sorted(common.items(), key=lambda item: (-item[1], item[0]))[:_MOST_COMMON]
    return PromptFacts(
        distinct=len(prompts),
        fewest=lengths[0],
        median=lengths[len(lengths) // 2],
        most=lengths[-1],
        words=dict(ranked),
    )


def _generators(ok: pa.Table, facts: CardFacts) -> list[GeneratorFacts]:
    known = {one.name: one.licence for one in facts.generators}
    found = ok.group_by(["generator", "generator_sha256"]).aggregate([([], "count_all")]).to_pylist()
    rows: list[dict[str, Any]] = [row for row in found if row["generator"]]
    made = [
        GeneratorFacts(
            name=row["generator"],
            sha256=row["generator_sha256"] or "",
            images=row["count_all"],
            licence=known.get(row["generator"]),
        )
        for row in sorted(rows, key=lambda row: (-row["count_all"], row["generator"], row["generator_sha256"] or ""))
    ]
    return made


def examples(dataset: DataSet) -> bytes:
    """Draw a sheet of groups spread over the data set, a row each, as JPEG."""
    shards = [position for position, shard in enumerate(dataset.version.shards) if shard.groups_ok]
    spread = sorted({shards[round(place)] for place in np.linspace(0, len(shards) - 1, _EXAMPLE_GROUPS)})
    per_shard, views = -(-_EXAMPLE_GROUPS // len(spread)), dataset.version.views_per_group
    drawn: list[list[Image.Image]] = []
    for position in spread:
        rows = dataset.rows(shards=[position], ok_only=True)
        for first in range(0, min(len(rows), per_shard * views), views):
            group = rows.slice(first, min(views, _EXAMPLE_VIEWS)).to_pylist()
            drawn.append([thumbnail(decode_image(dataset.peek(row)), _SIDE_PX) for row in group])
    return _sheet(drawn[:_EXAMPLE_GROUPS])


def thumbnail(pixels: np.ndarray, side_px: int) -> Image.Image:
    """Fit an image into a square, on white."""
    image = Image.fromarray(pixels)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side_px, side_px), "white")
    square.paste(image, ((side_px - image.width) // 2, (side_px - image.height) // 2))
    return square


def _sheet(rows: list[list[Image.Image]]) -> bytes:
    step_px, columns = _SIDE_PX + _GAP_PX, max((len(row) for row in rows), default=1)
    halves = 2 if columns <= _EXAMPLE_VIEWS // 2 * 2 and len(rows) > 1 else 1  # two groups beside each other
    lines = -(-len(rows) // halves)
    width = halves * columns * step_px + (halves - 1) * 3 * _GAP_PX + _GAP_PX
    page = Image.new("RGB", (width, lines * step_px + _GAP_PX), "white")
    for number, row in enumerate(rows):
        line, half = divmod(number, halves)
        left = half * (columns * step_px + 3 * _GAP_PX)
        for column, image in enumerate(row):
            page.paste(image, (_GAP_PX + left + column * step_px, _GAP_PX + line * step_px))
    file = io.BytesIO()
    page.save(file, "JPEG", quality=90, subsampling=0)
    return file.getvalue()
