"""Where a data set lives: a local folder or a bucket behind fsspec.

Objects are immutable and appear whole: locally a hidden temporary in the same folder is synced and linked to its
name, in a bucket one put carries the whole object. Only the newest version's copy and its descriptions are replaced.
What a full disk, a read-only target or a missing right does is one clear error; nothing half-written keeps a name.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from manifests.errors import CorruptError, ShortError, StoreError, UserError, reached, remedy
from manifests.shard import check_member_name
from manifests.target import check_folder

REPLACEABLE = frozenset(
    {"dataset.json", "README.md", "croissant.json", "shards.txt", "places.json", "examples.jpg", "wids.json"}
)
_TEMPORARY = re.compile(r"(.*/|)\.([^/]+)\.[0-9a-f]{32}\.tmp")  # of the name that it would have got
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_FAILED = {errno.EBUSY, errno.EIO, 121}  # a disk; and what s3fs makes of 503 and 500

Listing = list[tuple[str, int]]  # name, size in bytes
Names = list[str]


def _is_the_servers(error: Exception) -> bool:
    """Say whether a server is down or fails, as Python, botocore, aiohttp and s3fs tell it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    is_out_of_reach = bool(names & {"ConnectionError", "TimeoutError", "HTTPClientError", "ClientConnectionError"})
    return is_out_of_reach or getattr(error, "errno", None) in _FAILED


