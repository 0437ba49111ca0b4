"""What is loaded, what is hashed, and what is refused before a byte of it is loaded."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from factory.generators import open_generator
from factory.generators.diffusion_config import DiffusionSource
from factory.generators.weights import fingerprint, inventory, model_name
from manifests.errors import UserError
from tests.factory import tiny


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the sd15 folder to tamper with."""
    return Path(shutil.copytree(tiny.folder("sd15"), tmp_path / "model"))


def hashed(model: Path, **changes: Any) -> str:
    return fingerprint(inventory(DiffusionSource(model=str(model), **changes)))["sha256"]


def refusal(model: Path | str, **changes: Any) -> str:
    """Open a source that must be refused, and return the one line that says why."""
    with pytest.raises(UserError) as caught:
        open_generator({"model": str(model), "width": 32, "height": 32, "steps": 2, **changes})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_opened_generator_has_the_fingerprint_that_its_files_have(open_tiny: Any) -> None:
    found = open_tiny("sd15").fingerprint()
    assert found == fingerprint(inventory(DiffusionSource(model=str(tiny.folder("sd15")))))
    assert (found["pipeline"], found["scheduler"]) == ("StableDiffusionPipeline", "PNDMScheduler")


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(model: Path) -> None:
    assert hashed(model) == hashed(tiny.folder("sd15"))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "text_encoder/model.safetensors",
    ],
)
def test_every_loaded_file_counts(model: Path, name: str) -> None:
    before = hashed(model)
    file = model / name
    file.write_bytes(file.read_bytes() + b" ")
    assert hashed(model) != before


@pytest.mark.parametrize(
    "name", ["README.md", "unet/diffusion_pytorch_model.bin", "other.safetensors", "unet/x.fp16.safetensors"]
)
def test_a_file_that_is_not_loaded_does_not_count(model: Path, name: str) -> None:
    before = hashed(model)
    (model / name).write_bytes(b"a plain file")
    assert hashed(model) == before


def test_a_pickle_beside_the_safetensors_is_never_opened(model: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    for name in ("unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"):
        (model / name).write_bytes(pickle.dumps(Bomb()))
    open_generator({"model": str(model), "width": 32, "height": 32, "steps": 1}).close()
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights_alone_are_refused_with_the_remedy(model: Path) -> None:
    (model / "unet/diffusion_pytorch_model.safetensors").rename(model / "unet/diffusion_pytorch_model.bin")
    message = refusal(model)
    assert "diffusion_pytorch_model.bin" in message
    assert "safe_serialization=True" in message


def test_code_in_the_folder_is_refused(model: Path) -> None:
    (model / "unet/my_unet.py").write_text("print('hello')")
    assert "my_unet.py" in refusal(model)


@pytest.mark.parametrize(
    "components", [{"unet": ["my_code", "UNet"]}, {"../unet": ["diffusers", "UNet2DConditionModel"]}]
)
def test_components_from_elsewhere_are_refused(model: Path, components: dict[str, Any]) -> None:
    edit(model / "model_index.json", **components)
    assert "expected a class of diffusers, transformers" in refusal(model)


def test_a_custom_pipeline_class_is_refused(model: Path) -> None:
    edit(model / "model_index.json", _class_name=["pipeline", "MyPipeline"])
    assert "custom pipeline code" in refusal(model)


def test_a_pipeline_class_that_is_not_listed_is_refused_by_name(model: Path) -> None:
    edit(model / "model_index.json", _class_name="StableDiffusionInpaintPipeline")
    message = refusal(model)
    assert "'StableDiffusionInpaintPipeline' is not supported" in message
    assert "FluxPipeline" in message


def test_a_class_that_is_no_autoencoder_kl_is_refused(model: Path) -> None:
    edit(model / "model_index.json", vae=["diffusers", "VQModel"])
    assert "its vae is a diffusers VQModel, which is not supported" in refusal(model)


def test_a_pipeline_class_that_does_not_fit_the_folder_is_refused(model: Path) -> None:
    said = refusal(model, pipeline="StableDiffusionXLPipeline")
    assert "StableDiffusionXLPipeline needs text_encoder_2, tokenizer_2" in said
    said = refusal(tiny.folder("sdxl"), pipeline="StableDiffusionPipeline")
    assert "StableDiffusionPipeline has no place for text_encoder_2, tokenizer_2" in said


def test_a_link_out_of_the_folder_is_refused(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(outside)
    weights.symlink_to(outside)
    assert "outside of its model" in refusal(model)


def test_a_component_that_is_a_link_to_elsewhere_is_refused(model: Path) -> None:
    shutil.rmtree(model / "unet")
    (model / "unet").symlink_to(tiny.folder("sd15") / "unet")
    assert "outside of its model" in refusal(model)


def test_links_within_the_folder_are_fine(model: Path) -> None:
    (model / "unet").rename(model / "kept")
    (model / "unet").symlink_to("kept")
    assert hashed(model) == hashed(tiny.folder("sd15"))


def test_weights_under_their_names_of_2022_load(model: Path, open_tiny: Any, views: Any) -> None:
    path = model / "vae/diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for new, name in old.items():
        tensors = {key.replace(f"attentions.0.{new}", f"attentions.0.{name}"): tensors[key] for key in tensors}
    save_file(tensors, path, metadata={"format": "pt"})
    renamed = open_generator(tiny.source("sd15", model=str(model)))
    assert any(".query." in key for key in tensors)
    assert (renamed.render(views(2), 2).pixels == open_tiny("sd15").render(views(2), 2).pixels).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_index.json", "no diffusers folder"),
        ("unet/diffusion_pytorch_model.safetensors", "no diffusion_pytorch_model.safetensors"),
        ("scheduler/scheduler_config.json", "scheduler_config.json is missing"),
        ("unet/config.json", "its unet could not be loaded"),
    ],
)
def test_a_missing_file_is_named(model: Path, name: str, said: str) -> None:
    (model / name).unlink()
    assert said in refusal(model)


