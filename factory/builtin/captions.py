"""Captions for training: what a prompt may leave out is left out now and then, so that one prompt has many answers.

Style, one word, or the whole caption is dropped at random; classifier-free guidance needs the last (Ho & Salimans,
arXiv:2207.12598). The vocabulary is a real CLIP one in which every known word is one token.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from factory.builtin.emoji_data import Drawing

STYLE_WORDS = {
    "noto": "noto style",
    "noto-v1": "blob style",
    "twemoji": "twemoji style",
    "fluent-emoji-flat": "flat style",
    "fluent-emoji": "gradient style",
    "emojione": "emojione style",
}
MAX_TOKENS = 16

_EMPTY_FRACTION = 0.1
_STYLE_DROP_FRACTION = 0.5
_WORD_DROP_FRACTION = 0.5
_TAG_FRACTION = 0.1
_MIN_TAG_USES = 4


def training_caption(drawing: Drawing, rng: np.random.Generator) -> str:
    """Draw one caption of a drawing: label words, perhaps a tag, perhaps the style, perhaps nothing."""
    empty, styled, thinned, tagged = rng.random(4)
    words = drawing.caption.split()
    if empty < _EMPTY_FRACTION:
        return ""
    if len(words) > 1 and thinned < _WORD_DROP_FRACTION:
        words.pop(int(rng.integers(len(words))))
    if drawing.x_tags and tagged < _TAG_FRACTION:
        tags = drawing.x_tags.split(", ")
        words.append(tags[int(rng.integers(len(tags)))])
    if styled >= _STYLE_DROP_FRACTION:
        words.append(STYLE_WORDS[drawing.x_style])
    return " ".join(words)


def vocabulary(drawings: Iterable[Drawing]) -> list[str]:
    """List the words that deserve a token: those of labels and styles, and of tags that several emoji share."""
    rows = list(drawings)
    labels = {row.x_emoji: row.caption for row in rows}
    tags = {row.x_emoji: row.x_tags for row in rows}
    words = {word for label in labels.values() for word in _pieces(label)}
    words |= {word for style in STYLE_WORDS.values() for word in _pieces(style)}
    tag_uses = Counter(word for tag in tags.values() for word in set(_pieces(tag)))
    words |= {word for word, uses in tag_uses.items() if uses >= _MIN_TAG_USES}
    return sorted(words)


def write_tokenizer(words: list[str], folder: Path) -> None:
    """Write a CLIPTokenizer folder whose merges make each word one token and spell any other by its parts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters, last_letters = _alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2**20, min_frequency=1, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    symbols = [*letters, *(letter + "</w>" for letter in last_letters), *("".join(pair) for pair in merges)]
    _write_clip_files([*dict.fromkeys(symbols), "<|startoftext|>", "<|endoftext|>"], merges, folder)


def load_tokenizer(folder: Path) -> Any:
    """Load the CLIPTokenizer that `write_tokenizer` wrote."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def _alphabet() -> tuple[list[str], list[str]]:
    """List the letters that stand for the bytes of lower-case UTF-8 text: of any byte, and of a word's last one.

    Source: the byte-to-letter table of GPT-2's tokenizer, which CLIP's shares.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    ascii_bytes = [byte for byte in range(0x21, 0x7F) if not chr(byte).isupper()]
    any_bytes, last_bytes = [*ascii_bytes, *range(0x80, 0xC0), *range(0xC2, 0xF5)], [*ascii_bytes, *range(0x80, 0xC0)]
    return [letters[byte] for byte in any_bytes], [letters[byte] for byte in last_bytes]


def _write_clip_files(tokens: list[str], merges: list[tuple[str, ...]], folder: Path) -> None:
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    _write_json(folder / "tokenizer_config.json", settings)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _pieces(text: str) -> list[str]:
    """Cut a text as CLIP's tokenizer does: runs of letters, single digits, runs of anything else."""
    return re.findall(r"[^\W\d_]+|\d|[^\s\w]+|_+", text.lower())
