"""One shard: plan -> generate -> judge and encode -> groups, ready to be committed.

The device draws one batch while a thread judges and encodes the one before. Nothing here depends on time or
order: equal plans give equal bytes.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from factory.encode import encode, extension
from factory.generators.protocol import Generator, Rendered, ViewRequest
from factory.judge import Step, Verdict, judge, next_step, reason
from factory.plan import Batch, GroupPlan, ShardPlan, cut_batches, request
from factory.recipe import Recipe
from factory.views import Drawer
from factory.walks.file import Learned
from manifests.commit import Group, View
from manifests.errors import UserError
from manifests.images import pixel_hash

QUEUE_BATCHES = 2

Attempts = dict[tuple[int, int], list["Drawn"]]


@dataclass(frozen=True)
class Drawn:
    """One attempt at one view; `data` is None where the judge refused it."""

    request: ViewRequest
    verdict: Verdict
    data: bytes | None
    row: dict[str, Any]


@dataclass
class Timings:
    """Where a shard's time goes; stages overlap, so they may add up to more than the whole."""

    prepare_s: float = 0.0
    generate_s: float = 0.0
    encode_s: float = 0.0
    attempts: int = 0


@dataclass
class Bench:
    """What a shard is made with: a recipe, its loaded generators, and the names of their weights."""

    recipe: Recipe
    generators: Mapping[int, Generator]  # by number of the source
    fingerprints: Sequence[dict[str, str]]
    learned: Learned | None = None  # steps that the strategy goes by
    timings: Timings = field(default_factory=Timings)
    beat: Callable[[int, float, int], None] = lambda images, seconds, queued: None  # after each batch

    @cached_property
    def drawers(self) -> dict[int, Drawer]:
        """Return the strategy, opened on each generator's space."""
        return {n: self.recipe.strategy.open(one.space, self.learned) for n, one in self.generators.items()}

    def realism(self, pixels: np.ndarray) -> np.ndarray | None:
        """Score images by the recipe's probe, where it has one: float32 [n]."""
        config = self.recipe.judge.realism
        if config is None:
            return None
        from factory.realism import open_scorer

        return open_scorer(config.probe, self.recipe.device)(pixels)

    def request(self, plan: GroupPlan, view: int, attempt: int) -> tuple[int, ViewRequest]:
        """Return a view's source and request."""
        return plan.source, request(self.recipe, plan, view, attempt, self.drawers[plan.source])

    def key(self, source: int, wanted: ViewRequest) -> Hashable:
        """Return what requests must share to be rendered in one batch."""
        return self.generators[source].batch_key(wanted)


def draw_shard(plan: ShardPlan, bench: Bench) -> list[Group]:
    """Render all views of a shard, trying again those that the judge refuses."""
    recipe, attempts, batch_count = bench.recipe, Attempts(), 0
    groups = {group.group: group for group in plan.groups}
    wanted = [bench.request(group, view, 0) for group in plan.groups for view in range(recipe.views)]
    _prepare(wanted, bench)
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder:
        while wanted:
            batches = cut_batches(wanted, bench.key, _batch_size(recipe))
            drawn = list(_pipeline(batches, batch_count, bench, encoder))
            batch_count += len(batches)
            for one in drawn:
                attempts.setdefault((one.request.group, one.request.view), []).append(one)
            again = [
                one.request for one in drawn if next_step(one.verdict, one.request.attempt, recipe.judge) == "again"
            ]
            wanted = [bench.request(groups[failed.group], failed.view, failed.attempt + 1) for failed in again]
    return [_group(group, attempts, recipe) for group in plan.groups]


def _batch_size(recipe: Recipe) -> int:
    assert isinstance(recipe.batch, int), "batch: auto is resolved before anything is planned"
    return recipe.batch


def _prepare(wanted: Sequence[tuple[int, ViewRequest]], bench: Bench) -> None:
    begun = time.monotonic()
    for number, generator in bench.generators.items():
        prompts = [(one.prompt, one.negative_prompt) for source, one in wanted if source == number]
        if prompts:
            generator.prepare(list(dict.fromkeys(prompts)))
    bench.timings.prepare_s += time.monotonic() - begun


def _step(drawn: Drawn, recipe: Recipe) -> Step:
    return next_step(drawn.verdict, drawn.request.attempt, recipe.judge)


