"""The model that ships: small enough, whole, and loaded like any other diffusers folder."""

import json

import numpy as np
from safetensors import safe_open

from factory.builtin import folder
from factory.generators import ViewRequest, open_generator
from manifests import seeds

FOLDER = folder("emoji-diffusion")


def test_the_shipped_model_stays_within_its_promised_size() -> None:
    parameters = 0
    for path in FOLDER.rglob("*.safetensors"):
        with safe_open(path, "np") as weights:
            for name in weights.keys():  # noqa: SIM118 - the handle is no mapping
                tensor = weights.get_slice(name)
                assert tensor.get_dtype() == "F16", name
                parameters += int(np.prod(tensor.get_shape()))
    assert 1_000_000 < parameters <= 8_000_000
    assert parameters == json.loads((FOLDER / "viewmill.json").read_text())["parameters"]["all"]


def test_the_shipped_model_names_no_folder_of_the_machine_that_made_it() -> None:
    texts = [path.read_text() for path in FOLDER.rglob("*.json") if path.name != "vocab.json"]
    assert not any("_name_or_path" in text or "/home/" in text or "/tmp/" in text for text in texts)


def test_the_shipped_model_draws_a_prompt_in_several_ways() -> None:
    generator = open_generator({"family": "diffusion", "model": "builtin:emoji-diffusion", "steps": 4})
    generator.prepare([("red heart", "")])
    requests = [
        ViewRequest(
            group=0, view=view, attempt=0, seed=seeds.view_seed(0, 0, view), prompt="red heart", negative_prompt="",
            guidance_scale=2.0,
        )
        for view in range(2)
    ]  # fmt: skip
    pixels = generator.render(requests, 2).pixels.astype(float)
    assert pixels.shape == (2, 64, 64, 3)
    assert np.abs(pixels[0] - pixels[1]).mean() > 1
    assert (pixels[..., 0] - pixels[..., 1]).max(axis=(1, 2)).min() > 80  # somewhere clearly red
