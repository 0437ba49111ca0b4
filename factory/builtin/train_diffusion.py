"""Trains builtin:emoji-diffusion: the autoencoder, then text encoder and denoiser on its latents, then the decoder.

To resume, run the same command again. A run's folder holds everything that `export` needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from factory.builtin import images
from factory.builtin.autoencoder import AutoencoderLearner, DecoderLearner, encode, new_autoencoder, standardise
from factory.builtin.captions import load_tokenizer, vocabulary, write_tokenizer
from factory.builtin.denoiser import DenoiserLearner, new_scheduler, new_unet
from factory.builtin.images import ImageSet
from factory.builtin.loop import train
from factory.builtin.pipeline import assemble, sample, sheet
from factory.builtin.text_encoder import TextLearner, new_text_encoder
from learning import checkpoint
from learning.loop import Schedule
from manifests.errors import UserError

PREVIEW_PROMPTS = (
    "grinning face", "pizza", "red heart", "cat face", "rocket", "rainbow", "police officer", "soccer ball",
    "red apple", "guitar", "owl", "house", "one o’clock", "fire", "astronaut", "butterfly",
)  # fmt: skip

STAGES = ("autoencoder", "text", "denoiser", "decoder")
AUTOENCODER = Schedule(30_000, 16, 1e-3, warmup_images=1_600, cooldown_images=4_000, checkpoint_images=4_000)
TEXT = Schedule(600_000, 256, 2e-3, warmup_images=12_800, cooldown_images=240_000, checkpoint_images=100_000)
DENOISER = Schedule(440_000, 64, 1e-3, warmup_images=6_400, cooldown_images=260_000, checkpoint_images=32_000)
DECODER = Schedule(90_000, 16, 1e-3, warmup_images=320, cooldown_images=21_000, checkpoint_images=4_000)

Say = Callable[[str, dict[str, float]], None]


@dataclass(frozen=True)
class Widths:
    """The sizes of the networks; the defaults are the shipped model's 8.0 M parameters."""

    autoencoder: tuple[int, ...] = (16, 48, 80, 96)
    latent_channels: int = 16
    text: int = 128
    unet: tuple[int, int] = (96, 128)


@dataclass(frozen=True)
class Plan:
    """How long each stage trains. The decoder's stage needs nothing of the denoiser's: they may run side by side."""

    autoencoder: Schedule = AUTOENCODER
    text: Schedule = TEXT
    denoiser: Schedule = DENOISER
    decoder: Schedule = DECODER


class Run:
    """A training run: a folder that holds everything that resuming and `export` need."""

    def __init__(
        self, data: Path, out: Path, say: Say, *, plan: Plan = Plan(), widths: Widths = Widths(), seed: int = 1
    ):
        self.out, self.say, self.plan, self.widths, self.seed = out, say, plan, widths, seed
        self.training = images.load(data).part("train")
        torch.manual_seed(seed)
        _write_origin(self.training, seed, out)

    def go(self, stages: Sequence[str] = STAGES) -> None:
        """Run or resume stages, in their order."""
        for stage in STAGES:
            if stage in stages:
                getattr(self, f"train_{stage}")()

    def train_autoencoder(self) -> None:
        """Train encoder and decoder together, then fold the latents' scale into them; the encoder is then final."""
        finished = self.out / "autoencoder" / "finished"
        if finished.exists():
            return
        autoencoder = new_autoencoder(self.widths.autoencoder, self.widths.latent_channels)
        learner = AutoencoderLearner(autoencoder, self.training, self.seed)
        train(learner, self.plan.autoencoder, self.out / "autoencoder", partial(self.say, "autoencoder"))
        standardise(autoencoder, encode(autoencoder, self.training))
        part = finished.with_suffix(".part")
        autoencoder.save_pretrained(part)
        part.rename(finished)

    def train_text(self) -> None:
        """Train the text encoder to know what the finished encoder's latents of a caption look like."""
        finished = self.out / "text" / "finished"
        if finished.exists():
            return
        tokenizer = _tokenizer(self.training, self.out / "tokenizer")
        text_encoder = new_text_encoder(tokenizer, self.widths.text)
        latents = encode(finished_autoencoder(self.out), self.training)
        learner = TextLearner(text_encoder, tokenizer, latents, self.training.rows, self.seed)
        train(learner, self.plan.text, self.out / "text", partial(self.say, "text"))
        part = finished.with_suffix(".part")
        text_encoder.save_pretrained(part)
        part.rename(finished)

    def train_denoiser(self) -> None:
        """Train the denoiser on the finished encoder's latents and the finished text encoder's words."""
        text_encoder, tokenizer = finished_text_encoder(self.out)
        unet = new_unet(self.widths.text, self.widths.unet, self.widths.latent_channels)
        latents = encode(finished_autoencoder(self.out), self.training)
        learner = DenoiserLearner(unet, text_encoder, tokenizer, latents, self.training.rows, self.seed)
        folder = self.out / "denoiser"
        train(learner, self.plan.denoiser, folder, partial(self.say, "denoiser"), partial(self._preview, learner))

    def train_decoder(self) -> None:
        """Sharpen the decoder."""
        autoencoder = finished_autoencoder(self.out)
        learner = DecoderLearner(autoencoder, encode(autoencoder, self.training), self.training, self.seed)
        train(learner, self.plan.decoder, self.out / "decoder", partial(self.say, "decoder"))

    def _preview(self, learner: DenoiserLearner, images_seen: int) -> None:
        autoencoder, unet = finished_autoencoder(self.out), learner.average.module
        pipeline = assemble(autoencoder, learner.text_encoder, learner.tokenizer, unet, new_scheduler())
        prompts = [prompt for prompt in PREVIEW_PROMPTS for _ in range(4)]
        path = self.out / "denoiser" / "previews" / f"{images_seen:09d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(sample(pipeline, prompts, steps=12, guidance=2, seed=0), columns=16).save(path)


def finished_autoencoder(run: Path) -> Any:
    """Return a run's autoencoder, with the newest sharpened decoder if there is one.

    Raises: UserError where the run has none yet.
    """
    from diffusers import AutoencoderKL

    folder = run / "autoencoder" / "finished"
    if not folder.exists():
        raise UserError(
            f"{run} has no finished autoencoder: run `train-diffusion` without --stage, or with --stage autoencoder"
        )
    autoencoder = AutoencoderKL.from_pretrained(folder)
    sharpened = checkpoint.load_newest(run / "decoder" / "checkpoints")
    if sharpened is not None:
        autoencoder.load_state_dict(sharpened[1]["learner"]["trained"], strict=False)
    return autoencoder.to(memory_format=torch.channels_last).eval()


def finished_text_encoder(run: Path) -> tuple[Any, Any]:
    """Return a run's text encoder and its tokenizer.

    Raises: UserError where the run has none yet.
    """
    from transformers import CLIPTextModel

    folder = run / "text" / "finished"
    if not folder.exists():
        raise UserError(
            f"{run} has no finished text encoder: run `train-diffusion` without --stage, or with --stage text"
        )
    return CLIPTextModel.from_pretrained(folder).eval(), load_tokenizer(run / "tokenizer")


def _tokenizer(training: ImageSet, folder: Path) -> Any:
    if not (folder / "tokenizer_config.json").exists():
        write_tokenizer(vocabulary(training.rows), folder)
    return load_tokenizer(folder)


def _write_origin(training: ImageSet, seed: int, out: Path) -> None:
    """Note what the run was trained on; `export` copies it into the model's folder."""
    origin = {"data_set_root": training.root, "training_images": len(training.rows), "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
