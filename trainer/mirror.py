"""A run whose home is a bucket: worked on in a local folder, mirrored after every save, taken up on any machine.

Objects are never overwritten. A checkpoint counts once its DONE is in the bucket, which is put last and deleted first;
an encoder once its viewmill.json does. Metrics travel as metrics/<checkpoint>.jsonl, put before the checkpoint.
Every node has a local twin, and all begin with the main process's newest checkpoint; only that process puts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from learning.gather import all_reduce_sum
from manifests.cache import ShardCache
from manifests.errors import StoreError, UserError
from manifests.store import Store

_DONE = "DONE"
_CHECKPOINT_FILES = ("state.json", "tensors.safetensors", _DONE)
_ENCODER_MARK = "viewmill.json"


class Mirror:
    """The bucket's folder and its local twin; both drop old checkpoints by one rule, `learning.checkpoint.save`'s."""

    def __init__(self, url: str, *, keep_last: int = 2, keep_every_images: int | None = None) -> None:
        self._keep_last, self._keep_every = keep_last, keep_every_images
        self._store = Store.open(url, create=True)
        name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:32]
        self.folder = ShardCache.default().folder / "runs" / name

    def pull(self) -> None:
        """Bring what the bucket has and this machine lacks: config, newest checkpoint, metrics, encoder.

        Raises: StoreError where the bucket cannot be reached.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._get("config.json")
        newest = self._newest()
        if newest is not None and newest not in self._local_checkpoints():
            self._get_metrics(newest)  # before DONE, without which all of this is done once more
            for file in _CHECKPOINT_FILES:
                self._get(f"checkpoints/{newest}/{file}")
        encoder = [name for name, _ in self._store.list("encoder")]
        if f"encoder/{_ENCODER_MARK}" in encoder:
            for name in sorted(encoder, key=lambda one: one.endswith(_ENCODER_MARK)):
                self._get(name)

    def push(self) -> None:
        """Put what is newer here than there, and delete checkpoints that are too old to be kept.

        Raises: StoreError where the bucket cannot be reached; UserError where it cannot be written.
        """
        self._put("config.json")
        newest = self._newest() or ""
        here = [name for name in self._local_checkpoints() if name > newest]
        if here and (self.folder / "metrics.jsonl").is_file():
            data = (self.folder / "metrics.jsonl").read_bytes()
            self._store.put_bytes(data, f"metrics/{here[-1]}.jsonl")
        for name in here:
            for file in _CHECKPOINT_FILES:
                self._put(f"checkpoints/{name}/{file}")
        self._drop(self._old())
        encoder = self.folder / "encoder"
        for path in sorted(encoder.glob("*"), key=lambda one: one.name == _ENCODER_MARK):
            self._put(f"encoder/{path.name}")

    def _old(self) -> list[str]:
        there = self._remote_checkpoints()[: -self._keep_last]
        return [name for name in there if not self._keep_every or _images_seen(name) % self._keep_every]

    def _newest(self) -> str | None:
        whole = [name for name in self._remote_checkpoints() if self._store.exists(f"checkpoints/{name}/{_DONE}")]
        return whole[-1] if whole else None

    def _remote_checkpoints(self) -> list[str]:
        return [name for name in Store.open(f"{self._store.url}/checkpoints", create=True).folders() if _is_one(name)]

    def _local_checkpoints(self) -> list[str]:
        folder = self.folder / "checkpoints"
        found = folder.glob(f"ckpt-*/{_DONE}") if folder.is_dir() else []
        return sorted(path.parent.name for path in found)

    def _get_metrics(self, checkpoint: str) -> None:
        """Take the lines up to a checkpoint, instead of those of a machine that had the run earlier."""
        name = f"metrics/{checkpoint}.jsonl"
        if self._store.exists(name):
            self._fetch(name, self.folder / "metrics.jsonl")

    def _drop(self, names: list[str]) -> None:
        for name in names:
            for file in (_DONE, *_CHECKPOINT_FILES[:-1]):
                self._store.delete(f"checkpoints/{name}/{file}")
            self._store.delete(f"metrics/{name}.jsonl")

    def _put(self, name: str) -> None:
        if (self.folder / name).is_file():
            self._store.put_file(self.folder / name, name)

    def _get(self, name: str) -> None:
        target = self.folder / name
        if not target.exists() and self._store.exists(name):
            self._fetch(name, target)

    def _fetch(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{target.name}")
        self._store.get_file(name, part)
        os.replace(part, target)


def take_up(mirror: Mirror, accelerator: Accelerator) -> None:
    """Bring the run to every node: the main process's first, which puts what it alone has, then the other nodes'.

    Raises: StoreError or UserError on all ranks once one could not reach the bucket, so that nobody waits for it.
    """
    is_main = accelerator.is_main_process
    _together([mirror.pull, mirror.push] if is_main else [], accelerator.device)
    _together([mirror.pull] if accelerator.is_local_main_process and not is_main else [], accelerator.device)


def _together(actions: Sequence[Callable[[], None]], device: torch.device) -> None:
    failure: Exception | None = None
    try:
        for action in actions:
            action()
    except (StoreError, UserError, OSError) as error:
        failure = error
    failures = all_reduce_sum(torch.tensor(int(failure is not None), device=device))
    if failure is not None:
        raise failure
    if failures:
        raise StoreError("another process could not bring the run from its bucket; its own message says why")


def _is_one(name: str) -> bool:
    return name.startswith("ckpt-") and name[5:].isdigit()


def _images_seen(name: str) -> int:
    return int(name.removeprefix("ckpt-"))
