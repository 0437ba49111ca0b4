"""The cluster below a job: joined or started, what it has, and how many workers of each kind fit into it.

`share_out` is pure: counts follow what is there, so that nodes may come and go while a job runs.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manifests.errors import UserError

CONNECT_TIMEOUT_S = 10.0
EXPECTED_ADDRESS = (
    "expected auto, or HOST:PORT of the head (usually port 6379), on a machine of the cluster; from elsewhere let"
    " `ray job submit -- python -m factory render … --address auto` run it there"
)
OBJECT_STORE_BYTES = 100 << 20  # plans and records only; pixels never pass through it
OWN_OPTIONS = {"num_gpus": "GPU", "num_cpus": "CPU"}  # Ray's options beside its names of resources

Needs = dict[str, Any]  # an actor's options: num_cpus, num_gpus, resources


def start_ray(address: str | None, cpus: int) -> Callable[[], None]:
    """Join a cluster, or start one of this machine's own; returns what ends that, and leaves alone what was there.

    Raises: UserError when there is no cluster to reach.
    """
    import ray

    if ray.is_initialized():
        return lambda: None
    folder = tempfile.TemporaryDirectory(prefix="vm-", ignore_cleanup_errors=True)

    def stop() -> None:
        ray.shutdown()
        folder.cleanup()

    for is_last in (False, True):  # on a busy machine Ray's own processes may miss their deadline once
        try:
            ray.init(**_ray_options(address, cpus, folder.name), log_to_driver=False, logging_level="ERROR")
            break
        except Exception as error:  # Ray raises whatever its transport does
            ray.shutdown()
            if is_last or address:
                told = next(iter(str(error).splitlines()), type(error).__name__)
                where = address or "this machine"
                raise UserError(f"Ray on {where} cannot be reached or started: {told}; --inline needs none") from error
    return stop


def check_reachable(address: str) -> None:
    """Knock before Ray does, which goes on knocking for minutes.

    Raises: UserError for what is no address, and where nobody answers.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        raise UserError(f"--address {address}: {EXPECTED_ADDRESS}")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"Ray on {address} cannot be reached: {error}; --inline needs none") from error


def _ray_options(address: str | None, cpus: int, folder: str) -> dict[str, Any]:
    """Say how to start Ray; the folder's name is short, since Ray's socket paths lie below it (107 characters)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        return {"address": address}
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    return {"address": "local", "num_cpus": max(cpus, os.cpu_count() or 1), "_temp_dir": folder, **own}


def cluster_resources() -> dict[str, float]:
    """Say what the living nodes have in all."""
    import ray

    return dict(ray.cluster_resources())


def dashboard_url() -> str:
    """Return where Ray's dashboard answers; nothing where there is none."""
    import ray

    return str(getattr(ray._private.worker.global_worker.node, "webui_url", "") or "")


def worker_options(resources: Mapping[str, float], recipe: Any, gpus_per_worker: float) -> Needs:
    """Say what an actor asks for that draws every source: a GPU or its fraction where it must or can, else CPUs."""
    is_there = resources.get("GPU", 0) > 0
    usual: Needs = {"num_cpus": recipe.threads}
    if recipe.device.startswith("cuda") or (recipe.device == "auto" and is_there):
        usual = {"num_gpus": gpus_per_worker, "num_cpus": 1}
    asked: dict[str, float] = {}
    for source in recipe.sources:
        asked |= {name: max(asked.get(name, 0.0), amount) for name, amount in source.resources.items()}
    return with_resources(usual, asked)


def pool_options(resources: Mapping[str, float], recipe: Any, gpus_per_worker: float) -> list[Needs]:
    """Say what an actor of each pool asks for: one pool for all sources, or one for each where shards are theirs."""
    if recipe.mix == "groups":
        return [worker_options(resources, recipe, gpus_per_worker)]
    alone = [recipe.model_copy(update={"sources": (source,)}) for source in recipe.sources]
    return [worker_options(resources, one, gpus_per_worker) for one in alone]


def with_resources(usual: Needs, asked: Mapping[str, float]) -> Needs:
    """Lay what a source asks for over the usual; GPU and CPU go by these names."""
    own = {option: asked[name] for option, name in OWN_OPTIONS.items() if name in asked}
    rest = {name: amount for name, amount in asked.items() if name not in OWN_OPTIONS.values()}
    return {**usual, **own, **({"resources": rest} if rest else {})}


def actor_options(needs: Needs, runtime_env: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all that Ray is told of an actor; the environment, which may hold secrets, is no part of its needs."""
    return {**needs, "runtime_env": dict(runtime_env)} if runtime_env else dict(needs)


def needs_of(options: Needs) -> dict[str, float]:
    """Return an actor's options by Ray's names of resources."""
    own = {name: options[option] for option, name in OWN_OPTIONS.items() if options.get(option)}
    return {**own, **options.get("resources", {})}


def worker_count(resources: Mapping[str, float], options: Needs) -> int:
    """Count the actors that fit.

    Raises: UserError when not one does.
    """
    count = _fits(resources, needs_of(options))
    if count < 1:
        raise UserError(f"no worker fits: one needs {dict(options)}, the cluster has {dict(resources)}")
    return count


def _fits(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    return min((int(resources.get(name, 0) / amount + 1e-9) for name, amount in needs.items() if amount), default=0)


def share_out(
    resources: Mapping[str, float], options: Sequence[Needs], open_shards: Mapping[int, int], limit: int | None = None
) -> list[int]:
    """Count the actors that each pool should have: where most shards wait for each, the next one goes.

    With a `limit`, so many are asked for whether they fit by now or not: that is what makes a cluster grow.
    """
    left, counts = dict(resources), [0] * len(options)
    while limit is None or sum(counts) < limit:
        room = [
            pool
            for pool, one in enumerate(options)
            if counts[pool] < open_shards.get(pool, 0) and (limit is not None or _fits(left, needs_of(one)))
        ]
        if not room:
            return counts
        pool = max(room, key=lambda pool: (open_shards[pool] / (counts[pool] + 1), -pool))
        counts[pool] += 1
        for name, amount in needs_of(options[pool]).items():
            left[name] = left.get(name, 0.0) - amount
    return counts
