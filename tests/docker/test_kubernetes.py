"""Jobs on Kubernetes: schemas, rights, what they ask for, and how they end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from factory.cluster import needs_of, pool_options
from factory.recipe import load_recipe
from factory.workshop import Workshop
from tests.docker.test_files import DOCKER, MANIFESTS, TOOLS, locked

# Of ray.io/v1 RayJob, what we use; its operator ignores keys that it does not know, so a slip would go unseen.
RAY_JOB = {"entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"}
RAY_CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
RAY_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


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


def rendered_on_kuberay() -> tuple[list[str], Any]:
    """Return the words of the Ray job's command, and its recipe."""
    (job,) = documents(DOCKER / "kubernetes" / "rayjob.yaml")
    words = shlex.split(job["spec"]["entrypoint"])
    changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    return words, load_recipe(words[words.index("render") + 1], changes)


def test_the_ray_job_asks_for_gpus_before_its_cluster_has_any() -> None:
    words, recipe = rendered_on_kuberay()
    for options in pool_options({"CPU": 0.0}, recipe, 1.0):
        assert needs_of(options)["GPU"] == 1
    assert "--workers" in words  # else only what is there is used


def test_the_ray_job_leaves_no_batch_to_a_head_without_a_gpu() -> None:
    _, recipe = rendered_on_kuberay()
    assert isinstance(recipe.batch, int)
    assert recipe.groups_per_shard * recipe.views % recipe.batch == 0


def test_the_ray_job_names_an_operator_that_probes_without_wget() -> None:
    text = (DOCKER / "kubernetes" / "rayjob.yaml").read_text(encoding="utf-8")
    assert "KubeRay 1.6 or newer" in text  # over HTTP from there on, for Ray 2.53 and newer
    assert tuple(map(int, locked("factory")["ray"].split(".")[:2])) >= (2, 53)


def test_the_head_has_room_for_the_weights_that_it_hashes() -> None:
    (job,) = documents(DOCKER / "kubernetes" / "rayjob.yaml")
    for pod in pods(job):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounts["cache"] == "/home/viewmill/cache"
        assert "cache" in [volume["name"] for volume in pod["spec"]["volumes"]]


def graces() -> dict[str, tuple[int, int]]:
    """Return, for each way to train, the launcher's time after SIGTERM and that of what is above it."""
    _, job = documents(DOCKER / "kubernetes" / "train.yaml")
    pod = job["spec"]["template"]["spec"]
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    script = (DOCKER / "slurm" / "train.sbatch").read_text(encoding="utf-8")
    found = [re.search(r"TORCH_ELASTIC_SHUTDOWN_TIMEOUT=(\d+)", script), re.search(r"--signal=TERM@(\d+)", script)]
    return {
        "kubernetes": (int(env["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]), pod["terminationGracePeriodSeconds"]),
        "slurm": (int(found[0][1] if found[0] else 0), int(found[1][1] if found[1] else 0)),
    }


@pytest.mark.parametrize("place", ["kubernetes", "slurm"])
def test_launchers_kill_only_a_little_before_they_are_killed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.launcher.api import LaunchConfig

    launcher_s, grace_s = graces()[place]
    assert 0.75 * grace_s < launcher_s < grace_s
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(launcher_s))
    assert LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1).shutdown_timeout == launcher_s


def test_a_pod_of_the_trainer_is_ready_when_rank_0_tells_its_numbers() -> None:
    _, job = documents(DOCKER / "kubernetes" / "train.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == "metrics"]
    assert f"--metrics {port}" in container["args"][0]
    shell, flag, script = container["readinessProbe"]["exec"]["command"]
    codes = [probe([shell, flag, script.replace(str(port), "1")], index) for index in ("0", "1")]
    assert codes == [1, 0]  # nobody answers at port 1, and only pod 0 is asked


def probe(command: list[str], index: str) -> int:
    environment = {"PATH": f"{TOOLS}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": index}
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode


def leave(folder: Path, title: str) -> None:
    """Run what the operator runs before a worker's pod goes, where actors go by another title."""
    (job,) = documents(DOCKER / "kubernetes" / "rayjob.yaml")
    (container,) = pods(job)[1]["spec"]["containers"]
    *shell, script = container["lifecycle"]["preStop"]["exec"]["command"]
    ours = f"ray::{Workshop.__name__}"
    assert f'"^{ours}"' in script
    environment = {**os.environ, "VIEWMILL_LEAVE_FILE": str(folder / "leave")}
    subprocess.run([*shell, script.replace(ours, title)], env=environment, timeout=60, check=True)
    assert (folder / "leave").exists()


def test_a_node_goes_when_its_last_actor_is_gone_and_not_later(tmp_path: Path) -> None:
    leave(tmp_path, title := f"vm-{os.getpid()}")  # minutes before its time-out: nobody is there
    actor = subprocess.Popen(["bash", "-c", f"exec -a {title} sleep 3"])
    while not Path(f"/proc/{actor.pid}/cmdline").read_text().startswith(title):
        time.sleep(0.01)
    leave(tmp_path, title)
    assert actor.poll() == 0
