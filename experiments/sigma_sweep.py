"""python -m experiments.sigma_sweep: does GenRep's inverted U appear, and its order gaussian > independent > none?

Jahanian et al. (ICLR 2022), figure 5: a step σ too small adds nothing, one too large leaves the thing. Here the
generator is frozen, all arms share encoder, budget and seeds, and every anchor is the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.arms import Arm, contrast, make, predictions, scores
from experiments.plot import sweep_plot
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.target import check_folder, local_path, replaced
from trainer.evaluation.evidence import Difference
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


def claims(found: Any, examples: Any) -> dict[str, Difference]:
    """Compare what GenRep's claim is made of: the best middle σ with both ends, gaussian, independent and none."""
    middle = _name(SIGMAS[len(SIGMAS) // 2])  # named before anything is measured, so that no arm is picked by its score
    pairs = {
        "middle σ above smallest": (middle, _name(SIGMAS[0])),
        "middle σ above largest": (middle, _name(SIGMAS[-1])),
        "middle σ above independent": (middle, "independent"),
        "middle σ above none": (middle, "none"),
        "independent above none": ("independent", "none"),
    }
    return {name: contrast(found, a, b, examples) for name, (a, b) in pairs.items()}


@app.command()
def main(
    out: Annotated[Path, typer.Option(parser=local_path, help="Folder of data sets, runs and results")] = Path(
        "out/sigma-sweep"
    ),
    recipe: Annotated[str, typer.Option(help="Whose strategy is varied")] = "emoji-gan",
    config: Annotated[str, typer.Option(help="How to train: a preset or a YAML file")] = "demo",
    images: Annotated[int, typer.Option(min=1, help="Length of each training run")] = 30_000,
    seeds: Annotated[int, typer.Option(min=3, help="Training seeds of each arm")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Commands side by side")] = 2,
    split: Annotated[str, typer.Option(help="dev or test")] = "test",
) -> None:
    """Render, train and score all arms; the same command again resumes."""
    check_folder(out)
    chosen = arms(recipe, config, images)
    make(chosen, out, seeds=seeds, jobs=jobs)
    examples = load(folder(SET), split)
    found = predictions(chosen, out, examples, split, seeds)
    scored, told = scores(found, examples), claims(found, examples)
    facts = {"commit": code_commit(), "set": SET, "split": split, "root": examples.root, "seeds": seeds}
    result = {
        **facts,
        "images": images,
        "scores": {name: {m: asdict(s) for m, s in by.items()} for name, by in scored.items()},
        "claims": {name: d.to_dict() for name, d in told.items()},
    }
    with replaced(out / "results.json") as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with replaced(out / "sweep.svg") as part:
        part.write_text(sweep_plot(result, SIGMAS), encoding="utf-8")
    print("\n".join(table(result)))


def table(result: dict[str, Any]) -> Sequence[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    lines = ["| arm | nearest neighbours | linear probe |", "|---|---|---|"]
    for name, by in result["scores"].items():
        lines.append(f"| {name} | {_score(by['knn'])} | {_score(by['linear'])} |")
    lines += ["", "| claim, linear probe | points | could see | verdict |", "|---|---|---|---|"]
    for name, d in result["claims"].items():
        points = f"{100 * d['mean']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        verdict = "evidence" if d["is_evidence"] else "no evidence"
        lines.append(f"| {name} | {points} | {100 * d['smallest_detectable']:.1f} | {verdict} |")
    return lines


def _score(one: dict[str, Any]) -> str:
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


if __name__ == "__main__":
    run_app(app)
