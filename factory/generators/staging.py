"""Weights in a bucket, brought to a node once: every process there takes the same checked copy.

The folder in the bucket holds SHA256SUMS, as `sha256sum` writes it, naming every file. The copy lies under the hash of
that list and appears whole, by a rename; a process that finds it checks every hash, and fetches anew what is damaged.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from manifests.cache import ShardCache
from manifests.canonical import sha256_hex
from manifests.errors import CorruptError, UserError, explained
from manifests.locking import locked
from manifests.shard import check_member_name, file_sha256
from manifests.store import Store

LIST = "SHA256SUMS"
MAKE_LIST = f"cd FOLDER && find . -type f ! -name {LIST} -exec sha256sum {{}} + > {LIST}"
AT_ONCE = 8
WAIT_S = 2 * 3600.0  # for another process of this node that fetches
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")


def stage(url: str, cache: Path | None = None) -> Path:
    """Return this node's copy of a folder of weights, fetched if need be.

    Raises: UserError where the folder has no list of its files; CorruptError naming a file that is not as listed;
        StoreError while another process fetches for ever.
    """
    store = Store.open(url)
    return _copy(store, _read_list(store), cache)


def stage_file(url: str, cache: Path | None = None) -> Path:
    """Return this node's copy of one file of such a folder, such as a LoRA; the others stay where they are.

    Raises: as `stage` does; UserError where the list does not name it.
    """
    above, _, name = url.rpartition("/")
    store = Store.open(above)
    listed = _read_list(store)
    if name not in listed:
        raise UserError(f"{url}: {LIST} beside it does not name it: {MAKE_LIST}, then upload both")
    return _copy(store, {name: listed[name]}, cache) / name


def _copy(store: Store, listed: dict[str, str], cache: Path | None) -> Path:
    home = (cache or ShardCache.default().folder) / "weights"
    name = sha256_hex("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(listed.items())).encode())
    folder = home / name[:32]
    with explained(str(home)):
        home.mkdir(parents=True, exist_ok=True)
        lock = home / f".lock-{folder.name}"
        with locked(lock, fcntl.LOCK_SH, wait_s=WAIT_S):  # all of a node look at once
            if _is_whole(folder, listed):
                return folder
        with locked(lock, wait_s=WAIT_S):  # and wait for the first that fetches
            if not _is_whole(folder, listed):
                _fetch(store, listed, folder)
    return folder


def _read_list(store: Store) -> dict[str, str]:
    """Read which files belong to the folder, and their hashes."""
    if not store.exists(LIST):
        raise UserError(
            f"{store.url}: weights in a bucket need a list of their hashes: {MAKE_LIST}, then upload it too"
        )
    lines = store.get_bytes(LIST).decode("utf-8", errors="replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines if line.strip()]
    if not found or not all(found):
        raise CorruptError(f"{store.url}/{LIST}: expected a sha256 and a name a line: {MAKE_LIST}")
    return {check_member_name(match[2]): match[1] for match in found if match}


def _is_whole(folder: Path, listed: dict[str, str]) -> bool:
    return folder.is_dir() and all(_is_right(folder / name, sha256) for name, sha256 in listed.items())


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _fetch(store: Store, listed: dict[str, str], folder: Path) -> None:
    part = folder.with_name(f".part-{uuid.uuid4().hex}")
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(partial(_fetch_file, store, part), listed, listed.values()))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fetch_file(store: Store, part: Path, name: str, sha256: str) -> None:
    target = part / name
    target.parent.mkdir(parents=True, exist_ok=True)
    store.get_file(name, target)
    if (found := file_sha256(target)) != sha256:
        raise CorruptError(f"{store.url}/{name}: sha256 {found[:16]}, its {LIST} says {sha256[:16]}: upload it again")
