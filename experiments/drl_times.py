"""python -m experiments.drl_times: what E(x0, t) says of an image at each t, learned by (V)DRL or not, with few labels.

Abstreiter, Mittal et al. (ICML 2023), figure 4 and table 1; at 32 x 32 with small nets and one seed: smoke only.
Encoders learn from images without labels; the same few labels then probe every time, and begin LaplaceNet's training.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.outcome import keep
from experiments.times_plot import times_plot
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.target import check_folder, local_path

ENCODER = ("encoder.backbone=resnet10t", "encoder.arguments={channels: [32, 64, 96, 128]}", "encoder.size_px=32")
NET = (
    "objective.net={width: 16, multipliers: [1, 2, 2], blocks: 1}",
    "objective.dimensions=64",
    "ema_half_life_images=4000",
)
ARMS = {"drl": ("drl", NET), "vdrl": ("vdrl", NET), "simclr": ("simclr", ("batch_images=256",))}
TRAJECTORIES = ("drl", "vdrl")
app = new_app()


def pretrain_command(arm: str, data: Path, run: Path, images: int) -> tuple[str, ...]:
    """Say how an encoder of an arm is trained; pure."""
    preset, own = ARMS[arm]
    common = ("encoder.timed=true", f"images={images}", "precision=auto", f"checkpoint_images={max(1, images // 5)}")
    words = [word for change in (*ENCODER, *own, *common) for word in ("--set", change)]
    return ("trainer", "pretrain", preset, "--data", str(data), "--out", str(run), *words)


def beginnings(out: Path) -> dict[str, str]:
    """Name what a classifier begins with; `none` has DRL's architecture and fresh weights; pure."""
    return {"none": f"random:{out / 'runs' / 'drl'}", **{arm: str(out / "runs" / arm) for arm in ARMS}}


@app.command()
def main(
    data: Annotated[str, typer.Option(help="images to learn from, of which the part `train` is taken; and labels")],
    out: Annotated[Path, typer.Option(parser=local_path, help="folder of runs and results")] = Path("out/drl-times"),
    images: Annotated[int, typer.Option(min=64, help="length of each encoder's training")] = 80_000,
    classifier_images: Annotated[int, typer.Option(min=64, help="length of each semi-supervised training")] = 24_000,
    shots: Annotated[int, typer.Option(min=1, help="labelled images a class")] = 10,
    split: Annotated[str, typer.Option(help="dev or test")] = "test",
) -> None:
    """Train, probe and draw; the same command again resumes."""
    check_folder(out)
    unlabelled = out / "train"
    _run(("manifests", "select", data, str(unlabelled), "--where", "split = 'train'"), unlabelled / "dataset.json")
    for arm in ARMS:
        run = out / "runs" / arm
        _run(pretrain_command(arm, unlabelled, run, images), run / "encoder")
    asked = ("--set", data, "--split", split, "--shots", str(shots))
    for name, subject in beginnings(out).items():
        if name in (*TRAJECTORIES, "none"):
            told = out / f"trajectory-{name}.json"
            _run(("trainer", "trajectory", subject, *asked, "--out", str(told)), told)
        folder = out / "semi" / name
        long = ("--images", str(classifier_images))
        _run(("trainer", "semi-supervised", subject, str(folder), *asked, *long), folder / "result.json")
    result = gathered(out, images)
    keep(out, result, times__svg=times_plot(result))
    print("\n".join(table(result)))


def gathered(out: Path, images: int) -> dict[str, Any]:
    """Read what the commands wrote, and the last line of each encoder's metrics."""
    trajectories = {name: _read(out / f"trajectory-{name}.json") for name in (*TRAJECTORIES, "none")}
    return {
        "commit": code_commit(),
        "images": images,
        "labelled": trajectories["none"]["labelled"],
        "trajectories": trajectories,
        "semi_supervised": {name: _read(out / "semi" / name / "result.json") for name in beginnings(out)},
        "codes": {arm: _last_line(out / "runs" / arm / "metrics.jsonl") for arm in TRAJECTORIES},
    }


def table(result: dict[str, Any]) -> list[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    found = result["trajectories"]
    names = list(found)
    lines = [f"| t | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for place, time in enumerate(found["none"]["times"]):
        lines.append(f"| {time:g} | {' | '.join(_score(found[name]['by_time'][place]) for name in names)} |")
    for kind in found["none"]["by_curve"]:
        lines.append(f"| all, {kind} | {' | '.join(_score(found[name]['by_curve'][kind]) for name in names)} |")
    lines += ["", "| semi-supervised from | balanced accuracy | t learned |", "|---|---|---|"]
    for name, one in result["semi_supervised"].items():
        lines.append(f"| {name} | {_score(one['score'])} | {one['time']:.2f} |")
    for arm, line in result["codes"].items():
        cost = {name: round(line[name], 3) for name in ("plain_loss", "code_gap", "kl", "l1") if name in line}
        lines += ["", f"{arm}, last window: {json.dumps(cost)}"]
    return lines


def _score(one: dict[str, float]) -> str:
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _last_line(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8").splitlines()[-1]))


def _run(command: tuple[str, ...], made: Path) -> None:
    if made.exists():
        return
    print(" ".join(command), flush=True)
    code = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        raise UserError(f"{' '.join(command[:3])} failed with exit code {code}; the same command goes on")


if __name__ == "__main__":
    run_app(app)
