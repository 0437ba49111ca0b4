"""Cuts images into a grid of patches in a drawn order, each from a drawn place within its cell: PIRL's jigsaw."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.augment.draws import uniform

_ORDER, _PLACE, _PAIR = 101, 102, 103  # streams of random numbers apart from the pipeline's


def jigsaw(images: Tensor, seeds: Tensor, grid: int, patch_px: int) -> Tensor:
    """Return every image's patches, shuffled by its own seed.

    Shapes: [B, C, S, S] and int64 [B] -> [B, grid², C, patch_px, patch_px]. Cells are S // grid px wide; what is left
    over at the right and below is not used.
    """
    cell_px = images.shape[2] // grid
    if patch_px > cell_px:
        raise ValueError(f"patch_px is {patch_px}, expected at most the {cell_px} px of a cell")
    cells = images[:, :, : grid * cell_px, : grid * cell_px].reshape(*images.shape[:2], grid, cell_px, grid, cell_px)
    cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B, grid², C, cell, cell]
    order = uniform(seeds, _ORDER, grid * grid).argsort(dim=1)  # [B, grid²]
    cells = cells[torch.arange(len(images), device=images.device)[:, None], order]
    corners = (uniform(seeds, _PLACE, 2 * grid * grid) * (cell_px - patch_px + 1)).long().view(-1, grid * grid, 2)
    return _windows(cells, corners, patch_px)


def patch_pairs(images: Tensor, seeds: Tensor, patch_px: int, distance_px: int) -> tuple[Tensor, Tensor]:
    """Cut two patches out of every image, one so far below or to the right of the other, by its own seed.

    Shapes: [B, C, S, S] and int64 [B] -> [B, C, patch_px, patch_px] each. Source: arXiv:2005.10243 section 4.1.
    """
    side = images.shape[2]
    if patch_px + distance_px > side:
        raise ValueError(f"patches of {patch_px} px, {distance_px} px apart, do not fit into {side} px")
    draws = uniform(seeds, _PAIR, 3)
    along = (draws[:, 1] * (side - patch_px - distance_px + 1)).long()
    across = (draws[:, 2] * (side - patch_px + 1)).long()
    is_below = draws[:, 0] < 0.5
    top, left = torch.where(is_below, along, across), torch.where(is_below, across, along)
    below, right = distance_px * is_below, distance_px * ~is_below
    corners = torch.stack([torch.stack([top, left], 1), torch.stack([top + below, left + right], 1)], dim=1)
    pairs = _windows(images[:, None].expand(-1, 2, -1, -1, -1), corners, patch_px)  # [B, 2, C, p, p]
    return pairs[:, 0], pairs[:, 1]


def _windows(cells: Tensor, corners: Tensor, patch_px: int) -> Tensor:
    """Cut a window out of every cell. Shapes: [B, P, C, s, s], corners int64 [B, P, 2] -> [B, P, C, p, p]."""
    steps = torch.arange(patch_px, device=cells.device)
    rows = (corners[..., 0, None] + steps)[:, :, None, :, None]  # [B, P, 1, p, 1]
    columns = (corners[..., 1, None] + steps)[:, :, None, None, :]  # [B, P, 1, 1, p]
    channels = cells.shape[2]
    tall = cells.gather(3, rows.expand(-1, -1, channels, -1, cells.shape[4]))
    return tall.gather(4, columns.expand(-1, -1, channels, patch_px, -1))
