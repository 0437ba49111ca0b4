"""The commands that share, join and show: what they print, their exit codes, and mistakes in one line."""

import json
import sys

import pytest

from manifests import open_dataset
from manifests.__main__ import app
from manifests.command_line import run_app
from manifests.commands.progress import copying
from tests.manifests.making import make_dataset


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["manifests", *map(str, words)])
        code = 0
        try:
            run_app(app)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def data(tmp_path):
    make_dataset(tmp_path / "data", tmp_path, shards=2)
    return "data"


def test_what_is_told_and_the_codes_of_each_command(run, data, tmp_path):
    root = open_dataset(data).root
    code, out, err = run("publish", data, "shared", "--dry-run")
    assert code == 0
    assert out.startswith("12 groups (24 images): 6 objects (")
    code, out, err = run("publish", data, "shared")
    assert (code, out) == (0, f"{root}\n")
    assert "6 objects" in err
    assert "publishing: 6 of 6 objects" in err
    code, out, _ = run("pull", "shared", "back", "--json")
    assert (code, json.loads(out)["root"]) == (0, root)
    assert run("diff", "shared", "back")[0] == 0
    code, out, err = run("split", "back", "parts", "--parts", "left=0.5,right=0.5")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["left", "right"]
    code, out, err = run("merge", "parts/left", "parts/right", "--out", "union", "--weights", "2,1")
    assert (code, out.strip()) == (0, open_dataset("union").root)
    assert "12 groups" in err
    code, out, _ = run("reshard", "union", "alone", "--groups-per-shard", "5")
    assert (code, out.strip()) == (0, open_dataset("alone").root)
    assert run("reshard", "union", "flat", "--layout", "flat")[2] == "24 samples\n"
    key = open_dataset("alone").groups().key[0]
    code, out, err = run("takedown", "alone", "--key", key)
    assert (code, out.strip(), err) == (0, open_dataset("alone").root, f"taken down: {key}\n")
    code, out, _ = run("diff", "union", "alone")
    assert code == 8
    assert f"taken down by the second: 1 groups: {key}" in out
    code, out, _ = run("card", "alone", "--summary", "Integers.")
    assert (code, out) == (0, "alone/README.md\n")
    assert "Integers." in (tmp_path / "alone" / "README.md").read_text()
    assert run("energon", "alone")[1].endswith("alone/.nv-meta\n")
    assert run("gallery", "alone", "--out", "page", "--groups", "3", "--thumb-px", "16")[1] == "page/index.html\n"
    next((tmp_path / "back" / "shards").iterdir()).unlink()
    code, out, err = run("repair", "back", "--from", "shared")
    assert (code, out.count("mended: "), err.splitlines()[-1]) == (0, 1, "1 objects mended")
    assert run("verify", "back")[0] == 0


def test_a_catalog_by_name(run, data, monkeypatch):
    assert run("catalog", "ls")[2] == "error: which catalog? give --catalog URL, or set VIEWMILL_CATALOG\n"
    monkeypatch.setenv("VIEWMILL_CATALOG", "catalog")
    assert run("catalog", "add", data, "--name", "toys", "--owner", "ann")[1] == "toys@1\n"
    code, out, _ = run("catalog", "ls")
    assert out.startswith("toys@1  12 groups, 24 images, ")
    assert run("catalog", "search", "nothing")[2] == "0 found\n"
    score = ("--measure", "accuracy", "--value", "0.5", "--low", "0.4", "--high", "0.6", "--by", "bob")
    assert run("catalog", "score", "toys@1", *score)[0] == 0
    assert "accuracy: 0.5 (0.4 to 0.6)" in run("catalog", "show", "toys@newest")[1]
    code, out, _ = run("pull", "toys@1", "here")
    assert (code, out.strip()) == (0, open_dataset(data).root)
    assert run("catalog", "score", "toys@1", "--measure", "x", "--value", "nan")[0] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pull", "none", "out"), "none: there is no such folder"),
        (("pull", "data", "out", "--where", "labl = 1"), "labl"),
        (("pull", "data", "out", "--where", "label = 1", "--shards", "0"), "not both"),
        (("pull", "data", "out", "--shards", "9"), "expected positions"),
        (("pull", "toys@1", "out", "--root", "ab"), "the catalog knows the root"),
        (("pull", "data", "out", "--signed-by", "nothing"), "no readable key"),
        (("merge", "data", "--out", "out"), "expected two or more"),
        (("merge", "data", "data", "--out", "out", "--weights", "1,x"), "'x' is no number"),
        (("split", "data", "out", "--parts", "a"), "expected names and fractions"),
        (("reshard", "data", "out", "--layout", "round"), "expected groups or flat"),
        (("takedown", "data"), "nothing to take down"),
        (("sign", "data", "--key", "none"), "no readable key"),
        (("repair", "none", "--from", "data"), "no such folder"),
        (("publish", "data", "hf://x"), "expected hf://datasets/OWNER/NAME"),
    ],
)
def test_mistakes_are_one_line(run, data, words, told):
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert told in err


def test_progress_without_a_terminal_is_a_line_a_tenth(capsys):
    with copying("copying") as bar:
        bar.begin(1000, 20)
        for _ in range(20):
            bar.advance(50, 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("copying: 10 of 20 objects, 500 bytes of 1.0 kB, ")
    assert lines[4].endswith("s left")
