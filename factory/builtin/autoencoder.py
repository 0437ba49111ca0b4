"""The autoencoder: 64x64 pictures to 8x8 latents of 16 channels and back.

Loss: L1 on pixels, on their differences and on patches' colours, a perceptual distance, and a small KL term (after
Rombach et al., arXiv:2112.10752).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from factory.builtin.features import PerceptualDistance
from factory.builtin.images import ImageSet, batch_numbers, generator, to_model

_GRADIENT_WEIGHT = 0.5
_COLOUR_WEIGHT = 1.0
_PERCEPTUAL_WEIGHT = 0.1
_KL_WEIGHT = 1e-3
_DECODER_NOISE = 0.1  # in units of a standard latent


def new_autoencoder(channels: tuple[int, ...] = (16, 48, 80, 96), latent_channels: int = 16) -> Any:
    """Return an untrained AutoencoderKL without attention."""
    from diffusers import AutoencoderKL

    blocks = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=channels,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    ).to(memory_format=torch.channels_last)


class AutoencoderLearner:
    """Trains an autoencoder on pictures, in bfloat16 where that is safe."""

    def __init__(self, autoencoder: Any, images: ImageSet, seed: int) -> None:
        self.autoencoder, self.images, self.seed = autoencoder.train(), images, seed
        self.perceptual = PerceptualDistance()

    def parameters(self) -> list[nn.Parameter]:
        """List what is trained."""
        return list(self.autoencoder.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of the next batch, and its parts."""
        numbers = batch_numbers(self.seed, images_seen, batch_images, len(self.images.rows))
        targets = to_model(self.images.pixels[numbers])
        noise = generator(self.seed, images_seen)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = self.autoencoder.encode(targets).latent_dist
            mean, log_variance = posterior.mean.float(), posterior.logvar.float()
            drawn = torch.from_numpy(noise.standard_normal(mean.shape, "float32"))
            latents = mean + torch.exp(0.5 * log_variance) * drawn
            images = self.autoencoder.decode(latents).sample.float()
            perceptual = self.perceptual(images, targets)
        likeness, parts = _likeness(images, targets, perceptual)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return likeness + _KL_WEIGHT * kl, {**parts, "kl": kl.item()}

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Do nothing: the cool-down averages enough."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"autoencoder": self.autoencoder.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.autoencoder.load_state_dict(state["autoencoder"])


class DecoderLearner:
    """Goes on training the decoder alone, on standard latents with a little noise: what a sampler will hand to it.

    The encoder stays as it is, so that this may run while the denoiser trains on the same latents.
    """

    def __init__(self, autoencoder: Any, latents: torch.Tensor, images: ImageSet, seed: int) -> None:
        self.autoencoder, self.latents, self.images, self.seed = autoencoder.train(), latents, images, seed
        self.trained = nn.ModuleDict({"decoder": autoencoder.decoder, "post_quant_conv": autoencoder.post_quant_conv})
        self.perceptual = PerceptualDistance()

    def parameters(self) -> list[nn.Parameter]:
        """List what is trained."""
        return list(self.trained.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of the next batch, and its parts."""
        numbers = batch_numbers(self.seed, images_seen, batch_images, len(self.images.rows))
        latents = self.latents[torch.from_numpy(numbers)]
        drawn = generator(self.seed, images_seen).standard_normal(latents.shape, "float32")
        targets = to_model(self.images.pixels[numbers])
        with torch.autocast("cpu", torch.bfloat16):
            images = self.autoencoder.decode(latents + _DECODER_NOISE * torch.from_numpy(drawn)).sample.float()
            perceptual = self.perceptual(images, targets)
        return _likeness(images, targets, perceptual)

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Do nothing: the cool-down averages enough."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"trained": self.trained.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.trained.load_state_dict(state["trained"])


@torch.inference_mode()
def encode(autoencoder: Any, images: ImageSet, batch_images: int = 64) -> torch.Tensor:
    """Return the mean latents of all pictures, [N, 16, 8, 8] float32."""
    autoencoder.eval()
    starts = range(0, len(images.rows), batch_images)
    batches = (to_model(images.pixels[start : start + batch_images]) for start in starts)
    return torch.cat([autoencoder.encode(batch).latent_dist.mean.contiguous() for batch in batches])


@torch.no_grad()
def standardise(autoencoder: Any, latents: torch.Tensor) -> None:
    """Fold the latents' channel means and common deviation into the 1x1 convolutions, so that a latent is near N(0, 1).

    A pipeline has only one scaling factor and no shift: so the network itself must give standard latents.
    """
    mean, deviation = latents.mean((0, 2, 3)), latents.std()
    before, after, channels = autoencoder.quant_conv, autoencoder.post_quant_conv, len(mean)
    before.weight[:channels] /= deviation
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.bias[channels:] -= 2 * deviation.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation


def _likeness(
    images: torch.Tensor, targets: torch.Tensor, perceptual: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    pixel = (images - targets).abs().mean()
    gradient = _difference_distance(images, targets)
    colour = _colour_distance(images, targets)
    total = pixel + _GRADIENT_WEIGHT * gradient + _COLOUR_WEIGHT * colour + _PERCEPTUAL_WEIGHT * perceptual
    parts = {"pixel": pixel, "gradient": gradient, "colour": colour, "perceptual": perceptual}
    return total, {name: value.item() for name, value in parts.items()}


def _colour_distance(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the L1 distance of 4x4 patches' red-green and blue-yellow: without it, green is learned last or never."""
    red, green, blue = nn.functional.avg_pool2d(images - targets, 4).unbind(1)
    return (red - green).abs().mean() + (blue - (red + green) / 2).abs().mean()


def _difference_distance(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    error = images - targets
    return (error[:, :, 1:] - error[:, :, :-1]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()
