"""Text-to-image diffusion through the diffusers library, one view as reproducible as its seed.

A batch always has the size it was planned with, noise comes from each view's seed, embeddings from a cache of
fixed-shape batches: so neighbours and slot change no bit of a view.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.embeddings import Embeddings
from factory.generators.geometry import image_size, latent_shape
from factory.generators.image_to_image import ImageToImage
from factory.generators.loading import load_pipeline
from factory.generators.noise import first_noise, step_generators
from factory.generators.pixels import resized, to_pixels
from factory.generators.protocol import Rendered, ViewRequest
from factory.generators.weights import fingerprint, inventory, model_name
from factory.views.protocol import LatentSpace
from manifests.errors import UserError


class Diffusion:
    """A diffusers pipeline behind the Generator protocol."""

    def __init__(self, source: DiffusionSource, *, device: str) -> None:
        items = inventory(source)
        self._fingerprint = fingerprint(items)
        self.name = model_name(items, self._fingerprint)
        self.licence = items.licence
        self.space: LatentSpace | None = None
        self._items = items
        self._source = source
        self._pipe = load_pipeline(source, items, device)
        self._embeddings = Embeddings(self._pipe, items.layout)
        self._height_px, self._width_px = image_size(self._pipe, items.layout, source)
        self._latent_shape = latent_shape(self._pipe, items.layout, self._height_px, self._width_px)
        self._finite = np.zeros(0, dtype=bool)
        self._pipe.vae.decoder.register_forward_hook(self._watch)

    def fingerprint(self) -> dict[str, str]:
        return self._fingerprint

    def prepare(self, prompts: Sequence[tuple[str, str]]) -> None:
        self._embeddings.keep_only(self._texts(prompts))

    def batch_key(self, request: ViewRequest) -> Hashable:
        """A pipeline's call takes one guidance scale, and one strength, for all of its images."""
        return request.guidance_scale, request.columns.get("strength")

    @torch.no_grad()
    def render(self, batch: Sequence[ViewRequest], batch_size: int) -> Rendered:
        padded = [*batch, *[batch[-1]] * (batch_size - len(batch))]
        self._embeddings.add(self._texts([(request.prompt, request.negative_prompt) for request in padded]))
        output = self._drawn(padded)
        n = len(batch)
        flags = getattr(output, "nsfw_content_detected", None) or [False] * batch_size
        pixels = to_pixels(output.images[:n], self._finite[:n])
        pixels = resized(pixels, self._source.resize_px, self._source.resize_filter)
        return Rendered(pixels, self._finite[:n], np.array(flags[:n], dtype=bool))

    def _drawn(self, batch: Sequence[ViewRequest]) -> Any:
        arguments = self._arguments(batch)
        if "strength" not in batch[0].columns:
            return self._pipe(**arguments)
        return self._from_images(batch, arguments, lambda anchors: self._drawn(anchors).images)

    @cached_property
    def _from_images(self) -> ImageToImage:
        return ImageToImage(self._pipe, self._items.pipeline)

    def row(self, request: ViewRequest) -> dict[str, Any]:
        return {
            "steps": self._source.steps,
            "scheduler": self._items.scheduler,
            "guidance_scale": request.guidance_scale,
            "latent_space": "noise",
        }

    def close(self) -> None:
        on_gpu = self._pipe._execution_device.type == "cuda"
        del self._pipe, self._embeddings
        self.__dict__.pop("_from_images", None)
        if on_gpu:
            torch.cuda.empty_cache()

    def _texts(self, prompts: Sequence[tuple[str, str]]) -> list[str]:
        """List all texts that need an embedding, positive ones first."""
        negatives = [negative for _, negative in prompts]
        if self._items.layout.negatives:
            return [*(prompt for prompt, _ in prompts), *negatives]
        if any(negatives):
            raise UserError(
                f"{self._source.model}: {self._items.pipeline} takes no negative prompt, got {max(negatives)!r}"
            )
        return [prompt for prompt, _ in prompts]

    def _arguments(self, batch: Sequence[ViewRequest]) -> dict[str, Any]:
        arguments: dict[str, Any] = self._embeddings.positive([request.prompt for request in batch])
        if self._items.layout.negatives:
            arguments |= self._embeddings.negative([request.negative_prompt for request in batch])
        if self._source.eta:
            arguments["eta"] = self._source.eta
        return arguments | {
            "latents": self._latents(batch),
            "generator": step_generators(batch),
            "guidance_scale": batch[0].guidance_scale,
            "num_inference_steps": self._source.steps,
            "height": self._height_px,
            "width": self._width_px,
            "output_type": "pt",
        }

    def _latents(self, batch: Sequence[ViewRequest]) -> torch.Tensor:
        noise = first_noise(batch, self._latent_shape)  # [n, C, h, w]
        if self._items.layout.packed:
            noise = self._pipe._pack_latents(noise, *noise.shape)  # [n, (h / 2) * (w / 2), 4 * C]
        return noise.to(self._pipe._execution_device, getattr(torch, self._source.dtype))

    def _watch(self, module: torch.nn.Module, inputs: Any, decoded: torch.Tensor) -> None:
        """See each image before it is clamped to [0, 1], which would hide an infinity."""
        self._finite = torch.isfinite(decoded).flatten(1).all(dim=1).cpu().numpy()
