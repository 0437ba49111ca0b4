"""publish, pull, sign, repair."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from manifests import open_dataset
from manifests.catalog import Catalog
from manifests.commands.progress import copying
from manifests.errors import UserError
from manifests.patience import PatientStore
from manifests.repair import repair as mend
from manifests.share import Moved, share
from manifests.signing import check_signed
from manifests.signing import sign as sign_version
from manifests.store import Store
from manifests.target import local_path
from manifests.terminal import printable
from manifests.transfer import JOBS

Root = Annotated[str | None, typer.Option(help="root of an older version, or its first digits")]
Where = Annotated[str | None, typer.Option(help="only groups of which every view matches this SQL condition")]
Shards = Annotated[str | None, typer.Option(help="only the shards at these positions, as in 0-9,12")]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="objects copied at a time")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be moved, and stop")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
CatalogUrl = Annotated[str | None, typer.Option(help="folder or URL of a catalog; else $VIEWMILL_CATALOG")]
SignedBy = Annotated[str | None, typer.Option(help="Ed25519 public key, or a file of them; nothing else is taken")]


def publish(
    source: Annotated[str, typer.Argument(help="folder or URL of a data set")],
    target: Annotated[str, typer.Argument(help="folder, s3://…, gs://… or hf://datasets/OWNER/NAME")],
    root: Root = None,
    where: Where = None,
    shards: Shards = None,
    jobs: Jobs = JOBS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy a data set to where others find it: only what differs, whole versions only; prints the root there."""
    _share("publishing", source, target, as_json, root=root, where=where, shards=shards, jobs=jobs, dry_run=dry_run)


def pull(
    source: Annotated[str, typer.Argument(help="URL of a data set, or NAME@VERSION of a catalog")],
    target: Annotated[str, typer.Argument(help="folder or URL to copy it into")],
    root: Root = None,
    where: Where = None,
    shards: Shards = None,
    catalog: CatalogUrl = None,
    signed_by: SignedBy = None,
    jobs: Jobs = JOBS,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy a data set, or a part of it, to here: every byte checked as it arrives; prints the root here."""
    if "@" in source and "/" not in source:
        if root is not None:
            raise UserError(f"{source} --root {root}: the catalog knows the root: leave it out")
        found = open_catalog(catalog)
        record = found.find(source)
        source, root = found.url_of(record), record.root
    if signed_by is not None:
        dataset = open_dataset(source, root=root, opener=PatientStore)
        root = dataset.root
        print(f"signed by {check_signed(dataset, signed_by)}", file=sys.stderr)
    _share("pulling", source, target, as_json, root=root, where=where, shards=shards, jobs=jobs, dry_run=dry_run)


def open_catalog(url: str | None, *, create: bool = False) -> Catalog:
    """Open the catalog that was named, or the one of the environment.

    Raises: UserError if there is none.
    """
    chosen = url or os.environ.get("VIEWMILL_CATALOG")
    if not chosen:
        raise UserError("which catalog? give --catalog URL, or set VIEWMILL_CATALOG")
    return Catalog.open(chosen, create=create)


def _share(what: str, source: str, target: str, as_json: bool, **options: Any) -> None:
    with copying(what) as bar:
        if options["dry_run"]:
            moved = share(source, target, **options)
        else:

            def begin(plan: Moved) -> None:
                bar.begin(plan.bytes, plan.objects)
                _tell(plan)

            moved = share(source, target, progress=bar.advance, begin=begin, **options)
    if as_json:
        print(json.dumps(moved.to_dict(), indent=2))
    elif options["dry_run"]:
        _tell(moved, is_whole=True)
    else:
        print(moved.root)


def _tell(moved: Moved, *, is_whole: bool = False) -> None:
    out = sys.stdout if is_whole else sys.stderr
    size = f"{moved.objects} objects ({decimal(moved.bytes)}) to copy, {moved.objects_there} are there"
    print(printable(f"{moved.groups} groups ({moved.views} images): {size}"), file=out)
    if is_whole:
        for name in moved.names:
            print(printable(f"  {name}"))
        if moved.objects > len(moved.names):
            print(f"  and {moved.objects - len(moved.names)} more")


def sign(
    data: Annotated[str, typer.Argument(help="folder or URL of a data set")],
    key: Annotated[str, typer.Option(help="Ed25519 private key, as ssh-keygen makes it, or PEM")],
    root: Root = None,
) -> None:
    """Sign a version, its name and its licence; prints the key's fingerprint."""
    ask = _asked if sys.stdin.isatty() else None
    print(sign_version(open_dataset(data, root=root), local_path(key), ask=ask))


def _asked(path: str) -> str:
    return str(typer.prompt(f"passphrase of {path}", hide_input=True, err=True))


def repair(
    data: Annotated[str, typer.Argument(help="folder or URL of the data set to mend")],
    peer: Annotated[str, typer.Option("--from", help="folder or URL of another copy of it")],
    root: Root = None,
    jobs: Jobs = JOBS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be fetched, and stop")] = False,
) -> None:
    """Fetch what is absent or damaged from another copy, checked before it is put in place."""
    Store.open(data)
    with copying("repairing") as bar:
        told = mend(data, peer, root=root, jobs=jobs, dry_run=dry_run, progress=bar.advance, begin=bar.begin)
    for problem in told:
        print(printable(f"{'would mend' if dry_run else 'mended'}: {problem}"))
    print(f"{len(told)} objects{f' ({decimal(bar.bytes)}) to mend' if dry_run else ' mended'}", file=sys.stderr)
