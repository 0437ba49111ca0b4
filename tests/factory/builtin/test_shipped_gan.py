"""The latent generator that ships, with what was learned on it: small, whole, and what their files say of them."""

import hashlib
import json
import re

import numpy as np
import torch

from factory.builtin import folder
from factory.gan.config import GanConfig, load_config
from factory.generators import ViewRequest, open_generator
from factory.walks.file import Kind, parse_learned, read_bytes
from factory.walks.frozen import Frozen, LatentLaw
from factory.walks.measure import LEAST_R2
from manifests import seeds

FOLDER = folder("emoji-stylegan2")
KINDS: tuple[Kind, ...] = ("walks", "navigator")
DESCRIBED = json.loads((FOLDER / "generator.json").read_text())


def test_the_weights_are_small_and_the_ones_that_were_described() -> None:
    weights = FOLDER / DESCRIBED["weights"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == DESCRIBED["weights_sha256"]


def test_the_preset_of_train_gan_is_how_it_was_trained() -> None:
    made_from = DESCRIBED["made_from"]
    then = GanConfig.model_validate(made_from["config"])  # settings that came later have their defaults
    assert then == load_config("emoji-stylegan2", [])
    assert made_from["images_seen"] == 160_000
    assert re.fullmatch(r"[0-9a-f]{40}", made_from["code"])


def test_it_draws_each_of_its_classes_in_colours_of_its_own() -> None:
    generator = open_generator({"family": "latent", "model": "builtin:emoji-stylegan2", "psi": 0.8})
    means = []
    for class_id in range(8):
        pixels = generator.render([request(class_id, view) for view in range(8)], 8).pixels.astype(float)
        assert pixels.shape == (8, 64, 64, 3)
        assert np.ptp(pixels, axis=0).mean() > 5, "the class is more than one image"
        means.append(pixels.mean(axis=(0, 1, 2)))
    yellow, blue = means[0], means[DESCRIBED["class_names"].index("symbols")]
    assert yellow[0] - yellow[2] > 20 > blue[0] - blue[2], "smileys are yellow, signs are not"


def request(class_id: int, view: int) -> ViewRequest:
    """Return a request with a latent of its own."""
    seed = seeds.view_seed(3, class_id, view)
    latent = tuple(seeds.normal(seed, "z", (128,)).tolist())
    return ViewRequest(group=class_id, view=view, attempt=0, seed=seed, class_id=class_id, latent=latent)


def test_what_was_learned_on_it_was_learned_on_these_weights_and_passed() -> None:
    fingerprint = Frozen.open("builtin:emoji-stylegan2", LatentLaw(), torch.device("cpu")).sha256
    walks, navigator = (
        parse_learned(read_bytes(FOLDER / f"{kind}.safetensors", kind), kind, kind).facts for kind in KINDS
    )
    assert walks.generator_sha256 == navigator.generator_sha256 == fingerprint
    r2 = {one["name"]: one["r2"] for one in walks.made_by["measured"]}
    assert all(r2[name] >= LEAST_R2 for name in walks.laws)
    assert navigator.made_by["measured"]["lowers"]
