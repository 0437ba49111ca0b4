"""What every family of generators looks like to the render loop.

A request says everything that decides one view; a generator turns a batch of requests into pixels. The pixels of a
view depend on its request, the batch size and the numerics alone: never on its neighbours, its slot, or what was
rendered before.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from factory.views.protocol import Edit, LatentSpace, Vector


@dataclass(frozen=True)
class ViewRequest:
    """One view to render, at one attempt; `seed` is the view's own and already counts the attempt."""

    group: int
    view: int
    attempt: int
    seed: int
    prompt: str = ""
    negative_prompt: str = ""
    guidance_scale: float = 0.0
    class_id: int | None = None
    group_seed: int = 0
    latent: Vector | None = None  # z, where the generator starts from one
    edit: Edit | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)  # the strategy's numbers, as they stand in the row


@dataclass
class Rendered:
    """What came back for n requests, in their order.

    Shapes: pixels uint8 [n, H, W, 3]; finite, flagged bool [n].
    """

    pixels: np.ndarray
    finite: np.ndarray
    flagged: np.ndarray


class Generator(Protocol):
    """A loaded image generator; it owns its device memory until `close`."""

    name: str
    licence: str
    space: LatentSpace | None  # None: it is driven by prompts

    def fingerprint(self) -> dict[str, str]:
        """Name all that decides a pixel about the weights; `sha256` is a Merkle hash over the files really loaded."""

    def prepare(self, prompts: Sequence[tuple[str, str]]) -> None:
        """Encode each unique (prompt, negative prompt) once, in batches of one fixed shape; call it once per shard."""

    def batch_key(self, request: ViewRequest) -> Hashable:
        """Return what requests must share to be rendered in one batch."""

    def render(self, batch: Sequence[ViewRequest], batch_size: int) -> Rendered:
        """Render at most `batch_size` requests of one batch key; a short batch is padded and the padding cut off."""

    def row(self, request: ViewRequest) -> dict[str, Any]:
        """Return the columns of the view's row that this family fills in."""

    def close(self) -> None:
        """Free the weights."""
