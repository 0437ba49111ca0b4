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


class ConflictError(UserError):
    """The folder already holds the work of another recipe, or of other software."""


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
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn a full disk, a read-only target and the like into one clear error that names `where`.

    Raises: CorruptError if a file is absent, UserError for what the user can mend; other errors pass.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise CorruptError(f"{where} is absent") from error
    except OSError as error:
        if error.errno not in _REMEDIES and not isinstance(error, PermissionError):
            raise
        raise UserError(f"{where}: {remedy(error)}") from error
