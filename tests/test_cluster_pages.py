"""docs/papers.md and docs/real-models.md name presets, options and results that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from factory.estimate import BYTES_PER_PIXEL
from factory.recipe import load_recipe
from manifests.patience import WAITS_S
from trainer.config import load_config

ROOT = Path(__file__).parent.parent
PAGES = {
    name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("papers.md", "real-models.md", "cluster.md")
}


def commands(page: str) -> list[list[str]]:
    """Find every whole command of ours in a page, comments cut."""
    found = re.findall(r"python -m (factory|trainer) ([^`\n|…]+)", PAGES[page])
    return [[module, *shlex.split(rest, comments=True)] for module, rest in found if "…" not in rest]


ALL = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), ALL, ids=[f"{page}: {' '.join(words)[:60]}" for page, words in ALL])
def test_a_command_names_what_exists(page: str, words: list[str]) -> None:
    module, name, *rest = words
    app = typer.main.get_command(__import__(f"{module}.__main__", fromlist=["app"]).app)
    assert name in app.commands
    known = {option for parameter in app.commands[name].params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known
    changes = [rest[place + 1] for place, word in enumerate(rest) if word == "--set"]
    if name == "pretrain" and rest and not rest[0].isupper():
        load_config(rest[0], changes)
    if name == "render" and rest and not rest[0].isupper():
        load_recipe(rest[0], changes)


def test_every_preset_of_the_trainer_is_in_the_papers() -> None:
    presets = {path.stem for path in (ROOT / "trainer" / "configs").glob("*.yaml")} - {"demo", "supervised"}
    named = set(re.findall(r"`([a-z0-9_]+)`", PAGES["papers.md"])) | set(
        re.findall(r"pretrain ([a-z0-9_]+)", PAGES["papers.md"])
    )
    assert presets <= named, presets - named


def test_numbers_that_are_called_ours_stand_in_the_results() -> None:
    results = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    numbers = set(re.findall(r"(?:once: |untrained )(\d+\.\d)", PAGES["papers.md"]))
    assert numbers
    assert all(number in results for number in numbers)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        assert (ROOT / "docs" / target).exists(), target


def test_a_stores_patience_is_told_as_it_is() -> None:
    tries = {4: "four", 5: "five", 6: "six"}[len(WAITS_S) + 1]
    assert f"tried {tries} times over {sum(WAITS_S):g} s" in PAGES["cluster.md"]


def test_what_a_hundred_gpus_come_to_follows_from_what_was_measured() -> None:
    page = PAGES["cluster.md"]
    measured = re.search(r"processor time of the driver a shard[^|]*\| ([\d.]+) ms \|", page)
    table = re.search(r"<!-- a hundred GPUs -->\n(.*?)\n<!--", page, re.DOTALL)
    assert measured
    assert table
    rows = [[float(cell.strip(" %")) for cell in line.split("|")[2:4]] for line in table[1].splitlines()[2:]]
    recipe = load_recipe("stablerep-sd15", [])
    images = recipe.groups_per_shard * recipe.views
    for column, shard_s in enumerate((60, 600)):
        shards_per_s = 100 / shard_s
        size_mb = images * 256 * 256 * BYTES_PER_PIXEL[recipe.encode.codec] / 1e6
        expected = [3600 * shards_per_s, 3600 * shards_per_s * images, shards_per_s * float(measured[1]) / 10]
        expected += [5 * shards_per_s, shards_per_s * size_mb]
        assert [row[column] for row in rows] == pytest.approx(expected, rel=0.01)


def test_the_pages_workers_are_those_of_the_file() -> None:
    job = (ROOT / "docker" / "kubernetes" / "rayjob.yaml").read_text(encoding="utf-8")
    workers, nodes = re.search(r"--workers (\d+)", job), re.search(r"maxReplicas: (\d+)", job)
    assert workers
    assert nodes
    assert f"asks for {workers[1]} workers of a GPU each" in PAGES["cluster.md"]
    assert f"grows to a hundred where `--workers {nodes[1]}`" in PAGES["cluster.md"]
