"""From decoded tensors to pixels: non-finite images, the safety flag, sizes, resizing, number formats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from factory.generators import open_generator
from factory.generators.diffusion import to_pixels
from factory.judge import JudgeConfig, judge
from manifests.errors import UserError
from tests.factory import tiny


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_only_the_broken_image_of_a_batch_is_not_finite(bad: float, open_tiny: Any, views: Any) -> None:
    generator = open_tiny("sd15")
    clean = generator.render(views(3), 4)

    def poison(module: torch.nn.Module, inputs: Any, decoded: torch.Tensor) -> torch.Tensor:
        decoded[1, 0, 5, 7] = bad
        return decoded

    decoder = generator._pipe.vae.decoder
    handle = decoder.register_forward_hook(poison, prepend=True)
    broken = generator.render(views(3), 4)
    handle.remove()
    assert broken.finite.tolist() == [True, False, True]
    assert (broken.pixels[1] == 0).all()
    assert np.array_equal(broken.pixels[[0, 2]], clean.pixels[[0, 2]])


@pytest.mark.parametrize("layout", ["sd15", "lcm"])
@pytest.mark.parametrize(("safety", "is_flagged"), [("always", True), ("never", False)])
def test_the_folders_own_safety_checker_flags(
    layout: str, safety: str, is_flagged: bool, tmp_path: Path, open_tiny: Any, views: Any
) -> None:
    model = tiny.build(layout, tmp_path / "model", safety=safety)
    rendered = open_generator(tiny.source(layout, model=str(model))).render(views(3), 4)
    assert rendered.flagged.tolist() == [is_flagged] * 3
    assert (rendered.pixels == 0).all() == is_flagged
    verdicts = judge(rendered.pixels, rendered.finite, rendered.flagged, JudgeConfig())
    assert verdicts == ["flagged" if is_flagged else "ok"] * 3


def test_without_a_checker_nothing_is_flagged(open_tiny: Any, views: Any) -> None:
    rendered = open_tiny("sd15").render(views(2), 2)
    assert rendered.flagged.dtype == np.bool_
    assert not rendered.flagged.any()


def test_tensors_round_to_the_nearest_level_and_broken_ones_to_black() -> None:
    images = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0]).reshape(1, 1, 2, 2).expand(2, 3, 2, 2)
    pixels = to_pixels(images, np.array([True, False]))
    assert pixels.dtype == np.uint8
    assert pixels[0, :, :, 1].tolist() == [[0, 0], [1, 255]]
    assert not pixels[1].any()


@pytest.mark.parametrize("layout", tiny.LAYOUTS)
def test_width_and_height_are_not_confused(layout: str, open_tiny: Any, views: Any) -> None:
    assert open_tiny(layout, width=32, height=64).render(views(1), 1).pixels.shape == (1, 64, 32, 3)


@pytest.mark.parametrize("layout", ["sd15", "sdxl", "sd3", "lcm"])
def test_without_a_size_the_models_own_counts(layout: str, open_tiny: Any, views: Any) -> None:
    assert open_tiny(layout, width=None, height=None).render(views(1), 1).pixels.shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("layout", "side", "said"),
    [
        ("sd15", 36, "multiples of 8"),
        ("sd3", 34, "multiples of 4"),
        ("flux", 36, "multiples of 8"),
        ("sd3", 72, "at most 64"),
    ],
)
def test_a_size_that_the_model_cannot_take_is_refused(layout: str, side: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_generator(tiny.source(layout, width=side, height=32))


@pytest.mark.parametrize("name", ["lanczos", "bicubic"])
def test_resizing_is_pillows_on_each_image(name: str, open_tiny: Any, views: Any) -> None:
    resample = Image.Resampling[name.upper()]
    whole = open_tiny("sd15", width=48, height=32).render(views(2), 2).pixels
    small = open_tiny("sd15", width=48, height=32, resize_px=16, resize_filter=name).render(views(2), 2).pixels
    assert small.shape == (2, 16, 24, 3)
    assert np.array_equal(small[1], np.asarray(Image.fromarray(whole[1]).resize((24, 16), resample)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(dtype: str, open_tiny: Any, views: Any) -> None:
    batch = views(2)
    half, full = (open_tiny("sd2", dtype=kind).render(batch, 2).pixels.astype(int) for kind in (dtype, "float32"))
    assert 0 < np.abs(half - full).mean() < 8


@pytest.mark.slow
def test_a_compiled_network_renders_the_same_within_rounding(open_tiny: Any, views: Any) -> None:
    batch = views(2)
    compiled = open_tiny("sd15", compile=True).render(batch, 2).pixels.astype(int)
    assert np.abs(compiled - open_tiny("sd15").render(batch, 2).pixels).max() <= 2


@pytest.mark.parametrize("layout", ["flux", "lcm"])
def test_a_class_without_negative_prompts_refuses_one(layout: str, open_tiny: Any, views: Any) -> None:
    with pytest.raises(UserError, match="takes no negative prompt, got 'ugly'"):
        open_tiny(layout).prepare([("a cat", ""), ("a dog", "ugly")])


def test_the_row_says_how_it_was_sampled(open_tiny: Any, views: Any) -> None:
    generator = open_tiny("sd15", scheduler="DDIMScheduler")
    expected = {"steps": 3, "scheduler": "DDIMScheduler", "guidance_scale": 5.0, "latent_space": "noise"}
    assert generator.row(views(1)[0]) == expected


def test_threads_are_set_for_the_process() -> None:
    before = torch.get_num_threads()
    open_generator(tiny.source("sd15"), threads=2).close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
