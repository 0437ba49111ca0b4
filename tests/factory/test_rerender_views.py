"""Rendering again from rows: the recorded pixels for every strategy of every family, one view at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory import job, rerender
from factory.generators.image_to_image import ImageToImage
from factory.generators.protocol import ViewRequest
from factory.job import Options, begin, finish
from factory.recipe import Recipe
from manifests import open_dataset
from manifests.store import Store
from tests.factory import tiny, tiny_latent
from tests.factory.tiny_latent import DIM, STYLES
from tests.factory.views import learned

LATENT: dict[str, dict[str, Any]] = {
    "independent": {},
    "none": {},
    "gaussian": {"sigma": 0.5},
    "angular": {"sigma": 0.5, "bound": None},
    "ball": {"sigma": 0.5},
    "chunks": {"sigma": 1.0, "blocks": 4, "perturb": [1, 3]},
    "layers": {"sigma": 0.5, "first_layer": 1, "last_layer": 3},
    "mixing": {"first_layer": 2, "last_layer": STYLES - 1},
    "steer": {"scale": 0.5},
    "navigator": {},
}
PROMPTED: dict[str, dict[str, Any]] = {
    "independent": {},
    "none": {},
    "guidance": {"low": 1.0, "high": 3.0, "levels": 3},
    "noise": {"sigma": 0.7},
    "variants": {"templates": ["{prompt}!", "one {prompt}"]},
    "img2img": {"strength": 0.7},
}
IN_STYLES = ("layers", "mixing")
LEARNED = ("steer", "navigator")  # on the tiny StyleGAN2


def strategy(name: str, parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a strategy's settings, with the file that it goes by."""
    if name == "steer":
        return {"name": name, "walks": str(learned.write_walks(folder / "walks", DIM)), **parameters}
    if name == "navigator":
        return {"name": name, "navigator": str(learned.write_navigator(folder / "navigator", DIM)), **parameters}
    return {"name": name, **parameters}


def prompted(layout: str = "sd15", **changes: Any) -> dict[str, Any]:
    return {"model": str(tiny.folder(layout)), "steps": 2, "guidance_scale": 2.0, "width": 32, "height": 32, **changes}


def recipe(**changes: Any) -> dict[str, Any]:
    """Settings of 5 groups by 3 of 3 views: batches of 4 and, at the ends of shards, of 1 and 2."""
    counts = {"groups": 5, "views": 3, "groups_per_shard": 3, "batch": 4}
    return {"name": "again", "seed": 9, **counts, "device": "cpu", "judge": {"blank_std": 0}, **changes}


def make(out: Path, **changes: Any) -> list[dict[str, Any]]:
    work = begin(Recipe.model_validate(recipe(**changes)), str(out), Options(inline=True))
    job.run(work)
    finish(work)
    return list(open_dataset(out).rows().to_pylist())


def check_again(out: Path, rows: list[dict[str, Any]]) -> None:
    """Render all views again together, and a few of them alone."""
    data, store = open_dataset(out), Store.open(out)
    compared = list(rerender.rerender(store, data, rows))
    assert len(compared) == len(rows) > 0
    assert [one.key for one in compared if not (one.is_equal and one.must_be_equal)] == []
    for row in (rows[1], rows[-1]):
        assert [one.is_equal for one in rerender.rerender(store, data, [row])] == [True]


@pytest.mark.parametrize("name", LATENT)
def test_every_strategy_of_latents_comes_out_again(name: str, tmp_path: Path) -> None:
    source = tiny_latent.source(psi=[0.5, 0.9], tau=0.9, bound=2.0)
    rows = make(tmp_path / "data", sources=[source], strategy=strategy(name, LATENT[name], tmp_path))
    assert {row["batch_size"] for row in rows} == {1, 2, 4}
    check_again(tmp_path / "data", rows)


@pytest.mark.parametrize("name", PROMPTED)
def test_every_strategy_of_prompts_comes_out_again(name: str, tmp_path: Path) -> None:
    given = {"sources": [prompted()], "prompts": {"texts": ["a cat", "a dog"]}}
    rows = make(tmp_path / "data", strategy=strategy(name, PROMPTED[name], tmp_path), **given)
    check_again(tmp_path / "data", rows)


@pytest.mark.parametrize("family", [name for name in tiny_latent.FAMILIES if name != "stylegan2"])
def test_every_latent_family_comes_out_again(family: str, tmp_path: Path) -> None:
    move = {"translate": (0.1, 0.0), "rotate_deg": 10.0} if family == "stylegan3" else {}
    rows = make(
        tmp_path / "data", sources=[tiny_latent.source(family, **move)], strategy={"name": "gaussian", "sigma": 0.5}
    )
    assert len({row["pixel_hash"] for row in rows}) == 15
    check_again(tmp_path / "data", rows)


