"""Rendering again from rows: bit for bit here, a tolerance elsewhere, and a difference is found."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from factory import job, rerender
from factory.__main__ import app
from factory.job import Options, begin, finish
from factory.recipe import Recipe
from manifests import open_dataset, verify
from manifests.errors import UserError
from manifests.store import Store
from tests.factory import recipes, tiny


def tiny_recipe() -> Recipe:
    grid = {"steps": 1, "guidance_scale": [1.0, 3.0]}
    sources = [{"model": str(tiny.folder(layout)), **grid} for layout in ("sd15", "lcm")]
    return Recipe.model_validate(recipes.settings(sources=sources))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of two sources with a guidance grid; read only."""
    out = tmp_path_factory.mktemp("rerender")
    work = begin(tiny_recipe(), str(out), Options(inline=True))
    job.run(work)
    finish(work)
    return out


def again(data: Path, **choice: object) -> list[rerender.Comparison]:
    opened = open_dataset(data)
    rows = rerender.choose_rows(opened, **{"view": None, "shard": None, "sample": None, **choice})  # type: ignore[arg-type]
    return list(rerender.rerender(Store.open(data), opened, rows))


def test_every_image_comes_out_again_bit_for_bit_from_its_row(made: Path) -> None:
    compared = again(made)
    assert len(compared) == 20
    assert all(one.is_equal and one.must_be_equal and one.psnr_db == math.inf for one in compared)
    assert rerender.report(compared)["checked"] == "bit-equality"


def test_one_view_alone_comes_out_as_it_did_among_its_neighbours(made: Path) -> None:
    row = open_dataset(made).rows().to_pylist()[9]
    compared = again(made, view=f"{row['key']}.v01")
    assert [(one.key, one.view, one.is_equal) for one in compared] == [(row["key"], 1, True)]
    assert [one.view for one in again(made, view=row["key"])] == [0, 1]


def test_a_shard_and_a_sample_can_be_chosen(made: Path) -> None:
    assert len(again(made, shard=2)) == 4
    assert 1 <= len(again(made, sample=0.2)) <= 10


def test_what_is_rendered_again_is_written_under_the_members_names(made: Path, tmp_path: Path) -> None:
    compared = again(made, shard=2)
    rerender.write_images(compared, "jpg", tmp_path)
    stored = {row["member"]: row for row in open_dataset(made).rows(shards=[2]).to_pylist()}
    assert {path.name for path in tmp_path.iterdir()} == set(stored)
    data = open_dataset(made)
    for path in tmp_path.iterdir():
        row = stored[path.name]
        assert path.read_bytes() == data.read(2, row["offset"], row["size"])


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> tuple[Path, str]:
    """Copy the data set and flip a bit in one image of shard 1; returns the copy and the image's name."""
    data = tmp_path / "damaged"
    shutil.copytree(made, data)
    opened = open_dataset(data)
    row = opened.rows(shards=[1], ok_only=True).to_pylist()[3]
    tar = data / opened.version.shards[1].shard.name
    content = bytearray(tar.read_bytes())
    content[row["offset"] + row["size"] // 2] ^= 1
    tar.chmod(0o644)
    tar.write_bytes(content)
    return data, row["member"]


def test_damaged_images_are_counted_rendered_again_and_written(
    made: Path, damaged: tuple[Path, str], tmp_path: Path
) -> None:
    data, member = damaged
    result = CliRunner().invoke(
        app, ["rerender", str(data), "--shard", "1", "--out", str(tmp_path / "again"), "--json"]
    )
    facts = json.loads(result.stdout)
    assert result.exit_code == 3
    assert facts["equal"] == facts["images"] == facts["stored_image_unreadable"] == len(facts["not_as_promised"])
    sound = open_dataset(made)
    row = next(row for row in sound.rows(shards=[1]).to_pylist() if row["member"] == member)
    assert (tmp_path / "again" / member).read_bytes() == sound.read(1, row["offset"], row["size"])


def test_a_damaged_shard_is_mended_by_deleting_it_and_rendering_on(made: Path, damaged: tuple[Path, str]) -> None:
    data, _ = damaged
    assert verify(data, deep=True).problems
    for path in [*data.glob("shards/shard-000001-*"), *data.glob("commits/shard-000001-*")]:
        path.unlink()
    work = begin(tiny_recipe(), str(data), Options(inline=True))
    job.run(work)
    assert finish(work) == open_dataset(made).root
    assert verify(data, deep=True).problems == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_rendered(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.rerender.rerender", lambda *arguments: pytest.fail("rendered"))
    result = CliRunner().invoke(app, ["rerender", str(made), "--shard", "1", "--out", "/proc/x"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("/proc/x: ")
    assert "\n" not in str(result.exception)


def test_under_other_numerics_a_tolerance_is_checked(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.numerics.processor", lambda device: "cpu of tomorrow")
    compared = again(made, shard=0)
    assert all(not one.must_be_equal and one.is_good for one in compared)
    assert rerender.report(compared)["checked"] == "PSNR of at least 30 dB"


def test_an_image_that_is_not_what_its_row_gives_is_found(made: Path) -> None:
    data = open_dataset(made)
    rows = data.rows(shards=[0], ok_only=True).to_pylist()
    rows[3]["view_seed"] += 1
    compared = list(rerender.rerender(Store.open(made), data, rows))
    assert [one.is_good for one in compared].count(False) == 1
    assert len(rerender.report(compared)["not_as_promised"]) == 1


def test_nothing_to_render_again_is_an_error(made: Path) -> None:
    with pytest.raises(UserError, match="no image of nonsense"):
        again(made, view="nonsense")
    with pytest.raises(UserError, match=r"expected KEY or KEY\.v00"):
        again(made, view="key.vx")


def test_the_psnr_of_known_images() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 16, np.uint8)
    assert rerender.psnr_db(black, black) == math.inf
    assert rerender.psnr_db(black, grey) == pytest.approx(20 * math.log10(255 / 16))
    assert rerender.psnr_db(black, grey[:2]) == 0.0


def test_the_row_holds_the_request_that_made_it(made: Path) -> None:
    table = pq.read_table(next(made.glob("views/*.parquet")))
    requests = [rerender.request_of(row) for row in table.to_pylist()]
    assert {one.guidance_scale for one in requests} == {1.0, 3.0}
    assert json.dumps([one.seed for one in requests]).count("null") == 0
