"""python -m trainer: learn an encoder from data sets, score it, use it, hand it on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from manifests.command_line import new_app, run_app
from manifests.errors import TrainingStoppedError, UserError
from manifests.target import check_file, check_folder, local_path
from manifests.terminal import printable
from trainer.codes_command import inversion, semi_supervised, trajectory
from trainer.evaluation.command import compare, evaluate
from trainer.exported import check_encoder
from trainer.information.command import mi

app = new_app(__doc__)


@app.command()
def pretrain(
    config: Annotated[str, typer.Argument(help="YAML file, or a preset: stablerep, simclr, moco, byol, clip, …")],
    data: Annotated[list[str], typer.Option(help="data set folder or URL; several are mixed (data.weights)")],
    out: Annotated[
        str | None, typer.Option(help="run folder or URL of a bucket's; one that was interrupted goes on")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="a.b=value, over the config")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Prometheus: a port, HOST:PORT, or a file ending in .prom")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="price of one process (a GPU) for an hour")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the whole config, what would be read and done")
    ] = False,
) -> None:
    """Train an encoder. To resume, run the same command again.

    SIGTERM and SIGUSR1 finish the step, save and leave with exit code 75.
    """
    from trainer.config import load_config

    resolved = load_config(config, overrides or [])
    if dry_run:
        import yaml

        from trainer.dry_run import look

        found = look(resolved, data, out)
        print(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False), end="")
        print("\n".join(printable(f"# {line}") for line in found))
        return
    if out is None:
        raise UserError("--out is missing: where shall the run lie?")
    if "://" not in out:
        check_folder(Path(out))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # each rank's DDP warns of its fixed buckets
    from trainer.pretrain import pretrain as train

    if not train(resolved, data, out, metrics=metrics, price_per_hour=price_per_hour):
        raise TrainingStoppedError(f"stopped, with a checkpoint in {out}: the same command goes on")


@app.command()
def embed(
    checkpoint: Annotated[
        Path, typer.Argument(parser=local_path, help="run folder or exported encoder; or efficientnet-lite0")
    ],
    data: Annotated[str, typer.Argument(help="data set folder or URL")],
    out: Annotated[
        Path | None,
        typer.Argument(
            parser=local_path, help="Parquet file to write: key, group, view, label, features; else in DATA"
        ),
    ] = None,
) -> None:
    """Write the features of every image of a data set, beside its shards if no other file is named."""
    check_encoder(checkpoint)
    if out is not None:
        check_file(out)
    from trainer.embed import embed_dataset

    count, place = embed_dataset(checkpoint, data, out)
    print(f"{count} images -> {place}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(parser=local_path, help="run folder; its newest checkpoint is taken")],
    out: Annotated[Path, typer.Argument(parser=local_path, help="new folder for the encoder, as timm reads it")],
    onnx: Annotated[bool, typer.Option("--onnx", help="also write encoder.onnx, checked in another runtime")] = False,
) -> None:
    """Write the encoder of a run, finished or not, as a folder that timm loads."""
    check_folder(out.parent)
    from trainer.export import export_run
    from trainer.onnx import check_installed, export_onnx

    if onnx:
        check_installed()
    images_seen = export_run(run, out)
    print(f"{out}: the encoder after {images_seen} images; timm.create_model('local-dir:{out}', pretrained=True)")
    if onnx:
        difference = export_onnx(out)
        print(f"{out / 'encoder.onnx'}: features differ by {difference:.1e} in onnxruntime")


@app.command("bench-data")
def bench_data(
    config: Annotated[str, typer.Argument(help="YAML file or preset, whose batch and data settings count")],
    data: Annotated[list[str], typer.Option(help="data set folder or URL; several are mixed (data.weights)")],
    images: Annotated[int, typer.Option(min=100, help="images of a round")] = 2_000,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="a.b=value, over the config")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a line")] = False,
) -> None:
    """Measure the loader alone beside decoding the same images from memory with as many threads."""
    import json

    from trainer.bench_data import bench_data as measure
    from trainer.config import load_config

    rates = measure(load_config(config, overrides or []), data, images)
    if as_json:
        print(json.dumps({"loader": rates.loader, "decoding": rates.decoding, "fraction": rates.fraction}))
        return
    print(f"loader {rates.loader:.0f} images/s, decoding from memory {rates.decoding:.0f}: {rates.fraction:.0%} of it")


app.command()(evaluate)
app.command()(compare)
app.command()(mi)
app.command()(trajectory)
app.command()(inversion)
app.command()(semi_supervised)


def main() -> None:
    """Be the command line under a name that shells can complete."""
    run_app(app)


if __name__ == "__main__":
    main()