def _pipeline(batches: Sequence[Batch], first_index: int, bench: Bench, encoder: ThreadPoolExecutor) -> Iterator[Drawn]:
    """Draw batches one after the other; a bounded queue of them waits for the encoder."""
    waiting: deque[Future[list[Drawn]]] = deque()
    for index, batch in enumerate(batches, first_index):
        begun = time.monotonic()
        rendered = render_batch(bench.generators[batch.source], batch)
        seconds = time.monotonic() - begun
        bench.timings.generate_s += seconds
        bench.timings.attempts += len(batch.requests)
        bench.beat(len(batch.requests), seconds, len(waiting))
        waiting.append(encoder.submit(_finish, batch, index, rendered, bench))
        if len(waiting) > QUEUE_BATCHES:
            yield from waiting.popleft().result()
    for future in waiting:
        yield from future.result()


def render_batch(generator: Generator, batch: Batch) -> Rendered:
    """Render a batch; when memory runs out, free what can be freed and try once more.

    Raises: UserError with the remedy when it runs out again; the batch size decides pixels, so it is never halved.
    """
    try:
        return generator.render(batch.requests, batch.size)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
    _free_memory()
    try:
        return generator.render(batch.requests, batch.size)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        told = next(iter(str(error).splitlines()), "no memory")
        remedy = f"render into a new folder with --set batch={max(1, batch.size // 2)}, or on a larger device"
        raise UserError(f"out of memory twice with a batch of {batch.size} ({told}); {remedy}") from error


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's, a RuntimeError


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _finish(batch: Batch, index: int, rendered: Rendered, bench: Bench) -> list[Drawn]:
    """Judge and encode a batch."""
    begun, recipe, generator = time.monotonic(), bench.recipe, bench.generators[batch.source]
    made_by = {"generator": generator.name, "generator_sha256": bench.fingerprints[batch.source]["sha256"]}
    shared = {**made_by, "source": f"sources.{batch.source}", "batch_index": index, "batch_size": batch.size}
    realism = bench.realism(rendered.pixels)
    verdicts = judge(rendered.pixels, rendered.finite, rendered.flagged, recipe.judge, realism)
    drawn = []
    for slot, (wanted, verdict) in enumerate(zip(batch.requests, verdicts, strict=True)):
        pixels = rendered.pixels[slot]  # [H, W, 3]
        row = {**_row(wanted, recipe), **shared, "slot": slot, **_looks(pixels, recipe), **generator.row(wanted)}
        if realism is not None:
            row["realism_score"] = float(realism[slot])
        drawn.append(Drawn(wanted, verdict, encode(pixels, recipe.encode) if verdict == "ok" else None, row))
    bench.timings.encode_s += time.monotonic() - begun
    return drawn


def _row(wanted: ViewRequest, recipe: Recipe) -> dict[str, Any]:
    return {
        "group_seed": wanted.group_seed,
        "view_seed": wanted.seed,
        "attempts": wanted.attempt + 1,
        "strategy": recipe.strategy.name,
        "prompt": wanted.prompt,
        "negative_prompt": wanted.negative_prompt,
        "guidance_scale": wanted.guidance_scale,
        "class_id": wanted.class_id,
        **latent_columns(wanted),
        **wanted.columns,
    }


def latent_columns(wanted: ViewRequest) -> dict[str, Any]:
    """Return what a row says of the latent that a view was drawn from."""
    if wanted.latent is None:
        return {}
    columns: dict[str, Any] = {"latent": list(wanted.latent), "latent_space": "z"}
    if edit := wanted.edit:
        layers = {"first_layer": edit.first_layer, "last_layer": edit.last_layer}
        columns |= {"edit": edit.kind, "edit_vector": list(edit.vector), **layers}
    return columns


def _looks(pixels: np.ndarray, recipe: Recipe) -> dict[str, Any]:
    height, width = pixels.shape[:2]  # [H, W, 3]
    codec = recipe.encode.codec
    return {"width": width, "height": height, "codec": codec, "pixel_hash": pixel_hash(pixels)}


def _group(plan: GroupPlan, attempts: Attempts, recipe: Recipe) -> Group:
    views = [_view(attempts[plan.group, view], recipe) for view in range(recipe.views)]
    shared = {"prompt_id": plan.prompt.prompt_id, "split": plan.prompt.split, **plan.prompt.extra}
    return Group(plan.group, views, prompt=plan.prompt.prompt or None, label=plan.prompt.label, extra=shared)


def _view(attempts: Sequence[Drawn], recipe: Recipe) -> View:
    last = attempts[-1]
    failed = {} if last.data else {"status": "quarantined", "reason": reason([one.verdict for one in attempts])}
    return View({**last.row, **failed}, last.data, extension(recipe.encode))
