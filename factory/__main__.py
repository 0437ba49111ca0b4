"""`python -m factory`: plan, render and look after data sets made by image generators.

To resume, run the same command again. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from factory.builtin.cli import app as builtin_app
from factory.gan.cli import probe, train_gan
from factory.gan.importing.cli import import_weights
from factory.quality_cli import adherence
from factory.walks.cli import measure_navigator, measure_walks, train_navigator, train_walks
from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.target import check_file, check_folder, local_path
from manifests.terminal import printable

WATCH_S = 5.0

app = new_app(__doc__)
app.add_typer(builtin_app, name="builtin")
app.command("import")(import_weights)
app.command("train-gan")(train_gan)
app.command()(probe)
app.command()(adherence)
app.command("train-walks")(train_walks)
app.command("measure-walks")(measure_walks)
app.command("train-navigator")(train_navigator)
app.command("measure-navigator")(measure_navigator)

Source = Annotated[str, typer.Argument(metavar="RECIPE", help="a .yaml file, a preset or a data set's dataset.json")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key, as in seed=7")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, one object a line")]
Data = Annotated[str, typer.Argument(help="folder or fsspec URL of a data set")]
Metrics = Annotated[str | None, typer.Option(help="for Prometheus: a port, HOST:PORT, or a file ending in .prom")]
Price = Annotated[float | None, typer.Option(min=0, help="price of one worker, with its share of GPUs, for an hour")]
Share = Annotated[float, typer.Option(min=0.01, help="share of a GPU that one worker takes, where there are any")]


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        if value is None:
            continue
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(printable(f"{name:23} {f'{value:.4g}' if isinstance(value, float) else shown}"))


@app.command()
def plan(
    source: Source,
    groups: Annotated[int | None, typer.Option(min=1, help="number of groups instead of the recipe's")] = None,
    images_per_s: Annotated[float | None, typer.Option(help="rate of one worker, for time and cost")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="measure the rate here, with the weights")] = False,
    workers: Annotated[int, typer.Option(min=1, help="workers that will share the work")] = 1,
    gpus_per_worker: Share = 1.0,
    price_per_hour: Price = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe will make: shards, images, and time, GPU-hours and cost at a rate."""
    from factory import estimate
    from factory.prompts import read_prompts
    from factory.resolve import resolve

    if images_per_s is not None and not images_per_s > 0:
        raise UserError(f"--images-per-s {images_per_s:g}: expected a rate above 0")
    recipe, rate = _recipe(source, changes, groups), images_per_s
    prompts = read_prompts(recipe.prompts)[0] if recipe.prompts else None
    if measure:
        stream = resolve(recipe)
        recipe, rate = estimate.on_this_device(stream.recipe), estimate.measure(stream)
    facts = estimate.estimate(
        recipe,
        prompts,
        images_per_s=rate,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        price_per_hour=price_per_hour,
    )
    _print(facts, as_json)
    if rate is None:
        print("for hours and GPU-hours, give a worker's rate: --images-per-s RATE, or --measure", file=sys.stderr)


def _recipe(source: str, changes: list[str] | None, groups: int | None) -> Any:
    from factory.recipe import load_recipe

    return load_recipe(source, [*(changes or []), *([f"groups={groups}"] if groups else [])])


