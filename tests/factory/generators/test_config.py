"""What a recipe may say about a diffusion source, and the one line that answers what it may not."""

import re
import subprocess
import sys
from typing import Any

import pytest

from factory.generators import open_generator
from factory.generators.diffusion_config import DiffusionSource
from factory.generators.layouts import LAYOUTS
from manifests.errors import UserError
from tests.factory import tiny


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps: got 0, expected greater than or equal to 1"),
        ({"step": 5}, "step: unknown key; did you mean steps?"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"guidance_scale": []}, "empty grid"),
        ({"guidance_scale": [1.0, float("inf")]}, "guidance_scale.1: got inf, expected a finite number"),
        ({"scheduler_options": {"shift": float("nan")}}, "scheduler_options.shift"),
        ({"width": 64, "height": None}, "width and height come together"),
        ({"pipeline": "StableDiffusionInpaintPipeline"}, "FluxPipeline"),
        ({"scheduler": "DPMSolverSDEScheduler"}, "cannot draw each view's noise from the view's own seed"),
        ({"scheduler": "CosineDPMSolverMultistepScheduler"}, "expected one of DDIMScheduler"),
        ({"family": "stylegan9"}, "family 'stylegan9' is unknown; expected diffusion"),
        ({"weight": 0}, "weight: got 0"),
        ({"dtype": "int8"}, "dtype: got 'int8'"),
        ({"variant": "../x"}, "variant"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        open_generator({**tiny.source("sd15"), **changes})


@pytest.mark.parametrize(
    ("layout", "changes", "said"),
    [
        (
            "sd15",
            {"scheduler_options": {"beta_begin": 0.1}},
            "PNDMScheduler has no beta_begin; it has",
        ),
        ("sd15", {"scheduler": "FlowMatchEulerDiscreteScheduler"}, "with StableDiffusionPipeline"),
        ("sd3", {"scheduler": "EulerDiscreteScheduler"}, "with StableDiffusion3Pipeline"),
        ("lcm", {"scheduler": "DDIMScheduler"}, "expected one of LCMScheduler"),
        ("sd15", {"eta": 0.5}, "eta: got 0.5, but PNDMScheduler adds no noise by eta"),
        ("sd3", {"scheduler_options": {"stochastic_sampling": True}}, "draws noise that no view's seed decides"),
        ("lcm", {"steps": 900}, "steps: LCMScheduler cannot take 900 steps"),
    ],
)
def test_a_scheduler_that_cannot_do_what_is_asked_is_refused(layout: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        open_generator(tiny.source(layout, **changes))


def test_a_guidance_grid_is_one_value_or_many() -> None:
    assert DiffusionSource(model="x", guidance_scale=2).guidance_grid == (2.0,)
    assert DiffusionSource.model_validate({"model": "x", "guidance_scale": [1, 2.5]}).guidance_grid == (1.0, 2.5)


def test_every_listed_class_is_tested_here() -> None:
    tested = {open_class(layout) for layout in tiny.LAYOUTS}
    assert tested == set(LAYOUTS)


def open_class(layout: str) -> str:
    import json

    return str(json.loads((tiny.folder(layout) / "model_index.json").read_text())["_class_name"])


def test_a_recipe_is_read_without_torch() -> None:
    code = (
        "import sys, factory.generators, factory.generators.weights, factory.generators.diffusion_config;"
        "assert not {'torch', 'diffusers', 'transformers', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
