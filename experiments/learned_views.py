"""python -m experiments.learned_views DATA: do learned views teach more than raw colours, and labels make them better?

InfoMin's claim (Tian et al., NeurIPS 2020, section 5, table 3): views learned with some labels beat the raw colour
space they come from and views learned without any. First a flow is learned on DATA's training images, for each seed;
then every arm trains the same CMC encoders on the same images, from raw RGB or from the seed's flow.
Named before anything was measured: the claim is on the emoji groups, whose labels the flow saw a share of; clipart26
says whether it carries over. What the views share is measured beside it, by `trainer mi`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.arms import Arm, Predictions, contrast, make, on_data, predictions, scores, training_part
from experiments.outcome import claim_lines, keep
from experiments.small import ENCODER, SIZE_PX, SMALL
from experiments.views_information import Views, information
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.target import check_folder, local_path
from trainer.evaluation.sets import Examples, folder, load

SETS = ("emoji", "clipart26")  # the first one carries the claim
LEARNERS = {
    "unsupervised": ("objective.label_weight=0",),
    "supervised": ("objective.information_weight=0",),
    "semi-supervised": (),
}
CLAIMS = {
    "semi-supervised above raw RGB": ("semi-supervised", "rgb"),
    "semi-supervised above unsupervised": ("semi-supervised", "unsupervised"),
    "semi-supervised above supervised": ("semi-supervised", "supervised"),
    "unsupervised above raw RGB": ("unsupervised", "rgb"),
}
app = new_app()


@dataclass(frozen=True)
class Viewer(Arm):
    """An arm that sees its images through the flow that a learner of the same seed found."""

    learner: Arm | None = None

    def pretrain_command(self, out: Path, seed: int) -> tuple[str, ...]:
        assert self.learner is not None
        weights = f"encoder.flow.weights={self.learner.run(out, seed)}"
        return (*super().pretrain_command(out, seed), "--set", "encoder.split=flow", "--set", weights)


def learners(data: str, images: int, label_fraction: float) -> list[Arm]:
    """Lay out the runs that learn flows; pure."""
    players = ("encoder.arguments={channels: [16, 32, 64, 128], stem_width: 16, norm_layer: groupnorm1}",)
    same = (*players, f"images={images}", f"checkpoint_images={images}", f"objective.label_fraction={label_fraction}")
    rates = ("optimizer.base_learning_rate=0.006",)  # of 256 images: 0.003 for this batch
    return [
        on_data(f"flow-{name}", data, "learned_views", *SMALL, *same, *rates, *own) for name, own in LEARNERS.items()
    ]


def viewers(data: str, images: int, flows: Sequence[Arm]) -> list[Arm]:
    """Lay out the runs that are compared: alike but for what they see; pure."""
    same = (*ENCODER, "augmentation=weak", f"images={images}", f"checkpoint_images={images}")
    raw = on_data("rgb", data, "cmc", *same, "encoder.split=rgb")
    learned = [
        Viewer(name, "", "cmc", config_changes=same, given=data, learner=flow)
        for name, flow in zip(LEARNERS, flows, strict=True)
    ]
    return [raw, *learned]


@app.command()
def main(
    data: Annotated[Path, typer.Argument(parser=local_path, help="labelled data set, such as builtin emoji-data's")],
    out: Annotated[Path, typer.Option(parser=local_path, help="folder of runs and results")] = Path(
        "out/learned-views"
    ),
    flow_images: Annotated[int, typer.Option(min=1, help="length of each flow's training")] = 45_000,
    images: Annotated[int, typer.Option(min=1, help="length of each encoder's training")] = 70_000,
    label_fraction: Annotated[float, typer.Option(min=0, max=1, help="of things whose label the flow sees")] = 0.25,
    seeds: Annotated[int, typer.Option(min=1, help="training seeds of each arm; fewer than 3 are smoke")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="commands side by side")] = 1,
    split: Annotated[str, typer.Option(help="dev to choose anything, test to publish")] = "test",
    where: Annotated[str, typer.Option(help="which groups of DATA are trained on; empty: all")] = "split = 'train'",
    epochs: Annotated[int, typer.Option(min=1, help="of the critics that measure what views share")] = 6,
) -> None:
    """Learn the flows, train and score all arms; the same command again resumes."""
    check_folder(out)
    part = training_part(data, out, where)
    flows = learners(part, flow_images, label_fraction)
    make(flows, out, seeds=seeds, jobs=jobs)
    arms = viewers(part, images, flows)
    make(arms, out, seeds=seeds, jobs=jobs)
    result = {
        **{"commit": code_commit(), "split": split, "seeds": seeds, "images": images, "flow_images": flow_images},
        "label_fraction": label_fraction,
        "sets": {name: compared(arms, out, name, split, seeds) for name in SETS},
        "information": _shared(part, flows, out, seeds, jobs, epochs),
        "flows": {flow.name: [last_line(flow.run(out, seed)) for seed in range(seeds)] for flow in flows},
    }
    keep(out, result)
    print("\n".join(table(result)))


def compared(arms: Sequence[Arm], out: Path, name: str, split: str, seeds: int) -> dict[str, Any]:
    """Score all arms on a labelled set, and the claims by both methods."""
    examples = load(folder(name), split)
    found = predictions(arms, out, examples, split, seeds)
    scored = {arm: {m: asdict(s) for m, s in by.items()} for arm, by in scores(found, examples).items()}
    claims = {method: _claims(found, examples, method) for method in ("linear", "knn")} if seeds > 1 else {}
    return {"root": examples.root, "scores": scored, "claims": claims}


def _claims(found: dict[str, Predictions], examples: Examples, method: str) -> dict[str, Any]:
    return {name: contrast(found, a, b, examples, method).to_dict() for name, (a, b) in CLAIMS.items()}


def _shared(part: str, flows: Sequence[Arm], out: Path, seeds: int, jobs: int, epochs: int) -> dict[str, Any]:
    learned = [
        Views(f"{flow.name}-{seed}", part, f"flow:{flow.run(out, seed)}", SIZE_PX)
        for seed in range(seeds)
        for flow in flows
    ]
    raw = Views("rgb", part, "split:rgb", SIZE_PX)
    return information([raw, *learned], out, jobs=jobs, options=("--epochs", str(epochs)))


def last_line(run: Path) -> dict[str, Any]:
    """Return the last window of a run's metrics: what became of the game, over-shrinking included."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    line: dict[str, Any] = json.loads(lines[-1])
    return line


