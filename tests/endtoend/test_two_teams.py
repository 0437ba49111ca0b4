"""Two teams on one S3 server, by the command line: A makes and shares; B finds, checks, uses, answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

import factory.__main__
import manifests.__main__
from manifests import open_dataset, verify
from tests.factory import recipes
from tests.manifests.making import encode
from tests.trainer.data import pixels
from tests.trainer.processes import pretrain_words, run

GROUPS = 40
TEXTS = [f"a small drawing of thing number {number}" for number in range(20)]
Call = Callable[..., str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run `python -m manifests …` in this process; returns what it printed, and checks its exit code."""
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))

    def called(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(manifests.__main__.app, list(map(str, words)))
        found = getattr(result.exception, "exit_code", result.exit_code) if result.exception else result.exit_code
        assert found == code, f"{words}: {result.output} {result.exception}"
        return str(result.exception) if code and result.exception else result.stdout.strip()

    return called


def write_key(folder: Path) -> tuple[Path, str]:
    key = Ed25519PrivateKey.generate()
    path = folder / "id_ed25519"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def render(folder: Path) -> Path:
    """Let A render with a tiny real pipeline."""
    shape = {
        "groups": GROUPS,
        "groups_per_shard": 8,
        "prompts": {"texts": TEXTS},
        "licence": "CC-BY-4.0",
        "name": "emoji",
    }
    recipe = recipes.write(folder / "recipe.yaml", **shape)
    made = CliRunner().invoke(factory.__main__.app, ["render", str(recipe), str(folder / "a"), "--inline"])
    assert made.exit_code == 0, made.output
    return folder / "a"


def own_set(folder: Path, views: int, extension: str, call: Call) -> Path:
    """Let B adopt pictures of its own."""
    (folder / "pictures").mkdir()
    lines = ["file,group,caption"]
    for group in range(12):
        for view in range(views):
            from PIL import Image

            name = f"{group:02d}-{view}.{extension}"
            Image.fromarray(pixels(group, view)).save(folder / "pictures" / name)
            lines.append(f"{name},{group},stripes {group}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    call("adopt", folder / "pictures", folder / "own", "--table", folder / "table.csv", "--licence", "MIT")
    assert encode(pixels(0, 0))
    return folder / "own"


@pytest.mark.timeout(1200)
def test_two_teams_from_rendering_to_a_result_and_a_take_down(s3: str, s3_url: str, tmp_path: Path, call: Call) -> None:
    shared, catalog = f"{s3_url}/emoji", f"{s3_url}/catalog"
    # A renders, signs, publishes, and says where it lies.
    mine = render(tmp_path)
    key, public = write_key(tmp_path)
    call("sign", mine, "--key", key)
    root = call("publish", mine, shared)
    assert root == open_dataset(mine).root == open_dataset(shared).root
    assert call("catalog", "add", shared, "--name", "emoji", "--owner", "team a", "--catalog", catalog) == "emoji@1"
    # B searches, verifies who made it and every byte, and pulls a tenth.
    [found] = json.loads(call("catalog", "search", "drawing", "cc-by", "--catalog", catalog, "--json"))
    assert (found["name"], found["root"], found["url"], found["groups"]) == ("emoji", root, shared, GROUPS)
    assert "clean:" in call("verify", found["url"], "--signed-by", public, "--deep")
    part, where = tmp_path / "part", '"group" % 10 = 3'
    plan = json.loads(call("pull", "emoji@1", part, "--where", where, "--catalog", catalog, "--dry-run", "--json"))
    assert (plan["groups"], plan["views"]) == (4, 8)
    assert plan["bytes"] < open_dataset(mine).version.tar_bytes / 5
    call("pull", "emoji@1", part, "--where", where, "--catalog", catalog, "--signed-by", public)
    data = open_dataset(part)
    assert data.groups().group.tolist() == [3, 13, 23, 33]
    assert verify(part, deep=True).problems == []
    # B joins it with pictures of its own, two thirds of what is drawn being A's, and trains on the union.
    own = own_set(tmp_path, 2, data.version.extension, call)
    union = tmp_path / "union"
    call("merge", part, own, "--out", union, "--weights", "2,1")
    assert open_dataset(union).version.licence == "CC-BY-4.0 AND MIT"
    assert "clean:" in call("verify", union, "--deep")
    words = pretrain_words(str(union), tmp_path / "run", "simclr", images=64)
    code, output = run(words, limit_s=600)
    assert code == 0, output
    pinned: dict[str, Any] = json.loads((tmp_path / "run" / "config.json").read_text())
    assert pinned["roots"] == [open_dataset(union).root]
    # B measures the encoder and answers with the rows of its results table, and A sees them.
    measured = ["evaluate", str(tmp_path / "run"), "--suite", "retrieval", "--set", str(own)]
    code, output = run([*measured, "--results", str(tmp_path / "results")], limit_s=600)
    assert code == 0, output
    answer = ("--from", tmp_path / "results", "--method", "simclr", "--by", "team b")
    call("catalog", "score", "emoji@1", *answer, "--catalog", catalog)
    shown = json.loads(call("catalog", "show", "emoji@1", "--catalog", catalog, "--json"))
    values = [row["value"] for row in pq.read_table(tmp_path / "results").to_pylist()]
    assert sorted(score["value"] for score in shown["scores"]) == sorted(values) != []
    assert {(score["by"], score["method"]) for score in shown["scores"]} == {("team b", "simclr")}
    # A takes a prompt down; the old version is no longer pulled, the new one lacks the prompt, and so do unions of it.
    prompt = data.rows(["prompt"])["prompt"][0].as_py()
    newer = call("takedown", mine, "--prompt", prompt)
    assert call("publish", mine, shared) == newer
    assert call("catalog", "add", shared, "--name", "emoji", "--owner", "team a", "--catalog", catalog) == "emoji@2"
    told = call("pull", "emoji@1", part, "--where", where, "--catalog", catalog, code=2)
    assert "were taken down since" in told
    call("pull", "emoji@newest", part, "--where", where, "--catalog", catalog)
    left = open_dataset(part)
    assert prompt not in left.rows(["prompt"])["prompt"].to_pylist()
    assert 0 < len(left.groups()) < 4
    assert verify(part, deep=True).problems == []
    call("merge", part, own, "--out", union, "--weights", "2,1")
    assert prompt not in open_dataset(union).rows(["prompt"])["prompt"].to_pylist()
    assert call("diff", mine, shared) == ""
