"""MoCo's queue: keys of earlier batches with their ids, in buffers, so that a checkpoint holds them and the pointer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class KeyQueue(nn.Module):
    """A ring of the newest keys. Fresh rows are random, with ids that no image has.

    Shapes: keys [K, D] of unit length, ids int64 [K].
    """

    keys: Tensor
    ids: Tensor
    start: Tensor

    def __init__(self, length: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(length, dimensions), dim=1))
        self.register_buffer("ids", -1 - torch.arange(length))
        self.register_buffer("start", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor, ids: Tensor) -> None:
        """Overwrite the oldest rows with a batch's keys, the same ones on every rank; the config sees that they fit."""
        length = len(self.keys)
        places = (self.start + torch.arange(len(keys), device=keys.device)) % length
        self.keys[places], self.ids[places] = keys.to(self.keys.dtype), ids
        self.start.copy_((self.start + len(keys)) % length)
