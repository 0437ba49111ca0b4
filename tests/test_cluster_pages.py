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
    found = re.findall(r"python -m (factory|manifests|trainer) ([^`\n|…]+)", PAGES[page])
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
    presets = {path.stem for path in (ROOT / "trainer" / "configs").glob("*.yaml")} - {"demo"}
    named = set(re.findall(r"`([a-z0-9_]+)`", PAGES["papers.md"])) | set(
        re.findall(r"pretrain ([a-z0-9_]+)", PAGES["papers.md"])
    )
    assert presets <= named, presets - named


def rows(page: str, columns: int) -> list[list[str]]:
    """Return the cells of every table's rows, heads and rules left out."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    return [cells for cells in found if len(cells) == columns and cells[0] not in ("paper", "preset (smoke)")]


def test_what_was_measured_once_is_the_number_of_that_very_preset() -> None:
    results = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    table = results.partition("## Every method once")[2].partition("\n## ")[0]
    measured = {cells[0]: (cells[6], cells[7]) for cells in rows(table, 8)}
    told: dict[str, str] = {}
    for *_, command, result in rows(PAGES["papers.md"], 5):
        for linear, untrained in re.findall(r"once: (\d+\.\d)(?:, untrained (\d+\.\d))?", result):
            (preset,) = re.findall(r"pretrain (\w+)", command)
            told[preset] = linear
            assert (linear, untrained or "16.1") == measured[preset], preset
    assert len(told) >= 14


def test_every_number_of_ours_stands_in_the_results_or_on_the_page_that_is_linked() -> None:
    results = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    for paper, *_, result in rows(PAGES["papers.md"], 5):
        linked = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in re.findall(r"\]\(([^)#]+)\)", result)]
        for number in re.findall(r"[−+]?\d+\.\d+", result):
            assert any(number in text for text in (results, *linked)), (paper, number)


def test_every_row_has_all_of_method_equation_command_and_result() -> None:
    for paper, _preset, equation, command, result in rows(PAGES["papers.md"], 5):
        assert all((paper, equation, result)), paper
        assert "python -m " in command, paper


FIVE = {"2106.05258", "2306.00984", "2112.09130", "2005.10243", "2105.14257"}


def test_the_five_papers_stand_first_and_in_the_tables() -> None:
    top, _, tables = PAGES["papers.md"].partition("\n## ")
    assert set(re.findall(r"arXiv:(\d{4}\.\d{5})", top)) == FIVE
    assert set(re.findall(r"arXiv:(\d{4}\.\d{5})", tables)) >= FIVE


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
