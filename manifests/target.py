"""Where a command writes: refused before any work is done for it, and a file has its name whole or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.errors import ConflictError, UserError, explained, remedy


def local_path(text: str | Path) -> Path:
    """Return the path that was typed, or an option's default; a URL would become a folder named after its scheme.

    Raises: UserError for a URL.
    """
    if "://" in str(text):
        raise UserError(f"{text}: expected a local path; only data sets may lie in a bucket")
    return Path(text)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to; leaves no trace.

    Raises: UserError with the remedy.
    """
    try:
        with explained(str(folder), is_target=True):
            nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            Path(tempfile.mkdtemp(prefix=".probe-", dir=nearest)).rmdir()
    except OSError as error:
        raise UserError(f"{folder}: {remedy(error)}") from error


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written; leaves no trace.

    Raises: UserError with the remedy.
    """
    check_folder(path.parent)
    if path.is_dir():
        raise UserError(f"{path}: there is a folder of that name: choose another file")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep every other process from working on a run's folder, which is made; a killed one leaves nothing behind.

    Raises: ConflictError where another is at work.
    """
    with explained(str(folder), is_target=True):
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise ConflictError(f"{folder}: another process is working on this run; wait for it, or stop it") from None
    try:
        yield
    finally:
        os.close(opened)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of `path` if all goes well, and goes away if not.

    Raises: UserError for a full disk, a read-only folder and the like.
    """
    part = path.with_name(f"{path.name}.part-{uuid.uuid4().hex[:8]}")
    with explained(str(path), is_target=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
