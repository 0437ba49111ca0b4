"""What the built-in model's pictures are worth: recognised, varied, and near the real ones, through EfficientNet-lite0.

Not comparable with published FID or KID numbers, which use another network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from factory.builtin import features, images, pipeline
from factory.builtin.images import ImageSet
from manifests.distances import frechet_distance, kernel_distance, kernel_distance_of_subsets, mean_group_distances

NEAREST = 10
_SAME_HAND = {"fluent-emoji-flat": "fluent-emoji"}  # near-duplicates of each other: one hand when styles are compared


@dataclass(frozen=True)
class Sizes:
    """How much to render for the numbers."""

    prompts: int = 50
    samples: int = 8
    groups: int = 512
    views: int = 4


def evaluate(
    model: Path, data: Path, out: Path, say: Callable[[str], None], *, sizes: Sizes = Sizes(), seed: int = 0
) -> dict[str, Any]:
    """Write out/quality.json and out/sheet.png for an exported model; return the numbers."""
    out.mkdir(parents=True, exist_ok=True)
    drawings = images.load(data)
    loaded, note = pipeline.load(model)
    settings = {"steps": note["defaults"]["steps"], "guidance": note["defaults"]["guidance_scale"]}
    net = features.backbone()
    say(f"features of {len(drawings.rows)} real drawings")
    real = _real_features(net, drawings, out)
    prompts = training_prompts(drawings, sizes.prompts, seed)
    say(f"{sizes.samples} samples of {len(prompts)} prompts")
    samples, images_per_s = _timed_samples(loaded, prompts, sizes.samples, settings, seed)
    contact_sheet(samples, prompts).save(out / "sheet.png", optimize=True)
    found = features.embed(net, samples.reshape(-1, *samples.shape[2:])).reshape(len(prompts), sizes.samples, -1)
    say(f"{sizes.views} views of {sizes.groups} groups")
    many, groups = _views(loaded, net, drawings, sizes, settings, seed)
    numbers = {
        "model": {name: note.get(name) for name in ("data_set_root", "denoiser_images_seen", "parameters")},
        "settings": settings,
        "images_per_s": images_per_s,
        "recognised": recognised(found, prompts, real, drawings),
        "recognised_real_drawings": ceiling(prompts, real, drawings),
        "group_distances": _ratio(many, groups, real, drawings),
        "kernel_distance": _distances(many, real, drawings, seed),
    }
    (out / "quality.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return numbers


def training_prompts(drawings: ImageSet, count: int, seed: int) -> list[str]:
    """Choose training identities at random, equally many from each of the eight groups as far as possible."""
    by_group: dict[str, list[str]] = {}
    for row in drawings.part("train").rows:
        labels = by_group.setdefault(row.x_group, [])
        if row.caption not in labels:
            labels.append(row.caption)
    rng = np.random.Generator(np.random.Philox(key=seed))
    shuffled = [[labels[number] for number in rng.permutation(len(labels))] for labels in by_group.values()]
    longest = max(len(labels) for labels in shuffled)
    in_turn = [labels[turn] for turn in range(longest) for labels in shuffled if turn < len(labels)]
    return in_turn[:count]


def recognised(samples: np.ndarray, prompts: Sequence[str], real: np.ndarray, drawings: ImageSet) -> dict[str, float]:
    """Return how often the prompt's emoji is among the nearest identities: of one sample, and of the best one.

    Shapes: samples [P, S, D], real [N, D].
    """
    labels = [row.caption for row in drawings.rows]
    ranks = [
        [identity_rank(sample, prompt, real, labels) for sample in row]
        for row, prompt in zip(samples, prompts, strict=True)
    ]
    hits = np.array(ranks) < NEAREST
    return {
        "one_sample": float(hits.mean()),
        "best_of_samples": float(hits.any(1).mean()),
        "first_place_one_sample": float((np.array(ranks) == 0).mean()),
    }


def identity_rank(sample: np.ndarray, label: str, real: np.ndarray, labels: Sequence[str]) -> int:
    """Return an identity's place among all, ordered by the cosine of each one's nearest drawing; 0 is the nearest."""
    cosines = _unit(real) @ _unit(sample[None])[0]
    names, inverse = np.unique(np.asarray(labels), return_inverse=True)
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, inverse, cosines)
    return int((best > best[list(names).index(label)]).sum())


def ceiling(prompts: Sequence[str], real: np.ndarray, drawings: ImageSet) -> dict[str, float]:
    """Return the same rates for real drawings as queries, each against the drawings by other hands only."""
    hands = np.array([_SAME_HAND.get(row.x_style, row.x_style) for row in drawings.rows])
    labels = np.array([row.caption for row in drawings.rows])
    one, best = [], []
    for prompt in prompts:
        hits = [
            identity_rank(real[query], prompt, real[hands != hands[query]], labels[hands != hands[query]]) < NEAREST
            for query in np.flatnonzero(labels == prompt)
            if ((hands != hands[query]) & (labels == prompt)).any()
        ]
        one += hits
        best.append(any(hits))
    return {"one_drawing": float(np.mean(one)), "best_of_styles": float(np.mean(best))}


def contact_sheet(samples: np.ndarray, prompts: Sequence[str], columns: int = 10, shown: int = 4) -> Image.Image:
    """Draw the first four samples of every prompt as a tile with its prompt below."""
    tiles = [pipeline.sheet(row[:shown], columns=2) for row in samples]
    width, height = tiles[0].width + 6, tiles[0].height + 16
    canvas = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (tile, prompt) in enumerate(zip(tiles, prompts, strict=True)):
        left, top = number % columns * width, number // columns * height
        canvas.paste(tile, (left, top))
        pen.text((left + 2, top + tile.height + 1), prompt[:24], fill="black")
    return canvas


def _real_features(net: Any, drawings: ImageSet, out: Path) -> np.ndarray:
    """Look at the real drawings once for all evaluations that go to `out`."""
    path = out / f"features-{drawings.root[:12]}.npy"
    if not path.exists():
        np.save(path, features.embed(net, drawings.pixels))
    return np.asarray(np.load(path, allow_pickle=False))


def _timed_samples(
    loaded: Any, prompts: Sequence[str], count: int, settings: dict[str, Any], seed: int
) -> tuple[np.ndarray, float]:
    pipeline.sample(loaded, prompts[:8], **{**settings, "steps": 2}, seed=seed)  # warm-up
    repeated = [prompt for prompt in prompts for _ in range(count)]
    start_s = time.monotonic()
    pictures = pipeline.sample(loaded, repeated, **settings, seed=seed)
    images_per_s = len(pictures) / (time.monotonic() - start_s)
    return pictures.reshape(len(prompts), count, *pictures.shape[1:]), images_per_s


def _views(
    loaded: Any, net: Any, drawings: ImageSet, sizes: Sizes, settings: dict[str, Any], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    prompts = training_prompts(drawings, sizes.groups, seed + 1)
    repeated = [prompt for prompt in prompts for _ in range(sizes.views)]
    pictures = pipeline.sample(loaded, repeated, **settings, seed=seed + 1_000_000)
    return features.embed(net, pictures), np.repeat(np.arange(len(prompts)), sizes.views)


def _ratio(many: np.ndarray, groups: np.ndarray, real: np.ndarray, drawings: ImageSet) -> dict[str, float]:
    within, between = mean_group_distances(many, groups)
    real_within, real_between = mean_group_distances(real, [row.caption for row in drawings.rows])
    return {
        "within": within,
        "between": between,
        "ratio": within / between,
        "ratio_of_real_drawings": real_within / real_between,
    }


def _distances(many: np.ndarray, real: np.ndarray, drawings: ImageSet, seed: int) -> dict[str, Any]:
    held_out = np.array([row.split == "test" for row in drawings.rows])
    training, unseen = real[~held_out], real[held_out]
    mean, deviation = kernel_distance_of_subsets(many, training, subset_images=1000, subsets=20, seed=seed)
    return {
        "samples_to_training": kernel_distance(many, training),
        "samples_to_training_of_1000": [mean, deviation],
        "held_out_real_to_training": kernel_distance(unseen, training),
        "frechet_samples_to_training": frechet_distance(many, training),
        "frechet_held_out_real_to_training": frechet_distance(unseen, training),
        "samples_images": len(many),
        "training_images": len(training),
        "held_out_images": len(unseen),
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