@pytest.mark.parametrize("layout", [name for name in tiny.LAYOUTS if name != "sd15"])
def test_images_from_images_come_out_again_in_every_layout(layout: str, tmp_path: Path) -> None:
    given = {"sources": [prompted(layout, steps=3)], "prompts": {"texts": ["a cat", "a dog"]}}
    rows = make(tmp_path / "data", strategy={"name": "img2img", "strength": 0.7}, **given)
    assert len({row["pixel_hash"] for row in rows}) == 15
    check_again(tmp_path / "data", rows)


def test_a_mixture_comes_out_again(tmp_path: Path) -> None:
    given = {"sources": [prompted(), {**tiny_latent.source(), "resize_px": 32}], "prompts": {"texts": ["a cat"]}}
    rows = make(tmp_path / "data", **given)
    assert {row["source"] for row in rows} == {"sources.0", "sources.1"}
    check_again(tmp_path / "data", rows)


def test_views_that_were_rolled_again_come_out_again(tmp_path: Path) -> None:
    rows = make(
        tmp_path / "data",
        sources=[tiny_latent.source("dcgan")],
        strategy={"name": "gaussian", "sigma": 1.0},
        judge={"blank_std": 38.0, "attempts": 20},
    )
    again = [row for row in rows if row["attempts"] > 1]
    assert again
    assert any(row["view"] == 0 and row["sigma"] == 1.0 for row in again)  # an anchor, now a view like the others
    check_again(tmp_path / "data", [row for row in rows if row["status"] == "ok"])


def test_views_of_none_are_equal_within_a_batch_and_across_batches_of_one_size(tmp_path: Path) -> None:
    given = {"sources": [tiny_latent.source()], "views": 4, "strategy": {"name": "none"}, "groups_per_shard": 1}
    rows = make(tmp_path / "data", **given)
    assert len({row["pixel_hash"] for row in rows}) == 5
    rows = make(tmp_path / "halves", **{**given, "batch": 2})
    assert len({row["pixel_hash"] for row in rows}) == 5


def test_images_from_images_set_out_from_the_image_of_their_groups_view_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with: dict[int, np.ndarray] = {}
    plain = ImageToImage._anchor_images

    def watched(self: ImageToImage, batch: Sequence[ViewRequest], draw: Any) -> Any:
        images = plain(self, batch, draw)
        begun_with.update((one.group, image.numpy()) for one, image in zip(batch, images, strict=True))
        return images

    monkeypatch.setattr(ImageToImage, "_anchor_images", watched)
    given = {"sources": [prompted()], "prompts": {"texts": ["a cat"]}, "encode": {"codec": "png"}}
    rows = make(tmp_path / "data", strategy={"name": "img2img", "strength": 0.5}, **given)
    assert [row["strength"] for row in rows[:3]] == [None, 0.5, 0.5]
    data = open_dataset(tmp_path / "data")
    for row in rows[::3]:
        there = begun_with[row["group"]].transpose(1, 2, 0) * 255.0  # [H, W, 3]
        assert np.abs(there - data.image(row)).max() < 1  # batches of another size differ in their last bits


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a recipe of one latent family, or of a text-to-image model."""
    is_latent = draw(st.booleans())
    counts = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "groups": draw(st.integers(1, 4)),
        "views": draw(st.integers(2, 4)),
        "groups_per_shard": draw(st.integers(1, 3)),
        "batch": draw(st.sampled_from([1, 2, 3, 4])),
    }
    if not is_latent:
        name = draw(st.sampled_from(sorted(PROMPTED)))
        return {**counts, "sources": [prompted()], "prompts": {"texts": ["a cat", "a dog"]}, "strategy": name}
    name = draw(st.sampled_from(sorted(LATENT)))
    family = "stylegan2" if name in (*IN_STYLES, *LEARNED) else draw(st.sampled_from(sorted(tiny_latent.FAMILIES)))
    law = {
        "tau": draw(st.sampled_from([0.5, 1.0])),
        "bound": draw(st.sampled_from([None, 1.0, 2.0])),
        "psi": draw(st.sampled_from([1.0, 0.6, [0.3, 0.9]])) if family in tiny_latent.TRUNCATED else 1.0,
        "noise": draw(st.sampled_from(["random", "const", "none"])),
    }
    return {**counts, "sources": [tiny_latent.source(family, **law)], "strategy": name}


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_any_recipe_comes_out_again(drawn: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, name = Path(place), drawn["strategy"]
        known = PROMPTED if "prompts" in drawn else LATENT
        rows = make(folder / "data", **{**drawn, "strategy": strategy(name, known[name], folder)})
        check_again(folder / "data", [row for row in rows if row["status"] == "ok"])
