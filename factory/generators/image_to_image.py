"""Views that set out from the anchor's image, noised again (SDEdit, Meng et al. 2022), with diffusers' own pipelines.

The anchor is drawn from the group's seed in a batch of the planned shape: so a view needs nothing but its own row,
and an anchor that was kept is bit for bit the one that would be drawn again.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import diffusers
import torch

from factory.generators.protocol import ViewRequest

PIPELINES = {
    "StableDiffusionPipeline": "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLImg2ImgPipeline",
    "LatentConsistencyModelPipeline": "LatentConsistencyModelImg2ImgPipeline",
    "StableDiffusion3Pipeline": "StableDiffusion3Img2ImgPipeline",
    "FluxPipeline": "FluxImg2ImgPipeline",
}
MAX_KEPT = 256

Draw = Callable[[Sequence[ViewRequest]], torch.Tensor]


class ImageToImage:
    """A pipeline's twin that starts from images, on the same weights."""

    def __init__(self, pipe: Any, pipeline: str) -> None:
        cls = getattr(diffusers, PIPELINES[pipeline])
        wanted = set(inspect.signature(cls.__init__).parameters)
        settings = {name: value for name, value in pipe.config.items() if name in wanted - set(pipe.components)}
        self._pipe = cls(**{**settings, **pipe.components})
        self._pipe.set_progress_bar_config(disable=True)
        self._known = set(inspect.signature(cls.__call__).parameters)
        self._anchors: OrderedDict[tuple[object, ...], torch.Tensor] = OrderedDict()

    def __call__(self, batch: Sequence[ViewRequest], arguments: dict[str, Any], draw: Draw) -> Any:
        """Draw a full batch that shares its strength; `draw` renders full batches from noise."""
        strength = float(batch[0].columns["strength"])
        given = {name: value for name, value in arguments.items() if name in self._known and name != "latents"}
        return self._pipe(**given, image=self._anchor_images(batch, draw), strength=strength)

    def _anchor_images(self, batch: Sequence[ViewRequest], draw: Draw) -> torch.Tensor:
        anchors = [replace(one, seed=one.group_seed, view=0, attempt=0, columns={}) for one in batch]
        names = [(one.seed, one.prompt, one.negative_prompt, one.guidance_scale, len(batch)) for one in anchors]
        found = {name: self._anchors[name] for name in names if name in self._anchors}
        missing = {name: one for name, one in zip(names, anchors, strict=True) if name not in found}
        if missing:
            wanted = list(missing.values())
            images = draw([*wanted, *[wanted[-1]] * (len(batch) - len(wanted))])  # [n, 3, H, W] in [0, 1]
            found |= {name: image.cpu() for name, image in zip(missing, images, strict=False)}
            self._keep({name: found[name] for name in missing})
        return torch.stack([found[name] for name in names])

    def _keep(self, images: dict[tuple[object, ...], torch.Tensor]) -> None:
        self._anchors.update(images)
        while len(self._anchors) > MAX_KEPT:
            self._anchors.popitem(last=False)
