"""A run whose home is a bucket: worked on in a local folder, mirrored after every save, taken up on any machine.

A checkpoint counts once its DONE is in the bucket, which is put last and deleted first; an encoder once its
viewmill.json does; what counts is never overwritten. Metrics travel as metrics/<checkpoint>.jsonl, put before it.
Every node has a local twin, and all begin with the main process's newest whole checkpoint; only that process puts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from learning.checkpoint import fault, images_seen_of, kept_for_good
from learning.gather import all_reduce_sum
from manifests.cache import ShardCache
from manifests.errors import CorruptError, StoreError, UserError
from manifests.store import Store

_LOG = logging.getLogger(__name__)
_DONE = "DONE"
_CHECKPOINT_FILES = ("state.json", "tensors.safetensors", _DONE)
ENCODER_MARK = "viewmill.json"


class Mirror:
    """The bucket's folder and its local twin; both drop old checkpoints by one rule, `learning.checkpoint.save`'s."""

    def __init__(self, url: str, *, keep_last: int = 2, keep_every_images: int | None = None) -> None:
        self._keep_last, self._keep_every = keep_last, keep_every_images
        self._broken: set[str] = set()  # checkpoints of the bucket that count for nothing
        self._lives: dict[str, bytes] = {}  # what this process has put of each
        self._store = Store.open(url, create=True)
        self.url = url.rstrip("/")
        name = hashlib.sha256(self.url.encode()).hexdigest()[:32]
        self.folder = ShardCache.default().folder / "runs" / name

    def pull(self) -> None:
        """Bring what the bucket has and this machine lacks: config, newest whole checkpoint, metrics, encoder.

        Raises: CorruptError where there are checkpoints, here or there, and none is whole; StoreError where the bucket
            cannot be reached.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._get("config.json")
        known = sorted({*self._local_checkpoints(), *self._done()}, reverse=True)
        if known and not any(self._has_whole(name) for name in known):  # the newest first, no further than needed
            raise CorruptError(
                f"{self._store.url}/checkpoints: none of the {len(known)} checkpoints there and in {self.folder} is "
                "whole; restore one from a backup, or choose another --out to start over"
            )
        encoder = [name for name, _ in self._store.list("encoder")]
        if f"encoder/{ENCODER_MARK}" in encoder:
            for name in sorted(encoder, key=lambda one: one.endswith(ENCODER_MARK)):
                self._get(name)

    def push(self) -> None:
        """Put what is newer here than there, and delete checkpoints that are too old to be kept.

        Raises: StoreError where the bucket cannot be reached; UserError where it cannot be written.
        """
        self._put("config.json")
        newest = max(self._done(), default="")
        here = [name for name in self._local_checkpoints() if name > newest]
        for name in here:
            self._put_checkpoint(name, with_metrics=name == here[-1])
        self._drop(self._old())
        self._put_lives()
        self._put_encoder()

    def _put_checkpoint(self, name: str, *, with_metrics: bool) -> None:
        self._drop([name])  # what a killed machine left of it may differ in its bits, and would be kept
        metrics = self.folder / "metrics.jsonl"
        if with_metrics and metrics.is_file():
            self._store.put_bytes(metrics.read_bytes(), f"metrics/{name}.jsonl")
        for file in _CHECKPOINT_FILES:
            self._put(f"checkpoints/{name}/{file}")
        self._broken.discard(name)

    def _put_lives(self) -> None:
        """Put what each life took; a life's file grows with every save, so an older one makes way."""
        for life in sorted((self.folder / "runs").glob("*.json")):
            name, text = f"runs/{life.name}", life.read_bytes()
            if self._lives.get(name) != text:
                self._store.delete(name)
                self._store.put_bytes(text, name)
                self._lives[name] = text

    def _put_encoder(self) -> None:
        here = sorted((self.folder / "encoder").glob("*"), key=lambda one: one.name == ENCODER_MARK)
        if not here or self._store.exists(f"encoder/{ENCODER_MARK}"):
            return
        for name, _ in self._store.list("encoder"):  # as above
            self._store.delete(name)
        for path in here:
            self._put(f"encoder/{path.name}")

    def _old(self) -> list[str]:
        """Name what is not kept: whole ones by the rule, others once there is a newer whole one."""
        there, whole = self._remote_checkpoints(), self._done()
        kept = kept_for_good(map(images_seen_of, whole), self._keep_every)
        passed = [name for name in there if name < max(whole, default="") and name not in whole[-self._keep_last :]]
        return [name for name in passed if name not in whole or images_seen_of(name) not in kept]

    def _done(self) -> list[str]:
        """Name the bucket's checkpoints that count, the oldest first."""
        there = [name for name in self._remote_checkpoints() if name not in self._broken]
        return [name for name in there if self._store.exists(f"checkpoints/{name}/{_DONE}")]

    def _has_whole(self, name: str) -> bool:
        """Say whether a checkpoint is whole here, brought from the bucket if need be."""
        folder = self.folder / "checkpoints" / name
        if _is_whole(folder, str(folder)):
            return True
        if name not in self._done():
            return False
        self._get_metrics(name)  # before DONE, without which all of this is done once more
        for file in _CHECKPOINT_FILES:
            self._get(f"checkpoints/{name}/{file}")
        if _is_whole(folder, f"{self._store.url}/checkpoints/{name}"):
            return True
        self._broken.add(name)
        return False

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


def _is_whole(folder: Path, where: str) -> bool:
    """Say whether a checkpoint may be gone on from; what is broken is said, and not kept."""
    found = fault(folder)
    if found is None:
        return True
    if (folder / _DONE).exists():
        _LOG.warning("skipped the checkpoint %s: %s", where, found)
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _is_one(name: str) -> bool:
    return name.startswith("ckpt-") and name[5:].isdigit()
