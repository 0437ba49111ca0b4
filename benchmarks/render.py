"""The factory's generator, with its seeds, per-view noise and checks, beside the same pipeline called by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.pairs import Row, speed_ratio

BATCH = 16
STEPS = 12
GUIDANCE_SCALE = 2.0
PROMPTS = ("red heart", "cat face", "pizza", "airplane")


def measure(out: Path) -> list[Row]:
    """Time one batch of the built-in model both ways, one thread each."""
    import torch
    from diffusers import StableDiffusionPipeline

    from factory.builtin import folder
    from factory.generators import ViewRequest, open_generator
    from manifests import seeds

    source = {"model": "builtin:emoji-diffusion", "steps": STEPS, "guidance_scale": GUIDANCE_SCALE}
    generator = open_generator({**source, "width": 64, "height": 64}, threads=1)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(BATCH)]
    requests = [
        ViewRequest(
            group=i,
            view=0,
            attempt=0,
            seed=seeds.view_seed(0, i, 0),
            prompt=p,
            negative_prompt="",
            guidance_scale=GUIDANCE_SCALE,
        )
        for i, p in enumerate(prompts)
    ]
    generator.prepare([(p, "") for p in dict.fromkeys(prompts)])
    pipeline = StableDiffusionPipeline.from_pretrained(folder("emoji-diffusion"), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def bare() -> object:
        return pipeline(
            prompts, num_inference_steps=STEPS, guidance_scale=GUIDANCE_SCALE, height=64, width=64, output_type="np"
        ).images

    ours = partial(generator.render, requests, BATCH)
    return [speed_ratio("render: a batch of the built-in model", ours, bare, goal=0.95)]
