"""docs/trainer.md: its commands run, and its tables name every preset, augmentation and number there is."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from learning.augment import PRESETS as AUGMENTATIONS
from manifests.__main__ import app as manifests_app
from tests.trainer.data import make_dataset
from tests.trainer.processes import overrides, run
from trainer.__main__ import app as trainer_app
from trainer.config import PRESETS, preset_names

PAGE = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("python -m ")
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
UNTRIED = ("evaluate", "compare", "bench-data")  # minutes; each has tests of its own, and so has --onnx
TINY = {  # what the page's own keys leave open
    "objective__hidden": None,
    "objective__dimensions": None,
    "images": 32,
    "batch_images": 16,
    "data__views": None,
}


def settings(command: str) -> list[str]:
    """Say how a command of the page is run in seconds: its own keys come last and win, but for widths and lengths."""
    own = dict(text.split("=", 1) for text in re.findall(r"--set '?([\w.]+=(?:'[^']*'|\S+))", command))
    small = dict(text.split("=", 1) for text in overrides(**TINY))
    if "encoder.backbone" in own:
        small = {key: value for key, value in small.items() if not key.startswith("encoder.")}
    if "objective.text" in own:
        small |= {"objective.text": "{width: 16, layers: 1, heads: 2, context: 16}"}
    if "objective.queue" in own:
        small |= {"objective.queue": "64"}
    if "probe" in own:
        small |= {"probe.every_images": "16", "probe.images": "60"}
    if "cache_groups" in own:
        small |= {"cache_groups": "2"}
    return [word for key, value in small.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_is_one_that_is_understood(command):
    program, *words = shlex.split(command)
    group = typer.main.get_command({"trainer": trainer_app, "manifests": manifests_app}[program])
    with group.make_context(program, list(words)) as context:
        name, subcommand, rest = group.resolve_command(context, list(words))
        subcommand.make_context(name, rest, parent=context)


@pytest.mark.timeout(600)
def test_the_commands_of_the_page_run_one_after_the_other(tmp_path):
    prompts = [f"prompt {g}" for g in range(24)]
    make_dataset(tmp_path / "out" / "demo" / "data", groups=24, views=4, prompts=prompts)
    for command in COMMANDS:
        here = re.sub(r"(?<![\w./])(out|runs|data)/", rf"{tmp_path}/\1/", command)
        program, *words = shlex.split(
            re.sub(r" (features\.parquet|exported)\b", rf" {tmp_path}/\1", here.replace(" --onnx", ""))
        )
        if words[0] in UNTRIED:
            continue
        if program == "manifests":
            done = CliRunner().invoke(manifests_app, words)
            assert done.exit_code == 0, (command, done.output, done.exception)
        else:
            code, said = run([*words, *(settings(command) if words[0] == "pretrain" else ())])
            assert code == 0, (command, said)
    lines = [json.loads(text) for path in tmp_path.glob("runs/*/metrics.jsonl") for text in path.open()]
    logged = {name for line in lines for name in line}
    assert {"probe_knn", "logit_scale", "effective_rank"} <= logged
    assert sorted(name for name in logged if f"`{name}`" not in PAGE.split("## What is logged")[1]) == []
    assert (tmp_path / "exported" / "model.safetensors").is_file()


def test_the_table_of_methods_names_every_preset_with_its_paper():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE.split("## Methods")[1].split("## Data")[0], re.MULTILINE))
    assert sorted(rows) == preset_names()
    for name, after in rows.items():
        cited = re.findall(r"arXiv:\d+\.\d+", (PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert [paper for paper in cited if paper not in after] == [], name


def test_the_table_of_augmentations_names_every_one():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Augmentation")[1].split("## The loop")[0], re.MULTILINE)
    assert sorted(rows) == sorted(AUGMENTATIONS)
