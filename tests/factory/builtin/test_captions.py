"""Captions leave out what they should as often as they should, and a known word is one token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory.builtin.captions import (
    MAX_TOKENS,
    STYLE_WORDS,
    load_tokenizer,
    training_caption,
    vocabulary,
    write_tokenizer,
)
from factory.builtin.emoji_data import Drawing
from factory.builtin.emoji_sources import STYLES
from factory.builtin.images import load

DRAWS = 4000


@pytest.fixture(scope="module")
def rows(drawings: Path) -> list[Drawing]:
    return load(drawings).rows


@pytest.fixture(scope="module")
def tokenizer(rows: list[Drawing], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(vocabulary(rows), folder)
    return load_tokenizer(folder)


def _captions(drawing: Drawing) -> list[str]:
    rng = np.random.default_rng(0)
    return [training_caption(drawing, rng) for _ in range(DRAWS)]


def test_every_style_has_words_of_its_own() -> None:
    assert set(STYLE_WORDS) == set(STYLES)
    assert len(set(STYLE_WORDS.values())) == len(STYLE_WORDS)


def test_a_tenth_of_the_captions_is_empty_and_half_of_the_others_have_no_style(rows: list[Drawing]) -> None:
    captions = _captions(rows[0])
    empty = captions.count("") / DRAWS
    styled = sum(caption.endswith("noto style") for caption in captions) / (DRAWS - captions.count(""))
    assert empty == pytest.approx(0.1, abs=0.02)
    assert styled == pytest.approx(0.5, abs=0.03)


def test_single_words_are_dropped_but_never_the_last_one(rows: list[Drawing]) -> None:
    two_words = [caption for caption in _captions(rows[0]) if caption]
    both = sum("red heart" in caption for caption in two_words) / len(two_words)
    assert both == pytest.approx(0.5, abs=0.03)
    assert all("owl" in caption for caption in _captions(rows[14]) if caption)


def test_every_known_word_is_one_token(rows: list[Drawing], tokenizer: Any) -> None:
    for word in vocabulary(rows):
        start, *tokens, end = tokenizer(word).input_ids
        assert len(tokens) == 1, word
        assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_case_and_punctuation_are_read_as_clip_reads_them(tokenizer: Any) -> None:
    assert tokenizer("Red HEART, pizza").input_ids == tokenizer("red heart , pizza").input_ids
    assert len(tokenizer("o’clock: one").input_ids) == 2 + 5


def test_an_unknown_word_is_spelled_and_never_an_unknown_token(tokenizer: Any) -> None:
    tokens = tokenizer("xylograph żółw").input_ids
    assert tokenizer.unk_token_id not in tokens[1:-1]
    assert len(tokens) > 4


def test_a_long_prompt_is_cut_at_the_models_length(tokenizer: Any) -> None:
    assert tokenizer.model_max_length == MAX_TOKENS
    assert len(tokenizer("pizza " * 50, truncation=True, padding="max_length").input_ids) == MAX_TOKENS
