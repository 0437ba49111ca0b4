"""python -m experiments.real_and_synthetic: do many views of a prompt beat two crops, and drawn images real ones?

StableRep's question (Tian et al. 2023, arXiv:2306.00984) at the size of emoji: one encoder, augmentation, temperature
and number of images for all arms; an image costs SimCLR two crops and StableRep one. The real images show the prompts
of the synthetic ones, in four styles.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from experiments.arms import Arm, make, predictions
from experiments.options import Config, Images, Jobs, Out, Seeds, Split
from experiments.outcome import keep, measured, table
from experiments.plot import sweep_plot
from manifests import open_dataset
from manifests.command_line import new_app, run_app
from manifests.selection import select
from manifests.target import check_folder
from trainer.evaluation.sets import folder, load

VIEWS = (1, 2, 4)
REAL = "simclr-real"
STYLES = ("noto", "twemoji", "fluent-emoji", "fluent-emoji-flat")  # those in which nearly every emoji is drawn
SHARED = ("augmentation=simclr",)
SET = "clipart26"
app = new_app()


def name(views: int) -> str:
    """Name the synthetic arm of so many views; one view has no other, so that its positives are two crops."""
    return "simclr-m1" if views == 1 else f"stablerep-m{views}"


def arms(synthetic: str, real: str, config: str, images: int) -> list[Arm]:
    """Lay out the arms: views of a group on synthetic images, and two crops of real ones; pure."""
    shared = (*SHARED, f"images={images}")
    drawn = [Arm(name(m), "", config, config_changes=(*shared, *_method(m)), given=synthetic) for m in VIEWS]
    return [*drawn, Arm(REAL, "", config, config_changes=(*shared, *_method(1)), given=real)]


def _method(views: int) -> tuple[str, str]:
    loss = "simclr" if views == 1 else "stablerep"
    return f"data.views={views}", f"objective={{name: {loss}, temperature: 0.1}}"


def claims() -> dict[str, tuple[str, str]]:
    """Name what is compared, which arm above which, before anything is measured."""
    many, one = name(max(VIEWS)), name(1)
    return {
        "StableRep above SimCLR, both synthetic": (many, one),
        "StableRep synthetic above SimCLR real": (many, REAL),
        "SimCLR: synthetic above real": (one, REAL),
        "m = 4 above m = 2": (name(4), name(2)),
        "m = 2 above m = 1": (name(2), name(1)),
    }


def same_prompts(prompts: Iterable[str], styles: Iterable[str] = STYLES) -> str:
    """Write the SQL condition of images of these prompts and styles; pure."""
    return f"prompt IN ({_texts(prompts)}) AND x_style IN ({_texts(styles)})"


def _texts(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(set(values)))


@app.command()
def main(
    real: Annotated[str, typer.Option(help="the emoji data set, one image a group, with prompt and x_style")],
    synthetic: Annotated[str, typer.Option(help="groups of 4 views of emoji prompts")] = "out/demo/data",
    out: Out = Path("out/real-and-synthetic"),
    config: Config = "demo",
    images: Images = 30_000,
    seeds: Seeds = 3,
    jobs: Jobs = 2,
    split: Split = "test",
) -> None:
    """Select the real images, train and score all arms; the same command again resumes."""
    check_folder(out)
    data = {"synthetic": open_dataset(synthetic)}
    prompts = data["synthetic"].rows(["prompt"], ok_only=True)["prompt"].to_pylist()
    chosen = out / "data" / "real"
    data["real"] = select(open_dataset(real), same_prompts(prompts), chosen)
    for which, one in data.items():
        print(f"{which}: {one.groups().offsets.size:,} images, root {one.root[:12]}", flush=True)
    laid_out = arms(synthetic, str(chosen), config, images)
    make(laid_out, out, seeds=seeds, jobs=jobs)
    examples = load(folder(SET), split)
    found = predictions(laid_out, out, examples, split, seeds)
    roots = {which: one.root for which, one in data.items()}
    facts = {"set": SET, "split": split, "seeds": seeds, "images": images, "config": config, "data": roots}
    result = measured(found, claims(), examples, **facts)
    points = {float(m): name(m) for m in VIEWS}
    keep(out, result, views__svg=sweep_plot(result, points, (REAL,), "views of a group, m"))
    print("\n".join(table(result)))


if __name__ == "__main__":
    run_app(app)
