"""python -m experiments.vision_aided: does a frozen vision model as a second judge help a GAN with few images?

Kumari et al. 2022 (arXiv:2112.09130) at the size of emoji: plain StyleGAN2 with DiffAugment, beside the same with the
bank's most separable model, and with its least separable one. All arms show as many images, share their beginning bit
for bit, and are measured by an encoder that never judged. To go on, run the same command again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from experiments.arms import logged
from experiments.gan_samples import measure, newest, samples_sheet
from experiments.outcome import keep
from experiments.plot import Curve, curves_plot
from experiments.seeds import paired
from manifests import open_dataset
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.selection import select
from manifests.target import check_folder, local_path, replaced

MEMBERS = ("efficientnet-lite0@64", "efficientnet-lite1@64", "efficientnet-lite2@64", "random@64")
HEAD = "head: conv, width: 64, smoothing: 0.2"
PLAIN, FIRST, LAST = "plain", "first choice", "last choice"
ENSEMBLE, ALL_DATA_PLAIN, ALL_DATA_FIRST = "ensemble (smoke)", "all data, plain (smoke)", "all data, first (smoke)"
CLAIMS = {"the first choice helps": (PLAIN, FIRST), "separability chooses well": (LAST, FIRST)}
MEASURE = "frechet"  # lower is better: a claim holds where the first is above the second
AXIS = "images shown; upwards: Fréchet distance to the training images, mean over seeds"
app = new_app()


@dataclass(frozen=True)
class Lengths:
    """What all arms have in common."""

    images: int
    warmup_images: int
    every_images: int
    judge: str

    def changes(self, seed: int) -> list[str]:
        """Say what the preset is changed by."""
        quality = f"quality={{every_images: {self.every_images}, samples_images: 1000, extractor: {self.judge}}}"
        return [f"images={self.images}", f"seed={seed}", f"checkpoint_images={self.every_images}", quality]

    def bank(self, members: Sequence[str], choice: str, most: int) -> str:
        """Write a bank as `--set` takes it; every addition of an ensemble has an equal share of what is left.

        One that comes in alone stays to the end, wherever that is: such a run may be made longer. Head and smoothing
        are those of the authors' code for convolutional networks that tell more than 90 % apart.
        """
        listed = ", ".join(f"{{model: {member}, {HEAD}}}" for member in members)
        share = (self.images - self.warmup_images) // most // self.every_images * self.every_images if most > 1 else 0
        lengths = f"warmup_images: {self.warmup_images}, images_each: {max(share, self.every_images)}"
        return f"bank={{members: [{listed}], choice: {choice}, most: {most}, {lengths}, probe_images: 1000}}"


@app.command()
def main(
    data: Annotated[str, typer.Option(help="the emoji data set, one image a group")],
    judge: Annotated[str, typer.Option(help="folder of an encoder of another family, pretrained on other drawings")],
    out: Annotated[Path, typer.Option(parser=local_path, help="folder of runs and results")] = Path("out/vision-aided"),
    config: Annotated[str, typer.Option(help="how to train: a preset or a YAML file")] = "emoji-32",
    training_images: Annotated[int, typer.Option(min=16, help="drawn from the data set's training split")] = 1000,
    images: Annotated[int, typer.Option(min=1, help="shown in each run")] = 24_000,
    warmup_images: Annotated[int, typer.Option(min=1, help="before a second judge comes in")] = 6_000,
    every_images: Annotated[int, typer.Option(min=1, help="from one measurement to the next")] = 2_000,
    samples: Annotated[int, typer.Option(min=16, help="drawn from each finished generator")] = 5_000,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="of each arm")] = 3,
    members: Annotated[list[str] | None, typer.Option("--member", help="of the bank, again for each")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="also the ensemble and all data, one seed each")] = False,
) -> None:
    """Train all arms, measure them by the judge, draw from them, and say what holds; the same command again resumes."""
    check_folder(out)
    lengths = Lengths(images, warmup_images, every_images, str(Path(judge).resolve()))
    few = few_images(data, out / "data" / "few", training_images)
    made: dict[str, list[Path]] = {}
    for seed in range(seeds):
        for name, folder in train_seed(few, out, config, lengths, list(members or MEMBERS), seed).items():
            made.setdefault(name, []).append(folder)
    if smoke:
        made |= train_smoke(few, data, out, config, lengths, list(members or MEMBERS))
    measured = {name: [measure(run, data, judge, samples) for run in runs] for name, runs in made.items()}
    result = outcome(measured, made)
    lengths_told = {"images": images, "warmup_images": warmup_images, "samples": samples}
    facts = {**lengths_told, "training_images": training_images, "data": open_dataset(data).root, "judge": judge}
    keep(out, {"commit": code_commit(), **facts, **result}, curves__svg=curves_plot(curves(made), AXIS))
    with replaced(out / "samples.png") as part:
        samples_sheet([newest(runs[0])[1] for runs in made.values()], data).save(part, "PNG", optimize=True)
    print("\n".join(table(result)))


def few_images(data: str, out: Path, count: int) -> str:
    """Select so many images of the training split, always the same."""
    opened = open_dataset(data)
    rows = opened.rows(["group", "split"], ok_only=True).to_pylist()
    groups = [row["group"] for row in rows if row["split"] != "test"]
    if len(groups) < count:
        raise UserError(f"{data}: {len(groups)} images to train on, expected {count}")
    chosen = np.random.Generator(np.random.Philox(key=0)).permutation(len(groups))[:count]
    listed = ", ".join(str(groups[number]) for number in sorted(chosen.tolist()))
    select(opened, f'"group" IN ({listed})', out)
    return str(out)


def train_seed(data: str, out: Path, config: str, lengths: Lengths, members: list[str], seed: int) -> dict[str, Path]:
    """Train the three arms of a seed; the ranking of the first-choice run says who is last."""
    runs = {name: out / "runs" / f"{name.replace(' ', '-')}-{seed}" for name in (PLAIN, FIRST, LAST)}
    train(data, runs[PLAIN], config, lengths.changes(seed), out)
    train(data, runs[FIRST], config, [*lengths.changes(seed), lengths.bank(members, "progressive", 1)], out)
    last = ranking(runs[FIRST])[-1]["model"]
    train(data, runs[LAST], config, [*lengths.changes(seed), lengths.bank([last], "fixed", 1)], out)
    return runs


def train_smoke(
    few: str, everything: str, out: Path, config: str, lengths: Lengths, members: list[str]
) -> dict[str, list[Path]]:
    """Train what is shown once and claims nothing: the ensemble on few images, and both arms on all of them."""
    runs = {name: out / "runs" / name.replace(" ", "-") for name in (ENSEMBLE, ALL_DATA_PLAIN, ALL_DATA_FIRST)}
    changes = lengths.changes(0)
    train(few, runs[ENSEMBLE], config, [*changes, lengths.bank(members, "progressive", 3)], out)
    train(everything, runs[ALL_DATA_PLAIN], config, changes, out)
    train(everything, runs[ALL_DATA_FIRST], config, [*changes, lengths.bank(members, "progressive", 1)], out)
    return {name: [run] for name, run in runs.items()}


def train(data: str, run: Path, config: str, changes: Sequence[str], out: Path) -> None:
    """Train or go on; a finished run is only looked at."""
    sets = tuple(word for change in changes for word in ("--set", change))
    code = logged(run.name, ("factory", "train-gan", data, str(run), "--config", config, *sets), out, 1)
    if code != 0:
        raise UserError(f"{run.name}: its command failed with exit code {code}; what it said is in {out / 'logs'}")
    print(f"{run.name}: done", flush=True)


def ranking(run: Path) -> list[dict[str, Any]]:
    """Read whom a run's probe put first, and whom last."""
    record = json.loads((run / "training" / "phase-1" / "phase.json").read_text(encoding="utf-8"))
    return list(record["ranking"])