@app.command()
def render(
    source: Source,
    out: Annotated[str, typer.Argument(help="folder or fsspec URL of the data set; with --limit, a PNG file")],
    groups: Annotated[
        str | None, typer.Option(metavar="N|+N", help="number of groups, or how many more; more than before appends")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only draw a contact sheet of so many groups")] = None,
    inline: Annotated[bool, typer.Option("--inline", help="render in this process, without Ray")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join: auto, or HOST:PORT of its head")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray actors; else one a GPU or CPU slot")] = None,
    gpus_per_worker: Share = 1.0,
    accept_numerics: Annotated[bool, typer.Option("--accept-numerics", help="resume on other software")] = False,
    runtime_env: Annotated[Path | None, typer.Option(parser=local_path, help="Ray runtime environment, YAML")] = None,
    start_timeout_s: Annotated[float, typer.Option(min=1, help="how long to wait while no worker is there")] = 600.0,
    stall_s: Annotated[
        float, typer.Option(min=1, help="a worker without a sign of life for so long is ended")
    ] = 1800.0,
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="stop if a larger share is refused")] = 0.5,
    price_per_hour: Price = None,
    metrics: Metrics = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="a JSON line a happening, here and in workers")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved recipe and stop")] = False,
    changes: Changes = None,
) -> None:
    """Render a recipe into a data set, or go on with one; prints its root."""
    from factory import job
    from factory.progress import show_progress

    if inline and (workers or address):
        raise UserError("--inline renders in this process alone: leave it out, or leave out --workers and --address")
    recipe = _recipe(source, changes, _count(groups, out))
    if dry_run or limit:
        _look_first(recipe, out, limit)
        return
    options = job.Options(
        inline,
        address,
        workers,
        gpus_per_worker,
        accept_numerics,
        runtime_env=_environment(runtime_env),
        start_timeout_s=start_timeout_s,
        stall_s=stall_s,
        max_quarantined=max_quarantined,
        logs_json=log_json,
    )
    telemetry = _telemetry(metrics, log_json, price_per_hour)
    work = job.begin(recipe, out, options)
    if work.missing:
        done = sum(record.groups for record in work.records.values()) * recipe.views
        total = sum(segment.groups for segment in work.segments) * recipe.views
        with show_progress(total, done, is_wanted=not log_json) as progress:
            job.run(work, progress=progress, telemetry=telemetry)
    root = job.finish(work)
    _tell_refused(work)
    print(root)


