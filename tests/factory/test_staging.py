"""Weights in a bucket: fetched once a node however many ask, checked by hash, fetched anew when damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from factory.generators import staging
from factory.generators.diffusion_config import DiffusionSource
from factory.generators.facts import facts_of
from factory.generators.staging import LIST, stage
from factory.generators.weights import fingerprint, inventory
from factory.recipe import Recipe
from manifests.errors import CorruptError, StoreError, UserError
from manifests.locking import locked
from manifests.shard import file_sha256
from tests.factory import recipes, tiny

ASK = "import sys; from factory.generators.staging import stage; print(stage(sys.argv[1]))"


def make_list(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LIST)
    lines = [f"{file_sha256(path)}  ./{path.relative_to(folder)}\n" for path in files]
    (folder / LIST).write_text("".join(lines))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_bytes(b"\1" * 100_000)
    (folder / "model_index.json").write_text("{}")
    make_list(folder)
    return folder


def test_many_processes_of_a_node_fetch_once_over_http(
    weights: Path, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("s3").put(str(weights), f"{s3_url}/sd", recursive=True)
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    asked = [subprocess.Popen([sys.executable, "-c", ASK, f"{s3_url}/sd"], stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate(timeout=120)[0].decode().strip() for process in asked}
    assert [process.returncode for process in asked] == [0, 0, 0]
    (folder,) = answers
    assert Path(folder, "unet", "model.safetensors").read_bytes() == b"\1" * 100_000
    assert [path.name for path in Path(folder).parent.iterdir() if not path.name.startswith(".lock")] == [
        Path(folder).name
    ]


def test_who_comes_second_fetches_nothing(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, cache = f"file://{weights}", tmp_path / "cache"
    first = stage(url, cache)
    monkeypatch.setattr(staging, "_fetch", lambda *arguments: pytest.fail("fetched again"))
    assert stage(url, cache) == first


def test_a_damaged_copy_is_fetched_anew(weights: Path, tmp_path: Path) -> None:
    url, cache = f"file://{weights}", tmp_path / "cache"
    file = stage(url, cache) / "unet" / "model.safetensors"
    file.write_bytes(b"\2" * 100_000)
    assert (stage(url, cache) / "unet" / "model.safetensors").read_bytes() == b"\1" * 100_000


def test_a_file_that_is_not_as_listed_is_refused_and_leaves_nothing(weights: Path, tmp_path: Path) -> None:
    (weights / "model_index.json").write_text("{ }")
    with pytest.raises(CorruptError, match=r"model_index.json: sha256 .*, its SHA256SUMS says .*: upload it again"):
        stage(f"file://{weights}", tmp_path / "cache")
    assert [path for path in (tmp_path / "cache" / "weights").iterdir() if not path.name.startswith(".lock")] == []


def changed(**where: Any) -> dict[str, str]:
    """The fingerprint of the tiny model with a VAE or LoRAs from elsewhere."""
    return fingerprint(inventory(DiffusionSource.model_validate({"model": str(tiny.folder("sd15")), **where})))


def test_a_vae_in_a_bucket_is_fetched_once_and_is_the_local_one(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    vae = tmp_path / "vae"
    shutil.copytree(tiny.folder("sd15") / "vae", vae)
    make_list(vae)
    fsspec.filesystem("s3").put(str(vae), f"{s3_url}/vae", recursive=True)
    first = changed(vae=f"{s3_url}/vae")
    assert first == changed(vae=str(vae))
    monkeypatch.setattr(staging, "_fetch", lambda *arguments: pytest.fail("fetched again"))
    assert changed(vae=f"{s3_url}/vae") == first


def test_a_lora_in_a_bucket_is_fetched_alone_once_and_is_the_local_one(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    loras = tmp_path / "loras"
    loras.mkdir()
    (loras / "fur.safetensors").write_bytes(b"\1" * 1000)
    (loras / "wool.safetensors").write_bytes(b"\2" * 1000)
    make_list(loras)
    fsspec.filesystem("s3").put(str(loras), f"{s3_url}/loras", recursive=True)
    first = changed(lora=[{"path": f"{s3_url}/loras/fur.safetensors"}])
    assert first == changed(lora=[{"path": str(loras / "fur.safetensors")}])
    assert [path.name for path in (tmp_path / "cache").rglob("*.safetensors")] == ["fur.safetensors"]
    monkeypatch.setattr(staging, "_fetch", lambda *arguments: pytest.fail("fetched again"))
    assert changed(lora=[{"path": f"{s3_url}/loras/fur.safetensors"}]) == first


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fur.safetensors", "sha256 .*, its SHA256SUMS says .*: upload it again"),
        ("silk.safetensors", "SHA256SUMS beside it does not name it: cd FOLDER && find"),
        ("fur.bin", "a pickled LoRA could run code"),
    ],
)
def test_a_lora_that_is_not_as_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fur.safetensors").write_bytes(b"\1")
    make_list(tmp_path)
    (tmp_path / "fur.safetensors").write_bytes(b"\2")
    with pytest.raises(UserError, match=said):
        changed(lora=[{"path": f"file://{tmp_path}/{name}"}])


def test_who_waits_for_a_fetch_that_never_ends_gives_up(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, cache = f"file://{weights}", tmp_path / "cache"
    name = stage(url, cache).name
    monkeypatch.setattr(staging, "WAIT_S", 0.2)
    with (
        locked(cache / "weights" / f".lock-{name}", wait_s=1),
        pytest.raises(StoreError, match=r"another process has held its lock for 0\.2 s"),
    ):
        stage(url, cache)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "need a list of their hashes: cd FOLDER && find"),
        ("no hash here\n", "expected a sha256 and a name a line"),
        (f"{'0' * 64}  ../../etc/passwd\n", "not plain and relative"),
    ],
)
def test_a_folder_without_a_proper_list_says_how_to_make_one(
    weights: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    (weights / LIST).unlink()
    if text is not None:
        (weights / LIST).write_text(text)
    with pytest.raises(UserError, match=said):
        stage(f"file://{weights}", tmp_path / "cache")


def test_where_weights_lie_changes_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    local = recipes.settings()["sources"][0]
    shutil.copytree(local["model"], tmp_path / "sd")
    make_list(tmp_path / "sd")
    remote = {**local, "model": f"file://{tmp_path}/sd", "resources": {"GPU": 1}}
    facts = [
        facts_of(Recipe.model_validate(recipes.settings(sources=[source])).sources[0]) for source in (local, remote)
    ]
    assert facts[0] == facts[1]