def outcome(measured: dict[str, list[dict[str, float]]], made: dict[str, list[Path]]) -> dict[str, Any]:
    """Compare the arms seed by seed."""
    scores = {name: [one[MEASURE] for one in runs] for name, runs in measured.items()}
    claims = {claim: paired(scores[above], scores[below]) for claim, (above, below) in CLAIMS.items()}
    rankings = [[line["model"] for line in ranking(run)] for run in made[FIRST]]
    return {"arms": measured, "claims": claims, "rankings": rankings, "seeds": len(made[PLAIN])}


def curves(made: dict[str, list[Path]]) -> list[Curve]:
    """Read how near each arm came to its training images on the way: the mean over seeds."""
    found = []
    for name, runs in made.items():
        texts = [(run / "training" / "quality.jsonl").read_text(encoding="utf-8") for run in runs]
        lines = [[json.loads(line) for line in text.splitlines()] for text in texts]
        by_images: dict[int, list[float]] = {}
        for line in (line for run in lines for line in run):
            by_images.setdefault(line["images_seen"], []).append(line["frechet_samples_to_training"])
        found.append(Curve(name, [(seen, float(np.mean(values))) for seen, values in sorted(by_images.items())]))
    return found


def table(result: dict[str, Any]) -> list[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    columns = (MEASURE, "kernel", "precision", "recall", "density", "coverage", "authenticity")
    lines = [f"| arm | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for name, runs in result["arms"].items():
        means = [float(np.mean([run[column] for run in runs])) for column in columns]
        lines.append(f"| {name} | {' | '.join(f'{mean:.4g}' for mean in means)} |")
    lines += [
        "",
        "| claim | mean difference of the Fréchet distance | seeds that agree | verdict |",
        "|---|---|---|---|",
    ]
    for claim, found in result["claims"].items():
        known = [f"{found[key]:+.4g}" for key in ("low", "high") if found[key] is not None]
        interval = f"{found['mean']:+.4g} [{', '.join(known)}]"
        lines.append(f"| {claim} | {interval} | {found['agree']} of {result['seeds']} | {found['verdict']} |")
    return lines


if __name__ == "__main__":
    run_app(app)
