"""The commands `trajectory`, `inversion` and `semi-supervised` of `python -m trainer`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.errors import UserError, interruptible
from manifests.target import check_file, check_folder, local_path, replaced

if TYPE_CHECKING:
    from trainer.evaluation.evidence import Score

Subject = Annotated[str, typer.Argument(help="finished run or exported encoder; random:RUN for fresh weights")]
Set = Annotated[str, typer.Option("--set", help="clipart26, emoji, or a labelled data set's folder or URL")]
Split = Annotated[str, typer.Option(help="dev to choose anything, test to publish")]
Out = Annotated[Path | None, typer.Option(parser=local_path, help="also write the JSON to this file")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


def trajectory(
    subject: Subject,
    dataset: Set = "clipart26",
    split: Split = "dev",
    shots: Annotated[int | None, typer.Option(min=1, help="labelled images a class; default: all")] = None,
    times: Annotated[str | None, typer.Option(help="where to probe, in 0 to 1: 0,0.25,0.5; default: eleven")] = None,
    curves: Annotated[bool, typer.Option(help="also probes that read all times: MLP, recurrent, transformer")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="of the probes")] = 1,
    seed: Annotated[int, typer.Option(help="draws the weights of random:RUN")] = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Score an encoder that is told the time, E(x0, t), at each of many times and over all of them."""
    grid = _times(times)
    if out:
        check_file(out)
    from trainer.evaluation.sequence_probes import KINDS
    from trainer.evaluation.trajectory import GRID
    from trainer.evaluation.trajectory import trajectory as run

    found = run(
        subject,
        dataset=dataset,
        split=split,
        shots=shots,
        times=grid or GRID,
        curves=KINDS if curves else (),
        seeds=seeds,
        seed=seed,
        progress=_announce,
    )
    lines = [f"{found.set} {found.split} {found.root[:12]}: {found.labelled} labels, balanced accuracy in percent"]
    lines += [f"t = {time:<10g}{_shown(one)}" for time, one in zip(found.times, found.by_time, strict=True)]
    lines += [f"all, {kind:<9}{_shown(one)}" for kind, one in found.by_curve.items()]
    _tell(lines, found.to_json(), as_json, out)


def inversion(
    checkpoint: Annotated[Path, typer.Argument(parser=local_path, help="finished run, or exported encoder")],
    data: Annotated[str, typer.Argument(help="data set whose rows have latents; not what an inverter learned from")],
    target: Annotated[
        str | None,
        typer.Option(help="latent, edit_vector, alphas or an x_ column; default: what the encoder was trained on"),
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Say how much of each image's latent can be read from it: R² of every number, on groups held out."""
    if target not in (None, "latent", "edit_vector", "alphas") and not target.startswith("x_"):
        raise UserError(f"--target is {target!r}; expected latent, edit_vector, alphas or a column x_…")
    from trainer.exported import export_folder

    export_folder(checkpoint)
    if out:
        check_file(out)
    from trainer.evaluation.inversion import inversion as run

    found = run(checkpoint, data, target)
    lines = [f"{found.root[:12]}: R² of {found.target} in {found.images} images of {found.groups} groups"]
    lines += [_summary("ridge", found.ridge)] + ([_summary("head", found.head)] if found.head else [])
    lines += [f"class     {100 * found.accuracy:.1f} % right"] if found.accuracy is not None else []
    places = range(len(found.names))
    lines += [_dimension(found.names[p], found.ridge[p], found.head[p] if found.head else None) for p in places]
    _tell(lines, found.to_json(), as_json, out)


def semi_supervised(
    subject: Subject,
    out: Annotated[Path, typer.Argument(parser=local_path, help="folder; one that was interrupted goes on")],
    dataset: Set = "clipart26",
    split: Split = "dev",
    shots: Annotated[int, typer.Option(min=1, help="labelled images a class")] = 10,
    images: Annotated[int, typer.Option(min=64, help="length of the training")] = 60_000,
    neighbours: Annotated[int, typer.Option(min=1, help="of an image in the graph")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="of batches, crops and random weights")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a classifier from few labels and a graph's guesses of the rest, beginning with an encoder."""
    check_folder(out)
    from trainer.semi_supervised.learner import SemiSupervision
    from trainer.semi_supervised.run import semi_supervised as run

    settings = SemiSupervision(seed=seed, neighbours=neighbours)
    with interruptible(str(out)):
        found = run(
            subject, out, dataset=dataset, split=split, shots=shots, images=images, settings=settings, say=_progress
        )
    time = "" if found.time is None else f", at t = {found.time:.2f}"
    line = f"{found.set} {found.split}: {_shown(found.score)} with {found.labelled} labels{time}"
    _tell([line], found.to_json(), as_json, None)


def _times(text: str | None) -> tuple[float, ...]:
    try:
        grid = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        grid = (-1.0,)
    if any(not 0 <= time <= 1 for time in grid):
        raise UserError(f"--times is {text!r}; expected numbers from 0 to 1, such as 0,0.25,0.5,0.75,1")
    return grid


def _shown(one: "Score") -> str:
    return f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _summary(name: str, values: list[float]) -> str:
    return f"{name:<10}mean {sum(values) / len(values):.3f}, least {min(values):.3f}, largest {max(values):.3f}"


def _dimension(name: str, ridge: float, head: float | None) -> str:
    return f"  {name:<24}ridge {ridge:7.3f}" + ("" if head is None else f"   head {head:7.3f}")


def _progress(line: dict[str, float]) -> None:
    numbers = "  ".join(f"{name} {value:.3g}" for name, value in line.items() if name != "images_seen")
    print(f"{line['images_seen']} images  {numbers}", file=sys.stderr, flush=True)


def _announce(name: str) -> None:
    print(f"scoring {name}", file=sys.stderr, flush=True)


def _tell(lines: list[str], as_text: str, as_json: bool, out: Path | None) -> None:
    print(as_text if as_json else "\n".join(lines))
    if out:
        with replaced(out) as part:
            part.write_text(as_text + "\n", encoding="utf-8")
