"""Each unique text is encoded once, in batches of one fixed shape: an embedding does not depend on its neighbours."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from factory.generators.layouts import Layout

logger = logging.getLogger(__name__)

BATCH = 8  # texts; every call of the text encoders has this shape, the last one padded


class Embeddings:
    """What a pipeline's own `encode_prompt` makes of texts, kept on the CPU."""

    def __init__(self, pipe: Any, layout: Layout) -> None:
        self._pipe = pipe
        self._layout = layout
        self._rows: dict[str, tuple[torch.Tensor, ...]] = {}

    def keep_only(self, texts: Iterable[str]) -> None:
        """Forget all other texts and encode those that are missing."""
        wanted = dict.fromkeys(texts)
        self._rows = {text: row for text, row in self._rows.items() if text in wanted}
        self.add(wanted)

    def add(self, texts: Iterable[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        self._tell_cut(missing)
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            encoded = self._encode(part + [""] * (BATCH - len(part)))
            for i, text in enumerate(part):
                self._rows[text] = tuple(tensor[i].clone() for tensor in encoded)

    def _tell_cut(self, texts: Sequence[str]) -> None:
        tokenizer = self._pipe.tokenizer
        limit = tokenizer.model_max_length
        cut = [text for text in texts if len(tokenizer(text).input_ids) > limit]
        if cut:
            logger.warning(
                "CLIP reads %d tokens: it cuts %d of %d texts, such as %.60r", limit, len(cut), len(texts), cut[0]
            )

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> list[torch.Tensor]:
        known = inspect.signature(self._pipe.encode_prompt).parameters
        optional = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False}
        chosen = {name: value for name, value in optional.items() if name in known}
        result = self._pipe.encode_prompt(
            prompt=texts, device=self._pipe._execution_device, num_images_per_prompt=1, **chosen
        )
        return [result[i].cpu() for i in self._layout.encoded]

    def positive(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Stack the texts' embeddings under the names that the pipeline's call takes."""
        return self._stack(self._layout.embeddings, [self._rows[text] for text in texts])

    def negative(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Stack negative prompts; SDXL may want zeros, not the empty text, where there is none."""
        zeros = bool(self._pipe.config.get("force_zeros_for_empty_prompt"))
        rows = [self._rows[text] for text in texts]
        rows = [
            tuple(map(torch.zeros_like, row)) if zeros and not text else row
            for text, row in zip(texts, rows, strict=True)
        ]
        return self._stack(self._layout.negatives, rows)

    def _stack(self, names: Sequence[str], rows: list[tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
        columns = zip(*rows, strict=True)
        return {
            name: torch.stack(column).to(self._pipe._execution_device)
            for name, column in zip(names, columns, strict=True)
        }
