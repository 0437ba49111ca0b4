"""What the page shows beside the report's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """One image as a data: URI, and what it is said to show."""

    uri: str
    label: str


@dataclass(frozen=True)
class SampleGroup:
    """The views that were rendered for one prompt."""

    prompt: str
    views: Sequence[Picture]


@dataclass(frozen=True)
class NeighbourRow:
    """A query and the images nearest to it, by the encoder and by raw pixels."""

    query: Picture
    encoder: Sequence[Picture]
    pixels: Sequence[Picture]


@dataclass(frozen=True)
class Exhibits:
    """Everything on the page that report.json does not hold."""

    groups: Sequence[SampleGroup]
    neighbours: Sequence[NeighbourRow]
    metrics: Sequence[dict[str, float]]  # the lines of metrics.jsonl
    recipe: str
    config: str
    shards: Sequence[tuple[str, str]]  # name, sha256
