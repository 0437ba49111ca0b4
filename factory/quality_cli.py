"""`python -m factory adherence`: images beside their prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from manifests.terminal import printable


def adherence(
    data: Annotated[str, typer.Argument(help="folder or fsspec URL of a data set with prompts")],
    model: Annotated[Path, typer.Option(help="folder of a CLIP model: config.json, safetensors, tokenizer")],
    images: Annotated[int, typer.Option(min=2, help="drawn at random")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say how well images keep to their prompts, by a text-image model that you have."""
    from factory.adherence import adherence as measure

    found = measure(data, model, images=images, seed=seed)
    if as_json:
        print(json.dumps(found))
        return
    share = found["recognised"]
    interval = f"{share['mean']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"
    print(printable(f"cosine {found['cosine']:.4f}  recognised among {found['other_prompts'] + 1} prompts {interval}"))
