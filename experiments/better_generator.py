"""python -m experiments.better_generator: does an encoder learn more from a better generator's images? A smoke.

Two generators' folders (such as two arms of experiments.vision_aided) are rendered with one recipe, encoders are
trained alike on each, and scored on other people's drawings. To go on, run the same command again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.arms import Arm, make, predictions
from experiments.outcome import keep, measured, table
from manifests.command_line import new_app, run_app
from manifests.target import check_folder, local_path
from trainer.evaluation.sets import folder, load

PLAIN, BETTER = "plain generator", "better generator"
RECIPE = "emoji-gan"
STRATEGY = "strategy={name: gaussian, sigma: 0.5}"
SET = "clipart26"
app = new_app()


def arms(plain: Path, better: Path, config: str, images: int) -> list[Arm]:
    """Lay out both arms; pure."""
    return [
        Arm(
            name.replace(" ", "-"),
            RECIPE,
            config,
            (f"name={name}", f"sources=[{{family: latent, model: {model.resolve()}}}]", STRATEGY),
            (f"images={images}",),
        )
        for name, model in ((PLAIN, plain), (BETTER, better))
    ]


@app.command()
def main(
    plain: Annotated[Path, typer.Argument(parser=local_path, help="a generator's folder")],
    better: Annotated[Path, typer.Argument(parser=local_path, help="one that is nearer to real images")],
    out: Annotated[Path, typer.Option(parser=local_path, help="folder of data sets, runs and results")] = Path(
        "out/better-generator"
    ),
    config: Annotated[str, typer.Option(help="how to train: a preset or a YAML file")] = "demo",
    images: Annotated[int, typer.Option(min=1, help="length of each training run")] = 30_000,
    seeds: Annotated[int, typer.Option(min=1, help="training seeds of each arm")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="commands side by side")] = 2,
    split: Annotated[str, typer.Option(help="dev or test")] = "dev",
) -> None:
    """Render, train and score both arms; the same command again resumes."""
    check_folder(out)
    laid_out = arms(plain, better, config, images)
    make(laid_out, out, seeds=seeds, jobs=jobs)
    examples = load(folder(SET), split)
    found = predictions(laid_out, out, examples, split, seeds)
    claims = {"an encoder learns more from the better generator": (laid_out[1].name, laid_out[0].name)}
    facts = {"set": SET, "split": split, "seeds": seeds, "images": images, "config": config}
    result = measured(found, claims, examples, **facts)
    keep(out, result)
    print("\n".join(table(result)))


if __name__ == "__main__":
    run_app(app)
