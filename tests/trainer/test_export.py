"""What is handed on: timm loads it by itself, prepares images as in training, and reads what made it."""

import json
import runpy
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from learning.checkpoint import load_newest
from tests.trainer.data import make_dataset, pixels
from tests.trainer.objectives.tiny import config_of, objective_of
from tests.trainer.processes import pretrain_words, run
from trainer.card import readme
from trainer.embed import embed_images
from trainer.encoders import load_encoder
from trainer.export import export, last_scores, timm_config
from trainer.exported import export_folder

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with an average, a probe, and a normalisation of its own."""
    folder = tmp_path_factory.mktemp("run")
    url = make_dataset(folder / "set", groups=80, views=2)
    options = {
        "images": 64,
        "ema_half_life_images": 32,
        "encoder__mean": MEAN,
        "encoder__std": STD,
        "probe": "{set: clipart26, every_images: 32, images: 200}",
        "gradient_checkpointing": "true",
    }
    code, said = run(pretrain_words(url, folder / "run", **options))
    assert code == 0, said
    return folder / "run"


def read_front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_timm_loads_it_and_prepares_images_as_in_training(finished):
    model = timm.create_model(f"local-dir:{finished}/encoder", pretrained=True).eval()
    wanted = {"input_size": [3, 32, 32], "mean": MEAN, "std": STD, "interpolation": "bicubic", "crop_pct": 1.0}
    found = timm.data.resolve_model_data_config(model)
    assert {name: found[name] for name in wanted} == wanted
    assert model.pretrained_cfg["num_classes"] == 0
    transform = timm.data.create_transform(**found, is_training=False)
    images = [pixels(group, 0) for group in range(3)]
    with torch.no_grad():
        features = model(torch.stack([transform(Image.fromarray(image)) for image in images]))
    ours = embed_images(load_encoder(finished)[0], images)
    assert torch.allclose(features, torch.from_numpy(ours), atol=1e-5)
    assert features.std(dim=0).max() > 0


def test_backbone_and_heads_are_all_of_the_objective(finished):
    _, state = load_newest(finished / "checkpoints")
    backbone = load_file(finished / "encoder" / "model.safetensors")
    heads = load_file(finished / "encoder" / "heads.safetensors")
    whole = {f"encoder.backbone.{name}": value for name, value in backbone.items()} | heads
    assert whole.keys() == state["ema"].keys()  # an average is kept, so it is what counts
    assert all(torch.equal(value, state["ema"][name]) for name, value in whole.items())
    assert any(not torch.equal(value, state["objective"][name]) for name, value in whole.items())


def test_the_weights_say_themselves_which_data_and_config_made_them(finished):
    with safe_open(finished / "encoder" / "model.safetensors", "pt") as file:
        said = json.loads(file.metadata()["viewmill"])
    pinned = json.loads((finished / "config.json").read_text())
    assert said == {"roots": pinned["roots"], "config": pinned["config"], "images_seen": 64}


def test_the_card_names_data_licence_scores_and_config(finished):
    card, pinned = (finished / "encoder" / "README.md").read_text(), json.loads((finished / "config.json").read_text())
    assert read_front_matter(card) == {
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["viewmill", "self-supervised", "stablerep"],
    }
    assert f"| `{pinned['roots'][0]}` | not said | not said | 80 | 160 |" in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]) == pinned["config"]
    scores = last_scores(finished / "metrics.jsonl", 64)
    assert scores.keys() == {"probe_knn", "probe_ridge", "probe_average_knn", "probe_average_ridge"}
    assert all(0 <= value <= 1 for value in scores.values())
    assert all(f"- {name}: {value:.3f}\n" in card for name, value in scores.items())
    assert json.loads((finished / "encoder" / "viewmill.json").read_text())["scores"] == scores
    assert "half-life of 32 images" in card


def test_the_cards_code_runs(finished, tmp_path, monkeypatch):
    block = (finished / "encoder" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "card.py").write_text(block.replace("PATH", str(finished / "encoder")))
    Image.fromarray(pixels(1, 0)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    features = runpy.run_path(str(tmp_path / "card.py"))["features"]
    assert torch.allclose(
        features, torch.from_numpy(embed_images(load_encoder(finished)[0], [pixels(1, 0)])), atol=1e-5
    )


def test_a_licence_that_all_data_share_is_the_cards_and_names_cannot_be_markup():
    encoder = timm_config(objective_of(config_of("stablerep")).encoder)
    one = {"name": "a <b> `c` | d", "licence": "CC-BY-4.0", "groups": 3, "images": 6}
    card = readme({"roots": ["ab" * 32], "data_sets": [one]}, encoder, 5)
    assert read_front_matter(card)["license"] == "cc-by-4.0"
    assert r"| a \<b> \`c\` \| d | CC-BY-4.0 | 3 | 6 |" in card
    other = readme({"roots": ["ab" * 32] * 2, "data_sets": [one, {**one, "licence": "MIT"}]}, encoder, 5)
    assert "license" not in read_front_matter(other)


def test_scores_past_the_checkpoint_and_half_lines_do_not_count(tmp_path):
    lines = [
        {"images_seen": 16, "probe_knn": 0.5},
        {"images_seen": 16, "loss": 1.0},
        {"images_seen": 32, "probe_knn": 1},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"images_s')
    assert last_scores(tmp_path / "metrics.jsonl", 20) == {"probe_knn": 0.5}
    assert last_scores(tmp_path / "metrics.jsonl", 40) == {"probe_knn": 1}
    assert last_scores(tmp_path / "absent", 40) == {}


class Drifting(nn.Module):
    """A backbone that gives other features every time."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :16] + torch.rand(())


def test_an_export_that_reloads_as_another_network_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    objective = objective_of(config_of("stablerep")).float()
    monkeypatch.setattr("trainer.export.timm.create_model", lambda *args, **more: Drifting())
    with pytest.raises(RuntimeError, match=r"the reloaded encoder's features differ by"):
        export(objective, tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Exception, match="holds no encoder"):
        export_folder(Path(tmp_path))
