"""A text tower: a causal transformer over tokens, read at the end of the text (CLIP, arXiv:2103.00020 section 2.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.objective_config import TextConfig


class TextTower(nn.Module):
    """Maps tokens to text features.

    The end token is the largest of a row, as in CLIP's vocabulary.
    Shapes: int64 [b, L], 0 behind the end -> [b, width].
    """

    mask: Tensor

    def __init__(self, config: TextConfig, vocabulary: int) -> None:
        super().__init__()
        self.dimensions = config.width
        self.tokens = nn.Embedding(vocabulary, config.width)
        self.positions = nn.Parameter(torch.randn(config.context, config.width) * 0.01)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        mask = torch.full((config.context, config.context), -torch.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        hidden = self.tokens(tokens) + self.positions[:length]
        hidden = self.blocks(hidden, mask=self.mask[:length, :length].to(hidden.dtype), is_causal=True)
        end = tokens.argmax(dim=1)
        rows: Tensor = self.norm(hidden[torch.arange(len(tokens), device=tokens.device), end])
        return rows
