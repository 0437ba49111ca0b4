"""Classes by name: exact on a model whose answers are known; an export keeps the text tower that was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from manifests.errors import CorruptError, UserError
from tests.trainer.processes import overrides
from trainer.captions import BYTES_END, ByteTokenizer
from trainer.config import RunConfig, load_config
from trainer.data_facts import DataFacts
from trainer.encoders import load_encoder
from trainer.evaluation.zero_shot import TEMPLATES, class_rows, load_towers, predict_zero_shot, sentences
from trainer.export import export
from trainer.objectives import build_objective
from trainer.objectives.two_towers import TwoTowers

NAMES = ["red_panda", "clock face", "Ship"]
FACTS = DataFacts(vocabulary=ByteTokenizer.vocabulary)


class Reader(nn.Module):
    """Reads which class a sentence names, as a row with a one at its place."""

    def forward(self, tokens: Tensor) -> Tensor:
        texts = [bytes(t - 1 for t in row.tolist() if 0 < t < BYTES_END - 1).decode() for row in tokens]
        words = [name.replace("_", " ").lower() for name in NAMES]
        return torch.tensor([[float(word in text) for word in words] for text in texts])


def tiny(method: str = "clip") -> RunConfig:
    text = "{width: 16, layers: 1, heads: 2, context: 48}"
    head = {"objective__hidden": None, "objective__dimensions": 8, "objective__text": text}
    return load_config(method, overrides(**(head if method == "clip" else {}), data__views=2))


def towers() -> TwoTowers:
    torch.manual_seed(3)
    model = build_objective(tiny(), FACTS)
    assert isinstance(model, TwoTowers)
    return model


def test_a_model_that_reads_and_sees_the_class_is_always_right() -> None:
    model = towers()
    model.text, model.text_projection, model.image_projection = Reader(), nn.Identity(), nn.Identity()  # type: ignore[assignment]
    classes = class_rows(model, ByteTokenizer(), 48, sentences(NAMES))
    torch.testing.assert_close(classes, torch.eye(3))
    labels = torch.arange(60) % 3
    features = 5.0 * torch.eye(3)[labels] + 0.5 * torch.rand(60, 3)
    assert torch.equal(predict_zero_shot(model, features, classes), labels)


def test_sentences_name_every_class_in_plain_words() -> None:
    found = sentences(NAMES)
    assert [len(of_class) for of_class in found] == [len(TEMPLATES)] * 3
    assert all("red panda" in sentence for sentence in found[0])
    assert found[2][0] == "ship"


def test_the_text_tower_of_an_export_is_the_one_that_was_trained(tmp_path: Path) -> None:
    model = towers().eval()
    pinned = {"config": tiny().model_dump(mode="json"), "roots": [], "data_facts": FACTS.to_dict(), "order_version": 1}
    export(model, tmp_path / "encoder", {**pinned, "images_seen": 0})
    loaded, tokenizer, context = load_towers(tmp_path / "encoder", load_encoder(tmp_path / "encoder")[0])
    mine, theirs = (class_rows(m, tokenizer, context, sentences(NAMES)) for m in (model, loaded))
    torch.testing.assert_close(theirs, mine)
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(9, model.encoder.dimensions))).float()
    assert torch.equal(predict_zero_shot(loaded, features, theirs), predict_zero_shot(model, features, mine))
    (tmp_path / "encoder" / "heads.safetensors").unlink()
    with pytest.raises(UserError, match="has no text tower"):
        load_towers(tmp_path / "encoder", load_encoder(tmp_path / "encoder")[0])


def test_an_export_of_another_method_says_so_and_foreign_heads_are_refused(tmp_path: Path) -> None:
    other = build_objective(tiny("simclr"))
    pinned = {"config": tiny("simclr").model_dump(mode="json"), "roots": [], "data_facts": DataFacts().to_dict()}
    export(other, tmp_path / "simclr", pinned)
    with pytest.raises(UserError, match="was trained by simclr, which has no text tower"):
        load_towers(tmp_path / "simclr", load_encoder(tmp_path / "simclr")[0])
    clips = {"config": tiny().model_dump(mode="json"), "data_facts": FACTS.to_dict()}
    export(other, tmp_path / "mixed", clips)
    with pytest.raises(CorruptError, match="does not fit"):
        load_towers(tmp_path / "mixed", load_encoder(tmp_path / "mixed")[0])