def _environment(path: Path | None) -> dict[str, Any] | None:
    """Read a Ray runtime environment."""
    if path is None:
        return None
    import yaml

    from manifests.settings import read_text

    try:
        environment = yaml.safe_load(read_text(path, "the runtime environment"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(environment, dict):
        raise UserError(f"{path}: a runtime environment is a mapping, such as env_vars: {{HF_TOKEN: …}}")
    return environment


def _telemetry(metrics: str | None, log_json: bool, price_per_hour: float | None) -> Any:
    from factory.metrics import FactoryMetrics
    from factory.telemetry import Telemetry

    exported = FactoryMetrics(metrics) if metrics else None
    return Telemetry(metrics=exported, logs_json=log_json, price_per_hour=price_per_hour)


def _count(groups: str | None, out: str) -> int | None:
    """Read a number of groups; +N means N more than the newest version has, so that a killed append goes on."""
    if groups is None:
        return None
    from factory.job import existing
    from manifests.version import newest

    if not re.fullmatch(r"\+?0*[1-9][0-9]{0,8}", groups):
        raise UserError(f"--groups {groups}: expected a number from 1 to 999999999, or +N for N more than there are")
    folder = existing(out) if groups.startswith("+") else None
    version = newest(folder) if folder else None
    return int(groups) + (sum(shard.groups for shard in version.shards) if version else 0)


def _look_first(recipe: Any, out: str, limit: int | None) -> None:
    """Print the resolved recipe, or draw its first groups."""
    from factory.resolve import resolve

    path = None if limit is None else _sheet_path(out)
    stream = resolve(recipe)
    if limit is None or path is None:
        resolved = stream.recipe.model_dump(mode="json")
        facts = {"stream_id": stream.stream_id, "left": _left(stream, out), "recipe": resolved}
        print(json.dumps({**facts, "identity": stream.identity}, indent=2))
        return
    from factory.contact_sheet import contact_sheet

    print(contact_sheet(stream, limit, path))


def _left(stream: Any, out: str) -> dict[str, int]:
    """Count what a run would render: all, or what the folder lacks; refuses another recipe's folder as it would."""
    from factory.job import existing
    from factory.resolve import check_same_recipe
    from manifests.commit import winners

    folder, recipe = existing(out), stream.recipe
    if folder:
        check_same_recipe(folder, stream)
    done = sum(record.groups for record in winners(folder, stream.stream_id).values()) if folder else 0
    left = max(0, recipe.groups - done)
    return {"groups": left, "images": left * recipe.views, "shards": -(-left // recipe.groups_per_shard)}


def _sheet_path(out: str) -> Path:
    path = local_path(out)
    if path.suffix not in ("", ".png"):
        raise UserError(f"{out}: the contact sheet is a PNG: expected a name that ends in .png")
    path = path.with_suffix(".png")
    check_file(path)
    return path


def _tell_refused(work: Any) -> None:
    """Say on stderr which views were quarantined and why."""
    from factory.status import refusals

    refused = refusals(work.store, work.records.values())
    for reason, count in refused.items():
        print(printable(f"quarantined: {count} views: {reason}"), file=sys.stderr)


@app.command()
def rerender(
    data: Data,
    view: Annotated[str | None, typer.Option(help="a group's KEY, or one view: KEY.v01")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="position of a shard")] = None,
    sample: Annotated[float | None, typer.Option(min=0, max=1, help="a random share of all images")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the images that were rendered again")] = None,
    as_json: AsJson = False,
) -> None:
    """Render images again from their rows and compare; exit code 3 if a stored one is damaged or another."""
    from factory import rerender as again
    from manifests import open_dataset
    from manifests.store import Store

    if out is not None:
        check_folder(out)
    opened = open_dataset(data)
    rows = again.choose_rows(opened, view=view, shard=shard, sample=sample)
    compared = list(again.rerender(Store.open(data), opened, rows))
    if out is not None:
        again.write_images(compared, opened.version.extension, out)
    _print(again.report(compared), as_json)
    if not all(one.is_good for one in compared):
        raise typer.Exit(3)


@app.command()
def repair(
    data: Data,
    shard: Annotated[int | None, typer.Option(min=0, help="position of a shard; else all that are lost")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be rendered again")] = False,
) -> None:
    """Render lost or damaged shards again from their rows; one is replaced only if the bytes are the same."""
    from factory import repair as mending
    from manifests import open_dataset
    from manifests.store import Store

    opened, store = open_dataset(data), Store.open(data, create=dry_run, dry_run=dry_run)
    lost = mending.lost_shards(opened) if shard is None else [shard]
    for position in lost:
        if dry_run:
            loss = mending.look(store, opened, position)
            print(printable(f"{loss.file.name}  {len(loss.rows)} images, {loss.file.size} bytes"))
        else:
            print(printable(mending.repair(store, opened, position)))
    print(f"{len(lost)} shards {'would be ' * dry_run}rendered again", file=sys.stderr)


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
        print(end="" if as_json else "\n", flush=True)  # a pipe shall have each look at once
        time.sleep(WATCH_S)


@app.command()
def retry(
    out: Data,
    reason: Annotated[str, typer.Option(help="why views were quarantined: nan, blank, flagged, …")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be drawn again")] = False,
) -> None:
    """Forget unpublished shards with views quarantined for a reason; the render command then draws them again."""
    from factory.retry import retry as forget
    from manifests.store import Store

    done = forget(Store.open(out), reason, dry_run=dry_run)
    for name in done.forgotten:
        print(printable(name))
    print(
        f"{'would forget' if dry_run else 'forgot'} {len(done.forgotten)} shards, {done.views} views", file=sys.stderr
    )
    if done.kept_shards:
        print(f"{done.kept_shards} shards are published and stay: render into another folder", file=sys.stderr)


@app.command()
def clean(
    out: Data, dry_run: Annotated[bool, typer.Option("--dry-run", help="only name what would go")] = False
) -> None:
    """Remove what killed and superseded work left behind; not while a job renders into the folder."""
    from factory.clean import clean as sweep
    from manifests.store import Store

    gone = sweep(Store.open(out), dry_run=dry_run)
    for name in gone:
        print(printable(name))
    print(f"{'would remove' if dry_run else 'removed'} {len(gone)} objects", file=sys.stderr)


def main() -> None:
    """Be the command line under a name that shells can complete."""
    run_app(app)


if __name__ == "__main__":
    main()
