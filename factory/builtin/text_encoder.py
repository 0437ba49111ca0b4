"""The text encoder: trained first, to tell from a caption what its drawing looks like, and then kept as it is.

Stable Diffusion too draws with a text encoder that has seen pictures before. A denoiser that has to learn its words on
the way spends nearly all of its gradients on noise: after 100 passes it knew less of what a word looks like than this
learns in two minutes (docs/emoji-diffusion.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from factory.builtin.captions import MAX_TOKENS, training_caption
from factory.builtin.emoji_data import Drawing
from factory.builtin.images import batch_numbers, generator

_CODE_SIZE = 128  # principal components; they hold 96 % of what a caption can tell about the latents


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


def tokenize(tokenizer: Any, captions: list[str]) -> torch.Tensor:
    """Return token numbers, padded with the end token.

    Shapes: [N, 16].
    """
    return torch.tensor(tokenizer(captions, padding="max_length", truncation=True).input_ids)


class TextLearner:
    """Trains a text encoder to predict the drawing's code at every token that has seen the whole caption."""

    def __init__(
        self, text_encoder: Any, tokenizer: Any, latents: torch.Tensor, rows: list[Drawing], seed: int
    ) -> None:
        codes = appearance_codes(latents, [row.caption for row in rows])
        head = nn.Linear(text_encoder.config.hidden_size, codes.shape[1])
        self.model = nn.ModuleDict({"text_encoder": text_encoder.train(), "head": head})
        self.tokenizer, self.codes, self.rows, self.seed = tokenizer, codes, rows, seed

    def parameters(self) -> list[nn.Parameter]:
        """List what is trained."""
        return list(self.model.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the mean squared error of the codes on the next batch."""
        numbers = batch_numbers(self.seed, images_seen, batch_images, len(self.rows))
        rng = generator(self.seed, images_seen)
        tokens = tokenize(self.tokenizer, [training_caption(self.rows[number], rng) for number in numbers])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model["text_encoder"](tokens).last_hidden_state  # [B, 16, 128]
        error = self.model["head"](hidden.float()) - self.codes[torch.from_numpy(numbers)][:, None]
        is_end = tokens == self.tokenizer.eos_token_id
        return error[is_end].square().mean(), {}

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Do nothing: the cool-down averages enough."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"model": self.model.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.model.load_state_dict(state["model"])


def appearance_codes(latents: torch.Tensor, captions: list[str], size: int = _CODE_SIZE) -> torch.Tensor:
    """Return each drawing's coordinates along the directions in which drawings of unlike captions differ most.

    They are half whitened (divided by the root of their deviation), so that a fine trait counts, though less than a
    coarse one, and scaled to a mean square of 1.
    Shapes: latents [N, ...], codes [N, size], or fewer columns where the captions are fewer.
    """
    flat = latents.flatten(1).double()
    flat = flat - flat.mean(0)
    groups = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    member = torch.tensor([groups[caption] for caption in captions])
    sums = torch.zeros(len(groups), flat.shape[1], dtype=torch.float64).index_add_(0, member, flat)
    means = sums / member.bincount()[:, None]
    _, spread, directions = torch.linalg.svd(means, full_matrices=False)
    size = min(size, int((spread > 1e-6 * spread[0]).sum()))
    codes = flat @ directions[:size].T / spread[:size].sqrt()
    scaled: torch.Tensor = codes / codes.square().mean().sqrt()
    return scaled.float()
