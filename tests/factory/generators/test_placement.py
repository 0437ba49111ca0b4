"""Where weights go: the libraries' own calls, one for each placement; what they save shows only on GPUs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from factory.generators import loading
from factory.generators.diffusion_config import DiffusionSource
from manifests.errors import UserError


class Pipe:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def to(self, device: str) -> None:
        self.calls.append(("to", device))

    def enable_model_cpu_offload(self, device: str) -> None:
        self.calls.append(("offload", device))

    def enable_sequential_cpu_offload(self, device: str) -> None:
        self.calls.append(("offload layers", device))


def source(placement: str) -> DiffusionSource:
    return DiffusionSource.model_validate({"model": "somewhere", "placement": placement})


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ("device", [("to", "cuda")]),
        ("offload", [("offload", "cuda")]),
        ("offload_layers", [("offload layers", "cuda")]),
        ("balanced", []),  # each part was loaded to where it belongs
    ],
)
def test_each_placement_is_one_call(placement: str, expected: list[tuple[str, str]]) -> None:
    pipe = Pipe()
    loading._place(pipe, source(placement), "cuda")
    assert pipe.calls == expected


@pytest.mark.parametrize("placement", ["offload", "offload_layers", "balanced"])
def test_a_worker_without_a_gpu_has_nowhere_to_fetch_them_to(placement: str) -> None:
    with pytest.raises(UserError, match=rf"placement: {placement} needs a GPU, this worker computes on cpu"):
        loading._place(Pipe(), source(placement), "cpu")


@pytest.mark.parametrize(("placement", "expected"), [("balanced", "balanced"), ("device", None)])
def test_parts_are_spread_over_the_gpus_as_they_are_loaded(
    placement: str, expected: str | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    class Model:
        @classmethod
        def from_pretrained(cls, folder: Any, **options: Any) -> Any:
            asked.update(options)
            return SimpleNamespace(eval=lambda: "a model"), {"missing_keys": []}

    monkeypatch.setattr(loading, "_model_class", lambda *arguments: Model)
    items = SimpleNamespace(weight_files=lambda name: [], components={"unet": ("diffusers", "UNet")})
    assert loading._model("unet", source(placement), items, tmp_path) == "a model"
    assert asked.get("device_map") == expected
