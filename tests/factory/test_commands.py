"""The commands of the factory without any model: what they refuse, what they print, and on which line."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from factory import __main__ as command_line
from manifests.adopt import adopt
from manifests.errors import UserError
from tests.factory import cheap


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(cheap.recipe().model_dump(mode="json", exclude_defaults=True)))
    return path


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(command_line.app, list(arguments))
    assert isinstance(result.exception, UserError), result.output
    assert result.stdout == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_plan_asks_for_no_weights(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *arguments, **options: pytest.fail("the network was asked"))
    model = f"sources.0.model=nobody/nothing@{'0' * 40}"
    size = ["--set", "sources.0.width=64", "--set", "sources.0.height=64"]
    result = CliRunner().invoke(command_line.app, ["plan", str(recipe), "--set", model, *size, "--json"])
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    counts = [facts[name] for name in ("images", "shards", "batch", "batches_per_shard", "bytes")]
    assert counts == [20, 3, 4, 2, round(20 * 64 * 64 * 0.8)]
    assert "--images-per-s" in result.stderr
    assert "--measure" in result.stderr
    assert "gpu_hours" not in facts


def test_plan_of_an_automatic_batch_leaves_the_batches_open(recipe: Path) -> None:
    result = CliRunner().invoke(command_line.app, ["plan", str(recipe), "--set", "batch=auto", "--json"])
    assert json.loads(result.stdout)["batches_per_shard"] is None


@pytest.mark.parametrize("rate", ["0", "-1", "nan"])
def test_a_rate_that_is_none_is_refused(recipe: Path, rate: str) -> None:
    assert "expected a rate above 0" in refused("plan", str(recipe), "--images-per-s", rate)


@pytest.mark.parametrize("options", [["--workers", "3"], ["--address", "auto"]])
def test_one_process_and_a_cluster_contradict_each_other(recipe: Path, tmp_path: Path, options: list[str]) -> None:
    assert "--inline" in refused("render", str(recipe), str(tmp_path / "out"), "--inline", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("s3://bucket/look", "expected a local path"),
        ("look.jpg", "expected a name that ends in .png"),
        ("/proc/look.png", "/proc"),
    ],
)
def test_a_contact_sheet_that_cannot_be_written_is_refused_before_it_is_drawn(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("factory.contact_sheet.contact_sheet", lambda *arguments: pytest.fail("drawn"))
    assert expected in refused("render", str(recipe), target, "--limit", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("command", ["train-diffusion --data d --out o", "evaluate model data out"])
def test_a_count_of_nothing_is_refused(command: str) -> None:
    words = ["builtin", *command.split(), "--threads", "0"]
    told = CliRunner().invoke(command_line.app, words, env={"COLUMNS": "200"})
    assert told.exit_code == 2
    assert "--threads" in told.output
    assert "greater than or equal to 1" in told.output


def test_adopted_images_have_nothing_to_render_again(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / "a.png")
    adopt(tmp_path / "images", tmp_path / "data")
    assert refused("rerender", str(tmp_path / "data")) == f"{tmp_path / 'data'}: adopted, nothing to render"
    assert UserError.exit_code == 2


def test_watching_as_json_is_one_object_a_line_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap.make(tmp_path)
    hidden = [path.rename(tmp_path / path.name) for path in tmp_path.glob("commits/shard-000002-*")]
    monkeypatch.setattr(
        "time.sleep", lambda seconds: [path.rename(tmp_path / "commits" / path.name) for path in hidden]
    )
    result = CliRunner().invoke(command_line.app, ["status", str(tmp_path), "--watch", "--json"])
    looks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(look["shards_done"], look["shards"]) for look in looks] == [(2, 3), (3, 3)]


def test_what_comes_from_data_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line._print({"name": "a \x1b[2Jcat"}, False)
    assert capsys.readouterr().out == f"{'name':23} a \\x1b[2Jcat\n"
