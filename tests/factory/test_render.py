"""One shard and one job in this process: rows that say everything, resume, refusals, re-rolls, appends, full disks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from factory import job, render
from factory.generators.protocol import Rendered, ViewRequest
from factory.job import Options, begin, finish
from factory.plan import Batch
from factory.recipe import Recipe, load_recipe
from factory.runs import read_runs
from manifests import open_dataset, verify
from manifests.errors import ConflictError, UserError
from manifests.images import pixel_hash
from manifests.seeds import view_seed
from manifests.store import Store
from tests.factory import recipes, tiny
from tests.factory.cheap import Noise


def tiny_recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(recipes.settings(**changes))


def make(recipe: Recipe, out: Path | str, **options: Any) -> str:
    work = begin(recipe, str(out), Options(inline=True, **options))
    if work.missing:
        job.run(work)
    return finish(work)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished data set of three shards; read only."""
    out = tmp_path_factory.mktemp("made") / "data"
    make(tiny_recipe(), out)
    return out


def test_a_finished_job_verifies_and_its_rows_say_how_each_image_was_made(made: Path) -> None:
    report = verify(made, deep=True)
    assert (report.problems, report.shards, report.groups, report.views) == ([], 3, 10, 20)
    rows = open_dataset(made).rows().to_pylist()
    row = rows[9]
    assert (row["group"], row["view"], row["shard"]) == (4, 1, 1)
    assert (row["prompt"], row["status"], row["attempts"], row["strategy"]) == ("a dog", "ok", 1, "independent")
    assert row["view_seed"] == view_seed(3, 4, 1, 0)
    assert (row["batch_size"], row["batch_index"], row["slot"]) == (4, 0, 1)
    assert [row[name] for name in ("steps", "source")] == [1, "sources.0"]
    assert row["generator"] == f"local:{row['generator_sha256'][:12]}"
    assert row["scheduler"] == "PNDMScheduler"
    assert (row["width"], row["height"], row["codec"]) == (tiny.IMAGE_PX, tiny.IMAGE_PX, "jpeg")
    assert len({r["pixel_hash"] for r in rows}) == 20


def test_the_same_command_again_renders_nothing_and_gives_the_same_root(made: Path) -> None:
    before = read_runs(Store.open(made)).begun
    assert make(tiny_recipe(), made) == open_dataset(made).root
    assert read_runs(Store.open(made)).begun == before == 3


def test_a_job_that_lost_shards_makes_only_those_again_and_the_root_is_the_same(made: Path, tmp_path: Path) -> None:
    make(tiny_recipe(), tmp_path / "data")
    for folder in ("versions", "shards", "views", "commits"):
        for path in (tmp_path / "data" / folder).iterdir():
            if folder == "versions" or "-000001-" in path.name:
                path.unlink()
    (tmp_path / "data" / "dataset.json").unlink()
    assert make(tiny_recipe(), tmp_path / "data") == open_dataset(made).root
    assert read_runs(Store.open(tmp_path / "data")).begun == 4


def test_the_root_does_not_depend_on_where_a_models_folder_lies_and_what_it_is_called(
    made: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny.folder("sd15"), tmp_path / "renamed")
    source = recipes.settings()["sources"][0] | {"model": str(moved)}
    assert make(tiny_recipe(sources=[source]), tmp_path / "data") == open_dataset(made).root


def test_the_root_does_not_depend_on_the_order_of_shards(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job.Job, "missing", property(lambda self: [s for s in (2, 0, 1) if s not in self.records]))
    assert make(tiny_recipe(), tmp_path / "data") == open_dataset(made).root


def test_another_recipe_in_the_same_folder_is_refused_key_by_key(made: Path) -> None:
    with pytest.raises(ConflictError) as error:
        make(tiny_recipe(seed=4, batch=2), made)
    assert str(error.value).endswith("or undo: batch: 4 there, 2 here; seed: 3 there, 4 here")


def test_a_recipe_in_a_folder_of_adopted_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ConflictError, match="not rendered from a recipe"):
        make(tiny_recipe(), tmp_path)


def test_asking_for_more_groups_appends_a_segment_and_a_generation(made: Path, tmp_path: Path) -> None:
    first = make(tiny_recipe(), tmp_path / "data")
    second = make(tiny_recipe(groups=13), tmp_path / "data")
    data = open_dataset(tmp_path / "data")
    assert (data.root, data.version.generation, data.version.parent) == (second, 1, first)
    assert [shard.groups for shard in data.version.shards] == [4, 4, 2, 3]
    assert open_dataset(tmp_path / "data", root=first).root == open_dataset(made).root
    assert verify(tmp_path / "data", deep=True).problems == []
    assert make(tiny_recipe(), tmp_path / "data") == second  # fewer than there are: nothing to do


