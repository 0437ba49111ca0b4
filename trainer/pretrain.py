"""The training loop: images in, weights out, exact on resume.

Everything but weights, optimizer and counters is a function of images_seen: batch, crops, learning rate and dropout.
So going on after a kill, on one machine, gives the very parameters of a run that was never stopped.
Accelerate launches, places, casts and wraps; the order of the data, the schedule and the checkpoints are our own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn

from learning import checkpoint
from learning.gather import all_reduce_sum
from learning.guard import NonFiniteError, StopSignal
from learning.peers import peers_watched
from manifests.errors import PeerLostError, UserError, explained
from manifests.seeds import derive
from manifests.target import only_writer
from trainer.cached import cached_backward, check_cacheable
from trainer.captions import captions, open_tokenizer
from trainer.config import RunConfig
from trainer.crops import build_inputs
from trainer.data_facts import DataFacts
from trainer.distributed import check_launch, check_same_start, check_same_weights, of_first_rank
from trainer.export import export_run
from trainer.mirror import Mirror, take_up
from trainer.mixture import mixture
from trainer.monitor import Monitor
from trainer.objective_config import TextConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Report
from trainer.objectives.reports import effective_rank
from trainer.outlet import Outlet, RunMetrics
from trainer.probe import open_probe
from trainer.run import Run, newest_checkpoint, open_run
from trainer.sharded import check_wrapped
from trainer.state import TrainingState
from trainer.stream import Stream
from trainer.targets import read_targets
from trainer.track import check_installed, tracking

# DDP lays its buckets out anew after the first step of a life, unless it looks for unused parameters; more than two
# ranks' gradients are added in an order that hangs on the place in a bucket, so that a resumed run would differ.
_FIXED_BUCKETS = DistributedDataParallelKwargs(find_unused_parameters=True)
# The others wait in a collective while the first rank puts a checkpoint into a bucket, perhaps for longer than NCCL's
# ten minutes. A process that dies closes its connections, which is noticed at once; this is for silent ones.
_SILENT_FOR = InitProcessGroupKwargs(timeout=timedelta(hours=1))
_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def pretrain(
    config: RunConfig,
    urls: Sequence[str],
    out: str | Path,
    *,
    metrics: str | None = None,
    price_per_hour: float | None = None,
) -> bool:
    """Train an encoder to the end, or go on with a run; False if a signal ended it early, with a checkpoint.

    A run may live in a bucket: it is worked on in a local folder, and put after every save.

    Raises: UserError for a config, data or folder that cannot be used or written, or when numbers stay non-finite;
        ConflictError for another run's folder, and while another process is at work in it; PeerLostError when another
        process of this run is gone.
    """
    config = config.model_copy(update={"precision": chosen_precision(config)})
    check_installed(config.trackers)
    handlers = [_FIXED_BUCKETS, _SILENT_FOR]
    accelerator = Accelerator(mixed_precision=_MIXED_PRECISION[config.precision], kwargs_handlers=handlers)
    check_launch(accelerator.num_processes, os.environ)
    mirror = open_mirror(config, str(out), accelerator)
    run = open_run(Path(out), config, urls) if mirror is None else open_run(mirror.folder, config, urls, mirror.url)
    if of_first_rank(torch.tensor([int(run.is_finished)], device=accelerator.device)):
        return True
    stream, facts = open_stream(run, rank=accelerator.process_index, world=accelerator.num_processes)
    run.check(facts)
    state = TrainingState(config.without_sources() if run.has_checkpoint else config, accelerator.device, facts)
    if config.cache_groups:
        check_cacheable(state.objective)
    with only_writer(run.folder) if accelerator.is_main_process else nullcontext(), peers_watched(PeerLostError):
        outlet = None
        if accelerator.is_main_process:
            shown = RunMetrics(metrics, images=config.images) if metrics else None
            processes = accelerator.num_processes
            outlet = Outlet(run.folder, processes=processes, metrics=shown, price_per_hour=price_per_hour)
        return begin_or_go_on(run, state, stream, facts, accelerator, mirror, outlet)


def begin_or_go_on(
    run: Run,
    state: TrainingState,
    stream: Stream,
    facts: DataFacts,
    accelerator: Accelerator,
    mirror: Mirror | None,
    outlet: Outlet | None,
) -> bool:
    """Train from the run's newest checkpoint, or from nothing, and export what was learned."""
    if (found := newest_checkpoint(run.checkpoints)) is not None:
        state.load(*found)
    check_same_start(state.images_seen, accelerator.device, str(run.folder))
    stream.start_groups = state.images_seen // run.config.data.views
    if accelerator.is_main_process:
        run.pin(facts)
    if outlet is not None:
        outlet.begin(state.images_seen)
    try:
        is_finished = train(run, state, stream, accelerator, mirror, outlet)
    except NonFiniteError as error:
        raise UserError(str(error)) from None
    finally:
        if outlet is not None:
            with suppress(OSError, UserError):  # a full disk has its own error already
                outlet.close(state.images_seen)
    if is_finished and accelerator.is_main_process:
        export_run(run.folder, run.encoder)
    if mirror is not None and accelerator.is_main_process:
        mirror.push()
    accelerator.wait_for_everyone()
    return is_finished


