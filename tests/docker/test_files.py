"""What runs ViewMill elsewhere, checked without a daemon: lint, locks, and our own command line."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from factory.recipe import load_recipe
from trainer.config import load_config

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
PLACES = [TOOLS, *(Path(folder) / "bin" for folder in sys.path if folder)]
IMAGES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted(DOCKER.glob("slurm/*.sbatch"))
MANIFESTS = sorted(DOCKER.glob("kubernetes/*.yaml"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def tool(name: str) -> str:
    return str(next(folder / name for folder in PLACES if (folder / name).exists()))


def lint(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_images_are_linted_and_run_as_nobody_special(image: Path) -> None:
    lint(tool("hadolint"), "--failure-threshold", "info", str(image))
    text = image.read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert "--require-hashes" in text
    assert not re.search(r"^ADD |:latest", text, re.MULTILINE)


def test_each_image_has_its_side_alone() -> None:
    locks = {side: locked(side) for side in ("factory", "trainer")}
    assert {"ray", "diffusers"} <= locks["factory"].keys()
    assert not {"timm", "torchvision"} & locks["factory"].keys()
    assert {"accelerate", "timm"} <= locks["trainer"].keys()
    assert not {"ray", "diffusers"} & locks["trainer"].keys()
    assert "s3fs" in locks["factory"].keys() & locks["trainer"].keys()


def locked(side: str) -> dict[str, str]:
    """Read a lock: every line has a version and at least one hash."""
    text = (DOCKER / f"{side}.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [re.fullmatch(r"([a-z0-9-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})+)", line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("side", ["factory", "trainer"])
def test_locks_agree_with_the_constraints(side: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = dict(line.split("==") for line in lines if "==" in line)
    found = locked(side)
    assert {name: found[name] for name in wanted.keys() & found.keys()} == {
        name: wanted[name] for name in wanted.keys() & found.keys()
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_linted(script: Path) -> None:
    lint(tool("shellcheck"), str(script))
    lint("bash", "-n", str(script))


def our_commands() -> list[list[str]]:
    """Find every command line of ours in the files, from its module on."""
    texts = [path.read_text(encoding="utf-8").replace("\\\n", " ") for path in (*SCRIPTS, *MANIFESTS)]
    flat = [re.sub(r"\s+", " ", text) for text in texts]
    found = [match for text in flat for match in re.findall(r"-m (factory|trainer) ([a-z-]+ [^#&|]*)", text)]
    words = [[module, *shlex.split(rest.split("'")[0])] for module, rest in found]
    services = [service["command"] for service in COMPOSE["services"].values() if "-m" in service["command"]]
    rests = [command[next(i for i, w in enumerate(command) if w in ("factory", "trainer")) :] for command in services]
    return [*words, *rests]


def test_every_command_names_options_that_exist() -> None:
    commands = our_commands()
    assert len(commands) == 7
    for module, name, *words in commands:
        app = typer.main.get_command(__import__(f"{module}.__main__", fromlist=["app"]).app)
        known = {option for parameter in app.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, (module, name)
        changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        preset = words[0]
        if not preset.startswith("$"):
            {"factory": load_recipe, "trainer": load_config}[module](preset, changes)


def test_cuda_bases_are_of_the_cuda_that_is_locked() -> None:
    wanted = locked("trainer")["cuda-toolkit"].split(".")[0]
    for image in IMAGES:
        bases = re.findall(r"nvidia/cuda:(\d+)\.", image.read_text(encoding="utf-8"))
        assert bases == [wanted], image.name  # by it a node refuses what its driver is too old for


def test_locks_are_made_without_this_machines_settings(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nextra-index-url = http://127.0.0.1/simple\n")
    lock = runpy.run_path(str(DOCKER / "lock.py"))
    told = [*lock["PIP"], "config", "list"]
    here = {**os.environ, "XDG_CONFIG_DIRS": str(tmp_path)}
    listed = [
        subprocess.run(told, env=env, capture_output=True, text=True, check=True).stdout
        for env in (here, {**here, "PIP_CONFIG_FILE": lock["environment"]()["PIP_CONFIG_FILE"]})
    ]
    assert "extra-index-url" in listed[0]  # --isolated alone reads it
    assert listed[1] == ""


def test_compose_services_have_no_more_rights_than_they_need() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service, name
        assert "privileged" not in service
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
