"""An inventory of files -> a diffusers pipeline on its device, with every weight accounted for.

diffusers fills weights that a file lacks with random numbers and a log line; here that is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.noise import make_scheduler
from factory.generators.weights import Inventory, staged
from manifests.errors import UserError

# What the libraries raise for a file that is cut, misshapen or of another class.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)
# Draws into the pixels where a package happens to be installed, and not where it is absent.
FIXED_ARGUMENTS: dict[str, dict[str, Any]] = {"StableDiffusionXLPipeline": {"add_watermarker": False}}


def load_pipeline(source: DiffusionSource, items: Inventory, device: str) -> Any:
    """Load, patch and place the pipeline.

    Raises: UserError naming the component that could not be loaded.
    """
    _quiet()
    with staged(items) as folder:
        models = {name: _model(name, source, items, folder) for name in items.components if items.weight_files(name)}
        pipe = _assemble(source, items, folder, models)
    pipe.scheduler = make_scheduler(pipe.scheduler.config, items.scheduler, source)
    _add_loras(pipe, source, items)
    pipe.set_progress_bar_config(disable=True)
    _place(pipe, source, device)
    _tune(getattr(pipe, items.layout.denoiser), pipe.vae, source)
    return pipe


def _place(pipe: Any, source: DiffusionSource, device: str) -> None:
    """Bring the weights to the device, or leave them where parts are fetched from as they are used.

    Raises: UserError where there is no GPU to fetch them to.
    """
    if source.placement == "device":
        pipe.to(device)
    elif not device.startswith("cuda"):
        raise UserError(f"{source.model}: placement: {source.placement} needs a GPU, this worker computes on {device}")
    elif source.placement == "offload":
        pipe.enable_model_cpu_offload(device=device)
    elif source.placement == "offload_layers":
        pipe.enable_sequential_cpu_offload(device=device)


def _quiet() -> None:
    """The libraries' bars and remarks would garble the worker's own report; what matters in them is checked here."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _model(name: str, source: DiffusionSource, items: Inventory, folder: Path) -> Any:
    cls = _model_class(name, source, items)
    variant = source.variant if any(f".{source.variant}" in path.name for path in items.weight_files(name)) else None
    arguments: dict[str, Any] = {
        "variant": variant,
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if source.placement == "balanced":  # the library hands the parts out over this worker's GPUs
        arguments["device_map"] = "balanced"
    try:
        model, report = cls.from_pretrained(folder / name, torch_dtype=getattr(torch, source.dtype), **arguments)
    except LOAD_ERRORS as error:
        raise UserError(f"{source.model}: its {name} could not be loaded: {_first_line(error)}") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{source.model}: the weights of its {name} lack {len(missing)} tensors, such as {missing[0]}")
    return model.eval()


def _model_class(name: str, source: DiffusionSource, items: Inventory) -> Any:
    library, class_name = items.components[name]
    cls = getattr(_library(library), class_name, None)
    is_model = isinstance(cls, type) and issubclass(cls, torch.nn.Module)
    if not is_model or (name == "vae" and class_name != "AutoencoderKL"):
        raise UserError(f"{source.model}: its {name} is a {library} {class_name}, which is not supported")
    return cls


def _library(name: str) -> Any:
    if name == "stable_diffusion":
        return diffusers.pipelines.stable_diffusion
    return {"diffusers": diffusers, "transformers": transformers}[name]


def _assemble(source: DiffusionSource, items: Inventory, folder: Path, models: dict[str, Any]) -> Any:
    cls = getattr(diffusers, items.pipeline)
    arguments = {**models, **FIXED_ARGUMENTS.get(items.pipeline, {})}
    try:
        return cls.from_pretrained(folder, local_files_only=True, use_safetensors=True, **arguments)
    except LOAD_ERRORS as error:
        raise UserError(f"{source.model}: could not be loaded as {items.pipeline}: {_first_line(error)}") from error


def _add_loras(pipe: Any, source: DiffusionSource, items: Inventory) -> None:
    """Add the low-rank changes into the weights themselves, so that they cost nothing at each step."""
    if not source.lora:
        return
    names = [f"lora{i}" for i in range(len(source.lora))]
    for i, (name, lora) in enumerate(zip(names, source.lora, strict=True)):
        path = items.files[f"lora[{i}]"]
        try:
            pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name, local_files_only=True)
        except LOAD_ERRORS as error:
            raise UserError(f"{lora.path}: this LoRA does not fit {source.model}: {_first_line(error)}") from error
        if name not in {adapter for adapters in pipe.get_list_adapters().values() for adapter in adapters}:
            raise UserError(f"{lora.path}: holds nothing that fits {source.model}")
    pipe.set_adapters(names, [lora.scale for lora in source.lora])
    pipe.fuse_lora(adapter_names=names)
    pipe.unload_lora_weights()


def _tune(denoiser: torch.nn.Module, vae: torch.nn.Module, source: DiffusionSource) -> None:
    if source.channels_last:
        denoiser.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    if source.compile:
        denoiser.compile(dynamic=False)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
