"""What runs ViewMill elsewhere, checked without a daemon: lint, schemas, and our own command line."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
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

# Of ray.io/v1 RayJob, what we use; its operator ignores keys that it does not know, so a slip would go unseen.
RAY_JOB = {"entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"}
RAY_CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
RAY_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


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


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every pod template of a manifest."""
    spec = document["spec"]
    if document["kind"] == "RayJob":
        cluster = spec["rayClusterSpec"]
        return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    return [spec["template"]] if "template" in spec else []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_keep_to_the_schemas_of_kubernetes(path: Path) -> None:
    for document in documents(path):
        if document["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(document, "1.31", strict=True)
        for pod in pods(document):
            template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": pod}
            kubernetes_validate.validate(template, "1.31", strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_run_unprivileged_with_bounded_resources(path: Path) -> None:
    for pod in [pod for document in documents(path) for pod in pods(document)]:
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_the_ray_job_names_only_what_its_operator_knows() -> None:
    (job,) = documents(DOCKER / "kubernetes" / "rayjob.yaml")
    assert job["spec"].keys() <= RAY_JOB | {"rayClusterSpec"}
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= RAY_CLUSTER
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group.keys() <= RAY_GROUP
    assert cluster["rayVersion"] == locked("factory")["ray"]


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
    assert len(commands) == 6
    for module, name, *words in commands:
        app = typer.main.get_command(__import__(f"{module}.__main__", fromlist=["app"]).app)
        known = {option for parameter in app.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, (module, name)
        changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        preset = words[0]
        if not preset.startswith("$"):
            {"factory": load_recipe, "trainer": load_config}[module](preset, changes)


def test_compose_services_have_no_more_rights_than_they_need() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service, name
        assert "privileged" not in service
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]


def exported(folder: Path) -> set[str]:
    """Name all metrics that the code exports."""
    from factory.metrics import FactoryMetrics
    from manifests.prometheus import names
    from trainer.outlet import RunMetrics

    ours, theirs = FactoryMetrics(str(folder / "f.prom")), RunMetrics(str(folder / "t.prom"), images=1)
    both = [ours.exposition, theirs.exposition]
    return {name for one in both for name in names(one.registry)}


def test_the_dashboard_asks_for_what_the_code_exports_and_for_all_of_it(tmp_path: Path) -> None:
    board = json.loads((DOCKER / "grafana" / "viewmill.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"viewmill_\w+", query)}
    known = exported(tmp_path)
    assert asked <= known
    families = {re.sub(r"_(total|created)$", "", name) for name in known}
    assert {re.sub(r"_total$", "", name) for name in asked} == families
