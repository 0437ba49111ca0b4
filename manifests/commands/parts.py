"""merge, reshard, split, diff, takedown."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.filesize import decimal

from manifests import DataSet, open_dataset
from manifests.commands.progress import copying
from manifests.commands.share import AsJson, Jobs, Root
from manifests.difference import diff as compare
from manifests.errors import UserError
from manifests.flat import write_flat
from manifests.merge import Union, plan_merge
from manifests.merge import merge as join
from manifests.patience import PatientStore
from manifests.reshard import carry_out, check_place, plan_reshard
from manifests.split import split as cut
from manifests.takedown import takedown as take_down
from manifests.terminal import printable
from manifests.transfer import JOBS

DIFFERENT = 8  # exit code; 1, which `diff` and `cmp` have, is that of a fault in ours
Name = Annotated[str, typer.Option(help="name on the card")]
Data = Annotated[str, typer.Argument(help="folder or URL of a data set")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="check all, say what would be written, and stop")]


def merge(
    data: Annotated[list[str], typer.Argument(help="folders or URLs of two or more data sets")],
    out: Annotated[str, typer.Option(help="folder or URL of the union to make")],
    weights: Annotated[str | None, typer.Option(help="share of each in training, as in 2,1; else by its size")] = None,
    name: Name = "",
    accept_licences: Annotated[
        bool, typer.Option("--accept-licences", help="join what the licences do not let us call harmless")
    ] = False,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="of a group that is there twice, keep the first")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make the union of data sets without copying a shard; prints its root."""
    shares = None if weights is None else [_number(part, weights) for part in weights.split(",")]
    act = plan_merge if dry_run else join
    found = act(
        [open_dataset(url) for url in data],
        out,
        weights=shares,
        name=name,
        accept_licences=accept_licences,
        drop_duplicates=drop_duplicates,
    )
    version = found.version
    groups = f"{version.groups_ok} groups ({version.views_ok} images) in {len(version.shards)} shards"
    print(f"{groups}, licence {version.licence or 'unknown'}", file=sys.stdout if dry_run else sys.stderr)
    if isinstance(found, Union):
        print(f"would write a list of {decimal(len(found.bits))}; no shard is copied")
    else:
        print(found.root)


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{whole}: {text!r} is no number") from error


def reshard(
    data: Data,
    out: Annotated[str, typer.Argument(help="folder or URL of the data set to make")],
    groups_per_shard: Annotated[int | None, typer.Option(min=1, help="else shards stay as they are cut")] = None,
    layout: Annotated[
        str, typer.Option(help="groups, or flat: one image a sample, for readers like open_clip")
    ] = "groups",
    root: Root = None,
    name: Name = "",
    jobs: Jobs = JOBS,
    dry_run: DryRun = False,
) -> None:
    """Lay the groups of a view, union or data set into shards of their own; prints the root."""
    dataset = open_dataset(data, root=root)
    if layout not in ("groups", "flat"):
        raise UserError(f"--layout {layout}: expected groups or flat")
    if layout == "flat":
        samples = write_flat(dataset, out, groups_per_shard=groups_per_shard, dry_run=dry_run)
        print(f"{samples} samples{' to write' * dry_run}", file=sys.stdout if dry_run else sys.stderr)
        return
    target = PatientStore.open(out, create=True, dry_run=dry_run)
    with copying("resharding") as bar:
        plan = plan_reshard(dataset, target, groups_per_shard)
        bar.begin(sum(draft.bytes for draft in plan.missing), len(plan.missing))
        if not dry_run:
            print(carry_out(dataset, plan, target, name=name, jobs=jobs, progress=bar.advance))
            return
    check_place(dataset, plan, target)
    images = sum(len(draft.table) for draft in plan.drafts)
    there = len(plan.drafts) - len(plan.missing)
    print(f"{images} images: {bar.objects} shards ({decimal(bar.bytes)} of images) to write, {there} are there")


def split(
    data: Data,
    out: Annotated[str, typer.Argument(help="folder or URL; each part gets a folder in it")],
    parts: Annotated[str, typer.Option(help="names and fractions, as in train=0.9,test=0.1")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    root: Root = None,
) -> None:
    """Cut a data set into views; groups of one prompt stay together, and stay where they are when it grows."""
    shares = {}
    for part in parts.split(","):
        key, equals, share = part.strip().partition("=")
        if not equals or not key:
            raise UserError(f"--parts {parts}: expected names and fractions, as in train=0.9,test=0.1")
        shares[key] = _number(share, f"--parts {parts}")
    for key, view in cut(open_dataset(data, root=root), out, shares, seed=seed).items():
        print(f"{key} {view.version.groups_ok} groups {view.root}")


def diff(
    first: Data,
    second: Annotated[str, typer.Argument(help="folder or URL of another one")],
    first_root: Annotated[str | None, typer.Option(help="root of an older version of the first")] = None,
    second_root: Annotated[str | None, typer.Option(help="root of an older version of the second")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which groups came, went or changed from the first to the second; exit code 8 if any did."""
    found = compare(open_dataset(first, root=first_root), open_dataset(second, root=second_root))
    if as_json:
        print(json.dumps(found.to_dict(is_whole=True), indent=2))
    else:
        for name, (before, after) in found.facts.items():
            print(printable(f"{name}: {before!r} -> {after!r}"))
        for what, keys in (("only in the first", found.only_first), ("only in the second", found.only_second)):
            _print_keys(what, keys)
        _print_keys("changed", found.changed)
        _print_keys("taken down by the second", found.taken_down)
        print("the same groups" if found.is_none else "they differ", file=sys.stderr)
    if not found.is_none:
        raise typer.Exit(DIFFERENT)


def _print_keys(what: str, keys: list[str]) -> None:
    if keys:
        more = f", … and {len(keys) - 5} more" if len(keys) > 5 else ""
        print(printable(f"{what}: {len(keys)} groups: {', '.join(keys[:5])}{more}"))


def takedown(
    data: Data,
    key: Annotated[list[str] | None, typer.Option(help="key of a group that is to go")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="all groups with this prompt are to go")] = None,
    where: Annotated[str | None, typer.Option(help="all groups with a view that matches are to go")] = None,
    dry_run: DryRun = False,
) -> None:
    """Take groups down: a new version from which nobody reads, pulls or trains on them any more; prints its root."""
    dataset = open_dataset(data)
    root, keys = take_down(dataset, keys=key or [], prompts=prompt or [], where=where, dry_run=dry_run)
    for one in keys:
        print(printable(f"{'would take' if dry_run else 'taken'} down: {one}"), file=sys.stderr)
    print(_hidden(dataset, keys) if dry_run else root)


def _hidden(dataset: DataSet, keys: list[str]) -> str:
    rows = dataset.rows(["key", "size"], ok_only=True)
    mine = rows.filter(pc.is_in(rows["key"], value_set=pa.array(keys)))
    size = decimal(pc.sum(mine["size"]).as_py() or 0)
    return f"{len(keys)} groups ({len(mine)} images, {size}) would be hidden; their bytes stay until someone reshards"
