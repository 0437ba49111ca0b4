"""StyleGAN2 at 256 px with full channels and random weights: rendered into encoded groups, beside the bare network."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from benchmarks.pairs import Row, speed_ratio

BATCH = 4
GROUPS, VIEWS = 2, 4
ARGUMENTS = {"resolution": 256, "channel_base": 32768, "channel_max": 512}


def measure(out: Path) -> list[Row]:
    """Time a shard's drawing, judging and encoding beside a loop over the network, one thread each."""
    import torch

    from factory.generators import open_generator
    from factory.plan import plan_shard
    from factory.recipe import Recipe
    from factory.render import Bench, draw_shard
    from factory.segments import Segment
    from factory.subjects import subjects_of

    counts = {"groups": GROUPS, "views": VIEWS, "groups_per_shard": GROUPS, "batch": BATCH}
    source = {"family": "latent", "model": str(_folder(out)), "noise": "const"}
    strategy = {"name": "gaussian", "sigma": 0.5}
    recipe = Recipe.model_validate({"name": "bench", "sources": [source], "strategy": strategy, **counts})
    generator = open_generator(recipe.sources[0], threads=1)
    segment = Segment(stream_id="", first_group=0, groups=GROUPS, groups_per_shard=GROUPS, first_shard=0)
    plan = plan_shard(recipe, subjects_of(recipe, None, [()]), segment, 0)
    bench = Bench(recipe, {0: generator}, [generator.fingerprint()])
    network = generator.network  # type: ignore[attr-defined]
    latents = torch.randn(GROUPS * VIEWS, network.z_dim)

    @torch.no_grad()
    def bare() -> None:
        for part in torch.split(latents, BATCH):
            psi = torch.ones(len(part))
            noise = [one.expand(len(part), -1, -1, -1) for one in network.constant_noise()]
            network.synthesize(network.map(part, None, psi), None, psi, noise)

    ours = partial(draw_shard, plan, bench)
    return [speed_ratio("render: StyleGAN2 at 256 px, full channels", ours, bare, goal=0.9)]


def _folder(out: Path) -> Path:
    """Write a generator's folder with random weights."""
    import torch
    from safetensors.torch import save_file

    from factory.generators.networks import build

    folder = out / "stylegan2-256"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = build("stylegan2", ARGUMENTS)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}  # type: ignore[attr-defined]
    save_file(tensors, folder / "generator.safetensors")
    index = {"format": 1, "family": "stylegan2", "arguments": ARGUMENTS}
    (folder / "generator.json").write_text(json.dumps(index))
    return folder
