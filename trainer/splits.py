"""How an image is cut in two for an encoder of two backbones: by colour, by a learned change of colours, by frequency.

`prepared` is done once when crops are made; calling a split cuts, and may have parameters that learn. The halves lie
one behind the other along the channels, `channels` of each. InfoMin (arXiv:2005.10243) sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learning.bands import frequency_views
from learning.colour_spaces import convert
from learning.flow import FlowShape, PixelFlow
from manifests.errors import UserError
from trainer.config import EncoderConfig, FlowConfig
from trainer.flow_file import LearnedColours, read_flow


class Split(nn.Module):
    """Cuts by the channels of a colour space: its first one, and the other two."""

    channels = (1, 2)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def prepared(self, images: Tensor) -> Tensor:
        """Return images in 0 … 1 as `forward` wants them. Shapes: [n, 3, H, W]."""
        return convert(images, self.name)

    def forward(self, images: Tensor) -> Tensor:
        """Return both halves. Shapes: [n, 3, H, W] -> [n, sum of channels, H, W]."""
        return images

    def views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return both halves, each by itself."""
        first, others = self(images).split(self.channels, dim=1)
        return first, others

    def described(self) -> dict[str, Any]:
        """Return what an export's config.json says of it."""
        return {"split": self.name}


class FlowSplit(Split):
    """Cuts by the channels of learned colours; the flow stays as it is, but for the objective that learns it."""

    def __init__(self, learned: LearnedColours) -> None:
        super().__init__("flow")
        self.space = learned.space
        self.flow = learned.flow.requires_grad_(False)

    @property
    def learned(self) -> LearnedColours:
        """The flow and where it begins, as a file holds them."""
        return LearnedColours(self.space, self.flow)

    def prepared(self, images: Tensor) -> Tensor:
        return convert(images, self.space)

    def forward(self, images: Tensor) -> Tensor:
        views: Tensor = self.flow(images)[0]
        return views

    @torch.no_grad()
    def inversion_error(self, images: Tensor) -> Tensor:
        """Return by how much images differ from what the flow's inverse makes of their views, at most."""
        return (self.flow.inverse(self.flow(images)[0]) - images).abs().max()


class FrequencySplit(Split):
    """Cuts into what a Gaussian blur leaves, and what it takes away."""

    channels = (3, 3)

    def __init__(self, blur_px: float) -> None:
        super().__init__("frequency")
        self.blur_px = blur_px

    def prepared(self, images: Tensor) -> Tensor:
        return images * 2 - 1

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(frequency_views(images, self.blur_px), dim=1)

    def described(self) -> dict[str, Any]:
        return {**super().described(), "blur_px": self.blur_px}


def build_split(config: EncoderConfig) -> Split | None:
    """Return the split that a config asks for, a learned one with its weights.

    Raises: UserError where the weights' shape is another than the config's.
    """
    if config.split is None:
        return None
    if config.split == "frequency":
        return FrequencySplit(config.blur_px)
    return FlowSplit(_colours(config.flow)) if config.split == "flow" else Split(config.split)


def exported_split(config: Mapping[str, Any], folder: Path) -> Split | None:
    """Return the split of an export, whose flow lies beside its weights."""
    name = config.get("split")
    if name is None:
        return None
    if name == "frequency":
        return FrequencySplit(float(config["blur_px"]))
    return FlowSplit(read_flow(folder)) if name == "flow" else Split(str(name))


def _colours(config: FlowConfig) -> LearnedColours:
    shape = FlowShape(config.coupling, config.couplings, config.hidden)
    if config.weights is None:
        return LearnedColours(config.space, PixelFlow(shape))
    learned = read_flow(Path(config.weights))
    if (learned.space, learned.flow.shape) != (config.space, shape):
        found = learned.flow.shape
        wanted = f"space={learned.space}, coupling={found.coupling}, couplings={found.couplings}, hidden={found.hidden}"
        raise UserError(f"encoder.flow: {config.weights} holds another flow; set encoder.flow to {wanted}")
    return learned
