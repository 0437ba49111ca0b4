"""How much an image of a group says of another: I_NCE by fresh encoders, scored on anchors that nobody has seen.

Half of the pairs are an anchor and a view, half are two views. Anchors, noises, encoders' beginnings and pixel
augmentations are the same for every way, so that ways are compared in pairs. I_NCE cannot exceed log K; near it, it
says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from factory.walks.config import Estimator, NavigatorConfig
from factory.walks.file import FloatArray
from factory.walks.frozen import Frozen, shown
from factory.walks.navigation import Way, pair_steps, pixel_seeds
from learning.augment import augment, preset
from learning.information import batches, fit, info_nce, is_near_ceiling
from learning.pair_encoder import PairEncoder
from manifests import seeds

_BATCH, _RESAMPLINGS = 32, 2000


@dataclass(frozen=True)
class Pool:
    """Two images of each group, as a data set would hold them, uint8 [N, 3, H, W]."""

    first: Tensor
    second: Tensor


def draw_pool(frozen: Frozen, way: Way, seed: int, purpose: str, images: int) -> Pool:
    """Draw a pool of pairs; anchors and noises of one seed and purpose are the same for every way."""
    pairs: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number in range(-(-images // _BATCH)):
        latents = frozen.latents(seed, purpose, number, _BATCH)
        with torch.no_grad():
            for side, step in zip(pairs, pair_steps(way, latents, seeds.derive(seed, purpose), number), strict=True):
                side.append(shown(frozen.images(latents, step)))
    first, second = (torch.cat(side)[:images] for side in pairs)
    return Pool(first, second)


def held_out_losses(training: Pool, test: Pool, config: NavigatorConfig, seed: int) -> FloatArray:
    """Train a fresh encoder on one pool; return its loss on each batch of K anchors of the other, in nats."""
    estimator = config.estimator
    torch.manual_seed(seed)
    encoder = PairEncoder(config.encoder_width).to(training.second.device)
    _train(encoder, training, config, seed)
    encoder.eval()
    losses = []
    with torch.no_grad():
        for number, rows in enumerate(batches(torch.arange(len(test.second)), estimator.batch_images)):
            losses.append(_loss(encoder, test, rows, config, f"test/{seed}/{number}").item())
    return np.array(losses)


def compare(frozen: Frozen, ways: Mapping[str, Way], config: NavigatorConfig, purpose: str, count: int) -> FloatArray:
    """Return I_NCE in nats of each way, for each seed and batch of held-out anchors: [ways, seeds, batches]."""
    estimator, tables = config.estimator, []
    for way in ways.values():
        sizes = {"training": estimator.training_images, "test": estimator.test_images}
        pools = [draw_pool(frozen, way, config.seed, f"{purpose}/{part}", size) for part, size in sizes.items()]
        losses = [held_out_losses(pools[0], pools[1], config, config.seed + number) for number in range(count)]
        tables.append(math.log(estimator.batch_images) - np.stack(losses))
    return np.stack(tables)


def report(table: FloatArray, estimator: Estimator) -> dict[str, Any]:
    """Compare the first way with the second: means, and the difference with its 95 % interval over seeds and batches.

    It holds when the interval excludes 0 and all seeds agree.
    """
    difference = table[0] - table[1]  # [seeds, batches]
    low, high = _interval(difference)
    ceiling = math.log(estimator.batch_images)
    means = table.mean(axis=(1, 2))
    return {
        "navigator_nats": float(means[0]),
        "gaussian_nats": float(means[1]),
        "difference_nats": float(difference.mean()),
        "difference_low_nats": low,
        "difference_high_nats": high,
        "by_seed_nats": [float(value) for value in difference.mean(axis=1)],
        "ceiling_nats": ceiling,
        "near_ceiling": is_near_ceiling(float(means.max()), estimator.batch_images),
        "seeds": len(difference),
        "test_images": difference.shape[1] * estimator.batch_images,
        "lowers": bool(high < 0 and (difference.mean(axis=1) < 0).all()),
    }


def _interval(difference: FloatArray) -> tuple[float, float]:
    rng = np.random.Generator(np.random.Philox(key=0))
    count, batches = difference.shape
    means = []
    for _ in range(_RESAMPLINGS):
        rows, columns = rng.integers(count, size=count), rng.integers(batches, size=batches)
        means.append(difference[np.ix_(rows, columns)].mean())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _train(encoder: PairEncoder, pool: Pool, config: NavigatorConfig, seed: int) -> None:
    estimator = config.estimator
    count = len(pool.second)
    orders = [torch.from_numpy(seeds.permutation(seed, f"epoch/{e}", count)) for e in range(estimator.epochs)]

    def loss(rows: Tensor, seen: int) -> Tensor:
        return _loss(encoder, pool, rows, config, f"train/{seed}/{seen}")

    fit(encoder, loss, orders, batch_images=estimator.batch_images, learning_rate=estimator.learning_rate)


def _loss(encoder: PairEncoder, pool: Pool, rows: Tensor, config: NavigatorConfig, purpose: str) -> Tensor:
    recipe, rows = preset(config.augmentation), rows.to(pool.second.device)
    codes = []
    for view, images in enumerate((pool.first, pool.second)):
        own = pixel_seeds(config.seed, f"{purpose}/{view}", len(rows)).to(rows.device)
        codes.append(encoder(augment(images[rows], own, recipe, config.crop_px)))
    return info_nce(codes[0], codes[1], config.temperature)
