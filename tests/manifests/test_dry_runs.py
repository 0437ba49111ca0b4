"""What costs something to be wrong about can be asked first: `--dry-run` checks, tells, and writes nothing at all."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from manifests import open_dataset
from manifests.__main__ import app
from manifests.command_line import run_app
from manifests.store import Store
from tests.manifests.making import commit, finish, make_dataset


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_dataset(Path("data"), tmp_path, shards=2)

    def call(*words):
        """Run a command dry: nothing may come, go or change."""
        monkeypatch.setattr(sys, "argv", ["manifests", *map(str, words), "--dry-run"])
        before, code = everything(), 0
        try:
            run_app(app)
        except SystemExit as ended:
            code = int(ended.code or 0)
        assert everything() == before
        return code, *capsys.readouterr()

    return call


def everything():
    """Return the whole folder's bytes by path, None for a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def really(*words):
    sys.argv = ["manifests", *map(str, words)]
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert not ended.value.code


def test_takedown_names_what_would_be_hidden(run):
    key = open_dataset("data").groups().key[0]
    code, out, err = run("takedown", "data", "--key", key)
    assert (code, err) == (0, f"would take down: {key}\n")
    assert out.startswith("1 groups (2 images, ")
    assert out.endswith(" bytes) would be hidden; their bytes stay until someone reshards\n")
    assert run("takedown", "data", "--key", "nobody")[0] == 2


def test_repair_says_what_would_be_fetched_and_that_the_peer_has_it(run):
    shutil.copytree("data", "peer")
    lost = sorted(Path("data/shards").iterdir())[0]
    size = lost.stat().st_size
    lost.unlink()
    (record := sorted(Path("data/commits").iterdir())[0]).write_bytes(b"{}")
    code, out, err = run("repair", "data", "--from", "peer")
    assert code == 0
    assert out == f"would mend: data/shards/{lost.name} is absent\nwould mend: data/commits/{record.name} is damaged\n"
    assert err.startswith("2 objects (")
    assert err.endswith(" to mend\n")
    Path("peer/shards", lost.name).write_bytes(b"y" * (size - 1))
    code, _, err = run("repair", "data", "--from", "peer")
    assert (code, "peer/shards" in err, f"has {size - 1} bytes, expected {size}" in err) == (3, True, True)


def test_merge_counts_the_union_and_refuses_what_merging_would(run):
    really("split", "data", "parts", "--parts", "left=0.5,right=0.5")
    code, out, _ = run("merge", "parts/left", "parts/right", "--out", "union")
    assert code == 0
    assert "\n12 groups (24 images) in " in out
    assert "would write a list of " in out
    assert out.endswith("; no shard is copied\n")
    code, _, err = run("merge", "parts/left", "parts/right", "--out", "data")
    assert (code, "already holds another data set" in err) == (2, True)


@pytest.mark.parametrize("layout", ["groups", "flat"])
def test_reshard_counts_what_would_be_written_and_refuses_a_folder_of_others(run, layout):
    code, out, _ = run("reshard", "data", "alone", "--layout", layout, "--groups-per-shard", 5)
    told = {"groups": "24 images: 3 shards (", "flat": "24 samples to write\n"}[layout]
    assert (code, out.startswith(told)) == (0, True)
    other = Store.open("other", create=True)
    finish(other, [commit(other, 0, Path(), stream_id="b7" * 32)])
    code, _, err = run("reshard", "data", "other", "--layout", layout)
    assert (code, err.startswith("error: other ")) == (2, True)


@pytest.mark.parametrize("where", [(), ("--where", "view >= 0")])
def test_publish_makes_no_folder_either(run, where):
    assert run("publish", "data", "shared/deep", *where)[0] == 0


def test_a_target_that_cannot_be_written_is_told(run):
    Path("file").touch()
    code, _, err = run("reshard", "data", "file/deep")
    assert (code, "a part of the path is a file" in err) == (2, True)
