"""How well images keep to their prompts, by a text-image model that is given: CLIP's, in a local folder of safetensors.

An image is recognised where its own prompt is nearer to it than the prompts of so many other images.
Source: Hessel et al., arXiv:2104.08718, section 3 (CLIPScore, here the plain cosine).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from manifests.canonical import sha256_hex
from manifests.dataset import DataSet, open_dataset
from manifests.errors import UserError
from manifests.shard import file_sha256

BATCH_IMAGES = 32
OTHERS = 99
RESAMPLES = 1000
# What CLIP was trained with, where the folder has no preprocessor_config.json of its own.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_COLUMNS = ["stream_id", "shard", "key", "view", "offset", "size", "sha256", "status", "reason", "prompt"]


class TextImageModel:
    """A frozen CLIP with its tokenizer and preprocessing."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel

        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: expected a folder with a CLIP model's config.json, weights and tokenizer")
        try:
            self.net = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} holds no CLIP model with safetensors: {str(error).splitlines()[0]}") from None
        self.net.eval().requires_grad_(False)
        self.size_px = int(self.net.config.vision_config.image_size)
        self.mean, self.deviation = _normalisation(folder)

    @torch.inference_mode()
    def of_images(self, images: list[np.ndarray]) -> Tensor:
        """Embed uint8 images [H, W, 3], each of its own size; unit vectors [n, D]."""
        pixels = torch.cat([self._prepared(image) for image in images])
        found: Tensor = self.net.visual_projection(self.net.vision_model(pixel_values=pixels).pooler_output)
        return F.normalize(found.double(), dim=1)

    @torch.inference_mode()
    def of_prompts(self, prompts: list[str]) -> Tensor:
        """Embed prompts, cut to what the model reads; unit vectors [n, D]."""
        length = self.net.config.text_config.max_position_embeddings
        words = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        told = self.net.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return F.normalize(self.net.text_projection(told.pooler_output).double(), dim=1)

    def _prepared(self, image: np.ndarray) -> Tensor:
        pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
        sized = F.interpolate(pixels, size=(self.size_px,) * 2, mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        return (sized - mean) / deviation


def _weights_sha256(folder: Path) -> str:
    """Hash the weights; of several files their hashes, in the order of their names."""
    files = sorted(folder.glob("*.safetensors"))
    return file_sha256(files[0]) if len(files) == 1 else sha256_hex("".join(map(file_sha256, files)).encode())


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(told.get("image_mean", MEAN)), tuple(told.get("image_std", DEVIATION))


def adherence(url: str, folder: Path, *, images: int, seed: int) -> dict[str, Any]:
    """Measure on so many images of a data set, drawn at random.

    Raises: UserError for a data set without prompts, or with one prompt only, and for a folder without a model.
    """
    model, data = TextImageModel(folder), open_dataset(url)
    rows = _drawn(data, images, seed)
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    if len(prompts) < 2:
        raise UserError(f"{url}: {len(prompts)} prompts: expected two or more to tell images apart by")
    parts = [prompts[start : start + BATCH_IMAGES] for start in range(0, len(prompts), BATCH_IMAGES)]
    texts = torch.cat([model.of_prompts(part) for part in parts])
    cosines = torch.cat([model.of_images(part) @ texts.T for part in _batches(data, rows)]).numpy()  # [N, P]
    own = np.array([prompts.index(row["prompt"]) for row in rows])
    return {**scores(cosines, own, seed), "model": str(folder), "model_sha256": _weights_sha256(folder)}


def scores(cosines: np.ndarray, own: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the mean cosine to the own prompt, and how often it is the nearest among itself and OTHERS at most.

    Shapes: cosines [N, P]; own int [N], the column of the own prompt. The interval is a bootstrap's over images.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    others = min(OTHERS, cosines.shape[1] - 1)
    ours = cosines[np.arange(len(own)), own]
    rivals = [
        np.delete(row, column)[rng.permutation(len(row) - 1)[:others]] for row, column in zip(cosines, own, strict=True)
    ]
    is_recognised = ours > np.stack(rivals).max(1)
    drawn = is_recognised[rng.integers(len(own), size=(RESAMPLES, len(own)))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    recognised = {"mean": float(is_recognised.mean()), "low": float(low), "high": float(high)}
    return {"cosine": float(ours.mean()), "recognised": recognised, "other_prompts": others, "images": len(own)}


def _drawn(data: DataSet, images: int, seed: int) -> list[dict[str, Any]]:
    rows = [row for row in data.rows(_COLUMNS, ok_only=True).to_pylist() if row["prompt"]]
    if not rows:
        raise UserError(f"{data.url}: no image has a prompt: there is nothing to keep to")
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(rows))[:images]
    return [rows[number] for number in sorted(order)]


def _batches(data: DataSet, rows: list[dict[str, Any]]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(rows), BATCH_IMAGES):
        yield [data.image(row) for row in rows[start : start + BATCH_IMAGES]]