def train(
    run: Run,
    state: TrainingState,
    stream: Stream,
    accelerator: Accelerator,
    mirror: Mirror | None = None,
    outlet: Outlet | None = None,
) -> bool:
    """Take steps until the run has seen its images, or a signal asks to leave; both end in a checkpoint."""
    config, device = run.config, accelerator.device
    compiled = torch.compile(state.objective) if config.compile else state.objective
    model = accelerator.prepare_model(compiled, evaluation_mode=config.fully_sharded)  # sharded already: only casts
    check_wrapped(model, state.objective, config)
    probe = open_probe(config, state.images_seen)
    monitor = Monitor(run.metrics, config, images_seen=state.images_seen, is_writer=accelerator.is_main_process)
    tracked = tracking(run, state.images_seen, is_writer=accelerator.is_main_process, outlet=outlet)
    with StopSignal() as stop, closing(iter(stream)) as batches, closing(monitor), tracked as track:
        while state.images_seen < config.images and not stop.requested_anywhere(device):
            inputs = build_inputs(next(batches), state.objective, config, device)
            step_seed = derive(config.seed, f"step/{state.images_seen}/{accelerator.process_index}") >> 1

            loss, report = backward(model, state, inputs, step_seed, accelerator)
            gradient_norm = state.step(loss)

            if gradient_norm is not None:
                monitor.step(state.images_seen, {**report, "grad_norm": gradient_norm})
            is_saved = state.images_seen // config.checkpoint_images > state.saved_at // config.checkpoint_images
            if monitor.is_due(state.images_seen) or (is_saved and monitor.has_open_window):  # a save holds all lines
                track(close_window(monitor, state, stream, device))
            if probe is not None and probe.is_due(state.images_seen):
                track(monitor.write(state.images_seen, probe.score(state)))
            if is_saved:
                save(run, state, monitor, accelerator, mirror, outlet)
        if monitor.has_open_window:
            track(close_window(monitor, state, stream, device))
        if state.images_seen > state.saved_at:
            save(run, state, monitor, accelerator, mirror, outlet)
    return state.images_seen >= config.images


def open_mirror(config: RunConfig, out: str, accelerator: Accelerator) -> Mirror | None:
    """Bring a run that lives in a bucket to this machine; None for one in a folder."""
    if "://" not in out:
        return None
    mirror = Mirror(out, keep_last=config.keep_checkpoints, keep_every_images=config.keep_every_images)
    take_up(mirror, accelerator)
    return mirror


