"""python -m experiments.infomin_sweeps KNOB: does accuracy over I_NCE bend down at both ends, knob by knob?

Tian et al. (NeurIPS 2020), section 4 and figures 3-6: views that share too much or too little teach less than those in
between. I_NCE is that of held-out pairs by one critic's setting for the whole sweep; accuracy is a frozen encoder's.
With one seed a sweep is smoke: it shows a shape, not that the shape holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.arms import Arm, make, on_data, predictions, scores, training_part
from experiments.outcome import keep
from experiments.plot import information_plot
from experiments.small import ENCODER, SIZE_PX
from experiments.views_information import Views, information
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.target import check_folder, local_path
from trainer.evaluation.sets import folder, load

app = new_app()


@dataclass(frozen=True)
class Point:
    """One value of a knob: what is trained, and the kind of views whose I_NCE is measured."""

    value: str
    arm: Arm
    kind: str


class Knob(StrEnum):
    sigma = "sigma"
    noise = "noise"
    guidance = "guidance"
    crop = "crop"
    jitter = "jitter"
    patch = "patch"
    colour = "colour"
    frequency = "frequency"


def _rendered(knob: str, recipe: str, strategies: dict[str, str]) -> list[Point]:
    """Views that a generator made: trained with two views of a group as positives."""
    return [
        Point(
            value,
            Arm(f"{knob}-{value}", recipe, "stablerep", (f"name={knob}-{value}", f"strategy={strategy}"), _STORED),
            "views:augmentation=weak",
        )
        for value, strategy in strategies.items()
    ]


_STORED = (*ENCODER, "augmentation=weak", "data.views=2", "encoder.size_px=32")
RENDERED: dict[str, Callable[[], list[Point]]] = {
    "sigma": lambda: _rendered(
        "sigma",
        "emoji-gan",
        {f"{s:g}": f"{{name: gaussian, sigma: {s}}}" for s in (0.125, 0.25, 0.5, 1.0, 2.0)},
    ),
    "noise": lambda: _rendered(
        "noise", "demo", {f"{s:g}": f"{{name: noise, sigma: {s}}}" for s in (0.1, 0.3, 0.7, 1.5, 4.0)}
    ),
    "guidance": lambda: _rendered(
        "guidance",
        "demo",
        {f"{w:g}": f"{{name: guidance, low: {w}, high: {w + 0.01}, levels: 2}}" for w in (1.0, 1.5, 2.0, 4.0, 8.0)},
    ),
}
_IMAGE = (*ENCODER, "augmentation=weak")


def _on_images(knob: str, data: str) -> list[Point]:
    """Views that are made of one stored image."""
    made: dict[str, dict[str, tuple[str, tuple[str, ...], str]]] = {
        "crop": {
            f"{c:g}": ("simclr", (*_IMAGE, f"knobs.crop_area={c}"), f"image:crop={c}")
            for c in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
        },
        "jitter": {
            f"{x:g}": ("simclr", (*_IMAGE, f"knobs.jitter={x}"), f"image:jitter={x}")
            for x in (0, 0.125, 0.25, 0.5, 1.0, 1.5)
        },
        "patch": {
            str(d): ("patches", (*ENCODER, f"objective.distance_px={d}"), f"patch:{d}") for d in (2, 4, 8, 16, 24, 32)
        },
        "colour": {
            s: ("cmc", (*_IMAGE, f"encoder.split={s}"), f"split:{s}")
            for s in ("rgb", "lab", "yiq", "ycbcr", "ydbdr", "hsv")
        },
        "frequency": {
            f"{b:g}": ("cmc", (*_IMAGE, "encoder.split=frequency", f"encoder.blur_px={b}"), f"frequency:{b}")
            for b in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
        },
    }
    return [
        Point(value, on_data(f"{knob}-{value}", data, config, *changes), kind)
        for value, (config, changes, kind) in made[knob].items()
    ]


def points(knob: str, data: str | None, images: int, groups: int) -> list[Point]:
    """Lay out a sweep; pure.

    Raises: UserError for a knob of stored images without a data set.
    """
    if knob in RENDERED:
        laid = RENDERED[knob]()
    elif data is None:
        raise UserError(f"--data is missing: {knob} makes its views of stored images")
    else:
        laid = _on_images(knob, data)
    return [replace(one, arm=_sized(one.arm, images, groups)) for one in laid]


def _sized(arm: Arm, images: int, groups: int) -> Arm:
    lengths = (f"images={images}", f"checkpoint_images={images}")
    recipe = (*arm.recipe_changes, f"groups={groups}")
    return replace(arm, recipe_changes=recipe, config_changes=(*arm.config_changes, *lengths))


@app.command()
def main(
    knob: Annotated[Knob, typer.Argument(help="what is varied")],
    data: Annotated[Path | None, typer.Option(parser=local_path, help="data set of the knobs of stored images")] = None,
    out: Annotated[Path, typer.Option(parser=local_path, help="folder of runs and results")] = Path("out/infomin"),
    groups: Annotated[int, typer.Option(min=2, help="groups that are rendered of each value")] = 600,
    images: Annotated[int, typer.Option(min=1, help="length of each training run")] = 60_000,
    seeds: Annotated[int, typer.Option(min=1, help="training seeds of each value; one is smoke")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="commands side by side")] = 2,
    split: Annotated[str, typer.Option(help="dev or test")] = "dev",
    where: Annotated[str, typer.Option(help="which groups of DATA are trained on; empty: all")] = "split = 'train'",
    labelled: Annotated[str, typer.Option("--set", help="clipart26 or emoji")] = "clipart26",
    epochs: Annotated[int, typer.Option(min=1, help="of the critics")] = 10,
    batch: Annotated[int, typer.Option(min=2, help="K of the critics: I_NCE cannot exceed log K")] = 128,
) -> None:
    """Make views of several values, measure what they share, train and score; the same command again resumes."""
    out = out / knob.value
    check_folder(out)
    chosen = points(knob.value, training_part(data, out, where) if data else None, images, groups)
    make([one.arm for one in chosen], out, seeds=seeds, jobs=jobs)
    wanted = [Views(one.value, one.arm.data(out), one.kind, SIZE_PX) for one in chosen]
    shared = information(wanted, out, jobs=jobs, options=("--epochs", str(epochs), "--batch", str(batch)))
    examples = load(folder(labelled), split)
    found = scores(predictions([one.arm for one in chosen], out, examples, split, seeds), examples)
    facts = {"commit": code_commit(), "set": labelled, "split": split, "root": examples.root, "seeds": seeds}
    rows = [
        {
            "value": one.value,
            "information": shared[one.value],
            "scores": {method: asdict(score) for method, score in found[one.arm.name].items()},
        }
        for one in chosen
    ]
    result = {"knob": knob.value, **facts, "images": images, "points": rows}
    keep(out, result, information__svg=information_plot(result))
    print("\n".join(table(result)))


def table(result: dict[str, Any]) -> Sequence[str]:
    """Write a sweep as Markdown; pure."""
    rows = result["points"]
    lines = [f"| {result['knob']} | I_NCE, nats | linear probe | nearest neighbours |", "|---|---|---|---|"]
    for row in rows:
        nats = row["information"]["nats"]["i_nce"]
        cells = [f"{100 * row['scores'][name]['mean']:.1f}" for name in ("linear", "knn")]
        lines.append(f"| {row['value']} | {nats['mean']:.2f} | {cells[0]} | {cells[1]} |")
    best = max(range(len(rows)), key=lambda i: rows[i]["scores"]["linear"]["mean"])
    order = sorted(range(len(rows)), key=lambda i: rows[i]["information"]["nats"]["i_nce"]["mean"])
    where = "between the ends" if best in order[1:-1] else "at an end: no inverted U"
    seeds = result["seeds"]
    kind = "smoke, one seed" if seeds == 1 else f"{seeds} seeds"
    lines += ["", f"Best accuracy at {rows[best]['value']}, {where} of I_NCE ({kind})."]
    return [*lines, *(f"warning: {one}" for row in rows for one in row["information"]["warnings"])]


if __name__ == "__main__":
    run_app(app)