def test_a_missing_component_is_named(model: Path) -> None:
    shutil.rmtree(model / "vae")
    assert "the folder of its vae" in refusal(model)


def test_a_model_index_that_is_no_json_is_named(model: Path) -> None:
    (model / "model_index.json").write_text("{")
    assert "cannot be read as JSON" in refusal(model)


@pytest.mark.parametrize("component", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_a_tensor_that_is_missing_is_an_error_and_not_random_numbers(model: Path, component: str) -> None:
    path = model / f"{component}.safetensors"
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path, metadata={"format": "pt"})
    assert "lack 1 tensors" in refusal(model)


def test_a_cut_weight_file_is_an_error(model: Path) -> None:
    path = model / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "its unet could not be loaded" in refusal(model)


def test_weights_of_another_shape_are_an_error(model: Path) -> None:
    edit(model / "unet/config.json", block_out_channels=[8, 24])
    assert "its unet could not be loaded" in refusal(model)


def test_a_model_for_inpainting_is_refused(tmp_path: Path) -> None:
    tiny.build("sd15", tmp_path / "inpaint")
    tiny.unet(in_channels=9).save_pretrained(tmp_path / "inpaint/unet")
    assert "no text-to-image model" in refusal(tmp_path / "inpaint")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("/nowhere/at/all", "no such folder"),
        ("someone/some-model", "write someone/some-model@COMMIT"),
        ("someone/some-model@", "https://huggingface.co/someone/some-model/commits/main"),
        ("someone/some-model@v1.0", "40 hex digits: branches and tags move"),
        ("someone/some-model@0123456", "40 hex digits"),
        ("someone/some-model@main", "40 hex digits"),
        ("builtin:no-such-generator", "no-such-generator"),
    ],
)
def test_a_model_that_is_nowhere_is_refused_with_the_remedy(model: str, said: str) -> None:
    assert said in refusal(model)