def table(result: dict[str, Any]) -> list[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    lines = ["| arm | " + " | ".join(f"{name}: linear, kNN" for name in result["sets"]) + " | I_NCE, nats |"]
    lines.append("|---" * (len(result["sets"]) + 2) + "|")
    for arm in next(iter(result["sets"].values()))["scores"]:
        cells = [_cell(one["scores"][arm]) for one in result["sets"].values()]
        lines.append(f"| {arm} | {' | '.join(cells)} | {_nats(result['information'], arm)} |")
    for name, one in result["sets"].items():
        lines += ["", *claim_lines(f"claim on {name}, linear probe", one["claims"].get("linear", {}))]
    return [*lines, "", *_remarks(result)]


def _cell(by_method: dict[str, Any]) -> str:
    return ", ".join(f"{100 * by_method[m]['mean']:.1f}" for m in ("linear", "knn"))


def _nats(shared: dict[str, Any], arm: str) -> str:
    own = [one for name, one in shared.items() if name == arm or name.rpartition("-")[0] == f"flow-{arm}"]
    return ", ".join(f"{one['nats']['i_nce']['mean']:.2f}" for one in own)


def _remarks(result: dict[str, Any]) -> list[str]:
    """Say how often flows hid too much: the known instability, beside the numbers that it may spoil."""
    told = []
    for name, lines in result["flows"].items():
        shares = ", ".join(f"{100 * (line.get('over_shrunk') or 0):.0f} %" for line in lines)
        nats = ", ".join(f"{line.get('i_nce_nats') or 0:.2f}" for line in lines)
        told.append(f"{name}: over-shrunk in {shares} of the last steps, I_NCE in training {nats} nats, seed by seed")
    return [*told, *(f"warning: {text}" for one in result["information"].values() for text in one["warnings"])]


if __name__ == "__main__":
    run_app(app)
