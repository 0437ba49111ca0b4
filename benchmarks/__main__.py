"""`python -m benchmarks`: time ViewMill's two hot paths beside bare loops and write out/bench/results.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="folder for results.json")] = Path("out/bench"),
) -> None:
    """Measure in pairs: rendering beside a bare diffusers loop, streaming beside decoding from memory."""
    from benchmarks import latent, render, stream

    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for bench in (render.measure, latent.measure, stream.measure):
        row = bench(out)
        rows.append(row.as_dict())
        typer.echo(
            f"{row.name}: {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] {row.unit}, goal {row.goal}, n {row.n}"
        )
    (out / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app()
