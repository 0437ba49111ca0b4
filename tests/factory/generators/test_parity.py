"""What the factory renders is what a plain diffusers call renders from the same noise and prompts."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from factory.generators import ViewRequest
from manifests.seeds import derive, normal
from tests.factory import tiny

TOLERANCE = 2  # of 255; the plain call encodes its prompts in batches of another shape
LATENTS = {"sd3": (8, 8, 8)}


def plain(
    layout: str, batch: list[ViewRequest], scheduler: str | None = None, *, steps: int = 3, **arguments: Any
) -> np.ndarray:
    """Call the folder's own pipeline the way its documentation does."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(tiny.folder(layout))
    pipe.set_progress_bar_config(disable=True)
    if scheduler:
        pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    noise = torch.from_numpy(np.stack([normal(v.seed, "noise", LATENTS.get(layout, (4, 8, 8))) for v in batch]))
    if layout == "flux":
        noise = noise.view(len(batch), 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(len(batch), 16, 16)
    generators = [torch.Generator().manual_seed(derive(view.seed, "steps")) for view in batch]
    if batch[0].negative_prompt:
        arguments["negative_prompt"] = [view.negative_prompt for view in batch]
    images = pipe(
        [view.prompt for view in batch],
        latents=noise,
        generator=generators,
        guidance_scale=batch[0].guidance_scale,
        num_inference_steps=steps,
        width=32,
        height=32,
        output_type="np",
        **arguments,
    ).images
    return (images * 255).round()


@pytest.mark.parametrize("layout", tiny.LAYOUTS)
def test_every_layout_renders_what_diffusers_renders(layout: str, open_tiny: Any, views: Any) -> None:
    batch = views(4)
    ours = open_tiny(layout).render(batch, 4).pixels
    assert np.abs(plain(layout, batch) - ours).max() <= TOLERANCE


@pytest.mark.parametrize("layout", ["sd15", "sd2", "sdxl", "sd3"])
def test_negative_prompts_mean_what_they_mean_to_diffusers(layout: str, open_tiny: Any, views: Any) -> None:
    batch = views(4, negative="blurred, ugly")
    ours = open_tiny(layout).render(batch, 4).pixels
    assert np.abs(plain(layout, batch) - ours).max() <= TOLERANCE
    assert (ours != open_tiny(layout).render(views(4), 4).pixels).any()


@pytest.mark.parametrize("layout", tiny.LAYOUTS)
def test_without_guidance_too(layout: str, open_tiny: Any, views: Any) -> None:
    batch = views(2, guidance_scale=1.0)
    ours = open_tiny(layout).render(batch, 2).pixels
    assert np.abs(plain(layout, batch) - ours).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("layout", "scheduler"),
    [
        ("sd15", "EulerAncestralDiscreteScheduler"),
        ("sd2", "EulerAncestralDiscreteScheduler"),
        ("sd15", "DPMSolverMultistepScheduler"),
        ("sd15", "LCMScheduler"),
        ("sdxl", "EulerAncestralDiscreteScheduler"),
    ],
)
def test_another_scheduler_is_what_diffusers_makes_of_it(
    layout: str, scheduler: str, open_tiny: Any, views: Any
) -> None:
    batch = views(4)
    ours = open_tiny(layout, scheduler=scheduler).render(batch, 4).pixels
    assert np.abs(plain(layout, batch, scheduler) - ours).max() <= TOLERANCE
    assert (ours != open_tiny(layout).render(batch, 4).pixels).any()


@pytest.mark.parametrize("layout", ["sd2", "sdxl"])
def test_one_step_without_guidance_as_turbo_models_want_it(layout: str, open_tiny: Any, views: Any) -> None:
    batch = views(2, guidance_scale=0.0)
    ours = open_tiny(layout, scheduler="EulerAncestralDiscreteScheduler", steps=1).render(batch, 2).pixels
    assert np.abs(plain(layout, batch, "EulerAncestralDiscreteScheduler", steps=1) - ours).max() <= TOLERANCE


def test_eta_reaches_the_scheduler(open_tiny: Any, views: Any) -> None:
    batch = views(4)
    ours = open_tiny("sd2", eta=1.0).render(batch, 4).pixels
    assert np.abs(plain("sd2", batch, eta=1.0) - ours).max() <= TOLERANCE
    assert (ours != open_tiny("sd2").render(batch, 4).pixels).any()


def test_the_prediction_type_of_the_folder_counts(open_tiny: Any, views: Any) -> None:
    as_velocity = open_tiny("sd2").render(views(2), 2).pixels
    as_noise = open_tiny("sd2", scheduler_options=(("prediction_type", "epsilon"),)).render(views(2), 2).pixels
    assert (as_velocity != as_noise).any()
