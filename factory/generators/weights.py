"""The files of a diffusers folder that are really loaded: found, checked, hashed, and shown alone to the loader.

Weights are data, never code: only safetensors and plain configuration pass. The loader sees a folder of links to
exactly the files of the inventory, so what is hashed is what is read.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from factory.generators.diffusion_config import DiffusionSource, unseedable
from factory.generators.layouts import LAYOUTS, Layout
from factory.generators.sources import Location, licence, locate
from factory.generators.staging import stage, stage_file
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError

LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # the last is where diffusers keeps its safety checker
PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
PLAIN = frozenset({".json", ".txt", ".model"})
CONVERT = "load it once where it is trusted and call save_pretrained(FOLDER, safe_serialization=True)"


@dataclass(frozen=True)
class Inventory:
    """What will be loaded: component -> (library, class), and role (a path in the folder, or lora[i]) -> file."""

    location: Location
    pipeline: str
    scheduler: str
    licence: str
    components: dict[str, tuple[str, str]]
    files: dict[str, Path]
    lora_scales: tuple[float, ...]

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.pipeline]

    def weight_files(self, component: str) -> list[Path]:
        prefix = f"{component}/"
        return [path for role, path in self.files.items() if role.startswith(prefix) and path.suffix == ".safetensors"]


def inventory(source: DiffusionSource) -> Inventory:
    """List the files of a source without loading them.

    Raises: UserError for whatever is not a diffusers folder of a known class, or could run code.
    """
    location = locate(source.model, source.variant)
    _refuse_code(location.folder)
    index = read_json(location.folder, "model_index.json", f"{source.model}: no diffusers folder")
    pipeline = _pipeline(source, index)
    components = _components(source.model, index)
    _check_fits(source.model, pipeline, set(components))
    files = {"model_index.json": _inside(location.folder, location.folder / "model_index.json")}
    for name, (library, _) in components.items():
        override = source.vae if name == "vae" else None
        folder = _local(override, stage) if override else location.folder / name
        found = _component_files(folder, name, library, source)
        root = folder if override else location.folder
        files |= {f"{name}/{path.name}": _inside(root, path) for path in found}
    files |= {f"lora[{i}]": _lora_file(lora.path) for i, lora in enumerate(source.lora)}
    scheduler = _scheduler(source, pipeline, files)
    scales = tuple(lora.scale for lora in source.lora)
    terms = source.licence or licence(location.folder)
    return Inventory(location, pipeline, scheduler, terms, components, files, scales)


def fingerprint(items: Inventory) -> dict[str, str]:
    """Hash every file of the inventory into one root, beside the classes that read them."""
    leaves = [[role, file_sha256(path)] for role, path in sorted(items.files.items())]
    root = sha256_hex(canonical_json({"files": leaves, "lora_scales": list(items.lora_scales)}))
    return {"sha256": root, "pipeline": items.pipeline, "scheduler": items.scheduler}


def model_name(items: Inventory, weights: dict[str, str]) -> str:
    """Name a model as rows mention it: never by where it lies, so that a folder may be moved."""
    return items.location.name or f"local:{weights['sha256'][:12]}"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staged(items: Inventory) -> Iterator[Path]:
    """Show the inventory's files, and nothing else, as a folder."""
    with tempfile.TemporaryDirectory(prefix="viewmill-weights-") as folder:
        for role, path in items.files.items():
            link = Path(folder) / role
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(path.resolve())
        yield Path(folder)


def _refuse_code(folder: Path) -> None:
    code = sorted(path.name for path in folder.rglob("*.py"))
    if code:
        raise UserError(
            f"{folder}: contains code ({', '.join(code[:3])}); custom pipelines are refused, weights are data"
        )


def read_json(folder: Path, name: str, failure: str) -> dict[str, Any]:
    """Read a file that must hold one JSON object.

    Raises: UserError that begins with `failure`.
    """
    path = folder / name
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{failure}: {path} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{failure}: {path} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{failure}: {path} holds {type(value).__name__}, expected an object")
    return value


def _pipeline(source: DiffusionSource, index: dict[str, Any]) -> str:
    named = index.get("_class_name")
    if isinstance(named, list):
        raise UserError(
            f"{source.model}: model_index.json names custom pipeline code {named}; it is refused, weights are data"
        )
    pipeline = source.pipeline or named
    if pipeline not in LAYOUTS:
        raise UserError(f"{source.model}: pipeline class {pipeline!r} is not supported; expected {', '.join(LAYOUTS)}")
    return str(pipeline)


