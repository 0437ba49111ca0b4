"""Cleaning: leavings go, everything that a version or a winning record names stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from factory import job
from factory.clean import clean
from factory.job import Options, begin, finish
from factory.recipe import Recipe
from manifests import verify
from manifests.store import Store
from tests.factory import recipes


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean") / "data"
    work = begin(Recipe.model_validate(recipes.settings()), str(out), Options(inline=True))
    job.run(work)
    finish(work)
    return out


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_leavings_go_and_all_else_stays(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    before = files(data)
    (data / "shards" / "shard-000001-000000000000.tar").write_bytes(b"of a zombie")
    (data / "views" / "shard-000001-000000000000.parquet").write_bytes(b"of a zombie")
    (data / "commits" / ".shard-000001-00.json.0123.tmp").write_bytes(b"half")
    (data / "runs" / "scratch" / "tmpx").mkdir(parents=True)
    (data / "runs" / "scratch" / "tmpx" / "shard.tar").write_bytes(b"half")
    named = clean(Store.open(data), dry_run=True)
    assert files(data) > before
    assert clean(Store.open(data)) == named
    assert len(named) == 4
    assert files(data) == before
    assert verify(data, deep=True).problems == []


def test_a_job_that_is_not_finished_keeps_its_finished_shards(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    for path in [*data.glob("versions/*"), data / "dataset.json", *data.glob("commits/shard-000002-*")]:
        path.unlink()
    gone = clean(Store.open(data))
    assert sorted(name.split("-")[0] for name in gone) == ["shards/shard", "views/shard"]
    assert all("-000002-" in name for name in gone)


def test_a_finished_data_set_has_nothing_to_clean(finished: Path) -> None:
    assert clean(Store.open(finished)) == []
