"""`python -m benchmarks`: time ViewMill's hot paths beside bare loops and write out/bench/results.json."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


class Bench(StrEnum):
    """A module of this package that measures something."""

    render = "render"
    latent = "latent"
    stream = "stream"
    step = "step"
    loss = "loss"
    share = "share"
    job = "job"


app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="folder for results.json")] = Path("out/bench"),
    only: Annotated[list[Bench] | None, typer.Option(help="one of the benches; default: all")] = None,
) -> None:
    """Measure rendering, streaming, the training step and the loss beside the bare way to do it, sharing, the job."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for bench in only or Bench:
        for row in import_module(f"benchmarks.{bench}").measure(out):
            rows.append(row.as_dict())
            typer.echo(
                f"{row.name}: {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] {row.unit}, goal {row.goal}, n {row.n}"
            )
    (out / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app()
