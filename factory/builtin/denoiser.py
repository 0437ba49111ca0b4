"""The denoiser and its text encoder, trained together on cached latents by predicting v.

v = alpha * noise - sigma * latent (Salimans & Ho, arXiv:2202.00512, section 4). Stable Diffusion's shape, only small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from factory.builtin.captions import MAX_TOKENS, training_caption
from factory.builtin.emoji_data import Drawing
from factory.builtin.images import batch_numbers, generator
from learning.ema import Ema
from learning.schedule import ema_decay

_TRAINING_STEPS = 1000
_LEVEL_POWER = 0.6  # below 1: more of the strong noise
_EMA_HALF_LIFE_IMAGES = 30_000


def new_text_encoder(tokenizer: Any, width: int = 128, layers: int = 2) -> Any:
    """Return an untrained CLIPTextModel for a tokenizer's vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "eager"
    return CLIPTextModel(config)


def new_unet(text_width: int, channels: tuple[int, int] = (96, 136), latent_channels: int = 16) -> Any:
    """Return an untrained UNet2DConditionModel on 8x8 latents that looks at the text at 4x4 only, where it is cheap."""
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
    """Trains a UNet and a text encoder, and keeps the average of their weights."""

    def __init__(
        self, unet: Any, text_encoder: Any, tokenizer: Any, latents: torch.Tensor, rows: list[Drawing], seed: int
    ) -> None:
        self.model = nn.ModuleDict({"unet": unet.train(), "text_encoder": text_encoder.train()})
        self.average = Ema(self.model)
        self.tokenizer, self.latents, self.rows, self.seed = tokenizer, latents, rows, seed
        self.signal = new_scheduler().alphas_cumprod

    def parameters(self) -> list[nn.Parameter]:
        """List what is trained."""
        return list(self.model.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the mean squared error of v on the next batch."""
        numbers = batch_numbers(self.seed, images_seen, batch_images, len(self.rows))
        rng = generator(self.seed, images_seen)
        tokens = self._tokens([training_caption(self.rows[number], rng) for number in numbers])
        latents = self.latents[torch.from_numpy(numbers)]  # [B, C, 8, 8]
        noise = torch.from_numpy(rng.standard_normal(latents.shape, "float32"))
        steps = torch.from_numpy(_stratified_steps(rng, batch_images))
        alpha = self.signal[steps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - self.signal[steps]).sqrt().view(-1, 1, 1, 1)
        noisy = (alpha * latents + sigma * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            text = self.model["text_encoder"](tokens).last_hidden_state  # [B, 20, 128]
            predicted = self.model["unet"](noisy, steps, text).sample
        return nn.functional.mse_loss(predicted.float(), alpha * noise - sigma * latents), {}

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Move the average."""
        decay = ema_decay(images_seen, batch_images=batch_images, half_life_images=_EMA_HALF_LIFE_IMAGES)
        self.average.update(self.model, decay)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"model": self.model.state_dict(), "average": self.average.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])

    def _tokens(self, captions: list[str]) -> torch.Tensor:
        padded = self.tokenizer(captions, padding="max_length", truncation=True)
        return torch.tensor(padded.input_ids)  # [B, 20]


def _stratified_steps(rng: np.random.Generator, batch_images: int) -> np.ndarray:
    """Spread a batch's noise levels evenly, so that accidents are fewer, and more of them where noise is strong.

    Only above step 700 or so do words decide anything; samplers of a dozen steps never ask below 80.
    Source: Kingma et al., arXiv:2107.00630, appendix I.1 for the even spread.
    """
    slots = (np.arange(batch_images) + rng.random()) / batch_images
    return rng.permutation((slots**_LEVEL_POWER * _TRAINING_STEPS).astype(np.int64))
