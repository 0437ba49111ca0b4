"""What lies inside the bank's models: timm's and transformers' networks, with features at three depths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

LEVELS = 3


class Trunk(nn.Module):
    """Normalised images to levels [n, C, h, w], shallow to deep, and pooled features [n, D]."""

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        raise NotImplementedError


class TimmTrunk(Trunk):
    """A network of timm without its classifier."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        reductions = [stage["reduction"] for stage in net.feature_info]
        is_flat = len(set(reductions)) == 1  # all blocks alike, as in a ViT: the last three would be nearly one
        self.places: int | list[int] = thirds(len(reductions)) if is_flat else min(LEVELS, len(reductions))

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        last, levels = self.net.forward_intermediates(pixels, indices=self.places, output_fmt="NCHW")
        return list(levels), self.net.forward_head(last, pre_logits=True).flatten(1)


class TransformersTrunk(Trunk):
    """A vision model of transformers; of one that also reads, the part that sees."""

    def __init__(self, net: nn.Module, size_px: int) -> None:
        super().__init__()
        self.net, self.size_px = net, size_px

    @classmethod
    def open(cls, folder: Path) -> TransformersTrunk:
        """Load a local folder; safetensors only, and no code of it."""
        from transformers import AutoModel

        net = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        seeing = getattr(net, "vision_model", net)
        return cls(seeing, int(getattr(seeing.config, "image_size", 224)))

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        found = self.net(pixel_values=pixels, output_hidden_states=True)
        maps = [as_map(state) for state in getattr(found, "reshaped_hidden_states", None) or found.hidden_states[1:]]
        places = thirds(len(maps)) if len({each.shape[1:] for each in maps}) == 1 else range(-min(LEVELS, len(maps)), 0)
        pooled = getattr(found, "pooler_output", None)
        pooled = maps[-1].mean((2, 3)) if pooled is None else pooled.flatten(1)
        return [maps[place] for place in places], pooled


def thirds(depth: int) -> list[int]:
    """Return the last block of each third of a network of so many blocks."""
    return sorted({max(1, round(depth * part / LEVELS)) - 1 for part in range(1, LEVELS + 1)})


def as_map(state: Tensor) -> Tensor:
    """Lay the tokens of a square of patches out as a map, without the class token and the like before them."""
    if state.ndim == 4:
        return state
    side = int(state.shape[1] ** 0.5)  # n tokens hold a square of patches and a few others
    patches = state[:, state.shape[1] - side * side :]  # [n, h * w, C]
    return patches.transpose(1, 2).reshape(len(state), state.shape[2], side, side)
