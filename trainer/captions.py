"""Captions as tokens: read and tokenised once for a data set, then looked up by group.

Tokens lie in a file beside the cached shards, named after what they were made of, and are mapped, not read.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from manifests.cache import ShardCache
from manifests.canonical import canonical_json
from manifests.dataset import DataSet
from manifests.errors import UserError
from trainer.objective_config import TextConfig

BYTES_START, BYTES_END = (
    257,
    258,
)  # bytes are 1 … 256, 0 is the padding; the end is the largest, as in CLIP's vocabulary


class Tokenizer(Protocol):
    """Texts -> rows of tokens. `name` changes whenever tokens would."""

    name: str
    vocabulary: int

    def tokens(self, texts: Sequence[str], context: int) -> NDArray[np.int32]:
        """Tokenise, cut and pad with 0. Shapes: [len(texts), context]."""


class ByteTokenizer:
    """UTF-8 bytes between a start and an end: no file needed, every language, long rows."""

    name, vocabulary = "bytes", BYTES_END + 1

    def tokens(self, texts: Sequence[str], context: int) -> NDArray[np.int32]:
        rows = np.zeros((len(texts), context), np.int32)
        for row, text in zip(rows, texts, strict=True):
            content = np.frombuffer(text.encode("utf-8")[: context - 2], np.uint8).astype(np.int32) + 1
            row[: len(content) + 2] = [BYTES_START, *content, BYTES_END]
        return rows


class FileTokenizer:
    """A tokenizer.json of the tokenizers library, such as CLIP's; the end token must be its largest."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Loaded

        try:
            data = path.read_bytes()
            self._tokenizer = Loaded.from_str(data.decode("utf-8"))
        except OSError as error:
            raise UserError(f"objective.text.tokenizer: {path} cannot be read: {error.strerror}") from None
        except Exception as error:  # the library raises plain exceptions
            raise UserError(f"objective.text.tokenizer: {path} is no tokenizer.json: {error}") from None
        self.name = hashlib.sha256(data).hexdigest()
        self.vocabulary = int(self._tokenizer.get_vocab_size())
        self._end = self.vocabulary - 1

    def tokens(self, texts: Sequence[str], context: int) -> NDArray[np.int32]:
        rows = np.zeros((len(texts), context), np.int32)
        for row, encoding in zip(rows, self._tokenizer.encode_batch(list(texts)), strict=True):
            ids = [token for token in encoding.ids if token != self._end][: context - 1]
            row[: len(ids) + 1] = [*ids, self._end]
        return rows


def open_tokenizer(config: TextConfig) -> Tokenizer:
    """Return the tokenizer that a config names."""
    return ByteTokenizer() if config.tokenizer == "bytes" else FileTokenizer(Path(config.tokenizer))


def captions(dataset: DataSet, tokenizer: Tokenizer, context: int, folder: Path | None = None) -> NDArray[np.int32]:
    """Return the tokens of every group that has images, in the order of `DataSet.groups`.

    Shapes: int32 [groups, context], mapped from a file in `folder` (default: in the cache).
    Raises: UserError for a group without a caption.
    """
    made_of = canonical_json([dataset.root, tokenizer.name, context])
    folder = folder or ShardCache.default().folder / "tokens"
    path = folder / f"tokens-{hashlib.sha256(made_of).hexdigest()[:32]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{uuid.uuid4().hex}.npy")
        np.save(part, tokenizer.tokens(_prompts(dataset), context))
        os.replace(part, path)
    mapped: NDArray[np.int32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _prompts(dataset: DataSet) -> list[str]:
    """Read the caption of the first view of every group."""
    found: list[str] = []
    for shard in range(len(dataset.version.shards)):
        table = dataset.rows(["view", "key", "prompt"], shards=[shard], ok_only=True)
        for view, key, prompt in zip(*(table[name].to_pylist() for name in ("view", "key", "prompt")), strict=True):
            if view == 0:
                if not prompt:
                    raise UserError(f"{dataset.url}: {key} has no caption; this objective reads captions")
                found.append(prompt)
    return found
