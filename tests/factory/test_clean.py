"""Cleaning: leavings go, everything that a version or a winning record names stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from factory.clean import clean
from manifests import verify
from manifests.errors import UserError
from manifests.store import Store
from tests.factory import cheap


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean") / "data"
    cheap.make(out)
    return out


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_leavings_go_and_all_else_stays(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    before = files(data)
    (data / "shards" / "shard-000001-000000000000.tar").write_bytes(b"of a zombie")
    (data / "views" / "shard-000001-000000000000.parquet").write_bytes(b"of a zombie")
    (data / "commits" / f".shard-000001-00.json.{'0' * 32}.tmp").write_bytes(b"half")
    (data / "runs" / "scratch" / "tmpx0_y1az2").mkdir(parents=True)
    (data / "runs" / "scratch" / "tmpx0_y1az2" / "shard.tar").write_bytes(b"half")
    named = clean(Store.open(data), dry_run=True)
    assert files(data) > before
    assert clean(Store.open(data)) == named
    assert len(named) == 4
    assert not (data / "runs" / "scratch").exists()
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


def test_a_strangers_files_are_left_alone(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    strange = ["views/home.py", "shards/shard-1.tar", "commits/.notes.abc.tmp", "runs/scratch/keep.txt"]
    for name in [*strange, "runs/scratch/tmpx0_y1az2/mine.txt"]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("a stranger's")
    before = files(data)
    clean(Store.open(data))
    assert files(data) == before


@pytest.mark.parametrize("recipe", [None, "soup.json", f"{'a' * 64}.json"])
def test_a_folder_that_is_no_data_set_is_refused_and_keeps_its_files(tmp_path: Path, recipe: str | None) -> None:
    names = ["views/home.py", f"shards/shard-000000-{'0' * 12}.tar", "runs/scratch/keep.txt"]
    for name in [*names, *([f"recipes/{recipe}"] if recipe else [])]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"salt": 1}')
    before = files(tmp_path)
    with pytest.raises(UserError, match="clean of a folder that is no data set") as error:
        clean(Store.open(tmp_path))
    assert error.value.exit_code != 0
    assert files(tmp_path) == before


def test_an_unfinished_job_without_a_version_can_be_cleaned(finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(finished, data)
    for path in [*data.glob("versions/*"), data / "dataset.json"]:
        path.unlink()
    assert clean(Store.open(data)) == []


def test_a_finished_data_set_has_nothing_to_clean(finished: Path) -> None:
    assert clean(Store.open(finished)) == []
