"""The errors a user can mend. Each command line shows their text as one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: says the value given, what was expected, where, and the remedy."""

    exit_code = 2


class CorruptError(UserError):
    """A shard, row file, record or image that is not what was promised; names the shard, key and offset."""

    exit_code = 3


class ConflictError(UserError):
    """The folder already holds the work of another recipe, or of other software."""
