"""`python -m manifests`: look at, check, compare, part, join and share data sets, at a path or any fsspec URL."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manifests import adopt as adopting
from manifests import open_dataset
from manifests import selection as selecting
from manifests.command_line import new_app, run_app
from manifests.commands import catalog, pages, parts, quality, share
from manifests.dataset import DataSet
from manifests.documents import VersionDoc
from manifests.errors import CorruptError, UserError
from manifests.schema import VIEW_SCHEMA
from manifests.signing import check_signed
from manifests.store import Store
from manifests.table import Columns
from manifests.terminal import printable
from manifests.verify import verify as verify_dataset
from manifests.version import newest, sound_versions

app = new_app(__doc__)
app.command()(quality.distance)
app.command()(quality.diversity)
app.command()(quality.duplicates)
app.add_typer(catalog.app, name="catalog")
app.command()(share.publish)
app.command()(share.pull)
app.command()(parts.merge)
app.command()(parts.reshard)
app.command()(parts.split)
app.command()(parts.diff)
app.command()(parts.takedown)
app.command()(share.sign)
app.command()(share.repair)
app.command()(pages.card)
app.command()(pages.energon)
app.command()(pages.gallery)

Url = Annotated[str, typer.Argument(help="folder or fsspec URL of a data set")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Root = Annotated[str | None, typer.Option(help="root of an older version, or its first digits")]

_BRIEF = ["key", "view", "status", "label", "split", "width", "height", "prompt"]


@app.command("ls")
def list_(url: Url, as_json: AsJson = False) -> None:
    """List the data sets in a folder, or the versions and shards of one data set."""
    store = Store.open(url)
    found, damaged = sound_versions(store)
    if found or damaged:
        listing: dict[str, Any] = {
            "versions": [_summary(v) for v in found],
            "shards": _shards(found[0]) if found else [],
            **({"damaged versions": [{"problem": str(error)} for error in damaged.values()]} if damaged else {}),
        }
    else:
        listing = {"data sets": _children(store)}
        if not listing["data sets"]:
            open_dataset(url)  # says what is there instead
    if as_json:
        print(json.dumps(listing, indent=2))
        return
    for title, entries in listing.items():
        print(printable(f"{title} of {store.url}:" if title != "data sets" else f"data sets in {store.url}:"))
        for entry in entries:
            print(printable("  " + "  ".join(f"{name} {value}" for name, value in entry.items())))


def _children(store: Store) -> list[dict[str, Any]]:
    found = [_child(folder, Store.open(f"{store.url}/{folder}")) for folder in store.folders()]
    return [child for child in found if child]


def _child(folder: str, store: Store) -> dict[str, Any]:
    try:
        version = newest(store)
    except CorruptError as error:
        return {"name": folder, "problem": str(error)}
    return {"name": folder, **_summary(version)} if version else {}


def _summary(version: VersionDoc) -> dict[str, Any]:
    return {
        "root": version.root(),
        "kind": version.kind,
        "generation": version.generation,
        "groups": version.groups_ok,
        "views": version.views_ok,
        "bytes": version.tar_bytes,
    }


def _shards(version: VersionDoc) -> list[dict[str, Any]]:
    return [{"name": s.shard.name, "groups": s.groups_ok, "bytes": s.shard.size} for s in version.shards]


@app.command()
def show(
    url: Url,
    key: Annotated[str | None, typer.Argument(help="show all columns of this group's rows")] = None,
    group: Annotated[int | None, typer.Option(help="the same, by the group's number")] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show what a data set is and a few of its rows, or all that is known of one group."""
    data = open_dataset(url, root=root)
    facts = _facts(data) if key is None and group is None else {"rows": _group_rows(data, key, group)}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for row in facts.pop("rows"):
        if key is None and group is None:
            print(printable("  ".join(str(row[name]) for name in _BRIEF)))
        else:
            known = [(name, value) for name, value in row.items() if value is not None]
            print("\n".join(printable(f"{name:17} {value}{_unit(name)}") for name, value in known), end="\n\n")
    for name, value in facts.items():
        print(printable(f"{name:17} {value}"))


def _facts(data: DataSet) -> dict[str, Any]:
    version = data.version
    first = next((position for position, shard in enumerate(version.shards) if shard.views_ok), 0)
    table = data.rows(shards=[first], ok_only=True)
    filled = [name for name in table.column_names if table[name].null_count < len(table)]
    return {
        "rows": table.slice(0, 2 * version.views_per_group).select(_BRIEF).to_pylist(),
        "url": data.url,
        "name": version.name,
        "licence": version.licence,
        **_summary(version),
        **({"where": version.selection.where, "shards lie in": data.homes.urls[1:]} if version.selection else {}),
        "views_per_group": version.views_per_group,
        "extension": version.extension,
        "shards": len(version.shards),
        "labels": version.label_names,
        "columns": filled,
    }


def _group_rows(data: DataSet, key: str | None, group: int | None) -> list[dict[str, Any]]:
    column, value = ("key", key) if key is not None else ("group", group)
    for position in range(len(data.version.shards)):
        table = data.rows(shards=[position])
        found = table.filter(pc.equal(table[column], value))
        if len(found):
            return list(found.to_pylist())
    raise UserError(f"{data.url}: no group with {column} {value!r}")


