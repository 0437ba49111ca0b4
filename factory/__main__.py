"""`python -m factory`: plan, render and look after data sets made by image generators.

To resume, run the same command again. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from factory.builtin.cli import app as builtin_app
from manifests.errors import StoreError, UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(builtin_app, name="builtin")

Source = Annotated[str, typer.Argument(metavar="RECIPE", help="a .yaml file, a preset or a data set's dataset.json")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key, as in seed=7")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Data = Annotated[str, typer.Argument(help="folder or fsspec URL of a data set")]
Price = Annotated[float | None, typer.Option(min=0, help="price of one worker (a GPU) for an hour")]


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if value is None:
            continue
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:18} {f'{value:.4g}' if isinstance(value, float) else shown}")


@app.command()
def plan(
    source: Source,
    groups: Annotated[int | None, typer.Option(min=1, help="number of groups instead of the recipe's")] = None,
    images_per_s: Annotated[float | None, typer.Option(min=0, help="rate of one worker, for time and cost")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="measure the rate on this machine")] = False,
    workers: Annotated[int, typer.Option(min=1, help="workers that will share the work")] = 1,
    price_per_hour: Price = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe will make: shards, images, and time, GPU-hours and cost at a rate."""
    from factory import estimate
    from factory.resolve import resolve

    stream = resolve(_recipe(source, changes, groups))
    rate = estimate.measure(stream) if measure else images_per_s
    _print(estimate.estimate(stream, images_per_s=rate, workers=workers, price_per_hour=price_per_hour), as_json)


def _recipe(source: str, changes: list[str] | None, groups: int | None) -> Any:
    from factory.recipe import load_recipe

    return load_recipe(source, [*(changes or []), *([f"groups={groups}"] if groups else [])])


@app.command()
def render(
    source: Source,
    out: Annotated[str, typer.Argument(help="folder or fsspec URL of the data set; with --limit, a PNG file")],
    groups: Annotated[int | None, typer.Option(min=1, help="number of groups; more than before appends")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only draw a contact sheet of so many groups")] = None,
    inline: Annotated[bool, typer.Option("--inline", help="render in this process, without Ray")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join: auto or ray://host:port")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray actors; else one a GPU or CPU slot")] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0.01, help="share of a GPU that one actor takes")] = 1.0,
    accept_numerics: Annotated[bool, typer.Option("--accept-numerics", help="resume on other software")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved recipe and stop")] = False,
    changes: Changes = None,
) -> None:
    """Render a recipe into a data set, or go on with one; prints its root."""
    from factory import job
    from factory.progress import show_progress

    recipe = _recipe(source, changes, groups)
    if dry_run or limit:
        _look_first(recipe, out, limit)
        return
    options = job.Options(inline, address, workers, gpus_per_worker, accept_numerics)
    work = job.begin(recipe, out, options)
    if work.missing:
        done = sum(record.groups for record in work.records.values()) * recipe.views
        total = sum(segment.groups for segment in work.segments) * recipe.views
        with show_progress(total, done) as progress:
            job.run(work, progress=progress)
    root = job.finish(work)
    _tell_refused(work)
    print(root)


def _look_first(recipe: Any, out: str, limit: int | None) -> None:
    """Print the resolved recipe, or draw its first groups."""
    from factory.resolve import resolve

    stream = resolve(recipe)
    if limit is None:
        resolved = stream.recipe.model_dump(mode="json")
        print(json.dumps({"stream_id": stream.stream_id, "recipe": resolved, "identity": stream.identity}, indent=2))
        return
    from factory.contact_sheet import contact_sheet

    path = Path(out)
    print(contact_sheet(stream, limit, path if path.suffix == ".png" else path.with_name(path.name + ".png")))


def _tell_refused(work: Any) -> None:
    """Say on stderr which views were quarantined and why."""
    from factory.status import refusals

    refused = refusals(work.store, work.records.values())
    for reason, count in refused.items():
        print(f"quarantined: {count} views: {reason}", file=sys.stderr)


@app.command()
def rerender(
    data: Data,
    view: Annotated[str | None, typer.Option(help="a group's KEY, or one view: KEY.v01")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="position of a shard")] = None,
    sample: Annotated[float | None, typer.Option(min=0, max=1, help="a random share of all images")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the images that were rendered again")] = None,
    as_json: AsJson = False,
) -> None:
    """Render images again from their rows and compare; exit code 3 if one is not what it was."""
    from factory import rerender as again
    from manifests import open_dataset
    from manifests.store import Store

    opened = open_dataset(data)
    rows = again.choose_rows(opened, view=view, shard=shard, sample=sample)
    compared = list(again.rerender(Store.open(data), opened, rows))
    if out is not None:
        again.write_images(compared, opened.version.extension, out)
    _print(again.report(compared), as_json)
    if not all(one.is_good for one in compared):
        raise typer.Exit(3)


@app.command()
def status(
    out: Data,
    watch: Annotated[bool, typer.Option("--watch", help="look again every few seconds until it is finished")] = False,
    price_per_hour: Price = None,
    as_json: AsJson = False,
) -> None:
    """Say how far a data set is, what was quarantined and why, and how long the rest will take."""
    from factory.status import status as look
    from manifests.store import Store

    store = Store.open(out)
    while True:
        facts = look(store, price_per_hour=price_per_hour)
        _print(facts, as_json)
        if not watch or facts["shards_done"] == facts["shards"]:
            return
        time.sleep(5)
        print()


@app.command()
def clean(
    out: Data, dry_run: Annotated[bool, typer.Option("--dry-run", help="only name what would go")] = False
) -> None:
    """Remove what killed and superseded work left behind; not while a job renders into the folder."""
    from factory.clean import clean as sweep
    from manifests.store import Store

    gone = sweep(Store.open(out), dry_run=dry_run)
    for name in gone:
        print(name)
    print(f"{'would remove' if dry_run else 'removed'} {len(gone)} objects", file=sys.stderr)


def main() -> None:
    """Run the command line; a user's mistake or a store's failure is one line."""
    try:
        app()
    except (UserError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
