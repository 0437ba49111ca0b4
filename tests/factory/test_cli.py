"""The command line as a shell sees it: one line for a mistake, nothing written, and the numbers that scripts read."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from manifests import open_dataset
from tests.factory import recipes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def factory(*arguments: str, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", "factory", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, preexec_fn=limit, capture_output=True, text=True, timeout=280)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode not in (0, 1), done
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": -3}, "groups: got -3, expected greater than or equal to 1"),
        ({"grops": 3}, "grops: unknown key; did you mean groups?"),
        ({"prompts": {"file": "none.csv"}}, "none.csv: no such file"),
        ({"sources": [{"model": "/nowhere/at/all"}]}, "/nowhere/at/all: no such folder"),
        ({"views": 101}, "views: got 101"),
    ],
)
def test_a_bad_recipe_is_one_line_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    recipe = recipes.write(tmp_path / "recipe.yaml", **changes)
    assert expected in refused(factory("render", str(recipe), str(tmp_path / "out"), "--inline"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_generator_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    recipe = recipes.write(tmp_path / "recipe.yaml", sources=[{"model": str(tmp_path / "folder")}])
    assert "no diffusers folder" in refused(factory("render", str(recipe), str(tmp_path / "out"), "--inline"))


def test_a_target_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path / "recipe.yaml")
    (tmp_path / "file").write_text("in the way")
    assert "out" in refused(factory("render", str(recipe), str(tmp_path / "file" / "out"), "--inline"))


def test_a_read_only_target_is_one_line(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path / "recipe.yaml")  # nobody may make a folder in /sys, not even root
    assert "choose another target" in refused(factory("render", str(recipe), "/sys/viewmill/out", "--inline"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", "Ray on 127.0.0.1:1 cannot be reached"),
        ("nowhere", "--address nowhere: expected auto, or HOST:PORT of the head"),
        ("ray://127.0.0.1:10001", "--address ray://127.0.0.1:10001: expected auto, or HOST:PORT of the head"),
        ("ray://head:10001", "from elsewhere let `ray job submit"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_before_anything_is_written(
    tmp_path: Path, address: str, expected: str
) -> None:
    recipe = recipes.write(tmp_path / "recipe.yaml")
    told = refused(factory("render", str(recipe), str(tmp_path / "out"), "--address", address))
    assert expected in told
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path / "recipe.yaml")
    told = refused(factory("render", str(recipe), str(tmp_path / "out"), "--inline", limit_bytes=20_000))
    assert "the file is larger than this process may write" in told
    assert not [path for name in ("shards", "views", "commits") for path in (tmp_path / "out").glob(f"{name}/*")]
    assert not list((tmp_path / "out").glob("runs/scratch/*"))
    root = factory("render", str(recipe), str(tmp_path / "out"), "--inline").stdout.split()[-1]
    assert open_dataset(tmp_path / "out").root == root


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Render a recipe to the end; returns recipe and data set."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = recipes.write(folder / "recipe.yaml")
    root = invoke("render", str(recipe), str(folder / "data"), "--inline").split()[-1]
    assert open_dataset(folder / "data").root == root
    return recipe, folder / "data"


def test_plan_counts_shards_batches_time_and_cost(made: tuple[Path, Path]) -> None:
    facts = json.loads(invoke("plan", str(made[0]), "--images-per-s", "0.5", "--price-per-hour", "9", "--json"))
    counts = [facts[name] for name in ("groups", "views", "images", "shards", "batch", "batches_per_shard")]
    assert counts == [10, 2, 20, 3, 4, 2]
    assert facts["worker_hours"] == pytest.approx(40 / 3600)
    assert facts["cost"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        (["--set", "device=auto"], 1.0),
        (["--set", "device=auto", "--gpus-per-worker", "0.25"], 0.25),
        (["--set", "device=auto", "--set", "sources.0.resources={GPU: 2}"], 2.0),
        (["--set", "device=auto", "--measure"], 0.0),  # on a machine without a GPU
        (["--set", "device=cpu"], 0.0),
    ],
)
def test_plan_counts_gpus_and_not_workers(made: tuple[Path, Path], words: list[str], gpus: float) -> None:
    facts = json.loads(invoke("plan", str(made[0]), "--images-per-s", "0.5", *words, "--json"))
    assert facts["gpu_hours"] == pytest.approx(gpus * facts["worker_hours"])
    assert facts["worker_hours"] > 0


def test_plan_can_measure_the_rate_on_this_machine(made: tuple[Path, Path]) -> None:
    assert json.loads(invoke("plan", str(made[0]), "--measure", "--json"))["images_per_s"] > 0


def test_a_dry_run_prints_the_whole_recipe_and_writes_nothing(made: tuple[Path, Path], tmp_path: Path) -> None:
    told = json.loads(invoke("render", str(made[0]), str(tmp_path / "none"), "--dry-run", "--set", "seed=9"))
    assert (told["recipe"]["seed"], told["recipe"]["encode"]["quality"]) == (9, 95)
    assert len(told["stream_id"]) == 64
    assert not (tmp_path / "none").exists()


def test_status_counts_what_is_done(made: tuple[Path, Path]) -> None:
    facts = json.loads(invoke("status", str(made[1]), "--price-per-hour", "3600", "--json"))
    assert (facts["shards"], facts["shards_done"], facts["groups_ok"], facts["views"]) == (3, 3, 10, {"ok": 20})
    assert facts["root"] == open_dataset(made[1]).root
    assert facts["cost"] == pytest.approx(facts["worker_hours"] * 3600)
    assert facts["worker_hours"] > 0 == facts["gpu_hours"]  # no GPU is there
    assert facts["left_s"] == 0


def test_status_of_a_folder_without_a_job_is_one_line(tmp_path: Path) -> None:
    assert "nothing was ever rendered here" in refused(factory("status", str(tmp_path)))


def test_a_contact_sheet_shows_the_first_groups_and_no_data_set_is_written(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    from PIL import Image

    invoke("render", str(made[0]), str(tmp_path / "look"), "--limit", "5")
    with Image.open(tmp_path / "look.png") as page:
        width, height = page.size
    assert width >= 2 * 32
    assert height >= 5 * 32
    assert [path.name for path in tmp_path.iterdir()] == ["look.png"]
