"""python -m experiments.sigma_sweep: does GenRep's inverted U appear, and its order gaussian > independent > none?

Jahanian et al. (ICLR 2022), figure 5: a step σ too small adds nothing, one too large leaves the thing. Here the
generator is frozen, all arms share encoder, budget and seeds, and every anchor is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.arms import Arm, make, predictions
from experiments.options import Config, Images, Jobs, Out, Seeds, Split
from experiments.outcome import keep, measured, table
from experiments.plot import sweep_plot
from manifests.command_line import new_app, run_app
from manifests.target import check_folder
from trainer.evaluation.sets import folder, load

SIGMAS = (0.125, 0.25, 0.5, 1.0, 2.0)
SET = "clipart26"
app = new_app()


def arms(recipe: str, config: str, images: int) -> list[Arm]:
    """Lay out the arms: one latent, other latents of the class, and steps of five lengths; pure."""
    changes = (f"images={images}",)
    fixed = [
        Arm(name, recipe, config, (f"name=sweep-{name}", f"strategy={{name: {name}}}"), changes)
        for name in ("none", "independent")
    ]
    steps = [
        Arm(_name(s), recipe, config, (f"name=sweep-{s}", f"strategy={{name: gaussian, sigma: {s}}}"), changes)
        for s in SIGMAS
    ]
    return [*fixed, *steps]


def _name(sigma: float) -> str:
    return f"gaussian-{sigma:g}"


def claims() -> dict[str, tuple[str, str]]:
    """Name what GenRep's claim is made of, which arm above which: the middle σ and both ends, independent and none."""
    middle = _name(SIGMAS[len(SIGMAS) // 2])  # named before anything is measured, so that no arm is picked by its score
    return {
        "middle σ above smallest": (middle, _name(SIGMAS[0])),
        "middle σ above largest": (middle, _name(SIGMAS[-1])),
        "middle σ above independent": (middle, "independent"),
        "middle σ above none": (middle, "none"),
        "independent above none": ("independent", "none"),
    }


@app.command()
def main(
    out: Out = Path("out/sigma-sweep"),
    recipe: Annotated[str, typer.Option(help="Whose strategy is varied")] = "emoji-gan",
    config: Config = "demo",
    images: Images = 30_000,
    seeds: Seeds = 3,
    jobs: Jobs = 2,
    split: Split = "test",
) -> None:
    """Render, train and score all arms; the same command again resumes."""
    check_folder(out)
    chosen = arms(recipe, config, images)
    make(chosen, out, seeds=seeds, jobs=jobs)
    examples = load(folder(SET), split)
    found = predictions(chosen, out, examples, split, seeds)
    result = measured(found, claims(), examples, set=SET, split=split, seeds=seeds, images=images)
    points, axis = {sigma: _name(sigma) for sigma in SIGMAS}, "σ of the Gaussian step, in τ"
    keep(out, result, sweep__svg=sweep_plot(result, points, ("independent", "none"), axis))
    print("\n".join(table(result)))


if __name__ == "__main__":
    run_app(app)
