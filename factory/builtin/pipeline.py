"""The trained networks as an ordinary StableDiffusionPipeline: in memory for previews, as a folder for the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

PROVENANCE_FILE = "viewmill.json"


def assemble(autoencoder: Any, text_encoder: Any, tokenizer: Any, unet: Any, scheduler: Any) -> Any:
    """Return a pipeline without a safety checker: it knows nothing but emoji."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load an exported folder in float32; return the pipeline and its viewmill.json."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))


@torch.inference_mode()
def sample(
    pipeline: Any, prompts: Sequence[str], *, steps: int, guidance: float, seed: int, batch_images: int = 32
) -> np.ndarray:
    """Return one picture a prompt, each from a seed of its own.

    Shapes: [N, H, W, 3] uint8.
    """
    pictures = []
    for start in range(0, len(prompts), batch_images):
        batch = list(prompts[start : start + batch_images])
        generators = [torch.Generator().manual_seed(seed + start + number) for number in range(len(batch))]
        with torch.autocast("cpu", torch.bfloat16):
            found = pipeline(
                batch, num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="np"
            )
        pictures.append((found.images * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def sheet(pictures: np.ndarray, columns: int, gap_px: int = 2) -> Image.Image:
    """Lay pictures out in rows on a grey ground."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    canvas = Image.new("RGB", (columns * (width + gap_px) + gap_px, rows * (height + gap_px) + gap_px), (200, 200, 200))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        canvas.paste(Image.fromarray(picture), (gap_px + column * (width + gap_px), gap_px + row * (height + gap_px)))
    return canvas
