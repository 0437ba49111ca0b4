"""`python -m manifests distance|diversity|duplicates`: quality, seen through the embeddings of `trainer embed`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from manifests.dataset import open_dataset
from manifests.embeddings import find_embeddings
from manifests.terminal import printable

Url = Annotated[str, typer.Argument(help="folder or fsspec URL of a data set")]
Name = Annotated[str, typer.Option("--embeddings", metavar="NAME", help="extractor's name, or its first letters")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Seed = Annotated[int, typer.Option(min=0, help="of the subsets")]
LOOKALIKE_BITS, LOOKALIKE_DISTANCE = 6, 0.05


def distance(
    real: Annotated[str, typer.Argument(metavar="A", help="data set that is taken for real")],
    other: Annotated[str, typer.Argument(metavar="B", help="data set that is compared with it")],
    embeddings: Name,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say how near B is to A: Fréchet and kernel distance, precision, recall, density, coverage, authenticity."""
    from manifests import quality

    found = [find_embeddings(open_dataset(url), embeddings) for url in (real, other)]
    _print(quality.distances(*found, seed=seed), as_json)


def diversity(data: Url, embeddings: Name, as_json: AsJson = False) -> None:
    """Say how unlike views of one group are, and images of different groups: mean cosine distances."""
    from manifests import quality

    _print(quality.diversity(find_embeddings(open_dataset(data), embeddings)), as_json)


def duplicates(
    data: Url,
    embeddings: Name,
    of: Annotated[
        str | None, typer.Option(metavar="DATA", help="find copies of this data set's images instead")
    ] = None,
    bits: Annotated[int, typer.Option(min=0, max=64, help="of the perceptual hash that may differ")] = LOOKALIKE_BITS,
    closeness: Annotated[float, typer.Option(min=0, help="largest cosine distance of features")] = LOOKALIKE_DISTANCE,
    same_group: Annotated[bool, typer.Option("--same-group", help="count views of one group too")] = False,
    as_json: AsJson = False,
) -> None:
    """List images that look alike, in hash and in features, or copies of another data set's images."""
    from manifests import quality

    opened = open_dataset(data)
    found, limits = find_embeddings(opened, embeddings), quality.Limits(bits, closeness)
    if of is None:
        pairs = quality.duplicates(opened, found, limits, shall_join_groups=same_group)
    else:
        training = open_dataset(of)
        pairs = quality.copies(opened, found, training, find_embeddings(training, embeddings), limits)
    if as_json:
        print(json.dumps({"images": len(found.features), "pairs": [vars(pair) for pair in pairs]}, indent=2))
        return
    for pair in pairs:
        print(printable(f"{pair.image}  {pair.of}  {pair.bits} bits  distance {pair.distance:.4f}"))
    print(f"{len(pairs)} pairs look alike among {len(found.features)} images")


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if value is None:
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        told = "  ".join(f"{key} {_shown(part)}".strip() for key, part in parts)
        print(printable(f"{name:20} {told}"))


def _shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