def test_a_recipe_read_back_from_a_data_set_makes_the_same_data_set(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,sky\na cat,sun\na dog,rain\n")
    root = make(tiny_recipe(prompts={"file": str(tmp_path / "p.csv")}), tmp_path / "one")
    (tmp_path / "p.csv").unlink()
    again = load_recipe(str(tmp_path / "one" / "dataset.json"))
    assert again.groups == 10
    assert make(again, tmp_path / "two") == root
    assert open_dataset(tmp_path / "two").rows(["x_sky"])["x_sky"].to_pylist()[:4] == [
        "sun",
        "sun",
        "rain",
        "rain",
    ]


def test_what_stands_beside_a_prompt_reaches_the_rows_and_the_version(tmp_path: Path) -> None:
    lines = [
        "prompt,label,split,negative_prompt,guidance_scale,mood",
        "a cat,cat,train,dark,2.5,1",
        "a dog,dog,test,,4,2",
    ]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    make(tiny_recipe(groups=3, prompts={"file": str(tmp_path / "p.csv")}), tmp_path / "data")
    data = open_dataset(tmp_path / "data")
    names = ["label", "split", "negative_prompt", "guidance_scale", "x_mood"]
    rows = [tuple(row.values()) for row in data.rows(names).to_pylist()]
    assert (
        rows == [(0, "train", "dark", 2.5, 1)] * 2 + [(1, "test", "", 4.0, 2)] * 2 + [(0, "train", "dark", 2.5, 1)] * 2
    )
    assert data.version.label_names == ["cat", "dog"]
    positive = data.groups().positive_id
    assert positive[0] == positive[2] != positive[1]
    assert {row["batch_index"] for row in data.rows(["batch_index"]).to_pylist()} == {0, 1}  # a guidance scale each


def test_other_numerics_are_refused_unless_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tiny_recipe(groups=4), str(tmp_path), Options(inline=True))
    make(tiny_recipe(groups=4), tmp_path)
    monkeypatch.setattr("factory.numerics.processor", lambda device: "cpu of tomorrow")
    with pytest.raises(ConflictError, match=r"device: cpu .* there, cpu of tomorrow here.*--accept-numerics"):
        make(tiny_recipe(groups=8), tmp_path)
    make(tiny_recipe(groups=8), tmp_path, accept_numerics=True)
    assert verify(tmp_path, deep=True).problems == []


def spoilt_job(
    out: Path, spoilt: dict[tuple[int, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    monkeypatch.setattr("factory.generators.open_generator", lambda *args, **options: Noise(spoilt))
    monkeypatch.setattr("factory.generators.weights.fingerprint", lambda items: {"sha256": "ab"})
    make(tiny_recipe(), out)
    return list(open_dataset(out).rows().to_pylist())


def test_a_spoilt_view_is_rolled_again_with_the_next_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = spoilt_job(tmp_path, {(1, 0): ["nan"], (2, 1): ["blank", "flagged"]}, monkeypatch)
    tried = {(r["group"], r["view"]): (r["status"], r["attempts"], r["view_seed"]) for r in rows}
    assert tried[1, 0] == ("ok", 2, view_seed(3, 1, 0, 1))
    assert tried[2, 1] == ("ok", 3, view_seed(3, 2, 1, 2))
    assert sum(r["attempts"] for r in rows) == 23
    assert verify(tmp_path, deep=True).problems == []


def test_a_view_that_stays_spoilt_takes_its_whole_group_out_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = spoilt_job(tmp_path, {(2, 1): ["nan", "blank", "blank"]}, monkeypatch)
    group = [(r["status"], r["reason"], r["member"]) for r in rows if r["group"] == 2]
    assert group == [
        ("dropped", "another view of the group was quarantined", None),
        ("quarantined", "nan, 2 x blank", None),
    ]
    data = open_dataset(tmp_path)
    assert (len(data.groups()), data.version.groups_ok, data.version.views_ok) == (9, 9, 18)
    assert verify(tmp_path, deep=True).problems == []


def test_what_spoils_some_views_changes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = spoilt_job(tmp_path / "clean", {}, monkeypatch)
    spoilt = spoilt_job(tmp_path / "spoilt", {(1, 0): ["nan"], (5, 1): ["blank"] * 3}, monkeypatch)
    differ = {(a["group"], a["view"]) for a, b in zip(clean, spoilt, strict=True) if a["pixel_hash"] != b["pixel_hash"]}
    assert differ == {(1, 0), (5, 1)}


def test_memory_that_runs_out_is_tried_again_once_and_then_told_with_the_remedy() -> None:
    class Hungry(Noise):
        calls = 0

        def render(self, batch: Any, batch_size: int) -> Rendered:
            self.calls += 1
            if self.calls <= self.hunger:
                raise torch.OutOfMemoryError("tried to allocate 80 GiB")
            return super().render(batch, batch_size)

    batch = Batch(0, 8, (ViewRequest(0, 0, 0, 1),))
    once, twice = Hungry(), Hungry()
    once.hunger, twice.hunger = 1, 2  # type: ignore[attr-defined]
    assert len(render.render_batch(once, batch).pixels) == 1
    with pytest.raises(UserError, match=r"out of memory twice with a batch of 8 \(tried .*--set batch=4"):
        render.render_batch(twice, batch)


def test_a_run_leaves_its_rate_its_attempts_and_no_scratch(made: Path) -> None:
    summaries = [json.loads(path.read_text()) for path in (made / "runs").glob("*/summary.json")]
    assert [(s["images"], s["shards"], s["retries"], s["failed"]) for s in summaries] == [(20, 3, 0, {})]
    assert summaries[0]["images_per_s"] == pytest.approx(20 / summaries[0]["seconds"])
    facts = read_runs(Store.open(made))
    assert (facts.begun, facts.rendered, facts.images) == (3, 3, 20)
    assert not (made / "runs" / "scratch").exists()


def test_lossless_images_have_the_pixels_that_were_hashed(tmp_path: Path) -> None:
    make(tiny_recipe(groups=2, encode={"codec": "webp-lossless"}), tmp_path)
    data = open_dataset(tmp_path)
    rows = data.rows().to_pylist()
    assert [pixel_hash(data.image(row)) for row in rows] == [row["pixel_hash"] for row in rows]


def test_a_bucket_holds_the_same_data_set_as_a_folder(made: Path, s3_url: str) -> None:
    assert make(tiny_recipe(), s3_url) == open_dataset(made).root
    assert verify(s3_url, deep=True).problems == []
