"""Which image sizes a pipeline can make, and the shape of the noise that they start from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.layouts import Layout
from manifests.errors import UserError


def image_size(pipe: Any, layout: Layout, source: DiffusionSource) -> tuple[int, int]:
    """Return (height, width) in pixels: the source's, or what the pipeline was trained for.

    Raises: UserError for a size that its networks cannot take.
    """
    own_height, own_width = _own_size(pipe)
    height, width = source.height or own_height, source.width or own_width
    check_size(height, width, int(pipe.vae_scale_factor), layout, getattr(pipe, layout.denoiser).config)
    return height, width


def check_size(height: int, width: int, factor: int, layout: Layout, denoiser: Mapping[str, Any]) -> None:
    """Refuse a size that the networks cannot take; `factor` is that of the autoencoder, `denoiser` a configuration.

    Raises: UserError with the sizes that they take.
    """
    step = size_step(factor, layout, denoiser)
    if height % step or width % step:
        near = ", ".join(str(max(side // step, 1) * step) for side in (width, height))
        raise UserError(f"width, height: got {width}, {height}; this model takes multiples of {step}, such as {near}")
    positions = denoiser.get("pos_embed_max_size")
    if positions and max(height, width) > positions * step:
        raise UserError(f"width, height: got {width}, {height}; this model takes at most {positions * step} a side")


def _own_size(pipe: Any) -> tuple[int, int]:
    own = getattr(pipe, "default_sample_size", None) or pipe.unet.config.sample_size
    height, width = (own, own) if isinstance(own, int) else own
    return height * pipe.vae_scale_factor, width * pipe.vae_scale_factor


def size_step(factor: int, layout: Layout, denoiser: Mapping[str, Any]) -> int:
    """Return the number of pixels that both sides must be a multiple of."""
    if layout.denoiser == "unet":
        return math.lcm(8, factor)  # the pipelines around a UNet insist on 8, whatever their autoencoder is
    return factor * (2 if layout.packed else int(denoiser.get("patch_size", 2)))


def latent_shape(pipe: Any, layout: Layout, height: int, width: int) -> tuple[int, int, int]:
    """Return (channels, height, width) of a view's noise, before any packing.

    Raises: UserError where the denoiser takes more than the latents, as those for inpainting do.
    """
    channels = int(getattr(pipe, layout.denoiser).config.in_channels) // (4 if layout.packed else 1)
    own = int(pipe.vae.config.latent_channels)
    if channels != own:
        raise UserError(
            f"the {layout.denoiser} takes {channels} channels where the autoencoder makes {own}:"
            " this is no text-to-image model (those for inpainting and editing are not supported)"
        )
    return channels, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor
