"""A lost shard comes back to the last bit from its rows, and nothing else ever takes its place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from factory import job, rerender
from factory.__main__ import app
from factory.job import Options, begin, finish
from factory.repair import lost_shards, repair
from manifests import open_dataset, verify
from manifests.errors import UserError
from manifests.share import share
from manifests.store import Store
from tests.factory.test_rerender import tiny_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("repair")
    work = begin(tiny_recipe(), str(out), Options(inline=True))
    job.run(work)
    finish(work)
    return out


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def test_lost_and_damaged_shards_are_found_and_come_back_as_they_were(data: Path) -> None:
    tars = [data / shard.shard.name for shard in open_dataset(data).version.shards]
    before = {tar: tar.read_bytes() for tar in tars}
    tars[0].unlink()
    tars[1].write_bytes(before[tars[1]][:-700])
    assert lost_shards(open_dataset(data)) == [0, 1]
    held = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    asked = CliRunner().invoke(app, ["repair", str(data), "--dry-run"])
    assert asked.exit_code == 0
    assert re.findall(r"(shards/\S+)  \d+ images, (\d+) bytes", asked.stdout) == [
        (f"shards/{tar.name}", str(len(before[tar]))) for tar in tars[:2]
    ]
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == held
    ran = CliRunner().invoke(app, ["repair", str(data)])
    assert (ran.exit_code, ran.stdout.split()) == (0, [f"shards/{tar.name}" for tar in tars[:2]])
    assert {tar: tar.read_bytes() for tar in tars} == before
    assert verify(data, deep=True).problems == []


def test_a_part_of_a_shard_comes_back_too(data: Path, tmp_path: Path) -> None:
    share(str(data), str(tmp_path / "part"), where='"group" % 2 = 0')
    tar = tmp_path / "part" / open_dataset(tmp_path / "part").version.shards[0].shard.name
    before = tar.read_bytes()
    tar.unlink()
    part = open_dataset(tmp_path / "part")
    assert repair(Store.open(tmp_path / "part"), part, 0) == f"shards/{tar.name}"
    assert tar.read_bytes() == before


def test_what_comes_out_otherwise_is_refused_and_nothing_is_put(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rerender.render_batch

    def darker(generator: object, batch: object) -> object:
        rendered = real(generator, batch)  # type: ignore[arg-type]
        rendered.pixels[:] = np.maximum(rendered.pixels, 1) - 1
        return rendered

    monkeypatch.setattr(rerender, "render_batch", darker)
    opened = open_dataset(data)
    tar = data / opened.version.shards[0].shard.name
    tar.unlink()
    with pytest.raises(UserError, match=r"came out as .* not replaced: repair from a copy instead"):
        repair(Store.open(data), opened, 0)
    assert not tar.exists()
