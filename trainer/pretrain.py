"""The training loop: images in, weights out, exact on resume.

Everything but weights, optimizer and counters is a function of images_seen: batch, crops, learning rate and dropout.
So going on after a kill, on one machine, gives the very parameters of a run that was never stopped.
Accelerate launches, places, casts and wraps; the order of the data, the schedule and the checkpoints are our own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from learning import checkpoint
from learning.augment import augment, preset
from learning.gather import all_reduce_sum
from learning.guard import NonFiniteError, StopSignal
from manifests.errors import UserError, explained
from manifests.seeds import derive
from trainer.config import RunConfig
from trainer.distributed import check_launch, check_same_weights
from trainer.export import export
from trainer.monitor import Monitor
from trainer.objectives.objective import Objective
from trainer.order import sample_seeds
from trainer.run import Run, open_run
from trainer.state import TrainingState
from trainer.stream import Batch, Stream

_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}


def pretrain(config: RunConfig, urls: Sequence[str], folder: Path) -> bool:
    """Train an encoder to the end, or go on with a run; False if a signal ended it early, with a checkpoint.

    Raises: UserError for a config, data or folder that cannot be used or written, or when numbers stay non-finite.
    """
    config = config.model_copy(update={"precision": chosen_precision(config)})
    accelerator = Accelerator(mixed_precision=_MIXED_PRECISION[config.precision])
    check_launch(accelerator.num_processes, os.environ)
    run = open_run(folder, config, urls)
    if run.is_finished:
        return True
    state = TrainingState(config, accelerator.device)
    if (found := checkpoint.load_newest(run.checkpoints)) is not None:
        state.load(*found)
    stream = open_stream(run, state.images_seen, accelerator)
    if accelerator.is_main_process:
        run.pin()
    try:
        is_finished = train(run, state, stream, accelerator)
    except NonFiniteError as error:
        raise UserError(str(error)) from None
    if is_finished and accelerator.is_main_process:
        export(state.exported, run.encoder, run.provenance(state.images_seen))
    accelerator.wait_for_everyone()
    return is_finished


def train(run: Run, state: TrainingState, stream: Stream, accelerator: Accelerator) -> bool:
    """Take steps until the run has seen its images, or a signal asks to leave; both end in a checkpoint."""
    config, device = run.config, accelerator.device
    model = accelerator.prepare_model(state.objective)
    monitor = Monitor(run.metrics, config, images_seen=state.images_seen, is_writer=accelerator.is_main_process)
    with StopSignal() as stop, closing(iter(stream)) as batches, closing(monitor):
        while state.images_seen < config.images and not stop.requested_anywhere(device):
            images, ids = crops(next(batches), state.objective, config, device)
            torch.manual_seed(derive(config.seed, f"step/{state.images_seen}/{accelerator.process_index}") >> 1)

            loss, report = model(images, ids)
            loss.backward()
            gradient_norm = state.step(loss)

            if gradient_norm is not None:
                monitor.step(state.images_seen, {**report, "grad_norm": gradient_norm})
            if monitor.is_due(state.images_seen):
                close_window(monitor, state, stream, device)
            if state.images_seen // config.checkpoint_images > state.saved_at // config.checkpoint_images:
                save(run, state, monitor, accelerator)
        if monitor.has_open_window:
            close_window(monitor, state, stream, device)
        if state.images_seen > state.saved_at:
            save(run, state, monitor, accelerator)
    return state.images_seen >= config.images


def crops(batch: Batch, objective: Objective, config: RunConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Augment every image of a batch as often as the objective asks, each copy by a seed of its own.

    Shapes: normalised images [n, 3, S, S] and ids [n], where n = crops · b · m in this order.
    """
    b, m = batch.images.shape[:2]
    pixels = batch.images.to(device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2)  # [b·m, 3, H, W]
    seeds = torch.from_numpy(sample_seeds(config.seed, batch.positions.numpy(), objective.crops * m, "augment"))
    seeds = seeds.view(b, objective.crops, m).transpose(0, 1).reshape(objective.crops, b * m).to(device)
    recipe, size_px = preset(config.augmentation), config.encoder.size_px
    images = torch.cat([augment(pixels, of_crop, recipe, size_px) for of_crop in seeds])  # [crops·b·m, 3, S, S]
    images = objective.encoder.normalize(images).contiguous(memory_format=torch.channels_last)
    return images, objective.target_ids(batch).reshape(-1).repeat(objective.crops).to(device)


def open_stream(run: Run, images_seen: int, accelerator: Accelerator) -> Stream:
    """Open the run's data where it stopped; this rank's part of every global batch."""
    config = run.config
    return Stream(
        run.datasets,
        batch_groups=config.batch_groups,
        views=config.data.views,
        seed=config.seed,
        start_groups=images_seen // config.data.views,
        weights=config.data.weights,
        window_groups=config.data.window_groups,
        size_px=config.data.size_px,
        workers=config.data.workers,
        corrupt_budget=config.data.corrupt_budget,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def close_window(monitor: Monitor, state: TrainingState, stream: Stream, device: torch.device) -> None:
    """Write one line of metrics; every rank takes part, since some numbers are sums over ranks."""
    unreadable = all_reduce_sum(torch.tensor(len(stream.unreadable), device=device))
    monitor.close_window(
        state.images_seen,
        wait_s=stream.wait_s,
        lr=state.optimizer.param_groups[0]["lr"],
        skipped_steps=state.guard.skipped,
        unreadable_groups=int(unreadable),
    )


def save(run: Run, state: TrainingState, monitor: Monitor, accelerator: Accelerator) -> None:
    """Write a checkpoint, once all ranks are found to hold the same weights; it counts on metrics being on disk."""
    check_same_weights(state.objective)
    if accelerator.is_main_process:
        facts, keep = state.state_dict(), run.config.keep_checkpoints
        with explained(str(run.checkpoints), is_target=True):
            monitor.sync()
            checkpoint.save(run.checkpoints, facts, images_seen=state.images_seen, keep_last=keep)
    state.saved_at = state.images_seen
    accelerator.wait_for_everyone()


def chosen_precision(config: RunConfig) -> Literal["float32", "bfloat16"]:
    """Resolve `auto`: bfloat16 where the processor computes in it, not where it would only be emulated."""
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    found = torch.cpu.get_capabilities()
    return "bfloat16" if any(found.get(name) for name in ("amx_bf16", "avx512_bf16", "arm_bf16")) else "float32"
