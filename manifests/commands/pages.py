"""card, energon, gallery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from manifests import open_dataset
from manifests.commands.share import Root
from manifests.description import described
from manifests.energon import write_energon
from manifests.errors import ConflictError
from manifests.gallery import Options, write_gallery
from manifests.store import Store
from manifests.target import check_folder, local_path
from manifests.version import newest
from manifests.version import publish as put_version

Data = Annotated[str, typer.Argument(help="folder or URL of a data set")]


def card(
    data: Data,
    summary: Annotated[
        str | None, typer.Option(help="what it is, in a sentence or two; else what the card says")
    ] = None,
) -> None:
    """Write the card anew from the rows: examples, counts, prompts, quality, licences; and Croissant metadata."""
    store = Store.open(data)
    dataset = open_dataset(data)
    facts = described(dataset, store)
    if summary is not None:
        facts = facts.model_copy(update={"summary": summary})
    latest = newest(store)
    if latest is None or latest.root() != dataset.root:
        raise ConflictError(f"{data}: another version was published just now: run the same command again")
    put_version(store, latest, card=facts)
    print(f"{store.url}/README.md")


def energon(data: Data) -> None:
    """Write .nv-meta and tar indexes, so that Megatron-Energon opens the folder as it is."""
    print(write_energon(open_dataset(data)))


def gallery(
    data: Annotated[list[str], typer.Argument(help="folder or URL of a data set, or of two to see side by side")],
    out: Annotated[Path, typer.Option(parser=local_path, help="folder for the page; open index.html in it")],
    groups: Annotated[int | None, typer.Option(min=1, help="at most so many of each data set, spread over it")] = None,
    thumb_px: Annotated[int, typer.Option(min=16, max=256, help="side of the small pictures")] = 96,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(parser=local_path, help="features, as `trainer embed` writes them"),
    ] = None,
    root: Root = None,
) -> None:
    """Write a page that shows the groups: filters, search, a map, every row, and how to render each image again."""
    check_folder(out)
    datasets = [open_dataset(url, root=root if number == 0 else None) for number, url in enumerate(data)]
    options = Options(most_groups=groups, thumb_px=thumb_px, embeddings=tuple(embeddings or ()))
    shown = write_gallery(datasets, out, options, tell=lambda line: print(line, file=sys.stderr))
    print(f"{shown} groups", file=sys.stderr)
    print(out / "index.html")
