"""What bit-equality depends on besides the recipe: library versions, the kind of processor, the encoder.

Each commit record carries it. Images of equal numerics promise equal bytes; across numerics the promise is a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from factory.encode import EncodeConfig, encoder_fingerprint
from manifests.errors import ConflictError

LIBRARIES = ("torch", "diffusers", "transformers", "numpy")


def numerics(device: str, encoder: EncodeConfig) -> dict[str, str]:
    """Describe this process: versions, processor class (CPU) or model (GPU), encoder."""
    versions = {name: version(name) for name in LIBRARIES}
    return {**versions, "device": processor(device), "encoder": encoder_fingerprint(encoder)["encoder"]}


def processor(device: str) -> str:
    """Name the class of processor whose members agree bit for bit."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(torch.device(device))}, CUDA {torch.version.cuda}"
    return f"mps, {torch.__version__}" if device == "mps" else f"cpu {torch.backends.cpu.get_cpu_capability()}"


def pick_device(device: str, *, learns: bool = False) -> str:
    """Resolve `auto` to the best device of this process; what learns sums in float64, which mps has not."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() and not learns else "cpu"


def distinct(found: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return what differs among numerics, once each, in order."""
    return [dict(items) for items in dict.fromkeys(tuple(sorted(one.items())) for one in found)]


def check_same(known: Sequence[Mapping[str, str]], here: Mapping[str, str], where: str) -> None:
    """Refuse to mix images of different numerics in one data set.

    Raises: ConflictError naming each difference.
    """
    for other in known:
        keys = sorted(key for key in other.keys() | here.keys() if other.get(key) != here.get(key))
        if keys:
            lines = "; ".join(f"{key}: {other.get(key)} there, {here.get(key)} here" for key in keys)
            raise ConflictError(
                f"{where}: was begun under other numerics ({lines}); --accept-numerics goes on all the same"
            )
