"""The denoiser, trained on cached latents by predicting v. Stable Diffusion's shape, only small.

v = alpha * noise - sigma * latent (Salimans & Ho, arXiv:2202.00512, section 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from factory.builtin.captions import training_caption
from factory.builtin.emoji_data import Drawing
from factory.builtin.images import batch_numbers, generator
from factory.builtin.text_encoder import tokenize
from learning.ema import Ema
from learning.schedule import ema_decay

_TRAINING_STEPS = 1000
_LEVEL_POWER = 0.6  # below 1: more of the strong noise
_EMA_HALF_LIFE_IMAGES = 30_000


def new_unet(text_width: int, channels: tuple[int, int] = (96, 128), latent_channels: int = 16) -> Any:
    """Return an untrained UNet2DConditionModel on 8x8 latents that attends to the text at 4x4 only, where it is cheap.

    The pooled text also scales and shifts every block (after Perez et al., arXiv:1709.07871), next to the noise level.
    """
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
    unet.set_attn_processor(AttnProcessor())  # its backward pass is twice as fast on a CPU as fused attention's
    return unet.to(memory_format=torch.channels_last)


def new_scheduler() -> Any:
    """Return the noise schedule, as the sampler that the exported model ships with."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=_TRAINING_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
    )


class DenoiserLearner:
    """Trains a UNet beside a text encoder that stays as it is, and keeps the average of its weights."""

    def __init__(
        self, unet: Any, text_encoder: Any, tokenizer: Any, latents: torch.Tensor, rows: list[Drawing], seed: int
    ) -> None:
        self.unet, self.text_encoder = unet.train(), text_encoder.eval().requires_grad_(False)
        self.average = Ema(unet)
        self.tokenizer, self.latents, self.rows, self.seed = tokenizer, latents, rows, seed
        self.signal = new_scheduler().alphas_cumprod

    def parameters(self) -> list[nn.Parameter]:
        """List what is trained."""
        return list(self.unet.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the mean squared error of v on the next batch."""
        numbers = batch_numbers(self.seed, images_seen, batch_images, len(self.rows))
        rng = generator(self.seed, images_seen)
        tokens = tokenize(self.tokenizer, [training_caption(self.rows[number], rng) for number in numbers])
        latents = self.latents[torch.from_numpy(numbers)]  # [B, C, 8, 8]
        noise = torch.from_numpy(rng.standard_normal(latents.shape, "float32"))
        steps = torch.from_numpy(_stratified_steps(rng, batch_images))
        alpha = self.signal[steps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.signal[steps]).sqrt().view(-1, 1, 1, 1)
        noisy = (alpha * latents + sigma * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            text = self.text_encoder(tokens).last_hidden_state  # [B, 16, 128]
            predicted = self.unet(noisy, steps, text).sample
        return nn.functional.mse_loss(predicted.float(), alpha * noise - sigma * latents), {}

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Move the average."""
        decay = ema_decay(images_seen, batch_images=batch_images, half_life_images=_EMA_HALF_LIFE_IMAGES)
        self.average.update(self.unet, decay)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"unet": self.unet.state_dict(), "average": self.average.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.unet.load_state_dict(state["unet"])
        self.average.load_state_dict(state["average"])


def _stratified_steps(rng: np.random.Generator, batch_images: int) -> np.ndarray:
    """Spread a batch's noise levels evenly, so that accidents are fewer, and more of them where noise is strong.

    Only above step 700 or so do words decide anything; samplers of a dozen steps never ask below 80.
    Source: Kingma et al., arXiv:2107.00630, appendix I.1 for the even spread.
    """
    slots = (np.arange(batch_images) + rng.random()) / batch_images
    return rng.permutation((slots**_LEVEL_POWER * _TRAINING_STEPS).astype(np.int64))
