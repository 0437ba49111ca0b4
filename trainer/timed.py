"""A backbone that is told the time: E(x0, t), the code of an image as a curve over the levels of noise.

Every stage that timm names is scaled and shifted by an embedding of the time, by 0 at first. The stages keep their
names. Source: Abstreiter et al., arXiv:2105.14257 section 3.2; the modulation: Perez et al., arXiv:1709.07871.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from learning.score_net import TimeFeatures, zeroed
from manifests.errors import UserError

_WIDTH = 64


class TimedBackbone(nn.Module):
    """Maps images and times in [0, 1] to features; without times, at `default_time`.

    Shapes: [n, 3, S, S], [n] -> [n, D].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.default_time = 0.5
        stages = _stages(model)
        self.embedding = nn.Sequential(TimeFeatures(_WIDTH), nn.Linear(_WIDTH, _WIDTH), nn.SiLU())
        self.changes = nn.ModuleList(zeroed(nn.Linear(_WIDTH, 2 * channels)) for _, channels in stages)
        for place, (name, _) in enumerate(stages):
            model.get_submodule(name).register_forward_hook(_Change(self, place))
        self.told: Tensor | None = None

    def forward(self, images: Tensor, times: Tensor | None = None) -> Tensor:
        if times is None:
            times = images.new_full((len(images),), self.default_time)
        self.told = self.embedding(times.to(images.dtype))
        try:
            features: Tensor = self.model(images)
            return features
        finally:
            self.told = None

    def changed(self, place: int, hidden: Tensor) -> Tensor:
        """Scale and shift a stage's output, whose channels come second in maps and last in tokens."""
        assert self.told is not None
        scale, shift = self.changes[place](self.told).to(hidden.dtype).chunk(2, dim=1)
        around = (1,) * (hidden.ndim - 2)
        is_map = hidden.ndim == 4 and hidden.shape[1] == scale.shape[1]
        shape = (len(hidden), -1, *around) if is_map else (len(hidden), *around, -1)
        result: Tensor = hidden * (1 + scale.view(shape)) + shift.view(shape)
        return result


class _Change:
    """One stage's hook; an object, so that a copied backbone is changed by its own copy."""

    def __init__(self, backbone: TimedBackbone, place: int) -> None:
        self.backbone, self.place = backbone, place

    def __call__(self, module: nn.Module, inputs: object, hidden: Tensor) -> Tensor:
        return self.backbone.changed(self.place, hidden)


def _stages(model: Any) -> list[tuple[str, int]]:
    """Names and channels of a model's stages, as timm lists them."""
    found = getattr(model, "feature_info", None)
    stages = [(str(one["module"]), int(one["num_chs"])) for one in found or [] if one.get("module")]
    known = dict(model.named_modules())
    if not stages or any(name not in known for name, _ in stages):
        raise UserError(
            f"encoder.timed: timm names no stages of a {type(model).__name__}; take a ResNet or a vision transformer"
        )
    return stages
