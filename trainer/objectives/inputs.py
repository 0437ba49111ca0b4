"""What one step hands to an objective: crops of every image of a batch, and what is known of each image.

Images come in the order [b groups, m views]; crops of one kind are stacked in front of them, so that a batch may be cut
into whole groups along one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from learning.augment import Augmentation


@dataclass(frozen=True)
class Crop:
    """One kind of augmented copy that an objective wants of every image.

    Units: `count` copies; `size_px` the side; `grid` cuts each copy into grid² patches of `patch_px`, in a drawn order.
    """

    augmentation: Augmentation
    size_px: int
    count: int = 1
    grid: int = 0
    patch_px: int = 0


class Inputs(NamedTuple):
    """Shapes: n = b·m images; crops of a kind [count, n, 3, S, S], or [count, n, grid², 3, s, s] where it is cut."""

    crops: tuple[Tensor, ...]
    ids: Tensor  # int64 [n], the positive_id: equal where two images show the same thing
    images: Tensor  # int64 [n], a number that no other image of the run has: slot · m + view
    rows: Tensor  # int64 [n], the image's place among all stored images; the same in every epoch
    labels: Tensor  # int64 [n], -1 where there is none
    tokens: Tensor | None  # int64 [b, L], the caption of each group
    views: int  # m
    targets: Tensor | None = None  # float32 [n, T], what made each image
    class_ids: Tensor | None = None  # int64 [n], with targets: the class that was asked for, -1 for none

    def part(self, groups: slice) -> Inputs:
        """Return some of the groups, with all their images and crops."""
        images = slice(groups.start * self.views, groups.stop * self.views)
        return Inputs(
            crops=tuple(crop[:, images] for crop in self.crops),
            ids=self.ids[images],
            images=self.images[images],
            rows=self.rows[images],
            labels=self.labels[images],
            tokens=None if self.tokens is None else self.tokens[groups],
            views=self.views,
            targets=None if self.targets is None else self.targets[images],
            class_ids=None if self.class_ids is None else self.class_ids[images],
        )

    @property
    def groups(self) -> int:
        return len(self.ids) // self.views


def next_view(values: Tensor, views: int) -> Tensor:
    """Return for every image what belongs to the next view of its group, the first after the last.

    Shapes: [n, …] -> [n, …].
    """
    return stacked(values, len(values) // views).roll(-1, dims=1).flatten(0, 1)


def stacked(rows: Tensor, count: int) -> Tensor:
    """Cut rows into `count` equal stacks. Shapes: [count · n, …] -> [count, n, …]."""
    return rows.reshape(count, -1, *rows.shape[1:])
