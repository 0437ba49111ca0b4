"""The images that mutual information is measured on: which groups, and which of them no critic learns from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from manifests import seeds
from manifests.dataset import DataSet, GroupIndex, decode_image
from manifests.errors import UserError
from trainer.order import choose_views

_HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class Setting:
    """What a number depends on, beside the views: only numbers of equal settings are comparable."""

    groups: int = 4096  # at most, the held-out ones among them
    batch: int = 128  # K
    epochs: int = 10
    seeds: int = 1  # critics
    size_px: int = 32
    width: int = 16  # of the critic's first layer
    learning_rate: float = 3e-3


@dataclass(frozen=True)
class Pool:
    """Stored images of the chosen groups, uint8 [N, stored, 3, H, W], and which of them are held out, [N]."""

    images: Tensor
    is_held_out: NDArray[np.bool_]


def read_pool(dataset: DataSet, stored: int, setting: Setting) -> Pool:
    """Read images of as many groups as are wanted, `stored` of each; whole positive_ids are held out."""
    index = dataset.groups()
    if index.offsets.shape[1] < stored:
        raise UserError(f"{dataset.url} has {index.offsets.shape[1]} image a group; views of a group need {stored}")
    chosen = seeds.permutation(0, "information/groups", len(index))[: setting.groups]
    ids = np.unique(index.positive_id[chosen])
    held = ids[seeds.permutation(0, "information/held out", len(ids))[: round(_HELD_OUT_SHARE * len(ids))]]
    is_held_out = np.isin(index.positive_id[chosen], held)
    rarer = int(min(is_held_out.sum(), (~is_held_out).sum()))
    if rarer < setting.batch:
        raise UserError(
            f"{dataset.url}: {len(chosen)} groups leave {rarer} to one side of the cut, fewer than a batch of "
            f"{setting.batch}; lower --batch"
        )
    views = choose_views(0, np.arange(len(chosen)), index.offsets.shape[1], stored)
    with ThreadPoolExecutor(4) as threads:
        images = list(threads.map(lambda row: _images(dataset, index, *row), zip(chosen.tolist(), views, strict=True)))
    return Pool(_stacked(images), is_held_out)


def _images(dataset: DataSet, index: GroupIndex, group: int, views: NDArray[np.int64]) -> NDArray[np.uint8]:
    shard = int(index.shard_position[group])
    places = [(int(index.offsets[group, view]), int(index.sizes[group, view])) for view in views]
    return np.stack([decode_image(dataset.read(shard, offset, size)) for offset, size in places])


def _stacked(images: list[NDArray[np.uint8]]) -> Tensor:
    """Bring all to the first one's size. Shapes: [stored, H, W, 3] each -> [N, stored, 3, H, W]."""
    height, width = images[0].shape[1:3]
    fitted = [one if one.shape[1:3] == (height, width) else _fitted(one, (width, height)) for one in images]
    return torch.from_numpy(np.stack(fitted)).permute(0, 1, 4, 2, 3)


def _fitted(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    fit_one = [ImageOps.fit(Image.fromarray(image), size, Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(image) for image in fit_one])
