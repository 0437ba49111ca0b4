"""Checkpoints that are whole or absent: `ckpt-<images seen>` folders of safetensors, JSON and a DONE file of hashes.

A save fills a temporary folder, syncs it, and renames it: the rename is the commit point; older ones go after it.
Tensors lie in tensors.safetensors, the nesting around them in state.json: nothing here is ever unpickled.
One process writes (rank 0); a killed one leaves a temporary folder that the next save removes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from learning.state import decode_state, encode_state

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"ckpt-(\d{12})")
_FILES = ("state.json", "tensors.safetensors")
_TEMPORARY_PREFIX = ".tmp-ckpt-"
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


class CheckpointError(ValueError):
    """A checkpoint folder that is not whole."""


def save(
    folder: Path, state: dict[str, Any], *, images_seen: int, keep_last: int = 3, keep_every_images: int | None = None
) -> Path:
    """Write `state` as the checkpoint of `images_seen` and drop old ones; return its folder.

    A whole checkpoint of the same images is left as it is: the same images in the same order made the same state.
    Kept are the newest `keep_last`, and for good those that `kept_for_good` names.
    The state nests dicts, lists and tuples of tensors, numbers, bools, strings and None.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last is {keep_last}, expected at least 1: the newest checkpoint is always kept")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover)
    target = folder / f"ckpt-{images_seen:012d}"
    if fault(target) is not None:
        shutil.rmtree(target, ignore_errors=True)
        _write_and_rename(target, state)
    _drop_old(target, keep_last, keep_every_images)
    return target


def load_newest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Return (images_seen, state) of the newest whole checkpoint (tensors on the CPU) or None; log broken ones.

    Raises: CheckpointError where all that were finished are broken: to begin anew would be to lose the run unsaid.
    """
    finished = 0
    for path in reversed(_checkpoints(folder)):
        try:
            return images_seen_of(path.name), load(path)
        except (ValueError, OSError, SafetensorError, KeyError) as error:
            _LOG.warning("skipped the checkpoint %s: %s", path, error)
            finished += (path / "DONE").exists()
    if finished:
        raise CheckpointError(
            f"none of the {finished} checkpoints in {folder} is whole; restore one, or remove them to start over"
        )
    return None


def load(path: Path) -> dict[str, Any]:
    """Return the state of one checkpoint folder, its hashes checked.

    Raises: CheckpointError when it is unfinished or its bytes are not those that were saved.
    """
    _check(path)
    tensors = load_file(path / "tensors.safetensors")
    state: dict[str, Any] = decode_state(json.loads((path / "state.json").read_text()), tensors)
    return state


def kept_for_good(images_seen: Iterable[int], every_images: int | None) -> set[int]:
    """Choose the first checkpoint at or after each multiple: batches seldom end on one."""
    first: dict[int, int] = {}
    for seen in sorted(images_seen) if every_images else ():
        first.setdefault(seen // (every_images or 1), seen)
    return {seen for multiple, seen in first.items() if multiple > 0}


def fault(path: Path) -> str | None:
    """Say what is wrong with a checkpoint folder; None for a whole one."""
    try:
        _check(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors; of several entries of metadata the order, and so the bytes, would be random.

    Raises: OSError for a full disk and the like, for which safetensors has an error of its own without a number.
    """
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        found = _SYSTEM_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def _write_and_rename(target: Path, state: dict[str, Any]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=target.parent))
    try:
        _write(temporary, state)
        temporary.rename(target)
    except BaseException:  # a full disk, an interrupt: give the space back
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(target.parent)


def _write(temporary: Path, state: dict[str, Any]) -> None:
    temporary.chmod(0o755)
    skeleton, tensors = encode_state(state)
    save_tensors(tensors, temporary / "tensors.safetensors")
    (temporary / "state.json").write_text(json.dumps(skeleton))
    hashes = {name: _sha256(temporary / name) for name in _FILES}
    (temporary / "DONE").write_text(json.dumps(hashes))
    for path in (*sorted(temporary.iterdir()), temporary):
        _sync(path)


def _check(path: Path) -> None:
    if not (path / "DONE").is_file():
        raise CheckpointError(f"{path.name} has no DONE file, its save never finished; remove the folder")
    hashes = json.loads((path / "DONE").read_text())
    if not isinstance(hashes, dict) or sorted(hashes) != sorted(_FILES):
        raise CheckpointError(f"{path.name}/DONE does not name {' and '.join(_FILES)}; resume from an older one")
    for name, expected in hashes.items():
        if (given := _sha256(path / name)) != expected:
            raise CheckpointError(
                f"{path.name}/{name} has sha256 {given[:12]}, expected {expected[:12]}; resume from an older one"
            )


def _drop_old(newest: Path, keep_last: int, keep_every_images: int | None) -> None:
    """Drop what is older than the one just saved; a later one is a broken one that this run went back before."""
    up_to_newest = [path for path in _checkpoints(newest.parent) if path.name <= newest.name]
    kept = kept_for_good((images_seen_of(path.name) for path in up_to_newest), keep_every_images)
    for path in up_to_newest[:-keep_last]:
        if images_seen_of(path.name) not in kept:
            (path / "DONE").unlink(missing_ok=True)  # first: a cut removal leaves nothing that looks whole
            shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("ckpt-*") if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def images_seen_of(name: str) -> int:
    """Return the count that a checkpoint is named by."""
    return int(name.removeprefix("ckpt-"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