def _unit(name: str) -> str:
    unit = VIEW_SCHEMA.field(name).metadata[b"unit"].decode() if name in VIEW_SCHEMA.names else ""
    return f" {unit}" if unit in ("px", "bytes") else ""


@app.command()
def verify(
    url: Url,
    deep: Annotated[bool, typer.Option(help="decode every image too")] = False,
    signed_by: Annotated[
        str | None, typer.Option(help="Ed25519 public key, or a file of them: one must have signed it")
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Check every hash, size, count and offset; exit code 3 if anything is not as promised."""
    if signed_by is not None:
        print(f"signed by {check_signed(open_dataset(url, root=root), signed_by)}", file=sys.stderr)
    report = verify_dataset(url, deep=deep, root=root)
    if as_json:
        print(report.to_json())
    else:
        for problem in report.problems:
            print(printable(problem))
        counts = f"{report.shards} shards, {report.groups} groups, {report.views} views, {report.bytes} bytes"
        print(printable(f"{'BROKEN' if report.problems else 'clean'}: {report.url} root {report.root}: {counts}"))
    if report.problems:
        raise typer.Exit(3)


@app.command()
def adopt(
    source: Annotated[Path, typer.Argument(help="folder of images, or folder or quoted 'pattern' of .tar or .parquet")],
    out: Annotated[str, typer.Argument(help="folder or URL of the data set to make")],
    table: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet that names the images of a folder")] = None,
    file_column: Annotated[str, typer.Option(help="table's column with the image's path in SOURCE")] = "file",
    caption_column: Annotated[str, typer.Option(help="column with the caption")] = "caption",
    label_column: Annotated[str, typer.Option(help="column with the class: a name, or an integer from 0")] = "label",
    split_column: Annotated[str, typer.Option(help="column with train, test, …")] = "split",
    group_column: Annotated[str, typer.Option(help="column that is equal for the views of one thing")] = "group",
    image: Annotated[
        list[str] | None, typer.Option(help="ending in a tar, or column of Parquet, that is a view; all by default")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="column to keep, as x_…")] = None,
    groups_per_shard: Annotated[int, typer.Option(min=1)] = 1024,
    corrupt_budget: Annotated[int, typer.Option(min=0, help="images that may be unusable; they are named")] = 0,
    name: Annotated[str, typer.Option(help="name on the card")] = "",
    licence: Annotated[str | None, typer.Option(help="SPDX expression")] = None,
) -> None:
    """Make a data set of images, WebDataset tars or Parquet, byte for byte; x_… columns are kept."""
    columns = Columns(file_column, caption_column, label_column, split_column, group_column)
    columns = replace(columns, images=tuple(image or ()), keep=tuple(keep or ()))
    with _progress("looking at images") as progress:
        root = adopting.adopt(
            source,
            out,
            table=table,
            columns=columns,
            groups_per_shard=groups_per_shard,
            corrupt_budget=corrupt_budget,
            name=name,
            licence=licence,
            progress=progress,
        )
    _print_quarantined(open_dataset(out, root=root))
    print(root)


def _print_quarantined(data: DataSet) -> None:
    for position, shard in enumerate(data.version.shards):
        if shard.groups_ok < shard.groups:
            rows = data.rows(["status", "source", "reason"], shards=[position]).to_pylist()
            for row in (row for row in rows if row["status"] == "quarantined"):
                print(printable(f"quarantined: {row['source']}: {row['reason']}"), file=sys.stderr)


@app.command()
def select(
    source: Annotated[str, typer.Argument(help="folder or URL of the data set to select from")],
    out: Annotated[str, typer.Argument(help="folder or URL of the view to make")],
    where: Annotated[
        str, typer.Option(help="SQL condition over the columns of the rows; in is a group of which every view matches")
    ],
    root: Root = None,
    name: Annotated[str, typer.Option(help="name on the card")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count")] = False,
) -> None:
    """Make a view: a data set that holds the groups that match, without copying a shard."""
    data = open_dataset(source, root=root)
    view = selecting.select(data, where, None if dry_run else out, name=name)
    found, of = view.version, data.version
    counts = f"{found.groups_ok} of {of.groups_ok} groups ({found.views_ok} images)"
    print(f"{counts} in {len(found.shards)} of {len(of.shards)} shards", file=sys.stdout if dry_run else sys.stderr)
    if not dry_run:
        print(view.root)


@contextmanager
def _progress(what: str) -> Iterator[adopting.Progress]:
    """Show a bar on a terminal, and a line at every tenth otherwise."""
    if not sys.stderr.isatty():
        yield lambda done, total: _print_tenths(what, done, total)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_tenths(what: str, done: int, total: int) -> None:
    if done * 10 // total != (done - 1) * 10 // total:
        print(f"{what}: {done} of {total}", file=sys.stderr)


def main() -> None:
    """Be the command line under a name that shells can complete."""
    run_app(app)


if __name__ == "__main__":
    main()
