"""python -m experiments.presets_smoke: does every preset train, and how far does it come in a few thousand images?

A smoke, not a comparison: one seed, an encoder of 32 px, and data that not every method is made for. Method, optimizer
and augmentation are the preset's own; widths, queues and patches shrink with the images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from torch import Tensor

from experiments.arms import Arm, Predictions, kept, logged, predictions, scores
from experiments.outcome import keep
from manifests import open_dataset
from manifests.canonical import canonical_json, sha256_hex
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.target import check_folder, local_path
from trainer.config import RunConfig, load_config, preset_names
from trainer.evaluation.evaluate import predicted
from trainer.evaluation.features import embed, random_encoder
from trainer.evaluation.sets import Examples, folder, load
from trainer.exported import export_folder, read_export_config

SET, SPLIT, SEED = "clipart26", "dev", 0
BATCH_IMAGES = 64
SMALL = {
    "encoder.backbone": "resnet18",
    "encoder.arguments": "{channels: [32, 64, 128, 256]}",
    "encoder.size_px": 32,
    "batch_images": BATCH_IMAGES,
}
VIT = "{img_size: 32, patch_size: 4, embed_dim: 128, depth: 4, num_heads: 4, dynamic_img_size: true}"
TEXT = "{width: 128, layers: 2, heads: 4, context: 64}"
FITTED = {  # to the small encoder, for presets whose method has such a size
    "queue": 2048,
    "jigsaw_px": 48,
    "patch_px": 16,
    "text": TEXT,
    "local_px": 16,
    "prototypes": 512,
}
app = new_app()


@dataclass(frozen=True)
class Data:
    """Folders or URLs: groups of 4 views or more with captions; images with labels; images with latents."""

    views: str
    labelled: str
    latent: str

    def of(self, config: RunConfig) -> str:
        """Return the one that a method can learn from."""
        if config.objective.name == "invert":
            return self.latent
        return self.labelled if getattr(config.objective, "reads_labels", False) else self.views


def arm(preset: str, images: int, data: Data) -> Arm:
    """Say how a preset is tried: its method and optimizer as they are, its sizes those of the smoke; pure."""
    config = load_config(preset)
    settings: dict[str, Any] = {**SMALL, "images": images, "log_images": max(BATCH_IMAGES, images // 10)}
    if config.encoder.backbone.startswith("vit"):
        settings |= {"encoder.backbone": config.encoder.backbone, "encoder.arguments": VIT}
    fields = type(config.objective).model_fields
    settings |= {f"objective.{name}": value for name, value in FITTED.items() if name in fields}
    changes = tuple(f"{key}={value}" for key, value in settings.items())
    return Arm(preset, "", preset, config_changes=changes, given=data.of(config))


@app.command()
def main(
    data: Annotated[str, typer.Option(help="data set of groups of 4 views or more, with captions")],
    labelled: Annotated[str, typer.Option(help="data set with labels, for presets that learn them")],
    latent: Annotated[str, typer.Option(help="data set of a latent generator, for the preset that guesses latents")],
    out: Annotated[Path, typer.Option(parser=local_path, help="Folder of runs and results")] = Path(
        "out/presets-smoke"
    ),
    images: Annotated[int, typer.Option(min=1000, help="Length of each training run")] = 6_000,
) -> None:
    """Train every preset, and score it beside its encoder untrained; the same command again resumes."""
    check_folder(out)
    given = Data(data, labelled, latent)
    arms = [arm(name, images, given) for name in preset_names()]
    failed = [one.name for one in arms if not _trained(one, out)]
    examples = load(folder(SET), SPLIT)
    rows = [row(one, out, examples) for one in arms if one.name not in failed]
    roots = {url: open_dataset(url).root for url in (data, labelled, latent)}
    facts = {"commit": code_commit(), "set": SET, "split": SPLIT, "root": examples.root, "data": roots}
    result = {**facts, "failed": failed, "rows": rows}
    keep(out, result, table__md="\n".join(table(result)) + "\n")
    print("\n".join(table(result)))
    if failed:
        raise UserError(f"{', '.join(failed)}: training failed; what it said is in {out / 'logs'}")


def _trained(one: Arm, out: Path) -> bool:
    if (one.run(out, SEED) / "encoder").exists():
        return True
    code = logged(one.name, one.pretrain_command(out, SEED), out, 1)
    print(f"{one.name}: {'done' if code == 0 else f'exit code {code}'}", flush=True)
    return code == 0


def row(one: Arm, out: Path, examples: Examples) -> dict[str, Any]:
    """Score one preset's encoder and the same architecture untrained, and read what its run said."""
    run = one.run(out, SEED)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {**predictions([one], out, examples, SPLIT, 1), "untrained": _untrained(run, out, examples)}
    scored = {name: {method: asdict(s) for method, s in by.items()} for name, by in scores(found, examples).items()}
    return {
        "preset": one.name,
        "images": lines[-1]["images_seen"],
        "seconds": lines[-1]["seconds"],
        "loss_first": lines[0]["loss"],
        "loss_last": lines[-1]["loss"],
        "feature_std_last": lines[-1].get("feature_std"),
        "scores": scored[one.name],
        "untrained": scored["untrained"],
    }


def _untrained(run: Path, out: Path, examples: Examples) -> Predictions:
    """Predict with fresh weights; runs of one architecture share what was predicted."""
    described = read_export_config(export_folder(run))
    shape = sha256_hex(canonical_json([described.get(key) for key in ("architecture", "model_args", "split", "timed")]))
    path = out / "predictions" / f"untrained-{shape[:12]}-{SPLIT}-{examples.root[:12]}.npz"

    def features(images: NDArray[np.uint8]) -> Tensor:
        return embed(random_encoder(run, images, SEED), images)

    return kept(path, lambda: predicted(features, examples, f"untrained, as {run.name}", print))


def table(result: dict[str, Any]) -> Sequence[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    lines = [
        "| preset (smoke) | images | s | loss, first → last tenth | neighbours | untrained | linear | untrained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        cells = [f"{100 * one[which][m]['mean']:.1f}" for m in ("knn", "linear") for which in ("scores", "untrained")]
        loss = f"{_number(one['loss_first'])} → {_number(one['loss_last'])}"
        lines.append(f"| {one['preset']} | {one['images']:,} | {one['seconds']:.0f} | {loss} | {' | '.join(cells)} |")
    lines += [f"| {name} | failed | | | | | | |" for name in result["failed"]]
    return lines


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    run_app(app)
