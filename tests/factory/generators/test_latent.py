"""Latent generators in data sets: rows that say everything, views that depend on their request alone, bad folders."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from factory import job
from factory.generators import open_generator
from factory.generators.facts import facts_of
from factory.generators.latent_config import LatentSource
from factory.generators.protocol import ViewRequest
from factory.job import Options, begin, finish
from factory.recipe import Recipe
from factory.resolve import resolve
from factory.views import Edit
from manifests import open_dataset, seeds, verify
from manifests.errors import ConflictError, UserError
from tests.factory import tiny, tiny_latent
from tests.factory.tiny_latent import DIM, FAMILIES, STYLES
from tests.factory.views import learned

CONDITIONAL = ("biggan", "dcgan")


def make(out: Path, **changes: Any) -> list[dict[str, Any]]:
    """Render a recipe inline; returns its rows."""
    work = begin(Recipe.model_validate(tiny_latent.settings(**changes)), str(out), Options(inline=True))
    if work.missing:
        job.run(work)
    finish(work)
    return list(open_dataset(out).rows().to_pylist())


def vector(seed: int) -> tuple[float, ...]:
    return tuple(seeds.normal(seed, "z", DIM).tolist())


def wanted(number: int, **changes: Any) -> ViewRequest:
    return ViewRequest(
        **{"group": 0, "view": number, "attempt": 0, "seed": number, "latent": vector(number), **changes}
    )


def drawn(batch: Sequence[ViewRequest], family: str = "stylegan2", **changes: Any) -> np.ndarray:
    """Render requests in batches of 4, uint8 [n, H, W, 3]."""
    generator = open_generator({**tiny_latent.source(family), **changes})
    rendered = [generator.render(batch[start : start + 4], 4).pixels for start in range(0, len(batch), 4)]
    generator.close()
    return np.concatenate(rendered)


def test_rows_hold_all_that_a_view_was_drawn_from(tmp_path: Path) -> None:
    model = tiny_latent.folder("stylegan2", num_classes=3)
    law = {"tau": 0.8, "bound": 2.0, "psi": [0.5, 0.9]}
    source = {"family": "latent", "model": str(model), **law, "classes": {"only": ["fox", 0]}}
    rows = make(tmp_path / "data", sources=[source], strategy={"name": "gaussian", "sigma": 0.5})
    data = open_dataset(tmp_path / "data")
    assert verify(tmp_path / "data", deep=True).problems == []
    assert data.version.label_names == ["cat", "dog", "fox"]
    assert data.version.licence == "CC0-1.0"
    for row in rows:
        group, view = row["group"], row["view"]
        assert (row["latent_space"], row["tau"], row["anchor_bound"]) == ("z", 0.8, 2.0)
        assert (row["strategy"], row["sigma"], row["bound"]) == ("gaussian", *((0.5, 2.0) if view else (None, None)))
        assert 0.5 <= row["psi"] <= 0.9
        assert row["class_id"] in (0, 2)
        assert row["label"] == row["class_id"]
        assert (row["prompt"], row["negative_prompt"], row["guidance_scale"], row["steps"]) == (None,) * 4
        assert (row["group_seed"], row["view_seed"]) == (seeds.group_seed(3, group), seeds.view_seed(3, group, view))
        assert (row["source"], row["generator"]) == ("sources.0", f"local:{row['generator_sha256'][:12]}")
        assert (row["width"], row["height"], row["role"]) == (16, 16, "view" if view else "anchor")
        assert len(row["latent"]) == DIM
        assert np.abs(row["latent"]).max() <= 0.8 * 2 * (1 if view == 0 else 1.5) + 1e-6
    anchors = {row["group"]: np.array(row["latent"]) for row in rows if not row["view"]}
    steps = [np.abs(np.array(row["latent"]) - anchors[row["group"]]).max() for row in rows if row["view"]]
    assert 0 < min(steps) <= max(steps) <= 0.8 * 0.5 * 2 + 1e-6
    assert len({row["psi"] for row in rows}) == len({row["pixel_hash"] for row in rows}) == 18
    assert {row["class_id"] for row in rows} == {0, 2}
    assert len({row["positive_id"] for row in rows}) == 6


def edits() -> list[tuple[str, dict[str, Any]]]:
    add, mix = Edit("add", (0.5,) * 8, 1, 3), Edit("mix", vector(99), 2, 5)
    return [
        *((family, {}) for family in FAMILIES),
        ("stylegan2", {"edit": add}),
        ("stylegan2", {"edit": mix}),
        ("stylegan3", {"edit": mix}),
        ("stylegan2", {"columns": {"psi": 0.5}}),
        ("biggan", {"columns": {"psi": 0.5}}),
    ]


@pytest.mark.parametrize(("family", "changes"), edits())
def test_a_view_is_the_same_bits_in_another_slot_beside_others(family: str, changes: dict[str, Any]) -> None:
    generator = open_generator(tiny_latent.source(family))
    one = wanted(0, class_id=1, **changes)
    plain = [wanted(number, class_id=number % 3) for number in range(1, 7)]
    unlike = [wanted(7, class_id=0, edit=Edit("add", (9.0,) * 8, 0, 0))] if family.startswith("style") else plain[:1]
    first = generator.render([one, *plain[:3]], 4).pixels
    other = generator.render([*plain[3:5], *unlike, one], 4).pixels
    padded = generator.render([one], 4).pixels
    assert np.array_equal(first[0], other[3])
    assert np.array_equal(first[0], padded[0])
    assert len({image.tobytes() for image in first}) == 4


def test_noise_is_each_views_own_or_the_weights_or_none() -> None:
    twins = [wanted(0), wanted(1, latent=vector(0)), wanted(0, view=1)]
    own, constant, none = (drawn(twins, noise=kind) for kind in ("random", "const", "none"))
    assert not np.array_equal(own[0], own[1])
    assert np.array_equal(own[0], own[2])
    for images in (constant, none):
        assert np.array_equal(images[0], images[1])
    assert len({images[0].tobytes() for images in (own, constant, none)}) == 3


def test_mixing_all_layers_gives_the_other_image_and_mixing_with_itself_none() -> None:
    other, same = Edit("mix", vector(5), 0, STYLES - 1), Edit("mix", vector(0), 1, 3)
    batch = [wanted(0), wanted(0, edit=other), wanted(0, latent=vector(5)), wanted(0, edit=same)]
    images = drawn(batch)
    assert np.array_equal(images[1], images[2])
    assert np.array_equal(images[3], images[0])
    assert not np.array_equal(images[1], images[0])


def test_a_mixed_view_lies_between_the_two_and_every_layer_counts() -> None:
    batch = [wanted(0), *(wanted(0, edit=Edit("mix", vector(5), layer, layer)) for layer in range(STYLES))]
    assert len({image.tobytes() for image in drawn(batch)}) == 1 + STYLES


def test_a_step_in_w_moves_its_layers_and_a_step_of_nothing_none() -> None:
    batch = [
        wanted(0),
        wanted(0, edit=Edit("add", (0.0,) * 8, 0, STYLES - 1)),
        wanted(0, edit=Edit("add", (0.5,) * 8, 0, 1)),
        wanted(0, edit=Edit("add", (0.5,) * 8, 2, 5)),
    ]
    images = drawn(batch)
    assert np.array_equal(images[0], images[1])
    assert len({image.tobytes() for image in images}) == 3


def test_psi_pulls_towards_the_mean_in_the_layers_before_the_cutoff() -> None:
    def spread(psi: float, **changes: Any) -> float:
        batch = [wanted(number, columns={"psi": psi}) for number in range(4)]
        return float(drawn(batch, noise="none", **changes).astype(float).std(axis=0).mean())

    assert spread(0.0) == 0.0
    assert spread(0.0, cutoff=2) > 0.0
    assert spread(0.5) < spread(1.0) == spread(0.0, cutoff=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_psi_changes_the_image_or_is_refused(family: str, tmp_path: Path) -> None:
    if family in tiny_latent.TRUNCATED:
        batch = [wanted(0, class_id=0, columns={"psi": psi}) for psi in (1.0, 0.5)]
        assert len({image.tobytes() for image in drawn(batch, family)}) == 2
    else:
        told = refusal(tmp_path / "data", sources=[tiny_latent.source(family, psi=[0.5, 1.0])])
        assert f"psi is for stylegan2, stylegan3, biggan; of {family} leave it out" in told


@pytest.mark.parametrize("family", CONDITIONAL)
def test_the_class_changes_the_image(family: str) -> None:
    images = drawn([wanted(0, class_id=number) for number in range(3)], family)
    assert len({image.tobytes() for image in images}) == 3


def test_images_are_cropped_to_the_rows_that_the_folder_names() -> None:
    whole, cropped = (
        drawn([wanted(0)], model=str(tiny_latent.folder("stylegan2", **rows))) for rows in ({}, {"crop_rows": (2, 14)})
    )
    assert cropped.shape == (1, 12, 16, 3)
    assert np.array_equal(cropped[0], whole[0, 2:14])


def test_stylegan3s_input_is_moved_right_and_down_and_others_refuse() -> None:
    moved = open_generator(tiny_latent.source("stylegan3", translate=(0.25, 0.125)))
    np.testing.assert_allclose(moved.network.input.transform, [[1, 0, -0.25], [0, 1, -0.125], [0, 0, 1]])
    batch = [wanted(0)]
    still, shifted, turned = (
        drawn(batch, "stylegan3", **pose) for pose in ({}, {"translate": (0.25, 0.125)}, {"rotate_deg": 90.0})
    )
    assert len({images.tobytes() for images in (still, shifted, turned)}) == 3
    with pytest.raises(UserError, match="translate and rotate_deg are for StyleGAN3"):
        facts_of(LatentSource.model_validate(tiny_latent.source("stylegan2", rotate_deg=5.0)))


def test_images_are_resized_at_their_shorter_side(tmp_path: Path) -> None:
    model = tiny_latent.folder("stylegan2", crop_rows=(2, 14))
    source = {"family": "latent", "model": str(model), "resize_px": 24}
    row = make(tmp_path / "data", groups=1, sources=[source])[0]
    assert (row["height"], row["width"]) == (24, 32)


def test_an_image_that_is_not_finite_is_seen_and_spoils_no_neighbour() -> None:
    generator = open_generator(tiny_latent.source("dcgan"))
    batch = [wanted(0, class_id=0), wanted(1, class_id=1, latent=(float("nan"),) * DIM)]
    broken, sound = generator.render(batch, 4), generator.render(batch[:1], 4)
    assert broken.finite.tolist() == [True, False]
    assert np.array_equal(broken.pixels[0], sound.pixels[0])
    assert (broken.pixels[1] == 0).all()


# what a folder may get wrong

Break = Callable[[Path], Any]


def index(folder: Path, **changes: Any) -> None:
    told = json.loads((folder / "generator.json").read_text())
    (folder / "generator.json").write_text(json.dumps({**told, **changes}))


def reshaped(folder: Path) -> None:
    state = load_file(folder / "generator.safetensors")
    name = sorted(state)[0]
    save_file({**state, name: state[name].reshape(-1)[:3].clone()}, folder / "generator.safetensors")


def linked_out(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "generator.safetensors").rename(outside)
    (folder / "generator.safetensors").symlink_to(outside)


def beside(folder: Path) -> None:
    (folder / "generator.safetensors").rename(folder.parent / "generator.safetensors")
    index(folder, weights="../generator.safetensors")


FOLDERS: dict[str, tuple[Break, str]] = {
    "no index": (lambda f: (f / "generator.json").unlink(), r"no folder of a latent generator"),
    "no JSON": (lambda f: (f / "generator.json").write_text("{"), r"no folder of a latent generator"),
    "no weights": (lambda f: (f / "generator.safetensors").unlink(), r"generator\.safetensors: missing"),
    "cut weights": (lambda f: (f / "generator.safetensors").write_bytes(b"12345678"), r"not readable as safetensors"),
    "another shape": (reshaped, r"has shape \(3,\), expected"),
    "another width": (lambda f: index(f, arguments={**FAMILIES["stylegan2"], "w_dim": 9}), r"has shape .* expected"),
    "another depth": (lambda f: index(f, arguments={**FAMILIES["stylegan2"], "resolution": 32}), r"lacks blocks"),
    "unknown family": (lambda f: index(f, family="stylegan9"), r"family: got 'stylegan9', expected 'stylegan2'"),
    "unknown argument": (
        lambda f: index(f, arguments={**FAMILIES["stylegan2"], "wdim": 8}),
        r"wdim: unknown key; did you mean w_dim",
    ),
    "argument of another type": (
        lambda f: index(f, arguments={**FAMILIES["stylegan2"], "num_classes": "many"}),
        r"num_classes: got 'many'",
    ),
    "out of bounds": (lambda f: index(f, arguments={"resolution": 2**30}), r"resolution"),
    "path traversal": (beside, r"weights: got '\.\./generator\.safetensors'; expected a file beside it"),
    "absolute path": (lambda f: index(f, weights="/etc/passwd.safetensors"), r"expected a file beside it"),
    "link out": (linked_out, r"missing, or a link out of its folder"),
    "pickle": (lambda f: index(f, weights="network.pkl"), r"weights: got 'network\.pkl'; expected a file beside it"),
    "other bytes": (lambda f: index(f, weights_sha256="0" * 64), r"sha256 .*; expected 0000"),
    "names of too many classes": (lambda f: index(f, class_names=["cat"]), r"1 class_names for 0 classes"),
    "unknown key": (lambda f: index(f, code="os.system"), r"code: unknown key"),
}


def refusal(out: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        begin(Recipe.model_validate(tiny_latent.settings(**changes)), str(out), Options(inline=True))
    assert not out.exists(), "claimed before it was refused"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("what", FOLDERS)
def test_a_bad_folder_is_one_line_before_anything_is_claimed(what: str, tmp_path: Path) -> None:
    broken, told = FOLDERS[what]
    folder = shutil.copytree(tiny_latent.folder("stylegan2"), tmp_path / "folder")
    broken(folder)
    message = refusal(tmp_path / "data", sources=[{"family": "latent", "model": str(folder)}])
    assert re.search(told, message), message


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("network.pkl", "a pickle could run code; convert it once: python -m factory import"),
        ("nowhere", "no such folder; expected one with a generator.json"),
        ("package:nothing", "no such packaged generator"),
        ("builtin:nothing", "builtin:nothing"),
    ],
)
def test_a_model_that_is_no_folder_is_one_line(model: str, told: str, tmp_path: Path) -> None:
    assert told in refusal(tmp_path / "data", sources=[{"family": "latent", "model": model}])


def strategies(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    walks, navigator = learned.write_walks(folder / "w", DIM + 1), learned.write_navigator(folder / "n", DIM - 1)
    (folder / "text").write_text("no tensors")
    return {
        "walks of another length": ({"name": "steer", "walks": str(walks)}, f"steps of {DIM + 1} numbers"),
        "navigator of another length": ({"name": "navigator", "navigator": str(navigator)}, f"steps of {DIM - 1}"),
        "a navigator for walks": ({"name": "steer", "walks": str(navigator)}, "holds a navigator; expected a walks"),
        "no file": ({"name": "steer", "walks": str(folder / "none")}, "no such file; expected the walks"),
        "another file": ({"name": "steer", "walks": str(folder / "text")}, "not a file of learned walks"),
        "blocks": ({"name": "chunks", "sigma": 1, "blocks": 5, "perturb": [0]}, "expected a divisor of z's 12"),
        "layers": ({"name": "mixing", "first_layer": 0, "last_layer": 6}, "expected at most 5"),
    }


@pytest.mark.parametrize("what", strategies(Path(tiny.session().name)))
def test_a_strategy_that_does_not_fit_is_one_line_before_anything_is_claimed(what: str, tmp_path: Path) -> None:
    strategy, told = strategies(tmp_path)[what]
    assert told in refusal(tmp_path / "data", strategy=strategy)


def test_classes_that_do_not_exist_are_refused_before_anything_is_claimed(tmp_path: Path) -> None:
    conditional, plain = tiny_latent.source("dcgan"), tiny_latent.source()
    told = refusal(tmp_path / "data", sources=[{**conditional, "classes": {"only": ["wolf"]}}])
    assert "has no class 'wolf'; it has 3" in told
    told = refusal(tmp_path / "data", sources=[{**plain, "classes": {"only": [0]}}])
    assert "classes.only is given, but this generator has no classes" in told


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = tiny_latent.build(tmp_path / "folder", "dcgan", told={"class_names": ["cat", "cat", "dog"]})
    told = refusal(tmp_path / "data", sources=[{"family": "latent", "model": str(folder)}])
    assert "class_names: 'cat' is there twice" in told


# mixtures and identity


def test_a_mixture_shares_out_groups_and_its_labels_agree_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,label\na wolf,wolf\na fox,fox\n")
    text = {"model": str(tiny.folder("sd15")), "steps": 1, "guidance_scale": 1.0, "width": 32, "height": 32}
    latent = {**tiny_latent.source("dcgan", weight=2), "resize_px": 32}
    both = {"sources": [text, latent], "prompts": {"file": str(tmp_path / "p.csv")}, "groups": 12, "views": 2}
    rows = make(tmp_path / "data", **both)
    data = open_dataset(tmp_path / "data")
    names = data.version.label_names
    assert set(names) == {"fox", "wolf", "cat", "dog"}
    assert verify(tmp_path / "data", deep=True).problems == []
    by_source = {name: [row for row in rows if row["source"] == name] for name in ("sources.0", "sources.1")}
    assert all(by_source.values())
    for row in by_source["sources.0"]:
        assert row["prompt"] == f"a {names[row['label']]}"
        assert (row["latent"], row["latent_space"], row["class_id"]) == (None, "noise", None)
    for row in by_source["sources.1"]:
        assert names[row["label"]] == ("cat", "dog", "fox")[row["class_id"]]
        assert (row["prompt"], row["prompt_id"], row["latent_space"]) == (None, None, "z")
    sources_of_groups = {(row["group"], row["source"]) for row in rows}
    assert len(sources_of_groups) == 12


def stream_id(**source: Any) -> str:
    return resolve(Recipe.model_validate(tiny_latent.settings(sources=[{"family": "latent", **source}]))).stream_id


def test_the_stream_is_of_weights_and_arguments_and_names_and_not_of_the_folders_place(tmp_path: Path) -> None:
    plain = stream_id(model=str(tiny_latent.folder("dcgan")))
    moved = shutil.copytree(tiny_latent.folder("dcgan"), tmp_path / "moved")
    index(moved, licence="MIT", made_from={"anything": 1})
    assert stream_id(model=str(moved)) == plain
    renamed = shutil.copytree(moved, tmp_path / "renamed")
    index(renamed, class_names=["dog", "cat", "fox"])
    retrained = shutil.copytree(moved, tmp_path / "retrained")
    state = load_file(retrained / "generator.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in state.items()}, retrained / "generator.safetensors")
    rebuilt = shutil.copytree(moved, tmp_path / "rebuilt")
    layers = [*FAMILIES["dcgan"]["layers"][:2], {**FAMILIES["dcgan"]["layers"][2], "activation": "none"}]
    index(rebuilt, arguments={**FAMILIES["dcgan"], "layers": layers})
    changed = [stream_id(model=str(folder)) for folder in (renamed, retrained, rebuilt)]
    asked = [stream_id(model=str(moved), **one) for one in ({"tau": 0.5}, {"bound": 1.0}, {"noise": "none"})]
    assert len({plain, *changed, *asked}) == 7


def test_another_classes_order_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "data", sources=[tiny_latent.source("dcgan")])
    with pytest.raises(ConflictError, match=r"classes"):
        make(tmp_path / "data", sources=[tiny_latent.source("dcgan", classes={"order": "sampled"})])
