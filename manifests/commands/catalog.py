"""catalog add | ls | search | show | score."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.filesize import decimal

from manifests import open_dataset
from manifests.catalog import Catalog, Record, Score
from manifests.command_line import new_app
from manifests.commands.share import AsJson, CatalogUrl, Root, open_catalog
from manifests.description import described
from manifests.errors import UserError
from manifests.scores import read_scores
from manifests.store import Store
from manifests.target import local_path
from manifests.terminal import printable

app = new_app("A folder of small records at any URL, by which teams find data sets: no server.")


@app.command()
def add(
    data: Annotated[str, typer.Argument(help="URL of a published data set, as others reach it")],
    name: Annotated[str, typer.Option(help="its name in the catalog: a-z 0-9 . _ -")],
    owner: Annotated[str, typer.Option(help="who answers for it; by default the user's name")] = "",
    version: Annotated[str | None, typer.Option(help="such as 2 or 1.3; by default the next whole number")] = None,
    root: Root = None,
    catalog: CatalogUrl = None,
) -> None:
    """Write down a published version; prints NAME@VERSION."""
    dataset = open_dataset(data, root=root)
    facts = described(dataset, Store.open(data), with_examples=False)
    found = open_catalog(catalog, create=True)
    record = found.add(dataset, facts, name=name, owner=owner or getpass.getuser(), version=version)
    print(f"{record.name}@{record.version}")


@app.command("ls")
def list_(catalog: CatalogUrl = None, as_json: AsJson = False) -> None:
    """List the newest version of each data set."""
    found = open_catalog(catalog)
    newest: dict[str, Record] = {}
    for record in found.records():
        newest.setdefault(record.name, record)
    _print(found, list(newest.values()), as_json)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="all of them have to stand in a record")],
    catalog: CatalogUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find versions by words of their names, owners, summaries, labels, prompts, licences and generators."""
    found = open_catalog(catalog)
    _print(found, found.search(words), as_json)


def _print(catalog: Catalog, records: list[Record], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{**record.model_dump(), "url": catalog.url_of(record)} for record in records], indent=2))
        return
    for record in records:
        told = f"{record.groups} groups, {record.images} images, {decimal(record.size)}, {record.licence or 'unknown'}"
        print(printable(f"{record.name}@{record.version}  {told}  {record.owner}  {catalog.url_of(record)}"))
    print(f"{len(records)} found", file=sys.stderr)


@app.command()
def show(
    reference: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="or NAME@ROOT, or NAME@newest")],
    catalog: CatalogUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a version: where it lies, what it came from, what was measured with it."""
    found = open_catalog(catalog)
    record = found.find(reference)
    scores = found.scores(record.root)
    facts = {**record.model_dump(), "url": found.url_of(record), "versions": _versions(found, record.name)}
    if as_json:
        print(json.dumps({**facts, "scores": [score.model_dump() for score in scores]}, indent=2))
        return
    for name, value in facts.items():
        if value not in (None, "", []):
            print(printable(f"{name:16} {', '.join(map(str, value)) if isinstance(value, list) else value}"))
    for score in scores:
        interval = f" ({score.low:.4g} to {score.high:.4g})" if score.low is not None and score.high is not None else ""
        print(printable(f"score            {score.measure}: {score.value:.4g}{interval} {score.method}, {score.by}"))


def _versions(catalog: Catalog, name: str) -> list[str]:
    return [record.version for record in catalog.records() if record.name == name]


@app.command()
def score(
    reference: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="what was trained on")],
    results: Annotated[
        Path | None,
        typer.Option("--from", parser=local_path, help="all rows of a table of `trainer evaluate … --results`"),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="else one row: what was measured, such as clipart26 linear probe")
    ] = None,
    value: Annotated[float | None, typer.Option(help="the number")] = None,
    low: Annotated[float | None, typer.Option(help="lower end of its interval")] = None,
    high: Annotated[float | None, typer.Option(help="upper end of its interval")] = None,
    method: Annotated[str, typer.Option(help="how it was trained")] = "",
    by: Annotated[str, typer.Option(help="who measured it; by default the user's name")] = "",
    note: Annotated[str, typer.Option(help="encoder's hash, commit, hardware …")] = "",
    catalog: CatalogUrl = None,
) -> None:
    """Add rows of a results table to a version's record: what was measured with it."""
    found = open_catalog(catalog)
    root, who = found.find(reference).root, by or getpass.getuser()
    one = {"measure": measure, "value": value, "low": low, "high": high, "note": note or None}
    given = {name: told for name, told in one.items() if told is not None}
    if results is not None and given:
        raise UserError(f"--from {results}: its rows say --{' --'.join(given)} themselves")
    if results is not None:
        rows = read_scores(results, root, by=who, method=method)
    elif measure is not None and value is not None:
        rows = [_score({**given, "root": root, "by": who, "method": method})]
    else:
        raise UserError(f"{reference}: give --from RESULTS, or --measure and --value")
    for row in rows:
        found.score(row)
        print(printable(f"{reference} {row.measure} {row.value:g}"))


def _score(given: dict[str, Any]) -> Score:
    try:
        return Score.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"--{problem['loc'][0]}: {problem['msg']}") from error