def test_a_builtin_name_stands_for_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.builtin.folder", lambda name: {"tiny": tiny.folder("sd15")}[name])
    items = inventory(DiffusionSource(model="builtin:tiny"))
    weights = fingerprint(items)
    assert (model_name(items, weights), weights["sha256"]) == ("builtin:tiny", hashed(tiny.folder("sd15")))


def test_a_single_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    assert "from_single_file" in refusal(tmp_path / "model.ckpt")


def test_a_variant_is_loaded_and_hashed_instead_of_the_plain_weights(model: Path, views: Any) -> None:
    plain, before = open_generator(tiny.source("sd15")), hashed(model)
    path = model / "unet/diffusion_pytorch_model.safetensors"
    tensors = {name: tensor * 1.1 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_name("diffusion_pytorch_model.fp16.safetensors"), metadata={"format": "pt"})
    assert hashed(model) == before
    assert hashed(model, variant="fp16") != before
    varied = open_generator(tiny.source("sd15", model=str(model), variant="fp16"))
    assert (varied.render(views(2), 2).pixels != plain.render(views(2), 2).pixels).any()


def test_sharded_weights_are_loaded_and_each_part_is_hashed(model: Path, open_tiny: Any, views: Any) -> None:
    tiny.unet().from_pretrained(model / "unet").save_pretrained(tiny_parts := model / "parts", max_shard_size="60KB")
    shutil.rmtree(model / "unet")
    tiny_parts.rename(model / "unet")
    parts = [role for role in inventory(DiffusionSource(model=str(model))).files if role.startswith("unet/")]
    assert sum(role.endswith(".safetensors") for role in parts) > 1
    sharded = open_generator(tiny.source("sd15", model=str(model)))
    assert (sharded.render(views(2), 2).pixels == open_tiny("sd15").render(views(2), 2).pixels).all()


def test_an_index_that_points_elsewhere_is_refused(model: Path) -> None:
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    index = {"weight_map": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}}
    (model / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    weights.unlink()
    assert "expected a weight_map" in refusal(model)


def test_another_autoencoder_replaces_the_folders_own(tmp_path: Path, open_tiny: Any, views: Any) -> None:
    other = tiny.build("sd15", tmp_path / "other", seed=1) / "vae"
    generator = open_tiny("sd15", vae=str(other))
    assert generator.fingerprint()["sha256"] != open_tiny("sd15").fingerprint()["sha256"]
    assert (generator.render(views(2), 2).pixels != open_tiny("sd15").render(views(2), 2).pixels).any()


def test_a_vae_that_is_nowhere_is_refused() -> None:
    assert "/nowhere" in refusal(tiny.folder("sd15"), vae="/nowhere")


def test_a_hub_id_is_found_in_the_hubs_cache_without_a_network(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub/models--someone--tiny"
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    hub_cache(model, repository, commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    generator = open_generator({"model": f"someone/tiny@{commit}", "width": 32, "height": 32, "steps": 1})
    assert (generator.name, generator.licence) == ("someone/tiny", "apache-2.0")
    assert generator.fingerprint()["sha256"] == hashed(tiny.folder("sd15"))
    assert "could not be fetched from the hub" in refusal(f"someone/other@{commit}")


def hub_cache(folder: Path, repository: Path, commit: str) -> None:
    """Lay a folder out as the hub's client does: blobs, and a snapshot of links to them."""
    for number, file in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        blob = repository / "blobs" / str(number)
        link = repository / "snapshots" / commit / file.relative_to(folder)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(Path(*[".."] * (len(file.relative_to(folder).parts) + 1)) / "blobs" / str(number))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\nText", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: my-licence\n---\n", "my-licence"),
        ("---\nlicense: [\n---\n", "unknown"),
        ("No front matter", "unknown"),
    ],
)
def test_the_licence_comes_from_the_card(model: Path, card: str, licence: str) -> None:
    (model / "README.md").write_text(card)
    assert inventory(DiffusionSource(model=str(model))).licence == licence
    assert inventory(DiffusionSource(model=str(model), licence="mine")).licence == "mine"