def backward(
    model: nn.Module, state: TrainingState, inputs: Inputs, step_seed: int, accelerator: Accelerator
) -> tuple[Tensor, Report]:
    """Bring the global batch's gradient to the parameters; dropout and the like are drawn from the step's seed."""
    torch.manual_seed(step_seed)
    if state.config.cache_groups is None:
        loss, report = model(inputs)
        torch.autograd.backward(state.scaler.scale(loss))
        return loss, report
    scale = float(state.scaler.scale(torch.ones((), device=accelerator.device)))  # which also sets it up
    groups = state.config.cache_groups
    return cached_backward(state.objective, inputs, groups, step_seed, accelerator.autocast, scale)


def open_stream(run: Run, *, rank: int, world: int) -> tuple[Stream, DataFacts]:
    """Open the run's data at their beginning, this rank's part of every global batch; and say what they hold."""
    config = run.config
    text: TextConfig | None = getattr(config.objective, "text", None)
    tokenizer = open_tokenizer(text) if text else None
    datasets, weights = mixture(run.datasets, config.data.weights)
    targets = read_targets(datasets, wanted) if (wanted := getattr(config.objective, "target", None)) else None
    stream = Stream(
        datasets,
        batch_groups=config.batch_groups,
        views=config.data.views,
        seed=config.seed,
        weights=weights,
        window_groups=config.data.window_groups,
        size_px=config.data.size_px,
        workers=config.data.workers,
        corrupt_budget=config.data.corrupt_budget,
        rank=rank,
        world=world,
        captions=[captions(one, tokenizer, text.context) for one in datasets] if tokenizer and text else None,
        targets=targets,
    )
    if getattr(config.objective, "reads_labels", False):
        stream.check_labels()
    read = (tokenizer.vocabulary, tokenizer.name) if tokenizer else (0, "")
    guessed = (*targets.moments(), targets.classes) if targets else ()
    return stream, DataFacts(stream.stored_images, stream.classes, *read, *guessed)


def close_window(monitor: Monitor, state: TrainingState, stream: Stream, device: torch.device) -> dict[str, Any]:
    """Write one line of metrics; every rank takes part, since some numbers are sums over ranks."""
    unreadable = all_reduce_sum(torch.tensor(len(stream.unreadable), device=device))
    embeddings = state.objective.embeddings
    rank = {} if embeddings is None else {"effective_rank": effective_rank(embeddings)}
    return monitor.close_window(
        state.images_seen,
        **rank,
        wait_s=stream.wait_s,
        lr=state.optimizer.param_groups[0]["lr"],
        skipped_steps=state.guard.skipped,
        unreadable_groups=int(unreadable),
    )


def save(
    run: Run,
    state: TrainingState,
    monitor: Monitor,
    accelerator: Accelerator,
    mirror: Mirror | None = None,
    outlet: Outlet | None = None,
) -> None:
    """Write a checkpoint, once all ranks are found to hold the same weights; it counts on metrics being on disk."""
    check_same_weights(state.objective)
    facts = state.state_dict()
    if accelerator.is_main_process:
        with explained(str(run.checkpoints), is_target=True):
            monitor.sync()
            checkpoint.save(
                run.checkpoints,
                facts,
                images_seen=state.images_seen,
                keep_last=run.config.keep_checkpoints,
                keep_every_images=run.config.keep_every_images,
            )
            if outlet is not None:
                outlet.note(state.images_seen)
        if mirror is not None:
            mirror.push()
    state.saved_at = state.images_seen
    accelerator.wait_for_everyone()


def chosen_precision(config: RunConfig) -> Literal["float32", "bfloat16", "float16"]:
    """Resolve `auto`: bfloat16 where the processor computes in it, not where it would only be emulated.

    Raises: UserError for float16 on a CPU, where Accelerate would cast nothing and say nothing.
    """
    if config.precision == "float16" and not torch.accelerator.is_available():
        raise UserError("precision: float16 needs a GPU; take bfloat16 or float32")
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    found = torch.cpu.get_capabilities()
    return "bfloat16" if any(found.get(name) for name in ("amx_bf16", "avx512_bf16", "arm_bf16")) else "float32"
