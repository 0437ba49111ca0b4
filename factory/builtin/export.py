"""Turns a training run into an ordinary diffusers folder in half precision, with a note of where it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from factory.builtin.denoiser import new_scheduler, new_unet
from factory.builtin.emoji_sources import STYLES
from factory.builtin.pipeline import PROVENANCE_FILE, assemble
from factory.builtin.train_diffusion import Widths, finished_autoencoder, finished_text_encoder
from learning import checkpoint
from manifests.errors import UserError

LICENCE = "CC-BY-4.0"  # the strictest of the drawings' licences
DEFAULTS = {"steps": 12, "guidance_scale": 2.0, "width": 64, "height": 64}


def export(run: Path, out: Path, *, widths: Widths = Widths(), commit: str | None = None) -> dict[str, Any]:
    """Write the newest averaged weights of a run as a pipeline folder; return its viewmill.json.

    Raises: UserError where the run has no denoiser yet, or `out` exists.
    """
    found = checkpoint.load_newest(run / "denoiser" / "checkpoints")
    if found is None:
        raise UserError(
            f"{run} has no denoiser checkpoint yet: train it with `python -m factory builtin train-diffusion`"
        )
    if out.exists():
        raise UserError(f"{out} exists: give a new folder for the exported model")
    images_seen, state = found
    text_encoder, tokenizer = finished_text_encoder(run)
    unet = new_unet(widths.text, widths.unet, widths.latent_channels)
    unet.load_state_dict(state["learner"]["average"])
    pipeline = assemble(finished_autoencoder(run), text_encoder, tokenizer, unet, new_scheduler())
    provenance = _provenance(run, pipeline, images_seen, commit)
    _write(pipeline.to(torch.float16), provenance, run / "tokenizer", out)
    return provenance


def _provenance(run: Path, pipeline: Any, images_seen: int, commit: str | None) -> dict[str, Any]:
    networks = {"vae": pipeline.vae, "text_encoder": pipeline.text_encoder, "unet": pipeline.unet}
    sizes = {name: sum(weight.numel() for weight in net.parameters()) for name, net in networks.items()}
    made_from = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "name": "emoji-diffusion",
        "defaults": DEFAULTS,
        "parameters": {**sizes, "all": sum(sizes.values())},
        "denoiser_images_seen": images_seen,
        "commit": commit,
        **made_from,
        "licence": LICENCE,
    }


def _write(pipeline: Any, provenance: dict[str, Any], tokenizer: Path, out: Path) -> None:
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part, safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):  # what transformers read before version 5
        shutil.copy(tokenizer / name, part / "tokenizer" / name)
    _load_in_float32_by_default(part / "text_encoder" / "config.json")
    for config in part.glob("*/config.json"):
        _forget_where_it_lay(config)
    (part / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    (part / "README.md").write_text(_card(provenance), encoding="utf-8")
    part.rename(out)


_CARD = """---
license: {licence}
pipeline_tag: text-to-image
---
# emoji-diffusion

Draws emoji at 64x64 pixels in six mixed styles: {millions:.1f} M parameters, {steps} steps, guidance {guidance_scale}.
It knows the words of about 1,300 emoji names and nothing else.

Made by ViewMill's own commands `python -m factory builtin emoji-data`, `train-diffusion` and `export`; {note} says
from what. Trained on drawings of

{drawings}
"""


def _card(provenance: dict[str, Any]) -> str:
    """Return the model's card; the factory reads the licence from its front matter."""
    drawings = [f"- {style}: {package.name} {package.version}, {package.licence}" for style, package in STYLES.items()]
    return _CARD.format(
        licence=LICENCE.lower(),
        millions=provenance["parameters"]["all"] / 1e6,
        note=PROVENANCE_FILE,
        drawings="\n".join(drawings),
        **provenance["defaults"],
    )


def _forget_where_it_lay(config: Path) -> None:
    """Remove the folder that diffusers loaded a part from: it tells others about this machine and nothing else."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _load_in_float32_by_default(config: Path) -> None:
    """Transformers loads a model in the type its config names, diffusers in float32: make a plain load agree."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
