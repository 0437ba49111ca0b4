"""The errors a user can mend. Each command line shows their text as one line, without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can mend: says the value given, what was expected, where, and the remedy."""

    exit_code = 2


class CorruptError(UserError):
    """A shard, row file, record or image that is not what was promised; names the shard, key and offset."""

    exit_code = 3


class ShortError(CorruptError):
    """An object that ended before it should: cut on the way, which another try mends, or where it lies."""


class ConflictError(UserError):
    """The folder already holds the work of another recipe, or of other software."""


class TrainingStoppedError(UserError):
    """A signal ended a training early, with a checkpoint: the same command goes on."""

    exit_code = 75


class PeerLostError(UserError):
    """Another process of the run is gone, so that this one cannot go on; the same command does, from the checkpoint."""

    exit_code = 7


class StoreError(OSError):
    """A store that failed or did not answer; nobody's mistake, so not a UserError: the same again may well work."""

    exit_code = 6


_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "the file is larger than this process may write: raise the limit (ulimit -f) and run again",
    errno.EROFS: "the file system is read-only: choose another target",
    errno.EACCES: "permission denied: choose another target or change its permissions",
    errno.EPERM: "not permitted: choose another target or change its permissions",
    errno.EEXIST: "there is a file of that name: choose another target",
    errno.ENOTDIR: "a part of the path is a file: choose another target",
}


def remedy(error: BaseException) -> str:
    """Say in a line what is wrong and, where we know, what helps."""
    code = error.errno if isinstance(error, OSError) else None
    if code in _REMEDIES:
        return _REMEDIES[code]
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError):  # of a bucket: without a number
        return f"access denied ({told}): check the credentials and their rights, or choose another target"
    return f"{type(error).__name__}: {told}"


@contextmanager
def interruptible(where: str) -> Iterator[None]:
    """Say in one line that a training was interrupted; what asked it to stop may bring words of its own.

    Raises: TrainingStoppedError.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        told = str(stopped) or "interrupted; run the same command again to go on"
        raise TrainingStoppedError(f"{where}: {told}") from None


@contextmanager
def explained(where: str, *, is_target: bool = False) -> Iterator[None]:
    """Turn a full disk, a read-only target and the like into one clear error that names `where`.

    Raises: CorruptError if a file is absent, or UserError if it `is_target` and its folder is; UserError for what the
    user can mend; other errors pass.
    """
    try:
        yield
    except FileNotFoundError as error:
        if is_target:
            raise UserError(f"{where}: there is no such bucket or folder: make it, or choose another") from error
        raise CorruptError(f"{where} is absent") from error
    except OSError as error:
        if error.errno not in _REMEDIES and not isinstance(error, PermissionError):
            raise
        raise UserError(f"{where}: {remedy(error)}") from error


@contextmanager
def reached(where: str, *, is_target: bool = False) -> Iterator[None]:
    """Explain what happens on the way to a store.

    Raises: as `explained` does; StoreError for all else, since every backend has exceptions of its own.
    """
    try:
        with explained(where, is_target=is_target):
            yield
    except (UserError, StoreError):
        raise
    except Exception as error:
        raise StoreError(
            f"{where}: {remedy(error)}: check the address and the network, or run the same command again later"
        ) from error