def _components(model: str, index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    present = {name: tuple(value) for name, value in pairs.items() if value and value[0] is not None}
    for name, value in present.items():
        if len(value) != 2 or value[0] not in LIBRARIES or not str(value[1]).isidentifier() or Path(name).name != name:
            raise UserError(
                f"{model}: model_index.json takes {name} from {list(value)}; expected a class of {', '.join(LIBRARIES)}"
            )
    return {name: (str(value[0]), str(value[1])) for name, value in present.items()}


def _check_fits(model: str, pipeline: str, components: set[str]) -> None:
    layout = LAYOUTS[pipeline]
    if missing := sorted(layout.needed - components):
        raise UserError(f"{model}: {pipeline} needs {', '.join(missing)}, which its model_index.json does not name")
    if extra := sorted(components - layout.needed - layout.optional):
        raise UserError(f"{model}: {pipeline} has no place for {', '.join(extra)}; leave `pipeline` to the folder")


def _component_files(folder: Path, name: str, library: str, source: DiffusionSource) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{source.model}: the folder of its {name}, {folder}, is missing")
    plain = [
        path for path in sorted(folder.iterdir()) if path.suffix in PLAIN and ".safetensors.index." not in path.name
    ]
    is_model = not name.startswith(("tokenizer", "scheduler", "feature_extractor"))
    return plain + (_weight_files(folder, library, source.variant) if is_model else [])


def _weight_files(folder: Path, library: str, variant: str | None) -> list[Path]:
    """Choose the variant's weights, else the plain ones, as diffusers does for components that have no variant."""
    stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
    for ending in [f".{variant}", ""] if variant else [""]:
        whole = folder / f"{stem}{ending}.safetensors"
        index = folder / f"{stem}.safetensors.index{ending}.json"
        if whole.is_file():
            return [whole]
        if index.is_file():
            return [index, *_parts(folder, index)]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise UserError(f"{folder}: holds pickled weights only ({pickles[0]}), which could run code; {CONVERT}")
    raise UserError(f"{folder}: no {stem}.safetensors" + (f" (nor of variant {variant})" if variant else ""))


def _parts(folder: Path, index: Path) -> list[Path]:
    weight_map = read_json(folder, index.name, f"{folder}: broken index of weights").get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise UserError(f"{index}: expected a weight_map onto safetensors files beside it, got {names[:3]}")
    return [folder / name for name in names]


def _inside(root: Path, path: Path) -> Path:
    """Refuse a link that leaves its model; the hub's cache keeps the files of snapshots/<commit>/ in blobs/."""
    if not path.is_file():
        raise UserError(f"{path}: missing, or not a file")
    target = path.resolve()
    homes = [root.resolve()]
    if root.parent.name == "snapshots":
        homes.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(home) for home in homes):
        raise UserError(f"{path}: links to {target}, outside of its model; copy the file into the folder")
    return path


def _local(text: str, fetch: Callable[[str], Path]) -> Path:
    """Return where something lies on this node, fetched if it is in a bucket."""
    return (fetch(text) if "://" in text else Path(text).expanduser()).resolve()


def _lora_file(text: str) -> Path:
    suffix = PurePosixPath(text).suffix
    if suffix in PICKLES:
        raise UserError(f"{text}: a pickled LoRA could run code; {CONVERT}")
    if suffix != ".safetensors" or not (path := _local(text, stage_file)).is_file():
        raise UserError(f"{text}: expected the path or URL of a LoRA's .safetensors file")
    return path


def _scheduler(source: DiffusionSource, pipeline: str, files: dict[str, Path]) -> str:
    path = files.get("scheduler/scheduler_config.json")
    if path is None:
        raise UserError(f"{source.model}: scheduler/scheduler_config.json is missing")
    own = read_json(path.parent, path.name, f"{source.model}: broken scheduler").get("_class_name")
    name = source.scheduler or str(own)
    allowed = LAYOUTS[pipeline].schedulers
    if name not in allowed:
        raise UserError(f"{source.model}: {unseedable(name, allowed)} with {pipeline}")
    return name