class Store:
    """One data set's folder."""

    def __init__(self, url: str, filesystem: Any, root: str) -> None:
        self.url = url
        self.is_local = isinstance(filesystem, LocalFileSystem)
        self._fs = filesystem
        self._root = root.rstrip("/")

    @classmethod
    def open(cls, url: str | Path, *, create: bool = False, dry_run: bool = False) -> Store:
        """Open the folder at a path or fsspec URL; `create` makes it and checks that it can be written.

        With `dry_run` it is checked as well, but not made: what is read of it is that nothing is there.

        Raises: UserError naming the URL; StoreError where its server does not answer.
        """
        check_url(str(url))
        text = str(url).rstrip("/") or "/"
        try:
            store = cls(text, *fsspec.url_to_fs(text, use_listings_cache=False))
            store._prepare(create, dry_run)
        except UserError:
            raise
        except Exception as error:  # every backend has exceptions of its own
            kind = StoreError if _is_the_servers(error) else UserError
            raise kind(f"{text}: {remedy(error)}") from error
        return store

    def _prepare(self, create: bool, dry_run: bool) -> None:
        if self.is_local and create and dry_run:
            check_folder(Path(self._root))
        elif self.is_local and create:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            probe = self._temporary(Path(self._root, "probe"))
            probe.touch()
            probe.unlink()
        elif self.is_local and not Path(self._root).is_dir():
            raise UserError(f"{self.url}: there is no such folder")
        elif not self.is_local and self._type(self._bucket() if create else self._root) is None:
            raise UserError(f"{self.url}: there is no such {'bucket' if create else 'folder'}")

    def _type(self, path: str) -> str | None:
        """Say what lies at a path; unlike fsspec's own predicates, take no failure for an absence."""
        try:
            return str(self._fs.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _bucket(self) -> str:
        return self._root.strip("/").split("/")[0] or "/"

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_member_name(name)}"

    def local_path(self, name: str) -> Path | None:
        """Return the object's path where the store is a local folder."""
        path = self._path(name)
        return Path(path) if self.is_local else None

    def put_file(self, local: Path, name: str) -> None:
        """Put a finished file under an immutable name; one that is there already is left alone.

        Raises: CorruptError if the one that is there has another size.
        """
        with self._reached(name, is_target=True):
            if self.exists(name):
                self._check_size(name, local.stat().st_size)
            elif self.is_local:
                self._written(name, lambda file: _copy(local, file), _link)
            else:
                self._fs.put_file(str(local), self._path(name))

    def put_filled(self, name: str, fill: Callable[[Path], None], *, is_mended: bool = False) -> None:
        """Put what `fill` writes to a path, beside its name in a local folder; `is_mended` takes a damaged one's place.

        Raises: whatever `fill` does, and then nothing is put.
        """
        if self.is_local:
            with self._reached(name, is_target=True):
                self._filled(Path(self._path(name)), fill, os.replace if is_mended else _link)
            return
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "object")
            fill(local)
            if is_mended or not self.exists(name):
                self._put_whole(local, name)

    def _put_whole(self, local: Path, name: str) -> None:
        with self._reached(name, is_target=True):
            self._fs.put_file(str(local), self._path(name))

    def _filled(self, final: Path, fill: Callable[[Path], None], publish: Callable[[Path, Path], object]) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(final)
        try:
            fill(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            publish(temporary, final)
            _sync_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def size(self, name: str) -> int:
        """Return an object's size in bytes.

        Raises: CorruptError if it is absent.
        """
        with self._reached(name):
            return int(self._fs.info(self._path(name))["size"])

    def _check_size(self, name: str, size: int) -> None:
        found = self._fs.size(self._path(name))
        if found != size:
            raise CorruptError(f"{self.url}/{name} has {found} bytes: expected {size}; delete it and run again")

    def put_bytes(self, data: bytes, name: str) -> None:
        """Put bytes under an immutable name; an object that is there already is left alone."""
        with self._reached(name, is_target=True):
            if self.exists(name):
                return
            if self.is_local:
                self._written(name, lambda file: file.write(data), _link)
            else:
                self._fs.pipe_file(self._path(name), data)

    def replace_bytes(self, data: bytes, name: str) -> None:
        """Replace one of the few objects that change: the newest version's copy and its descriptions."""
        if name not in REPLACEABLE:
            raise ValueError(f"{name} is immutable: only {sorted(REPLACEABLE)} are replaced")
        with self._reached(name, is_target=True):
            if self.is_local:
                self._written(name, lambda file: file.write(data), os.replace)
            else:
                self._fs.pipe_file(self._path(name), data)

    def _written(self, name: str, write: Callable[[BinaryIO], object], publish: Callable[[Path, Path], object]) -> None:
        final = Path(self._path(name))
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(final)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, final)
            _sync_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @staticmethod
    def _temporary(final: Path) -> Path:
        return final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")

    def get_bytes(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read an object, or `size` bytes of it from `offset`.

        Raises: CorruptError if it is absent; ShortError if it ends before.
        """
        with self._reached(name):
            data = self._read(name, offset, size)
        if size is not None and len(data) < size:
            raise ShortError(f"{self.url}/{name} ends at byte {offset + len(data)}: expected {offset + size}")
        return data

    def _read(self, name: str, offset: int, size: int | None) -> bytes:
        if not self.is_local:
            end = None if size is None else offset + size
            return bytes(self._fs.cat_file(self._path(name), start=offset or None, end=end))
        with Path(self._path(name)).open("rb") as file:
            file.seek(offset)
            return file.read() if size is None else file.read(size)

    def get_file(self, name: str, local: Path) -> None:
        """Copy a whole object to a local path; its hash is the caller's to check.

        Raises: CorruptError if it is absent.
        """
        with reached(f"{self.url}/{name} to {local}"):
            self._fs.get_file(self._path(name), str(local))

    def list(self, prefix: str = "") -> Listing:
        """List (name, size in bytes) of the objects directly in a folder, sorted; none if there is no such folder."""
        names = self._names(prefix)
        return [(name, size) for name, size in names if not name.rpartition("/")[2].startswith(".")]

    def folders(self) -> Names:
        """List the names of the folders directly in the store, sorted; none if there is no such store yet."""
        with self._reached(""):
            try:
                found = self._fs.ls(self._root or "/", detail=True)
            except FileNotFoundError:
                return []
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "directory")

    def temporaries(self, prefix: str = "") -> Names:
        """List what killed writers left in a local folder, for `clean` to delete."""
        names = [name for name, _ in self._names(prefix)]
        return [name for name in names if _TEMPORARY.fullmatch(name)]

    def _names(self, prefix: str) -> Listing:
        folder = f"{check_member_name(prefix.rstrip('/'))}/" if prefix else ""
        with self._reached(folder):
            try:
                found = self._fs.ls(f"{self._root}/{folder}".rstrip("/"), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        files = [entry for entry in found if entry["type"] == "file"]
        return sorted((folder + entry["name"].rpartition("/")[2], int(entry["size"])) for entry in files)

    def exists(self, name: str) -> bool:
        """Say whether an object is there."""
        path = self._path(name)
        if self.is_local:
            return Path(path).is_file()
        with self._reached(name):
            return self._type(path) == "file"

    def delete(self, name: str) -> None:
        """Delete an object or a temporary; one that is gone already is no error."""
        check_member_name(_TEMPORARY.sub(r"\1\2", name))
        with self._reached(name), suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def _reached(self, name: str, *, is_target: bool = False) -> AbstractContextManager[None]:
        return reached(f"{self.url}/{name}", is_target=is_target)


def check_url(url: str) -> None:
    """Refuse what names no folder, and what looks like a URL but would be taken for a local path.

    Raises: UserError.
    """
    if not url:
        raise UserError("'' names no folder")
    scheme, colon, path = url.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme) or path.startswith(":"):  # a::b is a chain of fsspec's
        return
    if not path.startswith("//"):
        raise UserError(f"{url}: expected {scheme}://…, or ./{url} for a local folder of this name")
    if not path.strip("/"):
        raise UserError(f"{url}: names no folder: expected {scheme}://… with a bucket or path")


def _copy(local: Path, file: BinaryIO) -> None:
    with local.open("rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)


def _link(temporary: Path, final: Path) -> None:
    """Give the file its name unless it is taken; where the file system has no links, rename: the bytes are equal."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.rename(final)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
