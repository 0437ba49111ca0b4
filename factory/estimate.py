"""What a recipe will make and cost, before anything is rendered: pure, but for the measuring of the rate."""

from __future__ import annotations

import time
from typing import Any

from factory.cluster import needs_of, pool_options
from factory.generators.facts import AnySource
from factory.generators.latent_config import LatentSource
from factory.plan import GroupPlan, cut_batches, plan_shard, request
from factory.prompt_rows import PromptTable
from factory.recipe import Recipe
from factory.resolve import Stream
from factory.segments import Segment
from factory.subjects import Subjects, subjects_of
from factory.views import Draw, Drawer

# Measured on rendered images of 256 px: bytes a pixel of each codec at its default settings.
BYTES_PER_PIXEL = {"jpeg": 0.8, "webp": 0.7, "webp-lossless": 2.3, "png": 2.5}


def estimate(
    recipe: Recipe,
    prompts: PromptTable | None,
    *,
    images_per_s: float | None = None,
    workers: int = 1,
    gpus_per_worker: float = 1.0,
    price_per_hour: float | None = None,
) -> dict[str, Any]:
    """Say what the whole recipe amounts to, without its weights; time and cost where a rate for one worker is given."""
    images = recipe.groups * recipe.views
    shards = -(-recipe.groups // recipe.groups_per_shard)
    facts: dict[str, Any] = {
        "name": recipe.name,
        "groups": recipe.groups,
        "views": recipe.views,
        "images": images,
        "shards": shards,
        "prompts": len(prompts) if prompts else None,
        "batch": recipe.batch,
        "batches_per_shard": _batches(recipe, prompts),
        "bytes": _bytes(recipe, images),
    }
    if images_per_s:
        hours = images / images_per_s / 3600
        facts |= {"images_per_s": images_per_s, "worker_hours": hours, "hours": hours / min(workers, shards)}
        facts["gpu_hours"] = hours * _gpus(recipe, gpus_per_worker)
        facts |= {"cost": hours * price_per_hour} if price_per_hour is not None else {}
    return facts


def _gpus(recipe: Recipe, gpus_per_worker: float) -> float:
    """Return a worker's share of GPUs where there are any; a mean where each source has workers of its own."""
    options = pool_options({"GPU": 1.0}, recipe, gpus_per_worker)
    weights = [source.weight for source in recipe.sources] if len(options) > 1 else [1.0]
    shares = [needs_of(one).get("GPU", 0.0) for one in options]
    return sum(weight * share for weight, share in zip(weights, shares, strict=True)) / sum(weights)


def _batches(recipe: Recipe, prompts: PromptTable | None) -> int | None:
    """Count the batches of the first shard, where no view is tried again; guidance scales do not share one."""
    if recipe.batch == "auto":
        return None
    is_prompted = "diffusion" in recipe.strategy.FAMILIES
    drawer: Drawer = recipe.strategy.open(None) if is_prompted else lambda place, subject: Draw(seed=0)
    subjects = subjects_of(recipe, prompts, [()] * len(recipe.sources))
    wanted = [
        (group.source, request(recipe, group, view, 0, drawer))
        for group in _first_groups(recipe, subjects)
        for view in range(recipe.views)
    ]
    return len(cut_batches(wanted, lambda source, one: (one.guidance_scale, one.columns.get("strength")), recipe.batch))


def _first_groups(recipe: Recipe, subjects: Subjects) -> tuple[GroupPlan, ...]:
    segment = Segment(
        stream_id="",
        first_group=0,
        groups=recipe.groups,
        groups_per_shard=recipe.groups_per_shard,
        first_shard=0,
    )
    return plan_shard(recipe, subjects, segment, 0).groups


def _bytes(recipe: Recipe, images: int) -> int | None:
    """Guess the size of the images, where every source says how large its own are."""
    sizes = [_side_px(source) for source in recipe.sources]
    pixels = [_pixels(width, height, resize) for width, height, resize in sizes if width and height]
    if len(pixels) < len(sizes):
        return None
    return round(images * sum(pixels) / len(pixels) * BYTES_PER_PIXEL[recipe.encode.codec])


def _side_px(source: AnySource) -> tuple[int | None, int | None, int | None]:
    if isinstance(source, LatentSource):
        return source.resize_px, source.resize_px, None
    return source.width, source.height, source.resize_px


def _pixels(width: int, height: int, resize_px: int | None) -> float:
    scale = resize_px / min(width, height) if resize_px else 1.0
    return width * height * scale * scale


def on_this_device(recipe: Recipe) -> Recipe:
    """Return the recipe for the device that it was measured on: a rate of CPUs takes no GPU-hours."""
    from factory.numerics import pick_device

    return recipe.model_copy(update={"device": pick_device(recipe.device)})


def measure(stream: Stream, *, batches: int = 2) -> float:
    """Render a few batches on this machine and return images/s of one worker; the first one warms up."""
    from factory.generators import open_generator
    from factory.numerics import pick_device
    from factory.render import Bench, render_batch

    recipe = stream.recipe
    assert isinstance(recipe.batch, int)
    device = pick_device(recipe.device)
    generators = [open_generator(source, device=device, threads=recipe.threads) for source in recipe.sources]
    bench = Bench(recipe, dict(enumerate(generators)), stream.fingerprints, stream.learned())
    groups = _first_groups(recipe, stream.subjects)
    wanted = [bench.request(group, view, 0) for group in groups for view in range(recipe.views)]
    cut = cut_batches(wanted, bench.key, recipe.batch)
    chosen = [cut[i % len(cut)] for i in range(batches + 1)]
    render_batch(generators[chosen[0].source], chosen[0])
    begun = time.monotonic()
    for batch in chosen[1:]:
        render_batch(generators[batch.source], batch)
    return sum(len(batch.requests) for batch in chosen[1:]) / (time.monotonic() - begun)
