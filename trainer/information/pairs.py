"""What two views are, as a few words: KIND, KIND:VALUE or KIND:key=value,key=value.

views              two stored images of a group: what a latent strategy, σ or guidance made alike
image              two augmented copies of one image
patch:16           two patches of one image, 16 px apart
split:lab          the first channel of a colour space and the other two
flow:FOLDER        likewise, of learned colours
frequency:1.5      what a blur of 1.5 px leaves, and what it takes away
`views` and `image` take augmentation=PRESET, crop=LEAST_SHARE and jitter=STRENGTH (1: SimCLR's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from learning.augment import PRESETS, Augmentation, augment, patch_pairs, preset, with_knobs
from manifests.errors import UserError
from manifests.settings import nearest
from trainer.config import Space
from trainer.flow_file import read_flow
from trainer.splits import FlowSplit, FrequencySplit, Split

Views = tuple[Tensor, Tensor]
Make = Callable[[Tensor, Tensor, int], Views]
_KEYS = ("augmentation", "crop", "jitter")


@dataclass(frozen=True)
class ViewPair:
    """How two views come of a group's images.

    `make(images uint8 [n, stored, 3, H, W], seeds int64 [n, 2], size_px)` returns both in 0 … 1, [n, C, size, size].
    """

    name: str
    make: Make
    stored: int = 1  # images of each group that it takes
    channels: tuple[int, int] = (3, 3)
    is_alike: bool = True  # both views have one law, so that one network sees both
    is_drawn: bool = True  # views differ from epoch to epoch


def view_pair(text: str) -> ViewPair:
    """Read a kind of views.

    Raises: UserError naming what is known.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KINDS:
        raise UserError(f"--view {text}: there are no views {kind!r}{nearest(kind, list(_KINDS))}")
    try:
        return _KINDS[kind](text, rest)
    except ValueError as error:
        raise UserError(f"--view {text}: {error}") from None


def _stored_views(text: str, rest: str) -> ViewPair:
    recipe = _recipe(rest, "none")
    return ViewPair(text, partial(_augmented, recipe), stored=2, is_drawn=recipe != preset("none"))


def _copies(text: str, rest: str) -> ViewPair:
    recipe = _recipe(rest, "weak")
    return ViewPair(text, partial(_augmented, recipe))


def _patches(text: str, rest: str) -> ViewPair:
    distance_px = int(rest) if rest.isdigit() else -1
    if distance_px < 0:
        raise ValueError("expected a distance in pixels, for example patch:16")
    return ViewPair(text, partial(_cut_patches, distance_px))


def _colours(text: str, rest: str) -> ViewPair:
    if rest not in get_args(Space):
        raise ValueError(f"there is no colour space {rest!r}{nearest(rest, get_args(Space))}")
    return _split_pair(text, Split(rest))


def _learned(text: str, rest: str) -> ViewPair:
    if not rest:
        raise ValueError("expected the folder of a run that learned views, for example flow:out/views")
    return _split_pair(text, FlowSplit(read_flow(Path(rest))))


def _bands(text: str, rest: str) -> ViewPair:
    blur_px = _number(rest or "?")
    if not blur_px > 0:
        raise ValueError("expected a blur in pixels above 0, for example frequency:1.5")
    return _split_pair(text, FrequencySplit(blur_px))


def _split_pair(text: str, split: Split) -> ViewPair:
    make = partial(_split, split)
    return ViewPair(text, make, channels=split.channels, is_alike=False, is_drawn=False)


_KINDS: dict[str, Callable[[str, str], ViewPair]] = {
    "views": _stored_views,
    "image": _copies,
    "patch": _patches,
    "split": _colours,
    "flow": _learned,
    "frequency": _bands,
}


def _recipe(rest: str, name: str) -> Augmentation:
    values = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    for key in values:
        if key not in _KEYS:
            raise ValueError(f"{key!r} is unknown{nearest(key, _KEYS)}")
    if (name := values.get("augmentation", name)) not in PRESETS:
        raise ValueError(f"there is no augmentation {name!r}{nearest(name, list(PRESETS))}")
    crop, jitter = (None if key not in values else _number(values[key]) for key in ("crop", "jitter"))
    if crop is not None and not 0 < crop <= 1:
        raise ValueError(f"crop is {crop:g}; expected a share of the image above 0, at most 1")
    if jitter is not None and not 0 <= jitter <= 2:
        raise ValueError(f"jitter is {jitter:g}; expected 0 to 2")
    return with_knobs(preset(name), crop_area=crop, jitter=jitter)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _augmented(recipe: Augmentation, images: Tensor, seeds: Tensor, size_px: int) -> Views:
    first, second = (augment(images[:, view % images.shape[1]], seeds[:, view], recipe, size_px) for view in range(2))
    return first, second


def _cut_patches(distance_px: int, images: Tensor, seeds: Tensor, size_px: int) -> Views:
    whole = augment(images[:, 0], seeds[:, 0], Augmentation(), 2 * size_px)
    return patch_pairs(whole, seeds[:, 1], size_px, distance_px)


@torch.no_grad()
def _split(split: Split, images: Tensor, seeds: Tensor, size_px: int) -> Views:
    whole = augment(images[:, 0], seeds[:, 0], Augmentation(), size_px)
    first, second = split.views(split.prepared(whole))
    return first / 2 + 0.5, second / 2 + 0.5
