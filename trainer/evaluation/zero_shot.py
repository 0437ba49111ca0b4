"""Classes by their names alone: the image's projection beside those of sentences that name each class.

A class is the mean of its sentences' unit rows, made unit again. Source: CLIP, arXiv:2103.00020 section 3.1.4.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from manifests.errors import CorruptError, UserError
from trainer.captions import Tokenizer, open_tokenizer
from trainer.config import parse_config
from trainer.data_facts import DataFacts
from trainer.encoders import Encoder
from trainer.objectives import build_objective
from trainer.objectives.teacher import unit
from trainer.objectives.two_towers import TwoTowers

TEMPLATES = ("{}", "a {}", "a drawing of a {}", "a picture of a {}", "an icon of a {}")


def sentences(label_names: Sequence[str]) -> list[list[str]]:
    """Return the sentences that stand for each class."""
    return [[template.format(name.replace("_", " ").lower()) for template in TEMPLATES] for name in label_names]


@torch.no_grad()
def class_rows(model: TwoTowers, tokenizer: Tokenizer, context: int, texts: Sequence[Sequence[str]]) -> Tensor:
    """Return a unit row for each class, [K, D]."""
    rows = []
    for of_class in texts:
        tokens = torch.from_numpy(tokenizer.tokens(of_class, context)).long()
        rows.append(unit(model.text_projection(model.text(tokens))).mean(dim=0))
    return unit(torch.stack(rows))


@torch.no_grad()
def predict_zero_shot(model: TwoTowers, features: Tensor, classes: Tensor) -> Tensor:
    """Return the class whose row is nearest. Shapes: the encoder's features [N, D], unit rows [K, P] -> int64 [N]."""
    found: Tensor = (unit(model.image_projection(features)) @ classes.T).argmax(dim=1)
    return found


def load_towers(folder: Path, encoder: Encoder) -> tuple[TwoTowers, Tokenizer, int]:
    """Load the text tower and projections beside an exported encoder, with the tokenizer and its context.

    Raises: UserError where the export has no text tower; CorruptError for heads that do not fit.
    """
    try:
        facts = json.loads((folder / "viewmill.json").read_text())
        config, known = parse_config(facts["config"], str(folder)), DataFacts(**facts["data_facts"])
        heads = load_file(folder / "heads.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        raise UserError(f"{folder} has no text tower: expected the export of clip, siglip or stablerep_text") from None
    if not (text := getattr(config.objective, "text", None)):
        raise UserError(f"{folder} was trained by {config.objective.name}, which has no text tower")
    model = build_objective(config.model_copy(update={"init": None}), known)
    assert isinstance(model, TwoTowers)
    model.encoder.backbone.load_state_dict(encoder.backbone.state_dict())
    missing, unexpected = model.load_state_dict(heads, strict=False)
    if unexpected or any(not name.startswith("encoder.") for name in missing):
        raise CorruptError(f"{folder}/heads.safetensors does not fit its viewmill.json; export the encoder again")
    return model.eval(), open_tokenizer(text), text.context
