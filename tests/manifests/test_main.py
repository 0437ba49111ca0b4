"""The command line: what it prints, and one line with an exit code for what is wrong."""

import json
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from botocore.exceptions import EndpointConnectionError

from manifests.__main__ import app
from manifests.command_line import run_app
from manifests.store import Store
from tests.manifests.making import commit, encode, finish, make_dataset, make_group, pixels


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "sets" / "data", tmp_path, broken={(3, 1)})
    return tmp_path / "sets" / "data"


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["manifests", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_app(app)
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def test_ls_lists_data_sets_and_then_versions_and_shards(run, folder):
    code, out, _ = run("ls", folder.parent)
    assert (code, "name data  root " in out) == (0, True)
    code, out, _ = run("ls", folder, "--json")
    listing = json.loads(out)
    assert [(v["kind"], v["groups"], v["views"]) for v in listing["versions"]] == [("rendered", 11, 22)]
    assert [shard["groups"] for shard in listing["shards"]] == [5, 6]
    assert listing["shards"][0]["name"] in run("ls", folder)[1]


def test_show_prints_facts_and_a_few_rows(run, folder):
    code, out, _ = run("show", folder)
    assert code == 0
    assert "5a5a5a5a-000000000  1  ok  0  None  8  8  thing 0" in out
    assert "kind              rendered" in out
    facts = json.loads(run("show", folder, "--json")[1])
    assert facts["labels"] == ["a", "b", "c"]
    assert "latent" not in facts["columns"]


def test_show_prints_all_that_is_known_of_a_group(run, folder):
    code, out, _ = run("show", folder, "5a5a5a5a-000000008")
    assert code == 0
    assert out.count("key               5a5a5a5a-000000008") == 2
    assert "width             8 px" in out
    rows = json.loads(run("show", folder, "--group", "3", "--json")[1])["rows"]
    assert [row["status"] for row in rows] == ["dropped", "quarantined"]
    assert rows[0]["latent"] is None
    assert run("show", folder, "nobody") == (2, "", f"error: {folder}: no group with key 'nobody'\n")


def test_verify_exits_with_3_and_names_what_is_broken(run, folder):
    code, out, _ = run("verify", folder, "--deep")
    assert (code, out.startswith(f"clean: {folder} root ")) == (0, True)
    tar = sorted((folder / "shards").iterdir())[0]
    tar.write_bytes(tar.read_bytes()[:-512])
    code, out, _ = run("verify", folder)
    assert code == 3
    assert f"{tar.name} is cut" in out.splitlines()[0]
    assert out.splitlines()[-1].startswith("BROKEN")
    code, out, _ = run("verify", folder, "--json")
    assert (code, len(json.loads(out)["problems"])) == (3, 1)


def test_adopt_prints_the_root(run, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(encode(pixels(number, 0)))
    (tmp_path / "t.csv").write_text("path,what,x_n\n" + "".join(f"{n}.png,thing {n},{n}\n" for n in range(3)))
    options = [
        "--table",
        tmp_path / "t.csv",
        "--file-column",
        "path",
        "--caption-column",
        "what",
        "--licence",
        "CC0-1.0",
    ]
    code, out, err = run("adopt", tmp_path / "images", tmp_path / "out", *options)
    assert code == 0
    assert err.splitlines()[-1] == "looking at images: 3 of 3"
    facts = json.loads(run("show", tmp_path / "out", "--json")[1])
    assert (facts["root"], facts["licence"], facts["groups"]) == (out.strip(), "CC0-1.0", 3)
    assert facts["rows"][1]["prompt"] == "thing 1"


def test_a_target_that_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(pixels(0, 0)))
    code, out, err = run("adopt", tmp_path, "/sys/viewmill")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: /sys/viewmill: ")


def test_a_full_disk_is_one_line_and_leaves_no_shard(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(9):
        (tmp_path / "images" / f"{number}.png").write_bytes(encode(pixels(number, 0)))
    command = f"ulimit -f 8; exec {sys.executable} -m manifests adopt {tmp_path / 'images'} {tmp_path / 'out'}"
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "the file is larger than this process may write: raise the limit (ulimit -f)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.parent.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["recipes"]


@pytest.mark.parametrize("command", ["ls", "show", "verify"])
def test_a_bad_path_is_one_line(run, tmp_path, command):
    assert run(command, tmp_path / "none") == (2, "", f"error: {tmp_path / 'none'}: there is no such folder\n")
    code, out, err = run(command, tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no finished version: the folder holds nothing, which is no ViewMill data set" in err


def test_it_runs_as_a_module_and_a_bucket_is_a_url_like_any(s3, s3_url, tmp_path):
    make_dataset(s3_url, tmp_path)
    command = [sys.executable, "-m", "manifests", "ls", s3_url]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert listed.stdout.startswith(f"versions of {s3_url}:")
    assert listed.stderr == ""


@pytest.mark.parametrize("command", ["ls", "show", "verify"])
def test_a_server_that_stops_is_one_line_and_an_exit_code_of_its_own(run, s3_url, tmp_path, monkeypatch, command):
    make_dataset(s3_url, tmp_path)

    def gone(*arguments, **options):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9/")

    monkeypatch.setattr(fsspec.filesystem("s3", use_listings_cache=False), "ls", gone)
    code, out, err = run(command, s3_url)
    assert (code, out, err.count("\n")) == (6, "", 1)
    assert err.startswith(f"error: {s3_url}/versions/: EndpointConnectionError: Could not connect")


HOSTILE = "\x1b]0;title\x07 \x9b31m \x7f\r\n\u202eevil\u2066 caf\xe9 \U0001f468\u200d\U0001f469"


@pytest.mark.parametrize("arguments", [[], ["5a5a5a5a-000000000"], ["--json"], ["--group", "0", "--json"]])
def test_nothing_from_data_steers_the_terminal(run, tmp_path, arguments):
    store = Store.open(tmp_path / "data", create=True)
    group = replace(make_group(0), prompt=HOSTILE)
    record = commit(store, 0, tmp_path, [group, *(make_group(number) for number in range(1, 6))])
    finish(store, [record], name=HOSTILE, licence=HOSTILE, label_names=[HOSTILE])
    code, out, _ = run("show", tmp_path / "data", *arguments)
    assert code == 0
    assert set(out) & set(HOSTILE) <= set(string.printable) - set("\r") | set("\xe9\U0001f468\u200d\U0001f469")
    assert "\\u202eevil" in out
    if "--json" in arguments:
        assert json.loads(out)["rows"][0]["prompt"] == HOSTILE
    else:
        assert "caf\xe9" in out
        assert not any(line.startswith("evil") for line in out.splitlines())


def test_problems_and_errors_steer_no_terminal_either(run, folder):
    (folder / "versions" / "\x1b[2J\u202e.json").write_bytes(b"{")
    for command in ("verify", "ls"):
        _, out, err = run(command, folder)
        assert "\\x1b[2J\\u202e" in out + err
        assert not set("\x1b\u202e") & set(out + err)
    assert "\\x1b[2J" in run("show", folder, "\x1b[2J")[2]


def test_ls_names_damaged_versions_beside_the_others(run, folder):
    (folder / "versions" / f"{'0' * 64}.json").write_bytes(b"{")
    code, out, _ = run("ls", folder)
    assert code == 0
    assert "kind rendered" in out
    assert f"damaged versions of {folder}:\n  problem {folder}/versions/{'0' * 64}.json is no version" in out
    (folder / "dataset.json").unlink()
    code, out, _ = run("ls", folder.parent)
    assert (code, f"name data  problem {folder}/versions/{'0' * 64}.json is no version" in out) == (0, True)
    assert run("show", folder)[0] == 3
