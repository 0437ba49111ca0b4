"""`python -m factory train-gan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import UserError


def train_gan(
    data: Annotated[str, typer.Argument(help="folder or fsspec URL of a data set")],
    out: Annotated[Path, typer.Argument(help="the generator's folder; the run's files lie in training/")],
    config: Annotated[
        str, typer.Option(metavar="CONFIG", help="a .yaml file or a preset, see factory/gan/configs")
    ] = "emoji-stylegan2",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key, as in images=1000000")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the resolved whole and stop")] = False,
) -> None:
    """Train a GAN on a data set's images, or go on; to resume, run the same command again."""
    from factory.gan.config import load_config

    chosen = load_config(config, changes or [])
    from factory.gan.train import Run

    run = Run(data, out, chosen, lambda line: print(line, flush=True))
    if dry_run:
        print(json.dumps(run.describe(), indent=2, ensure_ascii=False))
        return
    try:
        run.go()
    except KeyboardInterrupt as stopped:
        raise UserError(f"{out}: {stopped or 'interrupted; run the same command again to go on'}") from None
    print(out)
