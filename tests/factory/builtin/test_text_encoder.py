"""The text encoder's targets against numpy, and that it learns what words look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from factory.builtin import images
from factory.builtin.captions import load_tokenizer, vocabulary, write_tokenizer
from factory.builtin.loop import train
from factory.builtin.text_encoder import TextLearner, appearance_codes, new_text_encoder, tokenize
from learning.loop import Schedule

CAPTIONS = ["red heart", "red heart", "pizza", "pizza", "owl", "owl", "owl"]


@pytest.fixture(name="latents")
def some_latents() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal((len(CAPTIONS), 2, 4, 4), "float32"))


def test_codes_are_half_whitened_principal_coordinates(latents: torch.Tensor) -> None:
    flat = latents.numpy().astype(np.float64).reshape(len(CAPTIONS), -1)
    flat -= flat.mean(axis=0)
    means = np.stack(
        [flat[[caption == one for caption in CAPTIONS]].mean(axis=0) for one in ("red heart", "pizza", "owl")]
    )
    values, vectors = np.linalg.eigh(means.T @ means)
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2]
    expected = flat @ vectors / values**0.25
    expected /= np.sqrt((expected**2).mean())
    found = appearance_codes(latents, CAPTIONS, size=2).numpy()
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-5)  # a direction's sign is free


def test_fewer_captions_than_directions_give_fewer_columns(latents: torch.Tensor) -> None:
    codes = appearance_codes(latents, CAPTIONS)
    assert codes.shape[0] == len(CAPTIONS)
    assert codes.shape[1] <= 3
    assert codes.isfinite().all()


def test_drawings_of_one_caption_have_nearer_codes_than_others() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 8))[[CAPTIONS.index(caption) // 2 for caption in CAPTIONS]]
    codes = appearance_codes(torch.from_numpy(centres + 0.1 * rng.standard_normal(centres.shape)), CAPTIONS)
    apart = torch.cdist(codes, codes)
    same = torch.tensor([[one == other for other in CAPTIONS] for one in CAPTIONS])
    assert apart[same].max() < apart[~same].min()


def test_a_text_encoder_learns_what_words_look_like(drawings: Path, tmp_path: Path) -> None:
    rows = images.load(drawings).part("train").rows
    looks = dict(zip(dict.fromkeys(row.caption for row in rows), torch.randn(9, 8), strict=True))
    write_tokenizer(vocabulary(rows), tmp_path / "tokenizer")
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    learner = TextLearner(
        new_text_encoder(tokenizer, 16, 1), tokenizer, torch.stack([looks[row.caption] for row in rows]), rows, seed=1
    )
    before, _ = learner.loss(0, 18)
    train(learner, Schedule(18 * 150, 18, 1e-2, 18, 18, 10**6), tmp_path / "run", lambda line: None)
    after, _ = learner.loss(0, 18)
    assert after < 0.7 * before  # words that are dropped keep it from 0


def test_captions_end_in_tokens_that_have_seen_all_words(tmp_path: Path) -> None:
    write_tokenizer(["pizza", "red"], tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    tokens = tokenize(tokenizer, ["red pizza", ""])
    assert tokens.shape == (2, 16)
    assert (tokens == tokenizer.eos_token_id).sum(1).tolist() == [13, 15]
