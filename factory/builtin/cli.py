"""`python -m factory builtin …`: make the built-in generators again, from the drawings to the numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from manifests.checkout import code_commit

app = typer.Typer(help="Make the built-in generators again: data, training, export, evaluation.", no_args_is_help=True)


@app.command("emoji-data")
def emoji_data(
    out: Annotated[Path, typer.Argument(help="Where the data set goes.")],
    cache: Annotated[Path, typer.Option(help="Where the npm packages are kept.")] = Path.home() / ".cache/viewmill/npm",
) -> None:
    """Fetch six openly licensed emoji styles from npm and render them as 64x64 captioned images."""
    from rich.progress import track

    from factory.builtin import emoji_data as data

    root = data.build(out, cache, lambda drawings: track(drawings, description="rendering"))
    typer.echo(f"{out}: root {root}")


@app.command("train-diffusion")
def train_diffusion(
    data: Annotated[Path, typer.Option(help="What emoji-data wrote.")],
    out: Annotated[Path, typer.Option(help="The run's folder: checkpoints, loss curves, sample grids.")],
    stage: Annotated[
        list[str] | None, typer.Option(help="autoencoder, text, denoiser, decoder; all by default.")
    ] = None,
    autoencoder_images: Annotated[int | None, typer.Option(min=1, help="Images the autoencoder shall see.")] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images the denoiser shall see; may be moved on resume.")
    ] = None,
    cooldown_images: Annotated[
        int | None, typer.Option(min=1, help="Over how many of them its rate falls to 0.")
    ] = None,
    decoder_images: Annotated[int | None, typer.Option(min=1, help="Images the decoder alone shall see.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 2,
) -> None:
    """Train autoencoder, text encoder, denoiser and decoder; to resume, run the same command again."""
    import torch

    from factory.builtin.train_diffusion import STAGES, Plan, Run
    from manifests.errors import UserError, interruptible

    if unknown := sorted(set(stage or ()) - set(STAGES)):
        raise UserError(f"--stage {unknown[0]!r} is none of {', '.join(STAGES)}")
    torch.set_num_threads(threads)
    plan = Plan()
    denoiser = replace(plan.denoiser, cooldown_images=cooldown_images or plan.denoiser.cooldown_images)
    plan = Plan(
        autoencoder=replace(plan.autoencoder, images=autoencoder_images or plan.autoencoder.images),
        denoiser=replace(denoiser, images=images or denoiser.images),
        decoder=replace(plan.decoder, images=decoder_images or plan.decoder.images),
    )
    with interruptible(str(out)):
        Run(data, out, _print_line, plan=plan).go(stage or STAGES)


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="A folder written by train-diffusion.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the diffusers pipeline.")],
) -> None:
    """Write the newest averaged weights as an ordinary diffusers folder in half precision."""
    from factory.builtin.export import export as write

    note = write(run, out, commit=code_commit())
    typer.echo(f"{out}: {note['parameters']['all'] / 1e6:.2f} M parameters, {note['denoiser_images_seen']} images seen")


@app.command("evaluate")
def evaluate(
    model: Annotated[Path, typer.Argument(help="An exported diffusers folder.")],
    data: Annotated[Path, typer.Argument(help="What emoji-data wrote.")],
    out: Annotated[Path, typer.Argument(help="Folder for quality.json and sheet.png.")],
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 2,
) -> None:
    """Measure how recognisable, varied and lifelike a model's pictures are, and how fast they come."""
    import torch

    from factory.builtin import quality

    torch.set_num_threads(threads)
    quality.evaluate(model, data, out, typer.echo)
    typer.echo((out / "quality.json").read_text(encoding="utf-8"))


def _print_line(stage: str, line: dict[str, float]) -> None:
    typer.echo(f"{stage}  " + "  ".join(f"{name} {value:.5g}" for name, value in line.items()))
