"""`python -m factory train-gan` and `probe`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import PeerLostError, UserError, interruptible
from manifests.target import check_file, local_path
from manifests.terminal import printable


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
    from learning.peers import peers_watched

    with interruptible(str(out)), peers_watched(PeerLostError):
        run = Run(data, out, chosen, lambda line: print(line, flush=True))
        if dry_run:
            print(json.dumps(run.describe(), indent=2, ensure_ascii=False))
            return
        run.go()
    run.say(str(out))


def probe(
    real: Annotated[str, typer.Argument(help="folder or URL of a data set of real images")],
    fake: Annotated[str, typer.Argument(help="data set, or a generator: its folder, builtin:NAME or package:NAME")],
    model: Annotated[
        list[str] | None, typer.Option(help="vision model, again for each; else all of the bank that are here")
    ] = None,
    images: Annotated[int, typer.Option(min=16, help="of each kind, drawn at random")] = 10_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    save: Annotated[
        Path | None, typer.Option(parser=local_path, help="write the first model's probe, for a recipe's judge")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Rank vision models by how well a line in their features tells real images from generated ones."""
    if save is not None:
        check_file(save)
    import torch

    from factory.gan.probing import pictures
    from factory.gan.ranking import fit, rank_models
    from factory.numerics import pick_device

    device = torch.device(pick_device("auto"))
    specs = model or _here()
    both = pictures((real, fake), images, seed, device)
    ranking = rank_models(specs, *both, seed=seed, device=device)
    if save is not None:
        from factory.realism import write_probe

        write_probe(save, *fit(ranking[0].facts.name, *both, device), both[0].shape[1])
    if as_json:
        print(json.dumps([one.told() for one in ranking], indent=2))
        return
    for one in ranking:
        found = one.found
        share = f"{found.accuracy:.1%} [{found.low:.1%}, {found.high:.1%}]"
        print(printable(f"{one.facts.name:24} {share:24} of {2 * found.images} images  {one.facts.licence}"))


def _here() -> list[str]:
    """Name the bank's models whose weights are on this machine, and say which are not."""
    from factory.gan.bank import WORDS, open_model

    found = []
    for word in WORDS:
        try:
            open_model(word)
            found.append(word)
        except UserError as error:
            print(printable(f"left out: {error}"), file=sys.stderr)
    return found
